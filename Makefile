# Two targets do everything: `make run` and `make test`. Both make .venv first, where it is missing or stale.
# Needed: Python 3.11 or newer with its venv module, git, make.

VENV := .venv
BIN := $(VENV)/bin
BENCH := .bench
PIP := -m pip --disable-pip-version-check --quiet

NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c "$(NEW_ENOUGH)" 2>/dev/null && echo $$python && break; done)

.PHONY: run test lint format bench docs clean

run: $(VENV)/.installed
	@$(BIN)/reconciler run

test: lint
	$(BIN)/pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/.installed
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(BENCH)/.installed
	@$(BENCH)/bin/python -m tests.bench

docs: $(VENV)/.installed
	@$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# setuptools comes from constraints.txt too, hence no build isolation: next year's install is today's.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Needed: Python 3.11 or newer with its venv module (Debian: python3.11-venv)," \
		"found neither as python3.11 nor as python3. Elsewhere? make PYTHON=/path/to/python" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python $(PIP) install -c constraints.txt setuptools
	$(BIN)/python $(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

# The peers live apart, so that what they need never mixes with what we need.
$(BENCH)/.installed: $(VENV)/.installed tests/bench/peers.txt
	$(BIN)/python -m venv --clear $(BENCH)
	$(BENCH)/bin/python $(PIP) install -c constraints.txt setuptools
	$(BENCH)/bin/python $(PIP) install -c constraints.txt --no-build-isolation -e . -r tests/bench/peers.txt
	@touch $@

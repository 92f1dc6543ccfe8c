# Two targets do everything: `make run` and `make test`. Both make .venv first, where it is missing or stale; only the
# latter puts development tools into it.
# Needed: Python 3.11 or newer with its venv module, git, make. Where node and npm are there too, the tests try what
# editors see with the language server that editors run; where Chromium is, they look at the pages in it. Elsewhere
# they skip that, and say so.

VENV := .venv
BIN := $(VENV)/bin
BENCH := .bench
EDITOR_TOOLS := .editor
PIP := -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder
NPM := npm ci --ignore-scripts --no-audit --no-fund --loglevel=error

# Containers often forbid bytecode. Then each process of the hundreds that the tests start compiles the engine anew.
unexport PYTHONDONTWRITEBYTECODE

NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$python -c "$(NEW_ENOUGH)" 2>/dev/null && echo $$python && break; done)

.PHONY: run test tests quick lint format bench kill soak docs clean

run: $(VENV)/.runs
	@$(BIN)/reconciler run

# Lint beside the tests, for it leaves a core idle most of its time.
test: $(VENV)/.installed $(EDITOR_TOOLS)/.installed
	@$(MAKE) --no-print-directory -j2 lint tests

tests: $(VENV)/.installed
	$(PYTEST)

# While one works: without proofs, editor, browser, CI and simulation, and with the first of what property tests draw.
quick: $(VENV)/.installed
	HYPOTHESIS_PROFILE=few $(PYTEST) $(addprefix --ignore tests/,proof editor browser ci simulation)

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

# How often, how long, how large: KILLS=1000, SOAK_SECONDS=600, SOAK_INSTANCES=2000, SOAK_EDITS=10, and SEED.
kill: $(VENV)/.installed
	@$(BIN)/python -m tests.proof

soak: $(VENV)/.installed
	@$(BIN)/python -m tests.proof.soak

docs: $(VENV)/.installed
	@$(BIN)/python docs/generate.py
	@$(BIN)/reconciler schema

clean:
	rm -rf $(VENV) $(BENCH) $(EDITOR_TOOLS) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# setuptools comes from constraints.txt too, hence no build isolation: next year's install is today's.
$(VENV)/.runs: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Needed: Python 3.11 or newer with its venv module (Debian: python3.11-venv)," \
		"found neither as python3.11 nor as python3. Elsewhere? make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Making $(VENV) and installing the engine into it, once: a minute or two, about 110 MB" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python $(PIP) install -c constraints.txt setuptools
	@$(BIN)/python $(PIP) install -c constraints.txt --no-build-isolation -e .
	@touch $@

$(VENV)/.installed: $(VENV)/.runs
	@echo "Adding what checks and tests need, once: another minute or two" >&2
	@$(BIN)/python $(PIP) install -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

# The peers live apart, so that what they need never mixes with what we need. Of npm's there is one, for one row.
$(BENCH)/.installed: $(VENV)/.installed tests/bench/peers.txt tests/bench/nautilus.txt tests/bench/package.json tests/bench/package-lock.json
	$(BIN)/python -m venv --clear $(BENCH)
	$(BENCH)/bin/python $(PIP) install -c constraints.txt setuptools
	$(BENCH)/bin/python $(PIP) install -c constraints.txt --no-build-isolation -e . -r tests/bench/peers.txt
	@$(BENCH)/bin/python -m venv $(BENCH)/nautilus && \
		$(BENCH)/nautilus/bin/python $(PIP) install --only-binary :all: -r tests/bench/nautilus.txt || \
		{ rm -rf $(BENCH)/nautilus; echo "Without its wheels, NautilusTrader is not measured against" >&2; }
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
		cp tests/bench/package.json tests/bench/package-lock.json $(BENCH) && cd $(BENCH) && $(NPM); \
	else echo "Without node and npm, ajv-cli is not measured against" >&2; fi
	@touch $@

$(EDITOR_TOOLS)/.installed: tests/editor/package.json tests/editor/package-lock.json
	@if command -v node >/dev/null && command -v npm >/dev/null; then \
		mkdir -p $(EDITOR_TOOLS) && cp $^ $(EDITOR_TOOLS) && cd $(EDITOR_TOOLS) && \
		$(NPM) && touch .installed; \
	else echo "Without node and npm, the tests of the language server are skipped" >&2; fi

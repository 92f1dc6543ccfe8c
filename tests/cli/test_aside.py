"""What strategies print while they are imported stays out of the answer, and can command nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Fleet

NOISE = """
import logging, os, sys, threading
print("hello\\n::error::taken over")
print("##[error]x \\x1b[31m", file=sys.stderr)
os.write(1, b"\\n::error::below\\n")
os.write(2, b"and \\xff\\n")
sys.__stdout__.write("underneath\\n")
sys.stdout.buffer.write(b"bytes\\n")
logging.basicConfig()
logging.warning("careful")
"""


def make_noise(fleet: Fleet, noise: str = NOISE) -> None:
    file = fleet.root / "strategies" / "drift.py"
    file.write_text(noise + file.read_text())


def shell(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "reconciler", "--root", str(fleet.root), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["json", "sarif", "gitlab"])
def test_the_answer_is_the_same_data_whatever_strategies_print(fleet: Fleet, form: str) -> None:
    fleet.write("a", levels="five")
    quiet = shell(fleet, "validate", "--format", form)
    make_noise(fleet)
    loud = shell(fleet, "validate", "--format", form)
    assert (loud.returncode, loud.stdout) == (1, quiet.stdout)
    json.loads(loud.stdout)


def test_it_is_told_on_stderr_line_by_line_with_the_name_of_who_said_it(fleet: Fleet) -> None:
    make_noise(fleet)
    done = shell(fleet, "strategies", "--format", "json")
    assert [item["strategy_type"] for item in json.loads(done.stdout)["items"]] == ["drift"]
    assert done.stderr.splitlines() == [
        "drift printed: hello",
        "drift printed: ::error::taken over",
        r"drift printed: ##\[error]x \x1b[31m",
        "drift printed: underneath",
        "drift printed: bytes",
        "drift printed: WARNING:root:careful",
        "a strategy printed: ",
        "a strategy printed: ::error::below",
        "a strategy printed: and \ufffd",
    ]


@pytest.mark.parametrize("command", [("plan",), ("validate",), ("schema",), ("strategies",), ("new", "drift", "a")])
def test_no_command_that_imports_strategies_lets_a_line_through(fleet: Fleet, command: tuple[str, ...]) -> None:
    fleet.store().close()
    make_noise(fleet)
    done = shell(fleet, *command)
    assert "::error::" not in done.stdout
    assert "hello" not in done.stdout
    assert "drift printed: hello" in done.stderr.splitlines()
    assert not [line for line in done.stderr.splitlines() if line.lstrip().startswith("::")]


def test_init_lets_none_through_either(fleet: Fleet) -> None:
    make_noise(fleet)
    command = (sys.executable, "-m", "reconciler", "init", str(fleet.root))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "hello" not in done.stdout
    assert "drift printed: hello" in done.stderr.splitlines()


def test_only_the_first_of_much_is_told(fleet: Fleet) -> None:
    make_noise(fleet, "for n in range(1000): print(n)\nprint('x' * 10**6)\n")
    lines = shell(fleet, "strategies").stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "and 981 more lines that strategies printed"
    make_noise(fleet, "print('x' * 10**6)\n")
    assert max(map(len, shell(fleet, "strategies").stderr.splitlines())) < 400


def test_a_strategy_that_closes_the_streams_stops_no_answer(fleet: Fleet) -> None:
    make_noise(fleet, "import sys\nsys.stdout.close()\nsys.stderr = None\n")
    done = shell(fleet, "strategies", "--format", "json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["items"][0]["problems"] == []


def test_what_is_said_before_and_after_is_not_lost(fleet: Fleet, tmp_path: Path) -> None:
    make_noise(fleet)
    result = fleet.run("validate")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "drift printed: hello\n" in result.stderr

"""The command group: what every command owes its user, and what none may cost."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from reconciler import __version__
from reconciler.cli import main
from reconciler.cli.main import COMMANDS

CONTEXT = click.Context(main)


def command(name: str) -> click.Command:
    found = main.get_command(CONTEXT, name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example_of_each_option(name: str) -> None:
    found = command(name)
    assert found.name == name
    assert found.help
    examples = found.epilog or ""
    assert f"reconciler {name}" in examples
    for parameter in found.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"
            assert parameter.opts[0] in examples, f"{name} {parameter.opts[0]} has no example"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_is_understood(name: str) -> None:
    import shlex

    for line in (command(name).epilog or "").splitlines():
        words = shlex.split(line) if line.strip().startswith("reconciler ") else []
        if words:
            command(name).make_context(name, [word.replace("~", "/") for word in words[2:]], parent=CONTEXT)


def test_help_lists_every_command_without_importing_any() -> None:
    script = (
        "import sys\nfrom click.testing import CliRunner\nfrom reconciler.cli import main\n"
        "print(CliRunner().invoke(main, ['--help']).output)\n"
        "print([m for m in sys.modules if m.startswith('reconciler.cli.')])"
    )
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    for name, summary in COMMANDS.items():
        assert summary in output
        assert f"'reconciler.cli.{name}'" not in output


def test_an_unknown_command_is_a_usage_error() -> None:
    result = CliRunner().invoke(main, ["fly"])
    assert result.exit_code == 2
    assert "No such command 'fly'" in result.stderr


def test_the_version_is_the_package_s() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"{__version__}\n"


def test_validating_imports_nothing_that_is_slow() -> None:
    script = (
        "import json, sys\nfrom reconciler.cli import main\nmain(['validate'], standalone_mode=False)\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stderr.splitlines()[-1])
    heavy = ("mcp", "rich", "starlette", "uvicorn", "httpx", "sqlite_utils", "sqlite3", "watchfiles", "jinja2")
    slow = (*heavy, "asyncio", "jsonschema", "multiprocessing")
    assert "reconciler.review.validate.check" in loaded
    for name in (*slow, "reconciler.dashboard", "reconciler.app", "reconciler.store", "reconciler.execution"):
        assert name not in loaded

"""`reconciler run`: its flags become settings, its exit code is the engine's. The engine itself is a stand-in."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from click.testing import CliRunner

from reconciler.cli import main
from reconciler.errors import StoreLocked
from reconciler.settings import Settings
from tests.cli.conftest import Fleet


class StandIn(ModuleType):
    """In place of `reconciler.app`, which would start everything."""

    def __init__(self) -> None:
        super().__init__("reconciler.app")
        self.asked: list[tuple[Settings, bool, bool]] = []
        self.code = 0
        self.error: Exception | None = None

    def run(self, settings: Settings, *, adopt: bool, once: bool, trust: str = "") -> int:
        self.trusted = trust
        self.asked.append((settings, adopt, once))
        if self.error is not None:
            raise self.error
        return self.code


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setitem(sys.modules, "reconciler.app", stand_in)
    return stand_in


def test_flags_win_over_the_file(fleet: Fleet, app: StandIn) -> None:
    (fleet.root / "reconciler.yaml").write_text("dashboard: {port: 1}\nheartbeat_seconds: 2\n")
    assert fleet.run("run", "--port", "9090", "--source", "worktree", "--once", "--adopt").exit_code == 0
    ((settings, adopt, once),) = app.asked
    assert (settings.dashboard.port, settings.heartbeat_seconds, settings.source.kind) == (9090, 2, "worktree")
    assert (adopt, once) == (True, True)


def test_without_flags_the_file_holds(fleet: Fleet, app: StandIn) -> None:
    assert fleet.run("run").exit_code == 0
    ((settings, adopt, once),) = app.asked
    assert (settings.root, settings.dashboard.port, adopt, once) == (fleet.root, 8080, False, False)


@pytest.mark.parametrize("arguments", [["--root", "ROOT", "run"], ["run", "--root", "ROOT"]])
def test_the_root_may_stand_before_or_after_the_command(fleet: Fleet, app: StandIn, arguments: list[str]) -> None:
    words = [str(fleet.root) if word == "ROOT" else word for word in arguments]
    assert CliRunner().invoke(main, words).exit_code == 0
    assert app.asked[0][0].root == fleet.root


def test_the_exit_code_is_the_engine_s(fleet: Fleet, app: StandIn) -> None:
    app.code = 1
    assert fleet.run("run", "--once").exit_code == 1


def test_an_engine_that_cannot_start_says_why_in_a_sentence(fleet: Fleet, app: StandIn) -> None:
    app.error = StoreLocked("another engine holds this database")
    result = fleet.run("run")
    assert (result.exit_code, result.stderr) == (1, "another engine holds this database\n")


def test_the_commit_that_is_trusted_goes_along(fleet: Fleet, app: StandIn) -> None:
    assert fleet.run("run", "--adopt", "--trust", "c0ffee").exit_code == 0
    assert app.trusted == "c0ffee"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "git"], "ROOT: expected a git repository, whose commits count, found none"),
        (["--root", "/nowhere"], "/nowhere: expected a folder instances/ here"),
    ],
)
def test_settings_that_cannot_be_used_start_nothing(
    fleet: Fleet, app: StandIn, arguments: list[str], message: str
) -> None:
    result = fleet.run("run", *arguments)
    assert (result.exit_code, app.asked) == (1, [])
    assert result.stderr.startswith(message.replace("ROOT", str(fleet.root)))


def test_a_problem_of_the_environment_names_the_variable(
    fleet: Fleet, app: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILER_DASHBOARD_PORT", "http")
    result = fleet.run("run")
    assert (result.exit_code, app.asked) == (1, [])
    assert result.stderr.startswith('RECONCILER_DASHBOARD_PORT: dashboard.port: expected an integer, was "http"')

"""References resolved at load, and secrets that appear nowhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.records.plan import Phase
from reconciler.runtime.performer import SecretUnavailable, resolver
from reconciler.runtime.protocol import HookFailed, LoadFailed
from reconciler.strategy.base import Strategy
from reconciler.strategy.widgets import metric
from reconciler.validation.secrets import HIDDEN

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeStage

SCHEMA = {
    "type": "object",
    "properties": {"token": {"type": "string", "writeOnly": True}, "levels": {"type": "integer"}},
}
SECRET = "hunter2-and-more"


def test_references_are_resolved_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "token").write_bytes(b" from file \r\n")
    resolve = resolver(tmp_path, {"TOKEN": "from env"})
    written: dict[str, Any] = {"token": {"env": "TOKEN"}, "levels": 5}
    assert resolve(written, SCHEMA) == ({"token": "from env", "levels": 5}, ("from env",))
    assert written["token"] == {"env": "TOKEN"}, "the record keeps the reference"
    assert resolve({"token": {"file": "keys/token"}}, SCHEMA) == ({"token": " from file "}, (" from file ",))
    absolute = str(tmp_path / "keys" / "token")
    assert resolve({"token": {"file": absolute}}, SCHEMA)[1] == (" from file ",)
    assert resolve({"levels": 5}, SCHEMA) == ({"levels": 5}, ())


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ({"env": "ABSENT"}, "config.token: {env: ABSENT}: expected an environment variable"),
        ({"env": "EMPTY"}, "config.token: {env: EMPTY}: expected an environment variable"),
        ({"file": "absent"}, "config.token: {file: absent}: expected a readable file"),
        ({"file": "binary"}, "config.token: {file: binary}: expected UTF-8"),
        ({"file": "empty"}, "config.token: {file: empty}: expected a secret, was an empty file"),
        ({"file": "huge"}, "config.token: {file: huge}: expected at most 65,536 bytes"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(tmp_path: Path, reference: dict[str, str], reason: str) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "huge").write_bytes(b"x" * 65_537)
    with pytest.raises(SecretUnavailable) as caught:
        resolver(tmp_path, {"EMPTY": ""})({"token": reference}, SCHEMA)
    assert str(caught.value).startswith(reason)


def test_a_load_whose_secret_is_missing_fails_and_succeeds_once_it_is_there(make_stage: MakeStage) -> None:
    environment: dict[str, str] = {}
    stage = make_stage(resolve=_resolve_token(environment))
    seen: list[object] = []

    class Reads(Strategy):
        def init(self) -> None:
            seen.append(self.config["token"])

    row = stage.row(config={"token": {"env": "TOKEN"}})
    stage.load(Reads, row)
    (failed,) = stage.told(LoadFailed)
    assert failed.error.startswith("SecretUnavailable: config.token: {env: TOKEN}: expected")
    environment["TOKEN"] = SECRET
    stage.load(Reads, row)
    assert stage.phase() is Phase.RUNNING
    assert seen == [SECRET]


@pytest.mark.parametrize("hook", ["init", "on_tick", "render", "on_unload"])
def test_a_secret_appears_in_no_error_log_line_or_widget(make_stage: MakeStage, hook: str) -> None:
    stage = make_stage(resolve=_resolve_token({"TOKEN": SECRET}))

    class Careless(Strategy):
        def _leak(self, here: str) -> None:
            self.context.log.info(f"using {self.config['token']}")
            if here == hook:
                raise KeyError(self.config["token"])

        def init(self) -> None:
            self._leak("init")

        def on_tick(self) -> None:
            self._leak("on_tick")

        def render(self) -> list[dict[str, Any]]:
            self._leak("render")
            return [metric("token", "Token", self.config["token"])]

        def on_unload(self) -> None:
            self._leak("on_unload")

    stage.load(Careless, stage.row(config={"token": {"env": "TOKEN"}}))
    stage.tick()
    shown = repr(stage.facts())
    if stage.phase() is Phase.RUNNING:
        stage.host.unload("one", "removed")
        stage.until(lambda: stage.view() is None)
    shown += repr(stage.facts()) + repr(stage.reports)
    assert HIDDEN in shown
    assert "KeyError" in shown
    assert SECRET not in shown


def _resolve_token(environment: dict[str, str]) -> Any:
    resolve = resolver(Path(os.devnull), environment)
    return lambda config, _: resolve(config, SCHEMA)


def test_a_hook_failure_names_the_strategys_own_lines_only(make_stage: MakeStage) -> None:
    stage = make_stage()

    class Stumbles(Strategy):
        def on_tick(self) -> None:
            self.context.orders.place("buy", 0.1)  # type: ignore[arg-type]

    stage.load(Stumbles)
    stage.tick()
    lines = stage.told(HookFailed)[0].error.splitlines()
    assert lines[0].startswith("TypeError: quantity: expected str or Decimal, was float")
    assert [line.split(":")[0] for line in lines[1:]] == ["  strategies/probe.py"]
    assert lines[1].endswith(" in on_tick")

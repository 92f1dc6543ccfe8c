"""`reconciler drill`, where it cannot be tried."""

from __future__ import annotations

import pytest

from tests.cli.conftest import FakeEngine, Fleet


def test_without_an_engine_there_is_nothing_to_try(fleet: Fleet) -> None:
    result = fleet.run("drill")
    assert result.exit_code == 2
    assert "no engine is running here" in result.stderr


@pytest.mark.parametrize("account", [(), ("--account", "live")])
def test_real_money_is_never_drilled(fleet: Fleet, engine: FakeEngine, account: tuple[str, ...]) -> None:
    servers = "exec_mcp:\n  kraken:\n    transport: {kind: http, url: 'http://127.0.0.1:9/mcp'}\n"
    (fleet.root / "reconciler.yaml").write_text(f"{servers}    accounts: {{live: {{money: real}}}}\n")
    result = fleet.run("drill", *account)
    assert result.exit_code == 2
    assert engine.calls == []
    expected = "live is real money" if account else "no instance trades on an account of paper money"
    assert expected in result.stderr


@pytest.mark.parametrize("form", ["table", "json"])
def test_orders_that_cannot_be_placed_say_nothing_of_the_kill_switch(
    fleet: Fleet, engine: FakeEngine, form: str
) -> None:
    """An instance that is halted by itself, say."""
    engine.items = [{"id": "a", "account": {"account_id": "main", "client_id": "desk-a"}}]
    engine.failed = (("main", "rejected: Request: instance a is halted: prices are wrong"),)
    result = fleet.run("drill", "--format", form)
    assert result.exit_code == 2
    assert "account main: no halt was tried, for its orders could not be placed" in result.stderr
    assert "instance a is halted" in result.stdout
    assert "DID NOT HOLD" not in result.stdout
    assert {call[0] for call in engine.calls} == {"drill"}, "nothing was halted"


def test_settings_that_cannot_be_read_are_no_drill_that_failed(fleet: Fleet) -> None:
    (fleet.root / "reconciler.yaml").write_text("exec_mcp: [")
    assert fleet.run("drill").exit_code == 2

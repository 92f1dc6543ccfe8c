"""`limits` and `limits lift`, and `book --mark`: with an engine running, and with none."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from reconciler.records.accounts import ScopeMemory
from tests.cli.conftest import FakeEngine, Fleet

SETTINGS = """\
exec_mcp:
  kraken:
    transport: {kind: http, url: "http://127.0.0.1:9000/mcp"}
    accounts:
      main: {money: real, currency: USD, limits: {max_daily_loss: "1000", max_open_orders: 20}}
limits:
  - {all: true, currency: USD, max_turnover: {amount: "5000", within_minutes: 5}}
"""


def test_without_an_engine_the_limits_of_the_settings_are_told_and_none_is_measured(fleet: Fleet) -> None:
    (fleet.root / "reconciler.yaml").write_text(SETTINGS)
    result = fleet.run("limits", "--format", "json")
    items = json.loads(result.stdout)["items"]
    assert [(one["scope"], one["limit"], one["most"], one["used"]) for one in items] == [
        ("account main", "max_daily_loss", "1000", None),
        ("account main", "max_open_orders", "20", None),
        ("all", "max_turnover", "5000", None),
    ]
    assert "only one measures them" in result.stderr
    table = fleet.run("limits").stdout
    assert "not measured" in table
    assert "1000 USD" in table


def test_where_none_is_set_that_is_told(fleet: Fleet) -> None:
    result = fleet.run("limits")
    assert result.exit_code == 0
    assert "the settings set none" in result.stderr


@pytest.mark.parametrize(
    ("words", "scope"),
    [
        (("--all",), "all"),
        (("--account", "main"), "account main"),
        (("--label", "team=majors"), "label team=majors"),
    ],
)
def test_a_drawdown_is_lifted_in_a_running_engine(
    fleet: Fleet, engine: FakeEngine, words: tuple[str, ...], scope: str
) -> None:
    result = fleet.run("limits", "lift", *words, "--reason", "why")
    assert (result.exit_code, result.stdout) == (0, f"{scope}: drawdown lifted: it is measured from now on\n")
    assert engine.calls == [("lift_limit", scope, "why")]


@pytest.mark.parametrize("words", [(), ("--all", "--account", "main"), ("--account", "main", "--label", "a=b")])
def test_one_scope_is_lifted_at_a_time(fleet: Fleet, words: tuple[str, ...]) -> None:
    assert fleet.run("limits", "lift", *words, "--reason", "why").exit_code == 2


def test_a_drawdown_is_lifted_without_an_engine(fleet: Fleet) -> None:
    with fleet.store() as store:
        store.scopes.keep("account main", "real", ScopeMemory(Decimal(5), fallen_at="2026-01-01T00:00:00.000Z"))
    result = fleet.run("limits", "lift", "--account", "main", "--reason", "looked at it")
    assert result.exit_code == 0, result.output
    with fleet.store() as store:
        assert store.scopes.memories()["account main", "real"] == ScopeMemory()
        (operation,) = store.ledger._reads.query("SELECT action, scope, reason FROM operations")
        assert tuple(operation.values()) == ("limits-lift", "account main", "looked at it")
    again = fleet.run("limits", "lift", "--all", "--reason", "why")
    assert again.exit_code == 1
    assert "there is nothing to lift" in again.stderr


def test_what_it_is_worth_is_told_to_a_running_engine(fleet: Fleet, engine: FakeEngine) -> None:
    result = fleet.run("book", "a", "--mark", "48000", "--reason", "delisted")
    assert (result.exit_code, result.stdout) == (0, "a: marked\n")
    assert engine.calls == [("mark", "a", Decimal(48000), "delisted")]


@pytest.mark.parametrize(
    "words", [(), ("--set", "0@0", "--mark", "1"), ("--fee", "1", "--mark", "1"), ("--mark", "-1")]
)
def test_a_book_is_put_right_or_marked(fleet: Fleet, words: tuple[str, ...]) -> None:
    assert fleet.run("book", "a", *words, "--reason", "why").exit_code == 2


def test_whom_there_never_was_cannot_be_marked(fleet: Fleet) -> None:
    with fleet.store():
        pass
    result = fleet.run("book", "nobody", "--mark", "1", "--reason", "why")
    assert result.exit_code == 1
    assert "no such instance" in result.stderr

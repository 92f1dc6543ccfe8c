"""`orders resolve`: to a running engine, and on the database where none is running."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from reconciler.control.chronicle import named
from reconciler.orders.news import Verdict
from reconciler.orders.order import Order, OrderRequest, OrderState, OrderType, Outcome, Provenance, Side
from reconciler.records.mode import Mode
from reconciler.store import Reader
from tests.cli.conftest import FakeEngine, Fleet

ME = named(os.getuid())


def placed(fleet: Fleet, outcome: Outcome = Outcome.PENDING) -> None:
    origin = Provenance("a", "main", "desk", "BTC/USD", Mode.ACTIVE, 1, "c", "d", None, 7)
    request = OrderRequest(Side.BUY, OrderType.MARKET, Decimal(2))
    now = datetime(2026, 1, 31, tzinfo=UTC)
    with fleet.store() as store:
        store.ledger.append(Order("x", origin, request, outcome, now, now))


def order(fleet: Fleet) -> Order:
    with fleet.store() as store:
        found = store.ledger.get("x")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        (["--as", "rejected"], Verdict("rejected", "why", ME)),
        (
            ["--as", "cancelled", "--filled", "0.50", "--price", "100", "--fee", "0", "--exchange-id", "e1"],
            Verdict("cancelled", "why", ME, Decimal("0.5"), Decimal(100), Decimal(0), "e1"),
        ),
    ],
)
def test_a_verdict_reaches_the_engine(fleet: Fleet, engine: FakeEngine, words: list[str], verdict: Verdict) -> None:
    result = fleet.run("orders", "resolve", "x", *words, "--reason", "why")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"x: resolved as {verdict.word}\n"
    assert engine.calls == [("resolve", "x", verdict)]


def test_what_the_engine_does_not_take_is_told(fleet: Fleet, engine: FakeEngine) -> None:
    engine.failed = (("x", "it is filled, and that is final"),)
    result = fleet.run("orders", "resolve", "x", "--as", "rejected", "--reason", "why")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "x: it is filled, and that is final\n")


@pytest.mark.parametrize(
    "words",
    [["--as", "gone", "--reason", "why"], ["--as", "rejected"], ["--as", "filled", "--price", "0", "--reason", "why"]],
)
def test_a_verdict_that_is_not_clear_changes_nothing(fleet: Fleet, engine: FakeEngine, words: list[str]) -> None:
    assert fleet.run("orders", "resolve", "x", *words).exit_code == 2
    assert engine.calls == []


def test_without_an_engine_the_ledger_is_written_to_and_it_is_recorded_who_and_why(fleet: Fleet) -> None:
    placed(fleet)
    result = fleet.run("orders", "resolve", "x", "--as", "filled", "--price", "100", "--reason", "trade 4711")
    assert (result.exit_code, result.stdout) == (0, "x: resolved as filled\n")
    assert "no engine is running here" in result.stderr
    settled = order(fleet)
    assert (settled.outcome, settled.state, settled.filled_quantity) == ("accepted", OrderState.FILLED, Decimal(2))
    assert settled.reason == f"resolved by hand ({ME}): trade 4711"
    with contextlib.closing(Reader.open(fleet.database)) as reader:
        (operation,) = reader.operations()[0]
        (event,) = reader.events()[0]
    assert (operation["action"], operation["scope"], operation["reason"], operation["uid"]) == (
        "resolve",
        "order x",
        "filled at 100: trade 4711",
        os.getuid(),
    )
    assert (event["instance_id"], event["reason"]) == ("a", "OrderResolved")


def test_without_an_engine_what_cannot_be_is_not_taken_either(fleet: Fleet) -> None:
    placed(fleet)
    unknown = fleet.run("orders", "resolve", "y", "--as", "rejected", "--reason", "why")
    assert (unknown.exit_code, unknown.stderr) == (1, "y: the ledger knows no such order\n")
    unpriced = fleet.run("orders", "resolve", "x", "--as", "filled", "--reason", "why")
    assert (unpriced.exit_code, unpriced.stdout) == (1, "")
    assert unpriced.stderr.startswith("x: price: expected the average")
    assert order(fleet).outcome is Outcome.UNKNOWN


def test_an_amount_that_is_none_is_told_once(fleet: Fleet) -> None:
    result = fleet.run("orders", "resolve", "x", "--as", "filled", "--price", "abc", "--reason", "r")
    assert result.exit_code == 2
    assert "Invalid value for '--price': expected a decimal number, was 'abc'" in result.stderr

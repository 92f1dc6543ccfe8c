"""The shadow book beat by beat: on a real ledger, with a scripted market."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import ExecUnavailable
from reconciler.execution.shadow_book import DEFAULT_FEE
from reconciler.orders.order import Order, OrderRequest, OrderState, OrderType, Outcome, Side, TimeInForce
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Limits, Row, RowChange
from tests.execution.standins import Desk, StandInGate, request

DAY_S = 86_400


@pytest.fixture
def gate() -> StandInGate:
    return StandInGate(mode=Mode.OBSERVE)


def quote(desk: Desk, bid: str, ask: str) -> None:
    desk.server.answers("get_quote", {"bid": bid, "ask": ask, "as_of": "2026-01-31T12:00:00.000Z"})


def now(desk: Desk, order: Order) -> Order:
    found = desk.store.ledger.get(order.client_order_id)
    assert found is not None
    return found


def held(desk: Desk, instance_id: str = "btc-grid-1") -> Decimal:
    return desk.gateway.position(instance_id, "BTC/USD", shadow=True).quantity


def record(desk: Desk, mode: Mode, instance_id: str = "btc-grid-1") -> None:
    identity = Identity("grid", "main", "desk-a", "BTC/USD")
    written = InstanceRecord(instance_id, identity, mode, {}, {})
    row = Row(written, "p", 1, "", "", "", "", None, False, "2026-01-31T12:00:00.000Z")
    desk.store.desired.apply([RowChange(row, "changed", "")])


def test_a_resting_order_fills_once_the_market_trades_through_it(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, "2", limit="95")
    quote(desk, "94", "95")
    desk.follow_up(8)
    assert now(desk, order).state is OrderState.OPEN
    quote(desk, "93", "94")
    desk.follow_up(9)

    filled = now(desk, order)
    fee = 2 * 95 * DEFAULT_FEE
    assert (filled.outcome, filled.state, filled.average_price, filled.fee) == (
        Outcome.SHADOW,
        OrderState.FILLED,
        Decimal(95),
        fee,
    )
    (fill,) = desk.store.ledger.fills(order.client_order_id)
    assert (fill.quantity, fill.price, fill.fee, fill.is_made_up) == (Decimal(2), Decimal(95), fee, True)
    assert desk.store.ledger.holding("btc-grid-1", "BTC/USD", True).realised == -fee
    assert held(desk) == 2
    assert desk.gateway.open("btc-grid-1", shadow=True) == []
    assert desk.gateway.position("btc-grid-1", "BTC/USD", shadow=False).quantity == 0
    assert desk.server.asked("place_order") == []


def test_the_quote_of_a_beat_is_asked_for_once_and_only_where_something_rests(desk: Desk, gate: StandInGate) -> None:
    desk.follow_up(7)
    assert desk.server.asked("get_quote") == []
    for instance_id in ("one", "two"):
        for limit in ("90", "91"):
            desk.buy(replace(gate, instance_id=instance_id), limit=limit)
    asked = len(desk.server.asked("get_quote"))
    desk.follow_up(8)
    desk.market.quote("main", "BTC/USD", 8)
    assert len(desk.server.asked("get_quote")) == asked + 1


def test_an_order_is_followed_after_a_restart(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="95")
    desk.store.ledger._open = type(desk.store.ledger._open)(desk.store.ledger._reads)
    quote(desk, "93", "94")
    gateway = desk.restarted()
    desk.main_loop.run(gateway.follow_up(9))
    assert now(desk, order).state is OrderState.FILLED
    gateway.close()


def test_a_stop_limit_order_remembers_that_it_was_triggered(desk: Desk, gate: StandInGate) -> None:
    asked = OrderRequest(Side.BUY, OrderType.STOP_LIMIT, Decimal(1), Decimal(106), Decimal(105))
    order = desk.gateway.place(gate, asked, 7)
    quote(desk, "109", "110")
    desk.follow_up(8)
    assert (now(desk, order).state, now(desk, order).is_triggered) == (OrderState.OPEN, True)
    quote(desk, "102", "103")
    desk.follow_up(9)
    assert now(desk, order).average_price == 106


def test_an_order_for_the_day_expires(desk: Desk, gate: StandInGate) -> None:
    order = desk.gateway.place(gate, replace(request("1", "90"), time_in_force=TimeInForce.DAY), 7)
    desk.clock.advance(DAY_S)
    desk.follow_up(8)
    assert (now(desk, order).state, now(desk, order).reason) == (OrderState.EXPIRED, "its day is over")


NOTHING_LEFT = "reduce_only: there is no position left to reduce"


def test_a_reduction_without_anything_left_to_reduce_is_cancelled(desk: Desk, gate: StandInGate) -> None:
    desk.buy(gate, "2")
    closing = replace(request("2", "105", Side.SELL), reduce_only=True)
    resting = desk.gateway.place(gate, closing, 7)
    desk.buy(gate, "2", side=Side.SELL)
    quote(desk, "106", "107")
    desk.follow_up(8)
    ended = now(desk, resting)
    assert (ended.state, ended.reason) == (OrderState.CANCELLED, NOTHING_LEFT)
    assert ended.filled_quantity == 0
    assert held(desk) == 0


@pytest.mark.parametrize("side", Side)
def test_a_reduction_is_filled_as_far_as_the_position_goes_and_then_ends(
    desk: Desk, gate: StandInGate, side: Side
) -> None:
    opening, limit = (Side.BUY, "105") if side is Side.SELL else (Side.SELL, "95")
    desk.buy(gate, "2", side=opening)
    resting = desk.gateway.place(gate, replace(request("2", limit, side), reduce_only=True), 7)
    desk.buy(gate, "1.5", side=side)
    quote(desk, *(("106", "107") if side is Side.SELL else ("93", "94")))
    desk.follow_up(8)
    ended = now(desk, resting)
    assert (ended.state, ended.reason) == (OrderState.CANCELLED, NOTHING_LEFT)
    assert (ended.filled_quantity, ended.average_price) == (Decimal("0.5"), Decimal(limit))
    (fill,) = desk.store.ledger.fills(resting.client_order_id)
    assert (fill.quantity, fill.fee) == (Decimal("0.5"), Decimal("0.5") * Decimal(limit) * DEFAULT_FEE)
    assert held(desk) == 0


@pytest.mark.parametrize("mode", [Mode.OFF, Mode.ACTIVE])
def test_nothing_is_followed_of_who_does_not_observe(desk: Desk, gate: StandInGate, mode: Mode) -> None:
    record(desk, mode)
    order = desk.buy(gate, limit="95")
    quote(desk, "93", "94")
    asked = len(desk.server.asked("get_quote"))
    desk.follow_up(8)
    assert now(desk, order).state is OrderState.OPEN
    assert len(desk.server.asked("get_quote")) == asked


def test_the_book_ends_when_the_instance_rises_and_the_next_one_starts_from_what_it_then_held(desk: Desk) -> None:
    gate = StandInGate(mode=Mode.OBSERVE)
    record(desk, Mode.OBSERVE)
    desk.buy(gate, "5")
    resting = desk.buy(gate, limit="90")
    record(desk, Mode.ACTIVE)
    assert now(desk, resting).state is OrderState.CANCELLED
    gate.mode = Mode.ACTIVE
    desk.server.answers("place_order", {"status": "filled", "filled_quantity": "0.3", "average_price": "101"})
    desk.buy(gate, "0.3")
    record(desk, Mode.OBSERVE)
    gate.mode = Mode.OBSERVE
    assert (held(desk), desk.gateway.recent("btc-grid-1", 9, shadow=True)) == (Decimal("0.3"), [])
    assert desk.buy(gate, "0.3", side=Side.SELL).outcome is Outcome.SHADOW
    assert held(desk) == 0


def test_a_cancelled_order_never_fills_and_a_filled_one_stays_filled(desk: Desk, gate: StandInGate) -> None:
    cancelled, filled = desk.buy(gate, limit="95"), desk.buy(gate, limit="95")
    resting = list(desk.store.ledger.resting())
    desk.gateway.cancel(gate, cancelled.client_order_id)
    desk.store.ledger.resting = lambda: resting  # type: ignore[method-assign]  # read before it was cancelled
    quote(desk, "93", "94")
    desk.follow_up(8)
    assert now(desk, cancelled).state is OrderState.CANCELLED
    assert held(desk) == 1

    get = desk.store.ledger.get
    desk.store.ledger.get = lambda _: filled  # type: ignore[assignment, method-assign]  # read before it was filled
    settle = desk.store.ledger.settle

    def told(*args: Any, **news: Any) -> Order:
        desk.store.ledger.get = get  # type: ignore[method-assign]
        return settle(*args, **news)

    desk.store.ledger.settle = told  # type: ignore[method-assign]
    assert desk.gateway.cancel(gate, filled.client_order_id).state is OrderState.FILLED


def test_without_a_quote_everything_waits(desk: Desk, gate: StandInGate, caplog: pytest.LogCaptureFixture) -> None:
    order = desk.buy(gate, limit="95")
    desk.server.fails("get_quote", ExecUnavailable("down"))
    desk.follow_up(8)
    desk.follow_up(9)
    assert now(desk, order).state is OrderState.OPEN
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == ["no quotes"]


def test_one_market_that_meets_the_unexpected_keeps_no_other_from_its_turn(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    odd = desk.buy(StandInGate("one", mode=Mode.OBSERVE, symbol="ETH/USD"), limit="95")
    other = desk.buy(StandInGate("two", mode=Mode.OBSERVE), limit="95")

    async def trip_over_one(arguments: Mapping[str, Any]) -> dict[str, Any]:
        if arguments["symbol"] == "ETH/USD":
            raise ZeroDivisionError("of the unexpected kind")
        return {"bid": "93", "ask": "94", "as_of": "2026-01-31T12:00:00.000Z"}

    desk.server.script["get_quote"] = trip_over_one
    desk.follow_up(8)
    assert now(desk, odd).state is OrderState.OPEN
    assert now(desk, other).state is OrderState.FILLED
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert told.getMessage() == "shadow orders not followed up"
    assert told.exc_info


def test_a_round_that_fails_as_a_whole_says_so_and_the_next_one_works(
    desk: Desk, gate: StandInGate, caplog: pytest.LogCaptureFixture
) -> None:
    order = desk.buy(gate, limit="95")
    resting = desk.store.ledger.resting
    desk.store.ledger.resting = lambda: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    quote(desk, "93", "94")
    desk.follow_up(8)
    assert [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR] == ["shadow orders not followed up"]
    desk.store.ledger.resting = resting  # type: ignore[method-assign]
    desk.follow_up(9)
    assert now(desk, order).state is OrderState.FILLED


def lose(desk: Desk, gate: StandInGate) -> None:
    """Buy 2 at 101 and see the bid fall to 90, in whichever book the gate's mode has: 22 lost, fees aside."""
    desk.server.answers(
        "place_order", {"status": "filled", "filled_quantity": "2", "average_price": "101", "fee": "0.505"}
    )
    desk.buy(gate, "2")
    desk.server.answers("place_order", {"status": "open"})
    quote(desk, "90", "91")


def place(desk: Desk, gate: StandInGate, beat: int, side: Side = Side.BUY, quantity: str = "1") -> Order:
    return desk.gateway.place(gate, request(quantity, "90.5", side), beat)


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ACTIVE])
def test_a_day_that_lost_too_much_opens_nothing_more_in_observe_and_active_alike(desk: Desk, mode: Mode) -> None:
    gate = StandInGate(mode=mode, limits=Limits(max_daily_loss=Decimal("22.505")))
    lose(desk, gate)
    refused = place(desk, gate, 8)
    assert (refused.outcome, refused.reason) == (
        Outcome.REJECTED,
        "Limit: max_daily_loss: 22.505 is lost today, the limit is 22.505",
    )
    assert place(desk, gate, 8, Side.SELL).outcome is not Outcome.REJECTED, "what reduces the position always passes"
    gate.limits = Limits(max_daily_loss=Decimal("22.51"))
    assert place(desk, gate, 8).outcome is not Outcome.REJECTED


@pytest.mark.parametrize("mode", [Mode.OBSERVE, Mode.ACTIVE])
def test_the_next_day_in_utc_begins_without_what_was_realised_on_the_last(desk: Desk, mode: Mode) -> None:
    gate = StandInGate(mode=mode, limits=Limits(max_daily_loss=Decimal(20)))
    lose(desk, gate)
    desk.server.answers(
        "place_order", {"status": "filled", "filled_quantity": "2", "average_price": "90", "fee": "0.45"}
    )
    desk.gateway.place(gate, request("2", side=Side.SELL), 8)
    assert "is lost today" in place(desk, gate, 8).reason
    desk.clock.advance(DAY_S - desk.clock.time() % DAY_S - 1)
    assert "is lost today" in place(desk, gate, 8).reason
    desk.clock.advance(1)
    desk.server.answers("place_order", {"status": "open"})
    assert place(desk, gate, 8).outcome is not Outcome.REJECTED


def test_without_a_quote_what_is_held_cannot_be_measured_and_nothing_opens(desk: Desk) -> None:
    gate = StandInGate(limits=Limits(max_daily_loss=Decimal(1000)))
    lose(desk, gate)
    desk.server.fails("get_quote", ExecUnavailable("down"))
    assert place(desk, gate, 9).reason == (
        "Limit: max_daily_loss: the loss of the day cannot be measured: what is held lacks a quote, or a fill its price"
    )
    assert place(desk, gate, 9, Side.SELL).outcome is Outcome.ACCEPTED


def test_each_book_counts_its_own_losses(desk: Desk) -> None:
    gate = StandInGate(limits=Limits(max_daily_loss=Decimal(20)))
    lose(desk, gate)
    observing = replace(gate, instance_id="another", mode=Mode.OBSERVE)
    assert place(desk, observing, 8).outcome is Outcome.SHADOW
    assert place(desk, gate, 8).outcome is Outcome.REJECTED

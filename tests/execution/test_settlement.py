"""What an exchange's report makes of an order in the ledger."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.exec_mcp import answers
from reconciler.execution.order_steps import Rejection
from reconciler.execution.settlement import Settlement
from reconciler.execution.watch import OrderWatch
from reconciler.orders.news import Verdict
from reconciler.orders.order import OrderState, Outcome, RejectedBy
from tests.execution.standins import Desk, StandInGate, events


@pytest.fixture
def settlement(desk: Desk) -> Settlement:
    return Settlement(desk.store.ledger, OrderWatch(desk.clock), desk.store.halts, desk.store.events)


def test_an_answer_older_than_the_orders_end_changes_nothing(desk: Desk, settlement: Settlement) -> None:
    order = desk.buy(StandInGate(), limit="90")
    ended = settlement.reported(
        order, answers.order({"status": "cancelled", "filled_quantity": "0.5", "average_price": "90"})
    )

    for late in ({"status": "partially_filled", "filled_quantity": "0.5"}, {"status": "open"}, {"status": "expired"}):
        assert settlement.reported(order, answers.order(late)) == ended
    assert desk.store.ledger.get(order.client_order_id) == ended
    assert len(desk.store.ledger.fills(order.client_order_id)) == 1


def test_a_fill_that_is_told_after_the_orders_end_is_booked_and_the_state_stays(
    desk: Desk, settlement: Settlement
) -> None:
    order = desk.buy(StandInGate(), limit="90")
    settlement.reported(order, answers.order({"status": "cancelled", "filled_quantity": "0"}))
    late = answers.order({"status": "partially_filled", "filled_quantity": "0.5", "average_price": "90"})
    settled = settlement.reported(order, late)

    assert (settled.state, settled.filled_quantity) == (OrderState.CANCELLED, Decimal("0.5"))
    assert [(fill.quantity, fill.price) for fill in desk.store.ledger.fills(order.client_order_id)] == [
        (Decimal("0.5"), Decimal(90))
    ]


def test_an_answer_of_before_the_first_fill_does_not_make_the_order_untouched_again(
    desk: Desk, settlement: Settlement
) -> None:
    order = desk.buy(StandInGate(), limit="90")
    settlement.reported(order, answers.order({"status": "open", "filled_quantity": "0.5", "average_price": "90"}))
    settled = settlement.reported(order, answers.order({"status": "open", "filled_quantity": "0"}))
    assert (settled.state, settled.filled_quantity) == (OrderState.PARTIALLY_FILLED, Decimal("0.5"))


def test_a_refusal_that_is_told_of_an_order_found_meanwhile_changes_nothing(desk: Desk, settlement: Settlement) -> None:
    order = desk.buy(StandInGate(), limit="90")
    assert settlement.settling(order, Rejection(RejectedBy.EXCHANGE, "duplicate id")).result().after == order
    assert events(desk) == [
        ("OrderTurnedUp", f"{order.client_order_id}: it is open, but its placing was answered: duplicate id")
    ]


def test_an_order_that_was_refused_and_is_listed_as_cancelled_did_not_turn_up(
    desk: Desk, settlement: Settlement
) -> None:
    desk.server.fails("place_order", ExecRejected("post only would cross"))
    order = desk.buy(StandInGate(), limit="90")
    assert settlement.reported(order, answers.order({"status": "cancelled", "filled_quantity": "0"})) == order
    assert desk.store.halts.active() == ()
    filled = answers.order({"status": "cancelled", "filled_quantity": "0.1", "average_price": "90"})
    assert settlement.reported(order, filled).filled_quantity == Decimal("0.1")
    assert len(desk.store.halts.active()) == 1


@pytest.mark.parametrize("by_hand", [True, False])
@pytest.mark.parametrize("ended", ["expired", "cancelled"])
def test_an_order_that_was_taken_for_never_placed_and_ended_unfilled_is_recorded_as_what_it_was_and_halts(
    by_hand: bool, ended: str, desk: Desk, settlement: Settlement
) -> None:
    desk.server.fails("place_order", ExecUnknown("the line broke"))
    order = desk.buy(StandInGate(), limit="90")
    if by_hand:
        assert settlement.resolved(order.client_order_id, Verdict("rejected", "not there", "uid 1000")) == ""
    else:
        settlement.written_off(order, "not found")
    settled = settlement.reported(order, answers.order({"status": ended, "filled_quantity": "0"}))
    assert (settled.outcome, settled.state) == (Outcome.ACCEPTED, ended)
    (halt,) = desk.store.halts.active()
    assert halt.reason == f"order {order.client_order_id} turned up, though it had been taken for rejected"
    assert events(desk)[0][0] == "OrderTurnedUp"


def test_an_answer_that_cannot_be_booked_is_told_once_for_as_long_as_it_is_the_same(
    desk: Desk, settlement: Settlement
) -> None:
    order = desk.buy(StandInGate(), limit="90")
    for _ in range(3):
        settlement.unreadable(order, "side: expected buy, was sell")
    told = f"{order.client_order_id}: an answer was not taken: side: expected buy, was sell"
    assert events(desk) == [("AnswerUnreadable", told)]


def test_an_order_thrown_out_after_it_was_accepted_is_over(desk: Desk, settlement: Settlement) -> None:
    order = desk.buy(StandInGate(), limit="90")
    settled = settlement.reported(order, answers.order({"status": "rejected", "reason": "self-trade"}))

    assert (settled.outcome, settled.state, settled.reason) == (Outcome.ACCEPTED, OrderState.CANCELLED, "self-trade")


def test_an_unknown_order_that_the_exchange_says_it_refused_is_rejected_by_it(
    desk: Desk, settlement: Settlement
) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    order = desk.buy(StandInGate(), limit="90")
    settled = settlement.reported(order, answers.order({"status": "rejected", "reason": "too late"}))

    assert (settled.outcome, settled.rejected_by) == (Outcome.REJECTED, RejectedBy.EXCHANGE)


def test_filled_without_a_quantity_means_all_of_it(desk: Desk) -> None:
    desk.server.answers("place_order", {"status": "filled"})
    order = desk.buy(StandInGate(), "0.7")

    assert (order.filled_quantity, order.average_price) == (Decimal("0.7"), None)


def test_the_same_report_again_writes_no_second_fill(desk: Desk, settlement: Settlement) -> None:
    desk.server.answers("place_order", {"status": "filled", "filled_quantity": "1", "average_price": "101"})
    order = desk.buy(StandInGate())
    report = answers.order({"status": "filled", "filled_quantity": "1", "average_price": "101"})

    assert settlement.reported(order, report) == order
    assert len(desk.store.ledger.fills(order.client_order_id)) == 1


def test_executions_that_are_all_that_was_filled_tell_the_average_price(desk: Desk, settlement: Settlement) -> None:
    """A server that told a total without a price at first, and its executions later: the book learns the price."""
    desk.server.answers("place_order", {"status": "filled", "filled_quantity": "1"})
    order = desk.buy(StandInGate())
    told = [("a", "0.4", "100"), ("b", "0.6", "105")]
    at = "2026-01-31T12:00:00Z"
    fills = [{"fill_id": id, "quantity": quantity, "price": price, "at": at} for id, quantity, price in told]
    settled = settlement.reported(order, answers.order({"status": "filled", "filled_quantity": "1", "fills": fills}))
    assert (order.average_price, settled.average_price) == (None, Decimal(103))
    assert desk.store.ledger.holding(order.instance_id, "BTC/USD", False).cost == Decimal(103)


def test_what_could_not_be_read_of_an_order_is_forgotten_once_it_is_known(desk: Desk) -> None:
    """Else it would be kept for as long as the engine runs."""
    watch = OrderWatch(desk.clock)
    settlement = Settlement(desk.store.ledger, watch, desk.store.halts, desk.store.events)
    desk.server.fails("place_order", ExecUnknown("time-out"))
    order = desk.buy(StandInGate())
    settlement.unreadable(order, "garbage")
    assert watch.open() == {order.client_order_id}
    settlement.settling(order, Rejection(RejectedBy.GATEWAY, "never placed")).result()
    assert watch.open() == set()

"""What an exchange's report makes of an order in the ledger."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.errors import ExecUnknown
from reconciler.execution import answers
from reconciler.execution.doubts import Doubts
from reconciler.execution.settlement import Settlement
from reconciler.records.order import OrderState, Outcome, RejectedBy
from tests.execution.standins import Desk, StandInGate


@pytest.fixture
def settlement(desk: Desk) -> Settlement:
    return Settlement(desk.store.ledger, Doubts(), desk.store.halts, desk.store.events)


def test_an_answer_older_than_the_orders_end_changes_nothing(desk: Desk, settlement: Settlement) -> None:
    order = desk.buy(StandInGate(), limit="90")
    ended = settlement.reported(order, answers.order({"status": "cancelled"}))

    late = answers.order({"status": "partially_filled", "filled_quantity": "0.5", "average_price": "90"})
    assert settlement.reported(order, late) == ended
    assert desk.store.ledger.get(order.client_order_id) == ended
    assert desk.store.ledger.fills(order.client_order_id) == []


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

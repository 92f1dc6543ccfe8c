"""Orders whose end may not have been the last word: looked up once more, or a few times, and not for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from reconciler.errors import ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.orders.order import Order, OrderState, Outcome, RejectedBy
from tests.execution.standins import Desk, StandInGate, events

OPEN = {"status": "open", "order_id": "x-1", "filled_quantity": "0"}
CANCELLED = {"status": "cancelled", "order_id": "x-1", "filled_quantity": "0"}


def beats(desk: Desk, number: int) -> None:
    for _ in range(number):
        desk.clock.advance(6)
        desk.main_loop.run(desk.gateway._follow_up.run())


def known(desk: Desk, order: Order) -> Order:
    found = desk.store.ledger.get(order.client_order_id)
    assert found is not None
    return found


def cancelled(desk: Desk, **answer: Any) -> Order:
    """An order that is cancelled, as far as the answer to the cancel says."""
    order = desk.buy(StandInGate(), limit="100")
    desk.server.answers("cancel_order", {**CANCELLED, **answer})
    assert desk.gateway.cancel(StandInGate(), order.client_order_id).state is OrderState.CANCELLED
    return order


def test_a_fill_that_was_under_way_when_the_order_was_cancelled_is_booked(desk: Desk) -> None:
    order = cancelled(desk)
    late = {**CANCELLED, "filled_quantity": "0.4", "average_price": "100", "fee": "0.1"}
    desk.server.answers("get_order", late)
    beats(desk, 20)
    settled = known(desk, order)
    assert (settled.state, settled.filled_quantity) == (OrderState.CANCELLED, Decimal("0.4"))
    assert [fill.quantity for fill in desk.store.ledger.fills(order.client_order_id)] == [Decimal("0.4")]
    assert desk.store.ledger.position("btc-grid-1", "BTC/USD", False).quantity == Decimal("0.4")
    assert events(desk) == [("LateFill", f"{order.client_order_id}: it was cancelled already: 0.4 filled, was 0")]
    assert len(desk.server.asked("get_order")) == 1


def test_an_end_that_is_filled_instead_books_the_fill_though_the_state_stays(desk: Desk) -> None:
    order = cancelled(desk)
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "100"})
    beats(desk, 1)
    assert (known(desk, order).state, known(desk, order).filled_quantity) == (OrderState.CANCELLED, Decimal(1))


def test_an_end_that_nothing_is_added_to_is_looked_up_once(desk: Desk) -> None:
    order = cancelled(desk)
    desk.server.answers("get_order", CANCELLED)
    beats(desk, 30)
    assert known(desk, order).filled_quantity == 0
    assert len(desk.server.asked("get_order")) == 1


def test_an_end_is_not_looked_up_in_the_moment_it_is_told(desk: Desk) -> None:
    cancelled(desk)
    desk.server.answers("get_order", CANCELLED)
    desk.main_loop.run(desk.gateway._follow_up.run())
    assert desk.server.asked("get_order") == []


def test_price_and_fee_of_what_filled_at_once_are_asked_for_where_they_were_not_told(desk: Desk) -> None:
    desk.server.answers("place_order", {"status": "filled", "order_id": "x-1", "filled_quantity": "1"})
    order = desk.buy(StandInGate())
    assert order.average_price is None
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "7", "fee": "0.25"})
    beats(desk, 30)
    settled = known(desk, order)
    assert (settled.average_price, settled.fee) == (Decimal(7), Decimal("0.25"))
    assert len(desk.server.asked("get_order")) == 1


def test_what_no_look_up_tells_either_is_asked_for_three_times(desk: Desk) -> None:
    desk.server.answers("place_order", {"status": "filled", "order_id": "x-1", "filled_quantity": "1"})
    desk.buy(StandInGate())
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1"})
    beats(desk, 60)
    assert len(desk.server.asked("get_order")) == 3


def test_an_order_of_which_all_is_known_is_not_looked_up(desk: Desk) -> None:
    whole = {"status": "filled", "order_id": "x-1", "filled_quantity": "1", "average_price": "7", "fee": "0"}
    desk.server.answers("place_order", whole)
    desk.buy(StandInGate())
    beats(desk, 30)
    assert desk.server.asked("get_order") == []


def test_an_end_that_a_look_up_told_is_looked_up_once_more_too(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="100")
    desk.server.answers("get_order", CANCELLED)
    beats(desk, 1)
    desk.server.answers("get_order", {**CANCELLED, "filled_quantity": "0.4", "average_price": "100", "fee": "0"})
    beats(desk, 30)
    assert known(desk, order).filled_quantity == Decimal("0.4")
    assert len(desk.server.asked("get_order")) == 2


def test_an_answer_to_a_question_asked_before_the_end_is_not_the_look_up_after_it(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="100")
    desk.server.answers("cancel_order", CANCELLED)

    async def cancelled_meanwhile(_: Mapping[str, Any]) -> dict[str, Any]:
        await asyncio.to_thread(desk.gateway.cancel, StandInGate(), order.client_order_id)
        return OPEN

    desk.server.script["get_order"] = cancelled_meanwhile
    beats(desk, 1)
    assert known(desk, order).state is OrderState.CANCELLED
    desk.server.answers("get_order", {**CANCELLED, "filled_quantity": "0.4", "average_price": "100"})
    beats(desk, 1)
    assert known(desk, order).filled_quantity == Decimal("0.4")


def test_a_look_up_in_the_moment_of_the_end_does_not_count_as_the_one_after_it(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="100")
    desk.server.answers("cancel_order", {"status": "cancelled"})
    desk.server.answers("get_order", CANCELLED)
    assert desk.gateway.cancel(StandInGate(), order.client_order_id).state is OrderState.CANCELLED
    desk.main_loop.run(desk.gateway._look_up.ask(known(desk, order)))  # too early to count
    desk.server.answers("get_order", {**CANCELLED, "filled_quantity": "0.4", "average_price": "100"})
    beats(desk, 1)
    assert known(desk, order).filled_quantity == Decimal("0.4")


def test_a_resting_order_found_filled_is_asked_for_its_price_and_fee(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="100")
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1"})
    beats(desk, 1)
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "99", "fee": "0.1"})
    beats(desk, 30)
    assert (known(desk, order).average_price, known(desk, order).fee) == (Decimal(99), Decimal("0.1"))
    assert len(desk.server.asked("get_order")) == 2


def test_what_a_resting_order_is_never_told_is_asked_for_three_times(desk: Desk) -> None:
    desk.buy(StandInGate(), limit="100")
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1"})
    beats(desk, 60)
    assert len(desk.server.asked("get_order")) == 1 + 3


def restarted(desk: Desk, number: int) -> None:
    """As many beats of the next engine, which has nothing but the ledger."""
    gateway = desk.restarted()
    for _ in range(number):
        desk.clock.advance(6)
        desk.main_loop.run(gateway._follow_up.run())
    gateway.close()


def test_an_end_is_looked_up_after_a_kill_too(desk: Desk) -> None:
    order = cancelled(desk)
    desk.server.answers("get_order", {**CANCELLED, "filled_quantity": "0.4", "average_price": "100", "fee": "0"})
    restarted(desk, 10)
    assert known(desk, order).filled_quantity == Decimal("0.4")
    assert len(desk.server.asked("get_order")) == 1


def test_a_price_that_was_not_told_is_asked_for_after_a_kill_too(desk: Desk) -> None:
    desk.server.answers("place_order", {"status": "filled", "order_id": "x-1", "filled_quantity": "1"})
    order = desk.buy(StandInGate())
    desk.server.answers("get_order", {"status": "filled", "filled_quantity": "1", "average_price": "7", "fee": "0.25"})
    restarted(desk, 10)
    assert (known(desk, order).average_price, known(desk, order).fee) == (Decimal(7), Decimal("0.25"))


def test_an_end_of_the_day_before_yesterday_is_left_alone(desk: Desk) -> None:
    cancelled(desk)
    desk.clock.advance(2 * 86_400)
    restarted(desk, 10)
    assert desk.server.asked("get_order") == []


def test_after_a_start_they_are_asked_for_bit_by_bit(desk: Desk) -> None:
    for _ in range(120):
        cancelled(desk)
    desk.server.answers("get_order", CANCELLED)
    restarted(desk, 1)
    assert len(desk.server.asked("get_order")) == 50
    restarted(desk, 10)
    assert len(desk.server.asked("get_order")) == 50 + 120


def test_time_without_a_connection_does_not_count(desk: Desk) -> None:
    order = cancelled(desk)
    desk.server.fails("get_order", ExecUnavailable("down"))
    beats(desk, 1000)
    desk.server.answers("get_order", {**CANCELLED, "filled_quantity": "0.4", "average_price": "100", "fee": "0"})
    beats(desk, 1)
    assert known(desk, order).filled_quantity == Decimal("0.4")


def test_an_exchange_that_forgets_what_is_over_has_answered(desk: Desk) -> None:
    cancelled(desk)
    desk.server.fails("get_order", OrderNotFound("order not found"))
    beats(desk, 30)
    assert len(desk.server.asked("get_order")) == 1
    assert events(desk) == []


def test_a_server_that_does_not_answer_is_not_asked_for_ever(desk: Desk) -> None:
    cancelled(desk)
    desk.server.fails("get_order", ExecUnknown("time-out"))
    beats(desk, 700)
    assert len(desk.server.asked("get_order")) == 600


def test_an_order_thrown_out_after_it_was_taken_is_looked_up_once_more(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="100")
    desk.server.answers("cancel_order", {"status": "rejected", "reason": "self-trade"})
    assert desk.gateway.cancel(StandInGate(), order.client_order_id).state is OrderState.CANCELLED
    desk.server.answers("get_order", {**CANCELLED, "filled_quantity": "0.2", "average_price": "100"})
    beats(desk, 1)
    assert known(desk, order).filled_quantity == Decimal("0.2")


FILLED = {"status": "filled", "order_id": "x-1", "filled_quantity": "1", "average_price": "100", "fee": "0"}


def refused(desk: Desk, said: str = "insufficient funds") -> Order:
    desk.server.fails("place_order", ExecRejected(said))
    order = desk.buy(StandInGate())
    assert (order.outcome, order.rejected_by) == (Outcome.REJECTED, RejectedBy.EXCHANGE)
    return order


def test_an_order_that_is_said_to_be_refused_and_is_there_is_booked_and_told(desk: Desk) -> None:
    order = refused(desk)
    desk.server.answers("get_order", FILLED)
    beats(desk, 30)
    settled = known(desk, order)
    assert (settled.outcome, settled.state, settled.filled_quantity) == (
        Outcome.ACCEPTED,
        OrderState.FILLED,
        Decimal(1),
    )
    assert desk.store.ledger.position("btc-grid-1", "BTC/USD", False).quantity == Decimal(1)
    assert events(desk) == [
        ("OrderTurnedUp", f"{order.client_order_id}: it is filled, but was taken for: insufficient funds")
    ]
    assert [halt.id for halt in desk.store.halts.active()] == ["btc-grid-1"]
    assert len(desk.server.asked("get_order")) == 1


def test_an_order_that_is_refused_in_an_answer_is_looked_up_once_too(desk: Desk) -> None:
    desk.server.answers("place_order", {"status": "rejected", "reason": "insufficient funds"})
    order = desk.buy(StandInGate())
    desk.server.answers("get_order", FILLED)
    beats(desk, 30)
    assert known(desk, order).state is OrderState.FILLED


def test_a_refusal_costs_one_question_and_is_not_asked_for_in_its_moment(desk: Desk) -> None:
    for answer in (OrderNotFound("no such order"), ExecRejected("no"), None):
        order, before = refused(desk), len(desk.server.asked("get_order"))
        if answer is None:
            desk.server.answers("get_order", {"status": "rejected", "reason": "insufficient funds"})
        else:
            desk.server.fails("get_order", answer)
        desk.main_loop.run(desk.gateway._follow_up.run())
        assert len(desk.server.asked("get_order")) == before
        beats(desk, 1)
        assert len(desk.server.asked("get_order")) == before + 1
        if not isinstance(answer, ExecRejected) or isinstance(answer, OrderNotFound):
            beats(desk, 30)  # an answer of any other kind is none: asked again at the next beat
            assert len(desk.server.asked("get_order")) == before + 1
        desk.server.fails("get_order", OrderNotFound("no such order"))
        beats(desk, 1)
        assert known(desk, order) == order
    assert events(desk) == []


def test_a_refusal_of_the_last_seconds_is_looked_up_by_the_next_engine(desk: Desk) -> None:
    order = refused(desk)
    gateway = desk.restarted()
    desk.server.answers("get_order", FILLED)
    desk.clock.advance(6)
    desk.main_loop.run(gateway._follow_up.run())
    gateway.close()
    assert known(desk, order).state is OrderState.FILLED


def test_what_the_gateway_refused_is_not_looked_up(desk: Desk) -> None:
    assert desk.buy(StandInGate(paused=True)).rejected_by is RejectedBy.GATEWAY
    gateway = desk.restarted()
    desk.clock.advance(6)
    desk.main_loop.run(gateway._follow_up.run())
    gateway.close()
    beats(desk, 3)
    assert desk.server.asked("get_order") == []


def test_a_refusal_that_a_look_up_told_is_the_last_word(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("the line broke"))
    desk.server.answers("get_order", {"status": "rejected", "reason": "insufficient funds"})
    order = desk.buy(StandInGate())
    desk.main_loop.run(desk.gateway._follow_up.run())
    assert known(desk, order).rejected_by is RejectedBy.EXCHANGE
    asked = len(desk.server.asked("get_order"))
    beats(desk, 30)
    assert len(desk.server.asked("get_order")) == asked

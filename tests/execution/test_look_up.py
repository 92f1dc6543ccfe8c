"""Orders in doubt: looked up at once and at each beat, until it is known, or known well enough, what became of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import CapabilityUnavailable, ExecRejected, ExecUnavailable, ExecUnknown, StoreError
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.exec_mcp.request import Unsayable
from reconciler.orders.news import Verdict
from reconciler.orders.order import Order, OrderNews, OrderState, Outcome, RejectedBy
from tests.execution.standins import Desk, StandInGate, events, request

NOT_FOUND = OrderNotFound("order not found")
FILLED = {"status": "filled", "order_id": "x-9", "filled_quantity": "1", "average_price": "101", "fee": "0.1"}


def until(condition: Callable[[], object]) -> None:
    """Wait for what other threads do, a minute at most: by the wall clock, and a busy machine is no fault."""
    pause = threading.Event()
    for _ in range(60_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError("waited in vain")


def known(desk: Desk, order: Order) -> Order:
    found = desk.store.ledger.get(order.client_order_id)
    assert found is not None
    return found


def doubted(desk: Desk, gate: StandInGate | None = None) -> Order:
    """An order whose placing timed out, and that the exchange has said once it does not know."""
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", NOT_FOUND)
    order = desk.buy(gate or StandInGate())
    until(lambda: desk.server.asked("get_order"))
    desk.main_loop.run(asyncio.sleep(0))  # what was asked has been counted, at this time and no later one
    desk.server.answers("place_order", {"status": "open"})
    assert order.outcome is Outcome.UNKNOWN
    return order


def beats(desk: Desk, number: int) -> None:
    for _ in range(number):
        desk.clock.advance(6)
        desk.follow_up()


def test_an_unknown_order_is_looked_up_at_once_not_only_at_the_next_beat(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.answers("get_order", FILLED)
    order = desk.buy(StandInGate())
    until(lambda: known(desk, order).outcome is Outcome.ACCEPTED)
    assert known(desk, order).state is OrderState.FILLED
    until(lambda: desk.gateway.blocked("btc-grid-1", "main") is None)
    assert len(desk.server.asked("place_order")) == 1


def test_not_found_counts_only_after_three_answers_spread_over_thirty_seconds(desk: Desk) -> None:
    order = doubted(desk)
    for _ in range(10):
        desk.follow_up()  # many answers, but all within one moment
    beats(desk, 4)
    assert known(desk, order).outcome is Outcome.UNKNOWN
    assert desk.gateway.blocked("btc-grid-1", "main") is not None

    beats(desk, 1)
    settled = known(desk, order)
    assert (settled.outcome, settled.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert settled.reason == "the exchange does not know it: asked 16 times in 30 s"
    assert desk.gateway.blocked("btc-grid-1", "main") is None
    assert desk.buy(StandInGate()).outcome is Outcome.ACCEPTED
    assert [reason for reason, _ in events(desk)] == ["OrderNotPlaced", "OrderUnknown"]


def test_two_answers_are_too_few_however_far_apart(desk: Desk) -> None:
    order = doubted(desk)
    desk.clock.advance(3600)
    desk.follow_up()
    assert known(desk, order).outcome is Outcome.UNKNOWN
    desk.follow_up()
    assert known(desk, order).outcome is Outcome.REJECTED


@pytest.mark.parametrize("no_answer", [ExecUnknown("time-out"), ExecUnavailable("down"), ExecRejected("no rights")])
def test_an_error_or_a_time_out_is_no_answer(desk: Desk, no_answer: Exception) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", no_answer)
    order = desk.buy(StandInGate())
    beats(desk, 20)
    assert known(desk, order).outcome is Outcome.UNKNOWN


def test_the_count_starts_anew_after_a_restart(desk: Desk) -> None:
    order = doubted(desk)
    beats(desk, 4)
    restarted = desk.restarted()
    for _ in range(5):
        desk.main_loop.run(restarted.follow_up(8))
        desk.clock.advance(6)
    assert known(desk, order).outcome is Outcome.UNKNOWN
    desk.main_loop.run(restarted.follow_up(8))
    assert known(desk, order).outcome is Outcome.REJECTED
    restarted.close()


def test_an_order_found_pending_at_the_start_is_never_sent_again_but_asked_for(desk: Desk) -> None:
    draft = desk.gateway._steps.draft(StandInGate(), request(), 7)
    desk.store.ledger.append(draft)
    restarted = desk.restarted()
    desk.server.answers("get_order", FILLED)
    desk.main_loop.run(restarted.follow_up(8))

    assert known(desk, draft).state is OrderState.FILLED
    assert desk.server.asked("place_order") == []
    restarted.close()


def test_while_in_doubt_own_cancels_pass_and_nothing_else(desk: Desk) -> None:
    resting = desk.buy(StandInGate(), limit="90")
    order = doubted(desk)
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0"})
    assert desk.buy(StandInGate()).reason.startswith("UnknownOrder: ")
    assert desk.gateway.cancel(StandInGate(), resting.client_order_id).state is OrderState.CANCELLED
    assert desk.gateway.cancel(StandInGate(), order.client_order_id).outcome is Outcome.ACCEPTED
    assert desk.gateway.blocked("btc-grid-1", "main") is None


def written_off(desk: Desk) -> Order:
    order = doubted(desk)
    beats(desk, 5)
    assert known(desk, order).outcome is Outcome.REJECTED
    return order


@pytest.mark.parametrize("way", ["look-up", "list"])
def test_an_order_that_turns_up_later_is_recorded_with_its_fills_and_halts_its_instance(desk: Desk, way: str) -> None:
    order = written_off(desk)
    desk.server.answers("get_order", FILLED)
    if way == "list":
        desk.server.fails("get_order", NOT_FOUND)
        item = {**FILLED, "client_order_id": order.client_order_id, "symbol": "BTC/USD", "side": "buy", "quantity": "1"}
        desk.server.answers("list_orders", {"orders": [item]})
    beats(desk, 10)

    found = known(desk, order)
    assert (found.outcome, found.state, found.rejected_by) == (Outcome.ACCEPTED, OrderState.FILLED, None)
    assert found.reason.startswith("turned up after it had been taken for rejected: the exchange does not know it")
    assert [fill.quantity for fill in desk.store.ledger.fills(order.client_order_id)] == [Decimal(1)]
    assert desk.gateway.position("btc-grid-1", "BTC/USD", shadow=False).quantity == Decimal(1)
    (halt,) = desk.store.halts.active()
    assert (halt.scope, halt.id, halt.full, halt.by) == ("instance", "btc-grid-1", False, "engine")
    assert order.client_order_id in halt.reason
    assert desk.buy(StandInGate()).reason.startswith("Halted: ")
    assert [reason for reason, _ in events(desk)].count("OrderTurnedUp") == 1


def test_a_halt_for_what_turned_up_holds_though_the_database_refuses_it(desk: Desk) -> None:
    order = written_off(desk)
    add = desk.store.halts.add

    def add_but_fail(*arguments: Any) -> None:
        add(*arguments)
        raise StoreError("full disk")

    desk.store.halts.add = add_but_fail  # type: ignore[assignment, method-assign]
    desk.server.answers("get_order", FILLED)
    desk.main_loop.run(desk.gateway._look_up.ask(known(desk, order)))
    assert known(desk, order).state is OrderState.FILLED
    assert desk.store.halts.active()


def test_an_answer_given_up_after_the_exchange_listed_the_order_leaves_it_as_it_is(desk: Desk) -> None:
    async def placed_and_listed(arguments: Mapping[str, Any]) -> dict[str, Any]:
        desk.store.ledger.settle(
            arguments["client_order_id"],
            OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN, exchange_order_id="x-1"),
        )
        raise ExecUnknown("time-out")

    desk.server.script["place_order"] = placed_and_listed
    assert desk.buy(StandInGate(), limit="90").outcome is Outcome.ACCEPTED
    assert desk.gateway.blocked("btc-grid-1", "main") is None


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (CapabilityUnavailable("get_order", "paper"), "its server cannot look it up: "),
        (Unsayable("get_order: the server asks for order_id, which is not known"), "its server cannot look it up: "),
        (ExecRejected("order id is malformed"), "its server refuses to look it up: order id is malformed"),
    ],
)
def test_where_asking_leads_nowhere_the_condition_says_how_to_settle_it(desk: Desk, error: Exception, why: str) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", error)
    order = desk.buy(StandInGate())
    desk.follow_up()
    blocked = desk.gateway.blocked("btc-grid-1", "main")
    assert blocked is not None
    assert blocked[0] == "UnknownOrder"
    assert blocked[1].startswith(f"it is not known whether {order.client_order_id} was placed; {why}")
    assert blocked[1].endswith(f"; settle it: reconciler orders resolve {order.client_order_id} --as … --reason …")


def test_an_operators_word_ends_the_doubt(desk: Desk) -> None:
    order = doubted(desk)
    verdict = Verdict("filled", "trade 4711", "uid 7", average_price=Decimal(100))
    assert desk.gateway.resolve("nonsense", verdict) == "the ledger knows no such order"
    assert desk.gateway.resolve(order.client_order_id, verdict) == ""

    assert desk.gateway.blocked("btc-grid-1", "main") is None
    settled = known(desk, order)
    assert (settled.outcome, settled.state) == (Outcome.ACCEPTED, OrderState.FILLED)
    assert settled.reason == "resolved by hand (uid 7): trade 4711"
    assert [(f.quantity, f.price) for f in desk.store.ledger.fills(order.client_order_id)] == [
        (Decimal(1), Decimal(100))
    ]
    again = desk.gateway.resolve(order.client_order_id, verdict)
    assert again == "it is filled, with 1 filled, and this adds nothing to it"
    assert events(desk)[0] == ("OrderResolved", f"{order.client_order_id}: filled at 100: trade 4711 (uid 7)")


def test_an_order_that_is_being_sent_cannot_be_resolved(desk: Desk) -> None:
    said: list[str] = []

    async def resolve_meanwhile(arguments: Mapping[str, Any]) -> dict[str, Any]:
        said.append(desk.gateway.resolve(arguments["client_order_id"], Verdict("rejected", "why", "uid 0")))
        return {"status": "open"}

    desk.server.script["place_order"] = resolve_meanwhile
    assert desk.buy(StandInGate(), limit="90").outcome is Outcome.ACCEPTED
    assert said == ["it is being sent right now: wait for its outcome"]


def test_what_the_operator_took_for_rejected_may_turn_up_too(desk: Desk) -> None:
    order = doubted(desk)
    assert desk.gateway.resolve(order.client_order_id, Verdict("rejected", "not there", "uid 0")) == ""
    desk.server.answers("get_order", FILLED)
    beats(desk, 11)
    assert known(desk, order).state is OrderState.FILLED
    assert [halt.id for halt in desk.store.halts.active()] == ["btc-grid-1"]


def test_an_order_the_exchange_took_but_does_not_know_any_more_stays_and_is_told_once(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="90")
    desk.server.fails("get_order", NOT_FOUND)
    beats(desk, 10)
    assert known(desk, order).is_open
    assert [reason for reason, _ in events(desk)] == ["OrderMissing"]
    assert desk.gateway.resolve(order.client_order_id, Verdict("cancelled", "gone", "uid 0")) == ""
    assert known(desk, order).state is OrderState.CANCELLED


def test_a_server_that_hangs_keeps_no_other_servers_orders_waiting(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="90")
    release = threading.Event()
    seen: list[str] = []

    async def hang(arguments: Mapping[str, Any]) -> dict[str, Any]:
        seen.append(arguments["client_order_id"])
        await asyncio.to_thread(release.wait, 10)
        return {"status": "open", "filled_quantity": "0"}

    desk.server.script["get_order"] = hang
    first = asyncio.run_coroutine_threadsafe(desk.gateway.follow_up(8), desk.main_loop.loop)
    until(lambda: seen)
    desk.follow_up()  # sits out the server that has not answered, and ends
    assert seen == [order.client_order_id]
    release.set()
    first.result(10)


def test_a_final_answer_that_hides_what_was_filled_is_looked_up(desk: Desk) -> None:
    desk.server.answers("place_order", {"status": "cancelled", "order_id": "x-9"})
    desk.server.answers("get_order", {**FILLED, "status": "cancelled", "filled_quantity": "0.4"})
    order = desk.buy(StandInGate())
    until(lambda: known(desk, order).state is OrderState.CANCELLED)
    assert known(desk, order).filled_quantity == Decimal("0.4")

    desk.server.answers("place_order", {"status": "open"})
    resting = desk.buy(StandInGate(), limit="90")
    desk.server.answers("cancel_order", {"status": "cancelled"})
    cancelled = desk.gateway.cancel(StandInGate(), resting.client_order_id)
    assert (cancelled.state, cancelled.filled_quantity) == (OrderState.CANCELLED, Decimal("0.4"))


def test_repeated_refusals_are_counted_on_one_row_and_that_one_is_returned(desk: Desk) -> None:
    gate = StandInGate(paused=True)
    first = desk.buy(gate)
    desk.clock.advance(6)
    again = [desk.gateway.place(gate, request(), beat) for beat in (8, 9)]
    assert {order.client_order_id for order in again} == {first.client_order_id}
    assert again[0].updated_at > first.updated_at
    assert desk.buy(gate, "2").client_order_id == first.client_order_id  # what follows the price is no news
    lowered = desk.buy(replace(gate, paused=False, mode=gate.mode), "-1")
    assert first.client_order_id != lowered.client_order_id
    assert len(desk.store.ledger.recent("btc-grid-1", 10, False)) == 2


def test_after_the_database_is_lost_nothing_leaves_not_even_a_cancel(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="90")
    desk.gateway.shut("the database was removed")
    assert desk.buy(StandInGate()).reason == "LedgerDown: the database was removed"
    with pytest.raises(ExecUnavailable, match="the database was removed"):
        desk.gateway.cancel(StandInGate(), order.client_order_id)
    assert len(desk.server.asked("place_order")) == 1
    assert desk.server.asked("cancel_order") == []


OTHERS = {
    "client_order_id": "someoneelse",
    "symbol": "ETH/USD",
    "side": "sell",
    "order_id": "zzz",
    "status": "filled",
    "filled_quantity": "50",
    "average_price": "20",
}


def test_an_answer_about_another_order_ends_no_doubt_and_says_what_was_answered(desk: Desk) -> None:
    order = doubted(desk)
    desk.server.answers("get_order", OTHERS)
    beats(desk, 20)
    assert known(desk, order).outcome is Outcome.UNKNOWN
    assert desk.store.ledger.position("btc-grid-1", "BTC/USD", False).quantity == 0
    what = f"the answer is about another order than {order.client_order_id}"
    why = f"{what}: client_order_id: expected {order.client_order_id}, was someoneelse"
    blocked = desk.gateway.blocked("btc-grid-1", "main")
    assert blocked is not None
    assert f"what its server answers cannot be booked: {why}; settle it" in blocked[1]
    told = [message for reason, message in events(desk) if reason == "AnswerUnreadable"]
    assert told == [f"{order.client_order_id}: an answer was not taken: {why}"]


def test_an_answer_about_another_order_is_booked_neither_for_an_open_order_nor_for_one_being_placed(desk: Desk) -> None:
    resting = desk.buy(StandInGate(), limit="90")
    desk.server.answers("get_order", OTHERS)
    desk.server.answers("cancel_order", OTHERS)
    beats(desk, 2)
    assert desk.gateway.cancel(StandInGate(), resting.client_order_id) == resting == known(desk, resting)
    desk.server.answers("place_order", OTHERS)
    placed = desk.buy(StandInGate())
    assert (placed.outcome, placed.filled_quantity) == (Outcome.UNKNOWN, Decimal(0))
    assert "was someoneelse" in placed.reason


@pytest.mark.parametrize(
    "nonsense", [{"filled_quantity": "7"}, {"filled_quantity": "1E+30000000"}, {"average_price": "-5"}]
)
def test_what_cannot_be_filled_is_not_booked(desk: Desk, nonsense: dict[str, Any]) -> None:
    answer = {"status": "filled", "order_id": "x-1", "filled_quantity": "1", "average_price": "100", **nonsense}
    desk.server.answers("place_order", answer)
    desk.server.answers("get_order", answer)
    order = desk.buy(StandInGate())
    beats(desk, 2)
    assert (known(desk, order).outcome, known(desk, order).filled_quantity) == (Outcome.UNKNOWN, Decimal(0))


def test_an_order_recorded_as_refused_is_booked_by_hand_where_it_is_there_after_all(desk: Desk) -> None:
    desk.server.fails("place_order", ExecRejected("gone wrong"))
    order = desk.buy(StandInGate())
    assert order.rejected_by is RejectedBy.EXCHANGE
    verdict = Verdict("filled", "it is in the exchange's history", "uid 7", average_price=Decimal(100))
    assert desk.gateway.resolve(order.client_order_id, verdict) == ""
    assert desk.store.ledger.position("btc-grid-1", "BTC/USD", False).quantity == 1


def test_fills_told_after_the_end_are_booked_by_hand(desk: Desk) -> None:
    order = desk.buy(StandInGate(), limit="90")
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0"})
    desk.gateway.cancel(StandInGate(), order.client_order_id)
    verdict = Verdict("cancelled", "trade 4711", "uid 7", filled_quantity=Decimal("0.4"), average_price=Decimal(90))
    assert desk.gateway.resolve(order.client_order_id, verdict) == ""
    assert known(desk, order).filled_quantity == Decimal("0.4")
    assert desk.store.ledger.position("btc-grid-1", "BTC/USD", False).quantity == Decimal("0.4")


def test_a_cancel_that_is_only_acknowledged_is_looked_up_at_once_and_is_no_alarm(desk: Desk) -> None:
    resting = desk.buy(StandInGate(), limit="90")
    desk.server.answers("cancel_order", {"order_id": "x-1"})
    desk.server.answers("get_order", {**FILLED, "status": "cancelled", "filled_quantity": "0.4"})
    cancelled = desk.gateway.cancel(StandInGate(), resting.client_order_id)
    assert (cancelled.state, cancelled.filled_quantity) == (OrderState.CANCELLED, Decimal("0.4"))
    assert events(desk) == []


def test_a_cancel_acknowledged_for_another_order_is_not_taken_for_ours(desk: Desk) -> None:
    resting = desk.buy(StandInGate(), limit="90")
    desk.server.answers("cancel_order", {"client_order_id": "someoneelse"})
    assert desk.gateway.cancel(StandInGate(), resting.client_order_id).is_open
    assert [reason for reason, _ in events(desk)] == ["AnswerUnreadable"]

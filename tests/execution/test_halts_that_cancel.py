"""`halt --cancel`: what rests is cancelled by the engine itself, until none of it is open. And one by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.execution.withdrawal import AT_ONCE
from reconciler.orders.order import Order, OrderState, Outcome, Side
from reconciler.records.halt import Cancelling, Halt, HaltScope
from tests.execution.standins import TOOLS, Desk, StandInGate, events

RESTING = {"status": "open", "filled_quantity": "0"}
CANCELLED = {"status": "cancelled", "filled_quantity": "0"}


@pytest.fixture
def gate() -> StandInGate:
    return StandInGate()


@pytest.fixture(autouse=True)
def exchange(desk: Desk) -> None:
    desk.server.answers("place_order", RESTING)
    desk.server.answers("get_order", RESTING)
    desk.server.answers("cancel_order", CANCELLED)


def halt(
    desk: Desk,
    cancel: Cancelling = Cancelling.EXPOSING,
    scope: HaltScope = "all",
    id: str = "",
    *,
    full: bool = False,
) -> None:
    desk.store.halts.add(scope, id, full, "fire", "uid 0", cancel)


def known(desk: Desk, order: Order) -> Order:
    found = desk.store.ledger.get(order.client_order_id)
    assert found is not None
    return found


def cancelled(desk: Desk) -> list[str]:
    return [arguments["client_order_id"] for arguments in desk.server.asked("cancel_order")]


def hold(desk: Desk, gate: StandInGate, quantity: str) -> None:
    filled = {"status": "filled", "filled_quantity": quantity, "average_price": "100"}
    desk.server.answers("place_order", filled)
    desk.buy(gate, quantity)
    desk.server.answers("place_order", RESTING)


@pytest.mark.parametrize("full", [False, True])
def test_what_rests_is_cancelled_under_a_full_halt_too(desk: Desk, gate: StandInGate, full: bool) -> None:
    order = desk.buy(gate, limit="90")
    halt(desk, full=full)
    desk.main_loop.run(desk.gateway.withdraw())
    assert known(desk, order).state is OrderState.CANCELLED
    assert ("HaltCancel", f"{order.client_order_id}: everything is halted, orders that could add exposure are "
            "cancelled: fire") in events(desk)  # fmt: skip
    desk.follow_up()
    assert cancelled(desk) == [order.client_order_id]


def test_a_halt_that_says_nothing_of_cancels_leaves_what_rests(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="90")
    halt(desk, Cancelling.NOTHING)
    desk.follow_up()
    assert known(desk, order).is_open
    assert desk.gateway.cancellations() == ()


def test_orders_that_only_reduce_what_is_held_stay_unless_all_are_to_go(desk: Desk, gate: StandInGate) -> None:
    hold(desk, gate, "2")
    reducing = desk.buy(gate, "2", limit="120", side=Side.SELL)
    too_much = desk.buy(gate, "1", limit="130", side=Side.SELL)
    adding = desk.buy(gate, "1", limit="90")
    halt(desk)
    desk.follow_up()
    assert set(cancelled(desk)) == {too_much.client_order_id, adding.client_order_id}
    assert known(desk, reducing).is_open

    halt(desk, Cancelling.ALL)
    desk.follow_up()
    assert known(desk, reducing).state is OrderState.CANCELLED


@pytest.mark.parametrize(("scope", "id"), [("account", "other"), ("instance", "eth-grid-1")])
def test_what_another_scope_holds_is_left_alone(desk: Desk, gate: StandInGate, scope: HaltScope, id: str) -> None:
    order = desk.buy(gate, limit="90")
    halt(desk, Cancelling.ALL, scope, id)
    desk.follow_up()
    assert known(desk, order).is_open


def test_a_file_that_declares_it_cancels_and_lifting_it_ends_that(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="90")
    at = "2026-01-31T00:00:00.000Z"
    desk.store.halts.declare((Halt("all", "", True, "fire", "instances/_halt.yaml", at, Cancelling.EXPOSING),))
    desk.follow_up()
    assert known(desk, order).state is OrderState.CANCELLED
    desk.store.halts.declare(())
    after = desk.buy(gate, limit="90")
    desk.follow_up()
    assert known(desk, after).is_open


def test_what_cannot_be_cancelled_is_named_and_tried_again_each_beat(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="90")
    desk.server.fails("cancel_order", ExecRejected("not now"))
    halt(desk)
    desk.follow_up()
    (told,) = desk.gateway.cancellations()
    assert told.left == (order.client_order_id,)
    assert told.failed == ((order.client_order_id, "not now"),)
    desk.follow_up()
    assert len(cancelled(desk)) == 2
    assert [reason for reason, _ in events(desk)].count("NotWithdrawn") == 1

    desk.server.answers("cancel_order", CANCELLED)
    desk.follow_up()
    (told,) = desk.gateway.cancellations()
    assert (told.left, told.failed) == ((), ())


def test_an_order_in_doubt_is_looked_up_and_then_cancelled(desk: Desk, gate: StandInGate) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecUnknown("time-out"))
    order = desk.buy(gate, limit="90")
    halt(desk, full=True)
    desk.follow_up()
    assert cancelled(desk) == []
    (told,) = desk.gateway.cancellations()
    assert told.left == (order.client_order_id,)

    desk.server.answers("get_order", RESTING)
    desk.follow_up()
    desk.follow_up()
    assert known(desk, order).state is OrderState.CANCELLED


def test_what_filled_meanwhile_is_booked(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="90")
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0.4", "average_price": "90"})
    halt(desk)
    desk.follow_up()
    assert known(desk, order).filled_quantity == Decimal("0.4")
    assert desk.gateway.position("btc-grid-1", "BTC/USD", shadow=False).quantity == Decimal("0.4")


def test_it_outlives_a_restart(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="90")
    desk.server.went_down()
    halt(desk)
    desk.follow_up()
    desk.server.returned()
    restarted = desk.restarted()
    desk.main_loop.run(restarted.follow_up(8))
    desk.main_loop.run(restarted.follow_up(9))
    assert known(desk, order).state is OrderState.CANCELLED
    restarted.close()


def test_one_order_is_cancelled_by_hand_under_a_full_halt_too(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="90")
    halt(desk, Cancelling.NOTHING, full=True)
    settled, fault = desk.gateway.cancel_by_hand(order.client_order_id)
    assert (fault, settled is not None and settled.state) == ("", OrderState.CANCELLED)
    assert desk.gateway.cancel_by_hand(order.client_order_id)[1] == "it is over: cancelled"
    assert desk.gateway.cancel_by_hand("nothing")[1] == "there is no such order"


def test_what_the_exchange_says_of_a_cancel_by_hand_is_told(desk: Desk, gate: StandInGate) -> None:
    order = desk.buy(gate, limit="90")
    desk.server.fails("cancel_order", ExecRejected("too late"))
    assert desk.gateway.cancel_by_hand(order.client_order_id)[1] == "too late"
    assert known(desk, order).outcome is Outcome.ACCEPTED


def test_no_more_cancels_are_under_way_at_once_than_there_are_connections(desk: Desk, gate: StandInGate) -> None:
    under_way: list[str] = []
    most = 0

    async def slowly(asked: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal most
        under_way.append(asked["client_order_id"])
        most = max(most, len(under_way))
        await asyncio.sleep(0)
        under_way.remove(asked["client_order_id"])
        return CANCELLED

    orders = [desk.buy(gate, limit="90") for _ in range(AT_ONCE + 10)]
    desk.server.script["cancel_order"] = slowly
    halt(desk)
    desk.follow_up()
    assert len(cancelled(desk)) == len(orders)
    assert most <= AT_ONCE


def armed(desk: Desk) -> list[tuple[str, int]]:
    return [(asked["account_id"], asked["seconds"]) for asked in desk.server.asked("cancel_all_after")]


def with_a_switch(desk: Desk) -> None:
    desk.server.returned(*TOOLS, "cancel_all_after")
    desk.server.answers("cancel_all_after", {})
    desk.follow_up()


def test_a_switch_is_armed_while_orders_are_open_and_disarmed_at_an_orderly_stop(desk: Desk, gate: StandInGate) -> None:
    with_a_switch(desk)
    assert armed(desk) == []
    desk.buy(gate, limit="90")
    for _ in range(3):
        desk.follow_up()
        desk.clock.advance(6)
    assert armed(desk) == [("main", 60)] * 3
    desk.gateway.disarm()
    assert armed(desk)[3:] == [("main", 0)]


def test_a_switch_that_cannot_be_armed_is_told_once_and_tried_each_beat(desk: Desk, gate: StandInGate) -> None:
    with_a_switch(desk)
    desk.server.fails("cancel_all_after", ExecRejected("not for you"))
    desk.buy(gate, limit="90")
    for _ in range(3):
        desk.follow_up()
        desk.clock.advance(6)
    assert len(armed(desk)) == 3
    assert [reason for reason, _ in events(desk)].count("NotArmed") == 1

"""`open_orders: cancel`: what becomes of the open orders of an instance that left active."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.orders.order import Order, OrderState
from reconciler.records.halt import HaltScope
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row, RowChange
from tests.execution.standins import Desk, StandInGate, events

CANCELLED = {"status": "cancelled", "filled_quantity": "0"}
RESTING = {"status": "open", "filled_quantity": "0"}


def row(open_orders: str = "cancel", mode: Mode = Mode.OBSERVE) -> Row:
    record = InstanceRecord(
        id="btc-grid-1",
        identity=Identity("grid", "main", "desk-a", "BTC/USD"),
        mode=mode,
        config={},
        effective_config={},
        open_orders=open_orders,  # type: ignore[arg-type]
    )
    return Row(record, "instances/btc-grid-1.yaml", 1, "v", "c", "f", "d", None, True, "2026-01-31T00:00:00.000Z")


def apply(desk: Desk, wanted: Row) -> None:
    desk.store.desired.apply([RowChange(wanted, "changed", "a test")], ())


def known(desk: Desk, order: Order) -> Order:
    found = desk.store.ledger.get(order.client_order_id)
    assert found is not None
    return found


@pytest.fixture
def resting(desk: Desk) -> Order:
    desk.server.answers("get_order", RESTING)
    desk.server.answers("cancel_order", CANCELLED)
    return desk.buy(StandInGate(), limit="90")


@pytest.mark.parametrize(
    "left",
    [
        row(),
        row(mode=Mode.OFF),
        row(mode=Mode.ACTIVE).lowered(Mode.OBSERVE),
        replace(row(mode=Mode.ACTIVE), removed_at="2026-01-31T00:00:00.000Z"),
    ],
    ids=["observe", "off", "lowered by an invalid file", "removed"],
)
def test_the_open_orders_of_a_record_that_left_active_are_cancelled(desk: Desk, resting: Order, left: Row) -> None:
    apply(desk, left)
    desk.follow_up()
    assert known(desk, resting).state is OrderState.CANCELLED
    assert len(desk.server.asked("cancel_order")) == 1
    desk.follow_up()
    assert len(desk.server.asked("cancel_order")) == 1
    why = "the record has left active, and says open_orders: cancel"
    assert events(desk) == [("Withdrawing", f"{resting.client_order_id}: {why}")]


@pytest.mark.parametrize(
    "stays",
    [
        row(mode=Mode.ACTIVE),
        row("keep"),
        row("keep", Mode.OFF),
        replace(row("keep", Mode.ACTIVE), removed_at="2026-01-31T00:00:00.000Z"),
    ],
    ids=["active", "keep", "keep, off", "keep, removed"],
)
def test_other_records_keep_theirs(desk: Desk, resting: Order, stays: Row) -> None:
    apply(desk, stays)
    desk.follow_up()
    assert known(desk, resting).is_open
    assert desk.server.asked("cancel_order") == []


@pytest.mark.parametrize("scope", [("all", ""), ("account", "main"), ("instance", "btc-grid-1")])
def test_halts_cancel_nothing_and_a_full_one_holds_cancels_back(
    desk: Desk, resting: Order, scope: tuple[HaltScope, str]
) -> None:
    apply(desk, row(mode=Mode.ACTIVE))
    desk.store.halts.add(*scope, False, "fire", "uid 0")
    desk.follow_up()
    assert known(desk, resting).is_open

    apply(desk, row())
    desk.store.halts.add(*scope, True, "worse", "uid 0")
    desk.follow_up()
    assert desk.server.asked("cancel_order") == []
    desk.store.halts.lift(*scope, "uid 0", "over")
    desk.follow_up()
    assert known(desk, resting).state is OrderState.CANCELLED


@pytest.mark.parametrize("error", [ExecUnknown("time-out"), ExecRejected("not now")])
def test_it_is_asked_again_each_beat_until_nothing_is_open(desk: Desk, resting: Order, error: Exception) -> None:
    apply(desk, row())
    desk.server.fails("cancel_order", error)
    for _ in range(3):
        desk.follow_up()
    assert len(desk.server.asked("cancel_order")) == 3
    assert known(desk, resting).is_open
    desk.server.answers("cancel_order", CANCELLED)
    desk.follow_up()
    assert known(desk, resting).state is OrderState.CANCELLED
    why = f"it stays open, and its cancel is tried again each beat: {error}"
    assert [event for event in events(desk) if event[0] != "Withdrawing"] == [
        ("NotWithdrawn", f"{resting.client_order_id}: {why}")
    ]


def test_it_waits_out_an_outage_and_a_restart(desk: Desk, resting: Order) -> None:
    apply(desk, row())
    desk.server.went_down()
    desk.follow_up()
    restarted = desk.restarted()
    desk.main_loop.run(restarted.follow_up(8))
    assert known(desk, resting).is_open
    desk.server.returned()
    desk.main_loop.run(restarted.follow_up(9))
    assert known(desk, resting).state is OrderState.CANCELLED
    restarted.close()


def test_what_filled_before_the_cancel_came_is_recorded(desk: Desk, resting: Order) -> None:
    apply(desk, row())
    desk.server.answers("cancel_order", {"status": "cancelled"})
    desk.server.answers("get_order", {"status": "cancelled", "filled_quantity": "0.3", "average_price": "90"})
    desk.main_loop.run(desk.gateway.withdraw())
    settled = known(desk, resting)
    assert (settled.state, settled.filled_quantity) == (OrderState.CANCELLED, Decimal("0.3"))


def test_a_cancel_that_comes_too_late_meets_a_filled_order(desk: Desk, resting: Order) -> None:
    apply(desk, row())
    desk.server.answers("cancel_order", {"status": "filled", "filled_quantity": "1", "average_price": "90"})
    desk.main_loop.run(desk.gateway.withdraw())
    assert known(desk, resting).state is OrderState.FILLED


def test_an_order_in_doubt_is_cancelled_once_it_is_known_to_be_there(desk: Desk) -> None:
    desk.server.fails("place_order", ExecUnknown("time-out"))
    desk.server.fails("get_order", ExecUnknown("time-out"))
    desk.server.answers("cancel_order", CANCELLED)
    order = desk.buy(StandInGate(), limit="90")
    apply(desk, row())
    desk.follow_up()
    assert desk.server.asked("cancel_order") == []
    desk.server.answers("get_order", RESTING)
    desk.follow_up()
    desk.follow_up()
    assert known(desk, order).state is OrderState.CANCELLED


def test_a_full_halt_that_comes_while_a_cancel_waits_keeps_it_in(desk: Desk, resting: Order) -> None:
    apply(desk, row())
    call = desk.server.call

    async def halted_first(tool: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        if tool == "cancel_order":
            await asyncio.to_thread(desk.store.halts.add, "all", "", True, "fire", "uid 0")
        return await call(tool, arguments, **more)

    desk.server.call = halted_first  # type: ignore[method-assign]
    desk.main_loop.run(desk.gateway.withdraw())
    assert desk.server.asked("cancel_order") == []
    assert known(desk, resting).is_open


def test_cancels_use_the_accounts_minute_up_but_never_wait_for_it(desk: Desk, resting: Order) -> None:
    apply(desk, row())
    taken: list[str] = []
    take = desk.gateway._rate.take_cancel
    desk.gateway._rate.take_cancel = lambda account_id: taken.append(account_id) or take(account_id)  # type: ignore
    desk.follow_up()
    assert taken == ["main"]


def test_a_server_without_a_way_to_cancel_is_told_once_for_each_order(desk: Desk, resting: Order) -> None:
    apply(desk, row())
    desk.server.lost_tool("cancel_order")
    for _ in range(3):
        desk.follow_up()
    found = events(desk)
    assert [reason for reason, _ in found] == ["NotWithdrawn"]
    assert "cancel_order" in found[0][1]


def test_a_cancel_that_is_only_acknowledged_is_looked_up_and_not_sent_again_for_a_while(
    desk: Desk, resting: Order
) -> None:
    desk.server.answers("cancel_order", {"order_id": "x-1"})
    apply(desk, row())
    for _ in range(4):
        desk.follow_up()
        desk.clock.advance(6)
    assert len(desk.server.asked("cancel_order")) == 1
    assert [reason for reason, _ in events(desk)] == ["Withdrawing"]
    for _ in range(2):
        desk.clock.advance(6)
        desk.follow_up()
    assert len(desk.server.asked("cancel_order")) == 2  # nothing came of it

    desk.server.answers("get_order", CANCELLED)
    desk.follow_up()
    assert known(desk, resting).state is OrderState.CANCELLED


def test_what_filled_while_it_was_withdrawn_is_booked_though_the_look_up_at_once_did_not_know(
    desk: Desk, resting: Order
) -> None:
    desk.server.answers("cancel_order", {"status": "cancelled"})
    desk.server.answers("get_order", CANCELLED)
    apply(desk, row())
    desk.main_loop.run(desk.gateway.withdraw())
    assert known(desk, resting).state is OrderState.CANCELLED
    desk.server.answers("get_order", {**CANCELLED, "filled_quantity": "0.4", "average_price": "90"})
    desk.clock.advance(6)
    desk.follow_up()
    assert known(desk, resting).filled_quantity == Decimal("0.4")

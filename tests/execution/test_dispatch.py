"""The way of an order: who wakes when, what shares a commit, when it is looked at last, and who waits for whom."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp.bridge import Handover
from reconciler.orders.order import Order, Outcome
from reconciler.records.record import Limits
from reconciler.store.database import ReadPool
from tests.execution.standins import Desk, StandInGate

DEADLINE_S = 10.0


class Slow:
    """A way to the server on which the order waits, before or after it was claimed, for a test to let it go on."""

    def __init__(self, desk: Desk, *, claims_first: bool) -> None:
        self._desk = desk
        self._claims_first = claims_first
        self.reached = threading.Event()
        self.go_on = asyncio.Event()
        self.sent: list[Mapping[str, Any]] = []
        self._call = desk.server.call
        desk.server.call = self.call  # type: ignore[method-assign]

    async def call(self, tool: str, arguments: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        handover: Handover | None = more.get("handover")
        if tool != "place_order" or handover is None:
            return await self._call(tool, arguments, **more)
        try:
            if self._claims_first:
                assert handover.claim()
            self.reached.set()
            await self.go_on.wait()
            if not self._claims_first and not handover.claim():
                raise ExecUnavailable("given up")
            self.sent.append(arguments)
            return {"status": "open", "order_id": "x-1"}
        finally:
            handover.finish()

    def let_go(self) -> None:
        self._desk.main_loop.loop.call_soon_threadsafe(self.go_on.set)


def placing(desk: Desk, gate: StandInGate) -> tuple[threading.Thread, list[Order]]:
    orders: list[Order] = []
    thread = threading.Thread(target=lambda: orders.append(desk.buy(gate)))
    thread.start()
    return thread, orders


def test_whoever_closes_the_gate_waits_for_an_order_that_is_being_written(desk: Desk) -> None:
    gate, slow, closed = StandInGate(), Slow(desk, claims_first=True), threading.Event()
    worker, orders = placing(desk, gate)
    assert slow.reached.wait(DEADLINE_S)
    gate.paused = True

    def close() -> None:
        desk.gateway.written(gate.instance_id)
        closed.set()

    closer = threading.Thread(target=close)
    closer.start()
    assert not closed.wait(0.05)
    desk.gateway.written("another")  # whoever closes another one does not
    slow.let_go()
    assert closed.wait(DEADLINE_S)
    assert len(slow.sent) == 1
    closer.join()
    worker.join(DEADLINE_S)
    assert orders[0].outcome is Outcome.ACCEPTED


def test_an_order_that_waits_for_its_connection_keeps_nobody_waiting_and_is_looked_at_once_it_has_one(
    desk: Desk,
) -> None:
    gate, slow = StandInGate(), Slow(desk, claims_first=False)
    worker, orders = placing(desk, gate)
    assert slow.reached.wait(DEADLINE_S)
    gate.paused = True
    desk.gateway.written()
    slow.let_go()
    worker.join(DEADLINE_S)
    assert orders[0].reason == "Paused: the instance is paused"
    assert slow.sent == []


def test_a_worker_wakes_once_with_the_outcome(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between asking for the order and its outcome nothing is done on the worker's thread."""
    desk.market.quote("main", "BTC/USD", 7)
    waited: list[threading.Thread] = []
    wait = threading.Condition.wait

    def noted(self: threading.Condition, timeout: float | None = None) -> bool:
        waited.append(threading.current_thread())
        return wait(self, timeout)

    monkeypatch.setattr(threading.Condition, "wait", noted)
    worker, orders = placing(desk, StandInGate())
    worker.join(DEADLINE_S)
    assert orders[0].outcome is Outcome.ACCEPTED
    assert waited.count(worker) == 1


def test_the_intents_of_all_that_wait_share_a_commit(desk: Desk) -> None:
    desk.market.quote("main", "BTC/USD", 7)
    stuck, submitted, appending = threading.Event(), threading.Semaphore(0), desk.store.ledger.appending

    def noted(order: Order) -> Any:
        intent = appending(order)
        submitted.release()
        return intent

    desk.store.ledger.appending = noted  # type: ignore[method-assign]
    desk.store._writer.submit(lambda db: stuck.wait(DEADLINE_S))
    workers = [placing(desk, StandInGate(f"grid-{n}"))[0] for n in range(20)]
    for _ in workers:
        assert submitted.acquire(timeout=DEADLINE_S)
    before = desk.store._writer.commits
    slow = Slow(desk, claims_first=False)
    stuck.set()
    assert slow.reached.wait(DEADLINE_S)
    assert desk.store._writer.commits <= before + 3, "what kept the writer, what was there, and what came with it"
    slow.let_go()
    for worker in workers:
        worker.join(DEADLINE_S)
    assert len(slow.sent) == 20


def test_the_last_look_reads_memory_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all limits, minute counts and sums included."""
    loop = desk.main_loop.run(_thread())
    query: Callable[..., Any] = ReadPool.query

    def no_disk(self: ReadPool, *more: Any) -> Any:
        if threading.current_thread() is loop:
            raise sqlite3.OperationalError("the loop waits for the disk")
        return query(self, *more)

    monkeypatch.setattr(ReadPool, "query", no_disk)
    limits = Limits(None, Decimal(10), 9, 3, Decimal(5))
    gate = StandInGate(limits=limits)
    orders = [desk.buy(gate, limit="90") for _ in range(4)]
    assert [order.outcome for order in orders[:3]] == [Outcome.ACCEPTED] * 3
    assert orders[3].reason.startswith("Limit: max_orders_per_minute")


async def _thread() -> threading.Thread:
    return threading.current_thread()


def test_a_last_look_that_fails_lets_nothing_leave(desk: Desk) -> None:
    refusal, looks = desk.gateway._gatekeeper.refusal, list[str]()

    def failing(gate: Any, order: Order, **claim: bool) -> Any:
        looks.append(order.client_order_id)
        if len(looks) > 1:
            raise OSError("what nobody foresaw")
        return refusal(gate, order, **claim)

    desk.gateway._gatekeeper.refusal = failing  # type: ignore[method-assign]
    order = desk.buy(StandInGate())
    assert order.reason == "LedgerDown: it could not be looked at for the last time: what nobody foresaw"
    assert desk.server.asked("place_order") == []


def test_an_engine_that_stops_resolves_what_waits_for_the_loop(desk: Desk) -> None:
    """The worker is not left behind, and nothing is sent any more."""
    busy = threading.Event()
    desk.market.quote("main", "BTC/USD", 7)
    desk.main_loop.loop.call_soon_threadsafe(busy.wait)
    appending, committed = desk.store.ledger.appending, threading.Event()

    def noted(order: Order) -> Any:
        intent = appending(order)
        intent.add_done_callback(lambda _: committed.set())
        return intent

    desk.store.ledger.appending = noted  # type: ignore[method-assign]
    worker, orders = placing(desk, StandInGate())
    assert committed.wait(DEADLINE_S)
    desk.bridge.close()
    worker.join(DEADLINE_S)
    busy.set()
    assert orders[0].reason == "ExecDown: the engine is stopping"
    desk.main_loop.run(asyncio.sleep(0))
    assert desk.server.asked("place_order") == []

"""How long the gate's lock is held: until the call was written, or is certain never to be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp.bridge import Handover
from reconciler.execution import sending as dispatch
from reconciler.orders.order import Outcome
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


def test_an_order_that_is_being_written_holds_the_gate_until_it_was(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_HANDOVER_S", 0.02)
    gate, slow, orders = StandInGate(), Slow(desk, claims_first=True), []
    placing = threading.Thread(target=lambda: orders.append(desk.buy(gate)))
    placing.start()
    assert slow.reached.wait(DEADLINE_S)
    assert not gate.lock.acquire(timeout=0.2)
    slow.let_go()
    assert gate.lock.acquire(timeout=DEADLINE_S)
    assert len(slow.sent) == 1
    gate.lock.release()
    placing.join(DEADLINE_S)
    assert orders[0].outcome is Outcome.ACCEPTED


def test_an_order_that_waits_for_too_long_gives_the_gate_back_and_is_never_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "_HANDOVER_S", 0.02)
    gate, slow = StandInGate(), Slow(desk, claims_first=False)
    order = desk.buy(gate)
    assert gate.lock.acquire(timeout=DEADLINE_S)
    slow.let_go()
    desk.main_loop.run(asyncio.sleep(0))
    assert order.outcome is Outcome.REJECTED
    assert order.reason.endswith("took more than 0.02 s to send it, connecting included")
    assert slow.sent == []

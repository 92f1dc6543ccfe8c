"""The way from an engine to the exchange and back: what it carries, how badly, and who steps in on it.

Whatever leaves is judged at the moment at which it leaves.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from reconciler.errors import ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.orders.order import Order
from tests.simulation.engine import Engine
from tests.simulation.exchange import Exchange
from tests.simulation.model import Judge
from tests.simulation.operators import Deed, Operator

WAYS = (
    *("taken", "refused", "refused in its answer", "lost", "dropped", "slow"),
    *("gibberish", "over at once", "not delivered", "stalled", "broken", "unwritten", "misheard"),
)
"""What becomes of an order that leaves."""
POINTS = ("quote", "committed", "handing over", "arrived", "answering")
"""Where, on its way, others may step in."""


class Life(Protocol):
    """Who lives at both ends of the wire."""

    operator: Operator

    def perform(self, deed: Deed, instance_id: str) -> None:
        """May raise Crashed."""
        ...


@dataclass
class Wire:
    """Implements `engine.World`. `cancels` has the client_order_id of every cancel that left."""

    life: Life
    exchange: Exchange
    judge: Judge
    tally: Counter[str]
    way: str = "taken"
    extras: Sequence[str] = ()
    refusal: str = "no money"
    late_s: float = 0.0
    """How long the exchange keeps an order that it took to itself."""
    interruption: tuple[str, Deed] | None = None
    faults: Counter[str] = field(default_factory=Counter)
    """Calls of a tool that will go wrong."""
    cancels: list[str] = field(default_factory=list)
    violation: AssertionError | None = None
    beside: Callable[[], None] | None = None
    """What somebody else does while an order is at the exchange, and its answer on its way."""

    def booked(self, order: Order, hear: Callable[[], None]) -> None:
        self.judge.booked(order, hear)

    def hook(self, point: str) -> None:
        if self.interruption is None or self.interruption[0] != point:
            return
        (_, deed), self.interruption = self.interruption, None
        self.tally[f"{deed[0]} at {point}"] += 1
        self.life.perform(deed, self.judge.placing or "")

    async def carried(self, engine: Engine, tool: str, arguments: Mapping[str, Any], handover: Handover) -> Any:
        """One call, from the engine to the exchange and back."""
        if tool == "place_order":
            return await self._order(engine, arguments, handover)
        connection = engine.link.status.connections
        if self.judge.placing is not None and tool == "get_quote":
            self.hook("quote")
        if not handover.claim():
            raise ExecUnavailable("given up")
        if tool == "cancel_order":
            self.hook("cancelling")
            self._judged(self.judge.cancel, arguments)
            self.cancels.append(arguments["client_order_id"])
        if tool == "cancel_all":
            self._judged(self.judge.cancel_all, arguments)
        if tool == "cancel_all_after":
            self._judged(self.judge.arm, arguments)
        if self._fault(tool):
            raise ExecUnknown(f"{tool}: no answer")
        if self._fault(f"refused {tool}"):
            raise ExecRejected("too late")
        if self._fault(f"untrue {tool}"):  # it says so, and does nothing
            return {} if tool == "cancel_all" else {**self.exchange.find(arguments).told(), "status": "cancelled"}
        if self._fault(f"empty {tool}"):
            return {"orders": [], "positions": []}
        try:
            answer = self.exchange.answer(tool, arguments)
        except OrderNotFound:
            if tool == "get_order":
                self.judge.absences_s[arguments["client_order_id"]].append(self.exchange.clock.monotonic())
            raise
        if tool == "list_orders":
            self.judge.compared.add(arguments["account_id"])
        if tool == "get_positions":  # which comparing asks for last
            self.judge.seen_strangers |= self.exchange.strangers
        if self._fault(f"dropped {tool}"):
            raise ExecUnknown("done, and the answer is lost")
        if (engine.link.status.connected, engine.link.status.connections) == (True, connection):
            self.judge.told(tool, arguments)
        return answer

    def _fault(self, name: str) -> bool:
        """Whether this call is one of those that go wrong."""
        if self.faults[name] <= 0:
            return False
        self.faults[name] -= 1
        self.tally[f"fault {name}"] += 1
        return True

    async def _order(self, engine: Engine, arguments: Mapping[str, Any], handover: Handover) -> dict[str, Any]:
        way = self.way
        self.tally[f"way {way}"] += 1
        if way == "stalled":
            handover.abandon()  # the engine stops waiting for the connection before it is there
        if not handover.claim():
            raise ExecUnavailable("given up")
        if way == "not delivered":
            handover.not_delivered = "connection refused"
            raise ExecUnavailable("connection refused")
        self.judge.connections = engine.link.status.connections
        self._judged(self.judge.place, arguments)
        self.exchange.received.append(dict(arguments))
        answer: dict[str, Any] = {"status": "rejected", "reason": self.refusal}
        if way not in ("refused", "refused in its answer", "lost"):
            is_told = way in ("taken", "over at once", "unwritten", "misheard")
            answer = self.exchange.take(arguments, 0.0 if is_told else self.late_s).told()
        if way in ("refused", "refused in its answer"):
            self.judge.refused(arguments, self.refusal, engine.link.status.connections)
        elif way != "lost":
            self.judge.taken(arguments)
        self.hook("arrived")
        engine.ledger.refuses_next = way == "unwritten"
        handover.finish()
        if self.beside is not None:
            beside, self.beside = self.beside, None
            if engine.main_loop.ident is None:
                beside()
            else:
                await asyncio.to_thread(beside)
        if way == "slow":
            await asyncio.Event().wait()  # whoever waits gives up at once
        self._is_written(engine)
        self.hook("answering")
        match way:
            case "refused":
                raise ExecRejected(self.refusal)
            case "misheard":  # its server calls a refusal what was none
                self.judge.misheard.add(arguments["client_order_id"])
                raise ExecRejected("no money")
            case "lost" | "dropped":
                raise ExecUnknown("the connection was lost")
            case "gibberish":
                return {"status": "perhaps"}
            case "broken":
                raise OSError("what nobody foresaw")
            case "over at once":
                placed = self.exchange.orders[arguments["client_order_id"]]
                if placed.is_open:
                    placed.fill(min(Decimal("0.5"), placed.quantity - placed.filled))
                    placed.expire()
                    return {"status": "expired"}
                return placed.told()
        return answer

    def _judged(self, verdict: Callable[[Mapping[str, Any]], None], arguments: Mapping[str, Any]) -> None:
        """What is wrong with a call is raised at the end of the step: on the loop the engine would survive it."""
        try:
            verdict(arguments)
        except AssertionError as error:
            self.violation = self.violation or error

    def _is_written(self, engine: Engine) -> None:
        """Once written, whoever closes something waits no longer: from here on what is closed is closed."""
        assert not engine.bridge.claims.writing(), "who closes something waits for what is written already"
        self.life.operator.returned()

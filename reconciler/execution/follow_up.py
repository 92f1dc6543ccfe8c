"""Following orders up: asks, once a beat, what became of those that are open or in doubt. Lives on the main loop.

Of those that are over it asks once more where their end was not looked up. Orders of records that have left active, and
want them cancelled, are withdrawn.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Sequence

from reconciler.clock import Clock
from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, StoreError
from reconciler.exec_mcp.bridge import Bridge
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.subject import Subject
from reconciler.execution.comparing import Comparing
from reconciler.execution.gate_checks import Gatekeeper, Readiness
from reconciler.execution.look_up import Clerk, LookUp
from reconciler.execution.sending import Dispatch, Sending
from reconciler.execution.settlement import HaltBook, OrderBook, Settlement
from reconciler.execution.watch import Denial, Doubts, Endings
from reconciler.execution.wholeness import Wholeness
from reconciler.orders.order import Order, Outcome
from reconciler.ports import EventLog
from reconciler.records.event import EventReason, EventType


class FollowUp:
    """Whether their instances are loaded, or exist at all, makes no difference."""

    def __init__(
        self, ledger: OrderBook, doubts: Doubts, endings: Endings, look_up: LookUp, servers: Servers, clerk: Clerk
    ) -> None:
        self._ledger = ledger
        self._doubts = doubts
        self._endings = endings
        self._look_up = look_up
        self._servers = servers
        self._clerk = clerk
        self._busy: set[str] = set()

    async def run(self) -> None:
        """One round. A server whose last round has not ended sits it out: it holds nobody else up. Raises nothing."""
        try:
            by_server: defaultdict[str, list[Order]] = defaultdict(list)
            for order in await self._clerk.do(self._orders):
                by_server[self._server(order)].append(order)
            await asyncio.gather(*(self._round(server, orders) for server, orders in by_server.items()))
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._look_up.report("orders not followed up", error)

    async def _round(self, server: str, orders: Sequence[Order]) -> None:
        if server in self._busy:
            return
        self._busy.add(server)
        try:
            await asyncio.gather(*(self._look_up.ask(order) for order in orders))
        finally:
            self._busy.discard(server)

    def _orders(self) -> list[Order]:
        doubted = self._doubts.ids()
        unresolved = self._ledger.unresolved()
        for resolved in doubted - {order.client_order_id for order in unresolved}:
            self._doubts.end(resolved)  # settled by somebody else: an operator
        # What is pending and in doubt is one whose outcome could not be written down.
        in_doubt = [o for o in unresolved if o.outcome is Outcome.UNKNOWN or o.client_order_id in doubted]
        ended = [order for id in self._endings.due() if (order := self._ledger.get(id)) is not None]
        return [*in_doubt, *self._ledger.open_accepted(), *ended]

    def _server(self, order: Order) -> str:
        try:
            return self._servers.reaching(order.provenance.account_id).name
        except ExecUnavailable:
            return ""


log = logging.getLogger(__name__)

_ACKNOWLEDGED_S = 30.0
"""For so long a cancel that was taken is not sent again: the order is asked for once a beat, which tells its end."""


class Withdrawal:
    """`run` raises nothing; one that begins before the last one ended does nothing."""

    def __init__(
        self,
        ledger: OrderBook,
        settlement: Settlement,
        gatekeeper: Gatekeeper,
        halts: HaltBook,
        dispatch: Dispatch,
        look_up: LookUp,
        clerk: Clerk,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._gatekeeper = gatekeeper
        self._halts = halts
        self._dispatch = dispatch
        self._look_up = look_up
        self._clerk = clerk
        self._events = events
        self._clock = clock
        self._acknowledged_s: dict[str, float] = {}
        """When the exchange took the cancel of which order."""
        self._is_running = False
        self._told: set[tuple[str, str]] = set()
        """What was told of which order: reason and client_order_id."""

    async def run(self) -> None:
        if self._is_running:
            return
        self._is_running = True
        try:
            unwanted = await self._clerk.do(self._ledger.unwanted)
            latest_s = self._clock.monotonic() - _ACKNOWLEDGED_S
            self._acknowledged_s = {id: at_s for id, at_s in self._acknowledged_s.items() if at_s > latest_s}
            due = [order for order in unwanted if order.client_order_id not in self._acknowledged_s]
            await asyncio.gather(*(self._cancel(order) for order in due))
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._look_up.report("orders not withdrawn", error)
        finally:
            self._is_running = False

    async def _cancel(self, order: Order) -> None:
        """Cancel one order. The boundary to what goes wrong with it: the next beat asks again."""
        about = {"client_order_id": order.client_order_id}
        try:
            sending = await self._clerk.do(lambda: self._handed_over(order))
            if sending is None:
                return
            self._tell(
                order, "Normal", EventReason.WITHDRAWING, "the record has left active, and says open_orders: cancel"
            )
            answer = await asyncio.wrap_future(sending)
            report = Subject.of(order).ending(answer)
            self._acknowledged_s[order.client_order_id] = self._clock.monotonic()
            if report is None:
                await self._look_up.ask(order)
                return
            await self._clerk.do(lambda: self._settlement.reported(order, report))
        except (ExecError, CapabilityUnavailable, StoreError) as error:
            why = f"it stays open, and its cancel is tried again each beat: {error}"
            self._tell(order, "Warning", EventReason.NOT_WITHDRAWN, why)
        except Exception as error:  # noqa: BLE001 - the other orders are withdrawn all the same
            self._look_up.report("order not withdrawn", error, **about)

    def _handed_over(self, order: Order) -> Sending | None:
        """The cancel in the transport's hands; None where a full halt keeps it in. Who halts meanwhile waits for it."""
        origin = order.provenance
        with self._halts.steady():
            if self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id) is not None:
                return None
            return self._dispatch.cancel(order)

    def _tell(self, order: Order, type: EventType, reason: EventReason, message: str) -> None:
        """Once for each order, however many beats it takes."""
        about = (reason, order.client_order_id)
        if about not in self._told:
            self._told.add(about)
            self._events.record(order.instance_id, type, reason, f"{order.client_order_id}: {message}")


class Aftercare:
    """The tasks of one engine. Nothing here raises; `close` it last."""

    def __init__(
        self,
        ledger: OrderBook,
        settlement: Settlement,
        doubts: Doubts,
        endings: Endings,
        readiness: Readiness,
        wholeness: Wholeness,
        gatekeeper: Gatekeeper,
        halts: HaltBook,
        dispatch: Dispatch,
        servers: Servers,
        bridge: Bridge,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._bridge = bridge
        self._clerk = Clerk("aftercare")  # the ledger blocks; the loop must not
        self._look_up = LookUp(settlement, doubts, endings, servers, self._clerk, events, clock)
        self._follow_up = FollowUp(ledger, doubts, endings, self._look_up, servers, self._clerk)
        self.comparing = Comparing(
            ledger, settlement, doubts, readiness, wholeness, self._look_up, servers, self._clerk, events, clock
        )
        self.withdrawal = Withdrawal(
            ledger, settlement, gatekeeper, halts, dispatch, self._look_up, self._clerk, events, clock
        )
        self._comparisons: set[asyncio.Task[None]] = set()
        servers.tell_connected(self._connected)

    async def run(self) -> None:
        """One round of everything, side by side: once a beat."""
        if not self._clerk.is_closed:
            await asyncio.gather(self.comparing.run(), self._follow_up.run(), self.withdrawal.run())

    def denials(self) -> tuple[Denial, ...]:
        """Orders that their exchanges took and now deny, as far as anybody knows. From memory, from any thread."""
        return self._look_up.denials.told()

    def ask_soon(self, order: Order) -> None:
        """Look one order up now, not only at the next beat. From worker threads; waits for nothing."""
        with contextlib.suppress(ExecUnavailable):  # the engine is stopping: the next one asks
            self._bridge.start(lambda: self._look_up.ask(order))

    def close(self) -> None:
        self._clerk.close()

    def _connected(self) -> None:
        """A connection was made, on the loop: what is on its accounts is compared now."""
        task = asyncio.get_running_loop().create_task(self.comparing.run(), name="comparing")
        self._comparisons.add(task)
        task.add_done_callback(self._comparisons.discard)

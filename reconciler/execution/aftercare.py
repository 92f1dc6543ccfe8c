"""The aftercare of orders, once they have left: looked up, compared, withdrawn. Wires what lives on the loop."""

from __future__ import annotations

import asyncio
import contextlib

from reconciler.clock import Clock
from reconciler.errors import ExecUnavailable
from reconciler.execution.bridge import Bridge
from reconciler.execution.clerk import Clerk
from reconciler.execution.comparing import Comparing
from reconciler.execution.denials import Denial
from reconciler.execution.dispatch import Dispatch
from reconciler.execution.doubts import Doubts
from reconciler.execution.endings import Endings
from reconciler.execution.follow_up import FollowUp
from reconciler.execution.gatekeeper import Gatekeeper, HaltBook
from reconciler.execution.look_up import LookUp
from reconciler.execution.readiness import Readiness
from reconciler.execution.servers import Servers
from reconciler.execution.settlement import EventLog, OrderBook, Settlement
from reconciler.execution.wholeness import Wholeness
from reconciler.execution.withdrawal import Withdrawal
from reconciler.records.order import Order


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

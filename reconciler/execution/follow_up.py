"""Following orders up: asks, once a beat, what became of those that are open or in doubt. Lives on the main loop.

Of those that are over it asks once more where their end was not looked up.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from reconciler.errors import ExecUnavailable
from reconciler.execution.clerk import Clerk
from reconciler.execution.doubts import Doubts
from reconciler.execution.endings import Endings
from reconciler.execution.look_up import LookUp
from reconciler.execution.servers import Servers
from reconciler.execution.settlement import OrderBook
from reconciler.records.order import Order, Outcome


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

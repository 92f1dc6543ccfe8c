"""Following orders up: asks, once a beat, what became of those that are open or in doubt. Lives on the main loop.

Of those that are over it asks once more where their end was not looked up.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence

from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.look_up import Clerk, LookUp
from reconciler.execution.watch import OrderWatch
from reconciler.orders.order import Order, Outcome
from reconciler.store.ledger import Ledger


class FollowUp:
    """Whether their instances are loaded, or exist at all, makes no difference."""

    def __init__(self, ledger: Ledger, watch: OrderWatch, look_up: LookUp, servers: Servers, clerk: Clerk) -> None:
        self._ledger = ledger
        self._watch = watch
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
            self._clerk.report("orders not followed up", error)

    async def _round(self, server: str, orders: Sequence[Order]) -> None:
        if server in self._busy:
            return
        self._busy.add(server)
        try:
            await asyncio.gather(*(self._look_up.ask(order) for order in orders))
        finally:
            self._busy.discard(server)

    def _orders(self) -> list[Order]:
        unresolved, accepted = self._ledger.unresolved(), self._ledger.open_accepted()
        open_ids = {order.client_order_id for order in (*unresolved, *accepted)}
        for id_ in self._watch.open() - open_ids:
            if (order := self._ledger.get(id_)) is not None:
                self._watch.note(order)  # it came to its end while somebody still asked of it
        doubted = self._watch.in_doubt()
        # What is pending and in doubt is one whose outcome could not be written down.
        in_doubt = [o for o in unresolved if o.outcome is Outcome.UNKNOWN or o.client_order_id in doubted]
        ended = [order for id in self._watch.due() if (order := self._ledger.get(id)) is not None]
        return [*in_doubt, *accepted, *ended]

    def _server(self, order: Order) -> str:
        try:
            return self._servers.reaching(order.provenance.account_id).name
        except ExecUnavailable:
            return ""

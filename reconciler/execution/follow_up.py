"""Following orders up: asks, once a beat, what became of those that are open or in doubt. Lives on the main loop.

Of those that are over it asks once more where their end was not looked up. Orders of records that have left active, and
want them cancelled, are withdrawn.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, StoreError
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.subject import Subject
from reconciler.execution.gate_checks import Gatekeeper
from reconciler.execution.look_up import Clerk, LookUp
from reconciler.execution.sending import Dispatch, Withheld
from reconciler.execution.settlement import Settlement
from reconciler.execution.watch import OrderWatch
from reconciler.orders.order import Order, OrderNews, OrderState, Outcome
from reconciler.records.event import EventReason
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


_LEFT_ACTIVE = "the record has left active, and says open_orders: cancel"


class _Unwanted(NamedTuple):
    """An open order that is to be cancelled, and why."""

    order: Order
    reason: EventReason
    why: str


class Withdrawal:
    """`run` raises nothing; one that begins before the last one ended does nothing."""

    def __init__(
        self,
        ledger: Ledger,
        settlement: Settlement,
        watch: OrderWatch,
        gatekeeper: Gatekeeper,
        dispatch: Dispatch,
        look_up: LookUp,
        servers: Servers,
        clerk: Clerk,
    ) -> None:
        self._servers = servers
        self._ledger = ledger
        self._settlement = settlement
        self._watch = watch
        self._gatekeeper = gatekeeper
        self._dispatch = dispatch
        self._look_up = look_up
        self._clerk = clerk
        self._is_running = False

    async def run(self) -> None:
        if self._is_running:
            return
        self._is_running = True
        try:
            unwanted = await self._clerk.do(self._unwanted)
            due = [one for one in unwanted if not self._watch.is_cancelled(one.order)]
            await asyncio.gather(*(self._cancel(*one) for one in due))
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._clerk.report("orders not withdrawn", error)
        finally:
            self._is_running = False

    def _unwanted(self) -> list[_Unwanted]:
        """What is to be cancelled, each once: of records that left active, and what adds to a limit that is reached."""
        left = [_Unwanted(order, EventReason.WITHDRAWING, _LEFT_ACTIVE) for order in self._ledger.unwanted()]
        known = {one.order.client_order_id for one in left}
        reached = [
            _Unwanted(order, EventReason.LIMIT_CANCEL, why)
            for order, why in self._gatekeeper.resting()
            if order.client_order_id not in known and order.outcome in (Outcome.ACCEPTED, Outcome.SHADOW)
        ]
        return [*left, *reached]

    async def _cancel(self, order: Order, reason: EventReason, why: str) -> None:
        """Cancel one order. The boundary to what goes wrong with it: the next beat asks again."""
        about = {"client_order_id": order.client_order_id}
        try:
            if order.is_shadow:
                self._settlement.tell_once(order, "Normal", reason, why)
                ended = OrderNews(state=OrderState.CANCELLED, reason=why)
                await self._clerk.do(lambda: self._ledger.settle(order.client_order_id, ended))
                return
            origin = order.provenance
            if self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id) is not None:
                return
            self._servers.requiring(origin.account_id, "cancel_order")
            self._settlement.tell_once(order, "Normal", reason, why)
            report = Subject.of(order).ending(await self._dispatch.cancelled(order))
            self._watch.cancel_taken(order)
            if report is None:
                await self._look_up.ask(order)
                return
            await self._clerk.do(lambda: self._settlement.reported(order, report))
        except Withheld:
            return
        except (ExecError, CapabilityUnavailable, StoreError) as error:
            stays = f"it stays open, and its cancel is tried again each beat: {error}"
            self._settlement.tell_once(order, "Warning", EventReason.NOT_WITHDRAWN, stays)
        except Exception as error:  # noqa: BLE001 - the other orders are withdrawn all the same
            self._clerk.report("order not withdrawn", error, **about)

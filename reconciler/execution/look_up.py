"""Looking orders up: asks the exchange for one by its client_order_id, and settles what it says. On the main loop.

And following up: asks so, once a beat, for those that are open or in doubt, and once more for those that are over and
whose end was not looked up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable, StoreError
from reconciler.exec_mcp.answers import OrderReport, Unreadable
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.exec_mcp.request import Subject, Unsayable
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.order_steps import addressed
from reconciler.execution.settlement import Settlement
from reconciler.execution.watch import OrderWatch
from reconciler.orders.order import Order, Outcome
from reconciler.records.event import EventReason
from reconciler.store.ledger import Ledger

T = TypeVar("T")

log = logging.getLogger(__name__)


class Clerk:
    """Does one thing after the other. `close` it once nobody asks any more; what is asked then is a RuntimeError."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self.is_closed = False

    def report(self, message: str, error: Exception, **about: str) -> None:
        """What was not expected, with its traceback; at shutdown work is cut short, and that is no news."""
        if not self.is_closed:
            trace = None if isinstance(error, StoreError) else error
            log.error(message, exc_info=trace, extra={**about, "error": str(error)})

    async def do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def close(self) -> None:
        self.is_closed = True
        self._thread.shutdown(wait=True)


_AT_ONCE = 8
"""Look-ups under way at a time and server: new orders and quotes must get through beside them."""


class LookUp:
    """Raises nothing: `ask` is a boundary, what nobody foresaw is logged and costs the one answer."""

    def __init__(self, settlement: Settlement, watch: OrderWatch, servers: Servers, clerk: Clerk) -> None:
        self._settlement = settlement
        self._watch = watch
        self._servers = servers
        self._clerk = clerk
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))

    async def ask(self, order: Order) -> Exception | None:
        """What became of `order`, as it stands in the ledger. None where the exchange answered, knowing it or not.

        An error, a time-out and words that make no sense are no answers: then what went wrong.
        """
        try:
            await self._ask(order)
        except (ExecError, CapabilityUnavailable, StoreError) as error:
            if isinstance(error, Unreadable):
                self._settlement.unreadable(order, str(error))
            if not isinstance(error, ExecUnavailable):
                self._watch.unanswered(order)
            self._note_obstacle(order, error)
            log.debug("order not followed up", extra={"client_order_id": order.client_order_id, "error": str(error)})
            return error
        except Exception as error:  # noqa: BLE001 - the other orders are followed up all the same
            self._watch.unanswered(order)
            self._clerk.report("order not followed up", error, client_order_id=order.client_order_id)
            return error
        return None

    async def _ask(self, order: Order) -> None:
        server = self._servers.requiring(order.provenance.account_id, "get_order")
        try:
            async with self._turns[server.name]:
                answer = await server.call("get_order", addressed(order))
        except OrderNotFound:
            await self._not_found(order)
            return
        report, settled = Subject.of(order).report(answer), order
        self._watch.heard(order)
        if is_news(order, report):
            settled = await self._clerk.do(lambda: self._settlement.reported(order, report))
            log.info("order", extra={"client_order_id": order.client_order_id, "state": str(settled.state)})
        if settled.outcome is Outcome.REJECTED:
            self._watch.is_final(order.client_order_id)
        elif not order.is_open:  # else it was asked for before it was over: a fill may have come after the answer
            self._watch.answered(settled)

    async def _not_found(self, order: Order) -> None:
        """One more answer that there is no such order. Of one that is over or written off it is no news."""
        id_ = order.client_order_id
        if not order.is_open:
            self._watch.answered(order)  # many exchanges forget what is over
            return
        why = self._watch.absent(order)
        if not why:
            return
        if order.outcome is not Outcome.ACCEPTED:
            await self._clerk.do(lambda: self._settlement.written_off(order, why))
        elif self._watch.deny(order, why):
            # It took the order once: nobody but somebody who looks can say what became of it.
            way_out = f"say what became of it: reconciler orders resolve {id_} --as … --reason …"
            self._settlement.tell(order, "Warning", EventReason.ORDER_MISSING, f"{why}, but took it; {way_out}")

    def _note_obstacle(self, order: Order, error: Exception) -> None:
        if isinstance(error, (CapabilityUnavailable, Unsayable)):
            self._watch.hindered(order.client_order_id, f"its server cannot look it up: {error}")
        elif isinstance(error, Unreadable):
            self._watch.hindered(order.client_order_id, f"what its server answers cannot be booked: {error}")
        elif isinstance(error, ExecRejected):
            self._watch.hindered(order.client_order_id, f"its server refuses to look it up: {error}")


def is_news(order: Order, report: OrderReport) -> bool:
    """True where it says more than is known, or something else."""
    known = (order.outcome, order.state, order.filled_quantity)
    priced = (order.average_price is None and report.average_price is not None) or (
        (order.fee is None and report.fee is not None)
        or (order.fee_currency is None and report.fee_currency is not None)
    )
    return priced or bool(report.refusal) or known != (Outcome.ACCEPTED, report.state, report.filled_quantity)


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
            rounds = [self._round(server, orders) for server, orders in by_server.items()]
            await (rounds[0] if len(rounds) == 1 else asyncio.gather(*rounds))
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._clerk.report("orders not followed up", error)

    async def _round(self, server: str, orders: Sequence[Order]) -> None:
        if server in self._busy:
            return
        self._busy.add(server)
        try:
            asked = [self._look_up.ask(order) for order in orders]
            await (asked[0] if len(asked) == 1 else asyncio.gather(*asked))
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

"""Withdrawing what rests: the engine's own cancels, tried again each beat until none of it is open. On the main loop.

Of records that have left active and say so, of what adds exposure where a limit above its instance is reached, and of
what a halt cancels. Whether their instances are loaded, or exist at all, makes no difference. Sends no order.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import NamedTuple

from reconciler.errors import CapabilityUnavailable, ExecError, StoreError
from reconciler.exec_mcp.request import Subject
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.gate_checks import Gatekeeper
from reconciler.execution.limits import exposing
from reconciler.execution.look_up import Clerk, LookUp
from reconciler.execution.sending import Dispatch, Withheld
from reconciler.execution.settlement import Settlement
from reconciler.execution.watch import OrderWatch
from reconciler.orders.order import Order, OrderNews, OrderState, Outcome
from reconciler.ports import Cancellation
from reconciler.records.event import EventReason
from reconciler.records.halt import Cancelling, Halt
from reconciler.store.ledger import Ledger

AT_ONCE = 64
"""Cancels under way at a time and server: there are so many connections, and look-ups want some of them."""
_LEFT_ACTIVE = "the record has left active, and says open_orders: cancel"


class _Unwanted(NamedTuple):
    """An open order that is to be cancelled, and why. `despite_halt`: under a full halt, too."""

    order: Order
    reason: EventReason
    why: str
    despite_halt: bool = False


class Withdrawal:
    """`run` raises nothing; of two at once the second has the first look again."""

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
        self._turns: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(AT_ONCE))
        self._is_running = False
        self._is_asked_again = False
        self._failed: dict[str, str] = {}
        """Why which order could not be cancelled, the last time."""

    async def run(self) -> None:
        if self._is_running:
            self._is_asked_again = True
            return
        self._is_running = True
        try:
            while True:
                self._is_asked_again = False
                await self._round()
                if not self._is_asked_again:
                    return
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._clerk.report("orders not withdrawn", error)
        finally:
            self._is_running = False

    async def _round(self) -> None:
        unwanted = await self._clerk.do(self._unwanted)
        if not unwanted:
            self._failed = {}
            return
        ids = {one.order.client_order_id for one in unwanted}
        self._failed = {id_: why for id_, why in self._failed.items() if id_ in ids}
        due = [one for one in unwanted if not self._watch.is_cancelled(one.order)]
        await asyncio.gather(*(self._cancel(one) for one in _interleaved(due)))

    def progress(self) -> tuple[Cancellation, ...]:
        """How far each halt is that cancels something. From memory; from any thread."""
        failed = dict(self._failed)
        found = []
        for halt in self._gatekeeper.cancelling():
            left = tuple(order.client_order_id for order in self._of_halt(halt))
            found.append(Cancellation(halt, left, tuple((id_, failed[id_]) for id_ in left if id_ in failed)))
        return tuple(found)

    def _unwanted(self) -> list[_Unwanted]:
        """What is to be cancelled, each once; what halts cancel first, for that passes where else nothing does."""
        found: dict[str, _Unwanted] = {}
        for one in (*self._halted(), *self._left(), *self._reached()):
            found.setdefault(one.order.client_order_id, one)
        return list(found.values())

    def _halted(self) -> Iterator[_Unwanted]:
        for halt in self._gatekeeper.cancelling():
            why = f"{halt.target} is halted, {halt.cancelling}: {halt.reason}"
            for order in self._of_halt(halt):
                if order.outcome is Outcome.ACCEPTED:  # one in doubt is looked up first: that ends it, or finds it
                    yield _Unwanted(order, EventReason.HALT_CANCEL, why, despite_halt=True)

    def _left(self) -> Iterator[_Unwanted]:
        for order in self._ledger.unwanted():
            yield _Unwanted(order, EventReason.WITHDRAWING, _LEFT_ACTIVE)

    def _reached(self) -> Iterator[_Unwanted]:
        for order, why in self._gatekeeper.resting():
            if order.outcome in (Outcome.ACCEPTED, Outcome.SHADOW):
                yield _Unwanted(order, EventReason.LIMIT_CANCEL, why, despite_halt=True)

    def _of_halt(self, halt: Halt) -> list[Order]:
        """The open orders that a halt cancels, those in doubt too."""
        by_book: defaultdict[tuple[str, str], list[Order]] = defaultdict(list)
        for order in self._ledger.open_real():
            is_closing = halt.collar is not None and order.provenance.is_by_operator  # the flattening's own
            if halt.forbids(order.provenance.account_id, order.instance_id) and not is_closing:
                by_book[order.instance_id, order.provenance.symbol].append(order)
        found: list[Order] = []
        for (instance_id, symbol), orders in by_book.items():
            if halt.cancel is Cancelling.ALL:
                found += orders
            else:
                found += exposing(self._ledger.holding(instance_id, symbol, False).quantity, orders)
        return found

    async def _cancel(self, unwanted: _Unwanted) -> None:
        """Cancel one order. The boundary to what goes wrong with it: the next beat asks again."""
        order, reason, why, despite_halt = unwanted
        try:
            if order.is_shadow:
                self._settlement.tell_once(order, "Normal", reason, why)
                ended = OrderNews(state=OrderState.CANCELLED, reason=why)
                await self._clerk.do(lambda: self._ledger.settle(order.client_order_id, ended))
                return
            origin = order.provenance
            account_id = origin.account_id
            if self._gatekeeper.cancel_refusal(origin.instance_id, account_id, despite_halt=despite_halt) is not None:
                return
            server = self._servers.requiring(account_id, "cancel_order")
            self._settlement.tell_once(order, "Normal", reason, why)
            async with self._turns[server.name]:
                answer = await self._dispatch.cancelled(order, despite_halt=despite_halt)
            report = Subject.of(order).ending(answer)
            self._watch.cancel_taken(order)
            if report is None:
                await self._look_up.ask(order)
                return
            await asyncio.wrap_future(self._settlement.reporting(order, report))
        except Withheld:
            return
        except (ExecError, CapabilityUnavailable, StoreError) as error:
            self._failed[order.client_order_id] = str(error)
            stays = f"it stays open, and its cancel is tried again each beat: {error}"
            self._settlement.tell_once(order, "Warning", EventReason.NOT_WITHDRAWN, stays)
        except Exception as error:  # noqa: BLE001 - the other orders are withdrawn all the same
            self._failed[order.client_order_id] = str(error)
            self._clerk.report("order not withdrawn", error, client_order_id=order.client_order_id)


def _interleaved(unwanted: Iterable[_Unwanted]) -> Sequence[_Unwanted]:
    """One of each account in turn: none waits until all of another are through."""
    by_account: defaultdict[str, list[_Unwanted]] = defaultdict(list)
    for one in unwanted:
        by_account[one.order.provenance.account_id].append(one)
    return [one for turn in zip_longest(*by_account.values()) for one in turn if one is not None]

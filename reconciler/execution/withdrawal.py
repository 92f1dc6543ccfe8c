"""Withdrawing what rests: the engine's own cancels, tried again each beat until none of it is open. On the main loop.

Of records that have left active and say so, of what adds exposure where a limit above its instance is reached, and of
what a halt cancels. Whether their instances are loaded, or exist at all, makes no difference. Sends no order.

And the dead man's switch: where a server has one, it cancels what rests on an account once nobody is there any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import NamedTuple

from reconciler.clock import Clock
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnknown, StoreError
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.contract import CANCEL_AFTER, CANCEL_ALL
from reconciler.exec_mcp.request import Subject, own_part
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import Venue
from reconciler.execution.gatekeeper import Gatekeeper
from reconciler.execution.limits import exposing
from reconciler.execution.look_up import Clerk, LookUp
from reconciler.execution.sending import Dispatch, Withheld
from reconciler.execution.settlement import Settlement
from reconciler.execution.tally import Orphans
from reconciler.execution.watch import OrderWatch
from reconciler.orders.order import Order, OrderNews, OrderState, Outcome
from reconciler.ports import Cancellation, EventLog
from reconciler.records.event import EventReason
from reconciler.records.halt import Cancelling, Halt
from reconciler.store.ledger import Ledger

log = logging.getLogger(__name__)

AT_ONCE = 64
"""Cancels under way at a time and server: there are so many connections, and look-ups want some of them."""
_FEW = 2
"""Fewer are cancelled one by one: listing them first would take longer."""
_PAGE = 10
"""Where as many are listed as a page may hold, there may be more."""
ARMED_S = 60
"""So many seconds after the last beat, but at least so many beats, the exchange itself cancels what rests."""
_BEATS = 5
_RENEWED_S = 5.0
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
        self._is_measured = False
        self._failed: dict[str, str] = {}
        """Why which order could not be cancelled, the last time."""

    async def run(self, *, measured: bool = False) -> None:
        """One round. Only where all was just `measured` is anything cancelled for a limit above its instance.

        On what was measured before a silence of the exchange nothing is cancelled: much may have changed meanwhile.
        """
        self._is_measured |= measured
        if self._is_running:
            self._is_asked_again = True
            return
        self._is_running = True
        try:
            while True:
                self._is_asked_again = False
                measured, self._is_measured = self._is_measured, False
                await self._round(measured)
                if not self._is_asked_again:
                    return
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._clerk.report("orders not withdrawn", error)
        finally:
            self._is_running = False

    async def _round(self, measured: bool) -> None:
        unwanted = await self._clerk.do(lambda: self._unwanted(measured))
        if not unwanted:
            self._failed = {}
            return
        ids = {one.order.client_order_id for one in unwanted}
        self._failed = {id_: why for id_, why in self._failed.items() if id_ in ids}
        due = [one for one in unwanted if not self._watch.is_cancelled(one.order)]
        due = await self._together(due)
        open_ids = {order.client_order_id for order in self._ledger.open_real()}  # of some a look-up was faster
        due = [one for one in due if one.order.is_shadow or one.order.client_order_id in open_ids]
        await asyncio.gather(*(self._cancel(one) for one in _interleaved(due)))

    async def _together(self, due: Sequence[_Unwanted]) -> list[_Unwanted]:
        """Have servers cancel in one call what they can; what is left is cancelled one by one."""
        groups: defaultdict[tuple[str, str], list[_Unwanted]] = defaultdict(list)
        for one in due:
            is_halted = one.reason is EventReason.HALT_CANCEL
            origin = one.order.provenance
            groups[(origin.account_id, origin.client_id) if is_halted else ("", "")].append(one)
        left = await asyncio.gather(*(self._at_once(who, group) for who, group in groups.items()))
        return [one for group in left for one in group]

    async def _at_once(self, who: tuple[str, str], group: list[_Unwanted]) -> list[_Unwanted]:
        """Cancel all of one account and client in one call, if nothing else is in its reach. Returns what is left.

        Whatever it answers, a list says afterwards what is still open. Where anything is not certain, all is left.
        """
        halt = next((one for one in self._gatekeeper.cancelling() if _reaches(one, *who)), None)
        if len(group) < _FEW or not who[0] or halt is None:
            return group
        try:
            server = self._servers.requiring(who[0], "list_orders")
            if CANCEL_ALL not in server.status.tools:
                return group
            wanted = {order.client_order_id for order in self._of_halt(halt)}
            listed = await self._listed(server, who)
            if not listed or not listed <= wanted or len(listed) % _PAGE == 0:
                return group
            orders = [one.order for one in group]
            for order, reason, why, _ in group:
                self._settlement.tell_once(order, "Normal", reason, why)
            symbols = {order.provenance.symbol for order in orders}
            objection = partial(self._objection, halt, who, wanted)
            with contextlib.suppress(ExecUnknown, ExecRejected):  # the list says what came of it
                await self._dispatch.cancelled_together(orders, symbols.pop() if len(symbols) == 1 else None, objection)
            still = await self._listed(server, who)
            gone = [order for order in orders if order.client_order_id not in still]
            for order in gone:
                self._watch.cancel_taken(order)
            await asyncio.gather(*(self._look_up.ask(order) for order in gone))
            return [one for one in group if one.order.client_order_id in still]
        except (ExecError, CapabilityUnavailable) as error:
            log.warning("orders not cancelled together", extra={"account_id": who[0], "error": str(error)})
        except Exception as error:  # noqa: BLE001 - they are cancelled one by one all the same
            self._clerk.report("orders not cancelled together", error, account_id=who[0])
        return group

    async def _listed(self, server: Venue, who: tuple[str, str]) -> set[str]:
        """What is listed as open of that account and client, strangers' too."""
        asked = {"account_id": who[0], "client_id": who[1], "status": "open"}
        items = answers.listed(await server.call("list_orders", asked))
        return {own_part(item.client_order_id) for item in items if not item.is_over}

    def _objection(self, halt: Halt, who: tuple[str, str], wanted: set[str]) -> str:
        """As it leaves, from memory: what else may be in reach by now."""
        if not any(one is halt for one in self._gatekeeper.cancelling()):
            return "the halt that cancels was lifted"
        for order in self._ledger.open_real():
            origin = order.provenance
            if (origin.account_id, origin.client_id) != who:
                continue
            if order.outcome is not Outcome.ACCEPTED or order.client_order_id not in wanted:
                return f"{order.client_order_id} is not to be cancelled, or in doubt"
        return ""

    def progress(self) -> tuple[Cancellation, ...]:
        """How far each halt is that cancels something. From memory; from any thread."""
        failed = dict(self._failed)
        found = []
        for halt in self._gatekeeper.cancelling():
            left = tuple(order.client_order_id for order in self._of_halt(halt))
            found.append(Cancellation(halt, left, tuple((id_, failed[id_]) for id_ in left if id_ in failed)))
        return tuple(found)

    def _unwanted(self, measured: bool) -> list[_Unwanted]:
        """What is to be cancelled, each once; what halts cancel first, for that passes where else nothing does."""
        found: dict[str, _Unwanted] = {}
        for one in (*self._halted(), *self._left(), *(self._reached() if measured else ())):
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


def _reaches(halt: Halt, account_id: str, client_id: str) -> bool:
    """Whether nothing that may leave meanwhile for that account is to stay: it would be cancelled with the others."""
    is_whole = halt.scope == "all" or (halt.scope == "account" and halt.id == account_id)
    return is_whole and (halt.full or halt.cancel is Cancelling.ALL)


class DeadMan:
    """Arms, each beat, the switch of every account that has open orders, where its server has one. On the main loop.

    Not where others have orders there, too: it would cancel these. Once none is open, and where the engine stops in
    an orderly way, it is disarmed: what rests is to stay then. An engine that is killed, or cut off, leaves it to fire;
    what it cancelled is found so by look-up. Raises nothing.
    """

    def __init__(
        self, ledger: Ledger, servers: Servers, orphans: Orphans, events: EventLog, clock: Clock, heartbeat_s: float
    ) -> None:
        self._seconds = max(ARMED_S, math.ceil(_BEATS * heartbeat_s))
        self._ledger = ledger
        self._servers = servers
        self._orphans = orphans
        self._events = events
        self._clock = clock
        self._armed_s: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def is_needed(self) -> bool:
        """False where nothing is armed, and no connected server could be. From memory."""
        return bool(self._armed_s) or any(CANCEL_AFTER in status.tools for status in self._servers.statuses())

    async def run(self) -> None:
        strange = {orphan.account_id for orphan in self._orphans.snapshot()}
        wanted = {order.provenance.account_id for order in self._ledger.open_real()} - strange
        now_s = self._clock.monotonic()
        due = [id_ for id_ in sorted(wanted) if now_s - self._armed_s.get(id_, -math.inf) >= _RENEWED_S]
        over = [id_ for id_ in tuple(self._armed_s) if id_ not in wanted]
        await asyncio.gather(*(self._set(id_, self._seconds) for id_ in due), *(self._set(id_, 0) for id_ in over))

    async def disarm(self) -> None:
        """Before an orderly end."""
        await asyncio.gather(*(self._set(id_, 0) for id_ in tuple(self._armed_s)))

    async def _set(self, account_id: str, seconds: int) -> None:
        try:
            server = self._servers.reaching(account_id)
            if CANCEL_AFTER in server.status.tools and server.status.connected:
                began_s = self._clock.monotonic()
                await server.call(CANCEL_AFTER, {"account_id": account_id, "seconds": seconds})
                self._told.pop(account_id, None)
                if seconds:
                    self._armed_s[account_id] = began_s
                else:
                    self._armed_s.pop(account_id, None)
        except (ExecError, CapabilityUnavailable) as error:
            if self._told.get(account_id) != str(error):
                self._told[account_id] = str(error)
                what = "armed" if seconds else "disarmed"
                told = f"account {account_id}: its dead man's switch could not be {what}: {error}"
                self._events.record(None, "Warning", EventReason.NOT_ARMED, told)
        except Exception as error:
            log.error("a dead man's switch was not set", exc_info=error, extra={"account_id": account_id})


def _interleaved(unwanted: Iterable[_Unwanted]) -> Sequence[_Unwanted]:
    """One of each account in turn: none waits until all of another are through."""
    by_account: defaultdict[str, list[_Unwanted]] = defaultdict(list)
    for one in unwanted:
        by_account[one.order.provenance.account_id].append(one)
    return [one for turn in zip_longest(*by_account.values()) for one in turn if one is not None]

"""Comparing accounts with the ledger: after every connecting, and once a minute. On the main loop; places nothing.

What differs is settled where it is about an order of ours, and told where it is not: orders that the ledger does not
know, and positions that the instances' own fills do not add up to. Others may trade on an account by hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

from reconciler.clock import Clock, iso, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, StoreError
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.answers import Listed, OrderReport, Unreadable
from reconciler.exec_mcp.market_data import MarketData
from reconciler.exec_mcp.request import Subject, names_another, own_part
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import Venue
from reconciler.execution.gatekeeper import Readiness
from reconciler.execution.look_up import Clerk, LookUp, is_news
from reconciler.execution.settlement import Settlement
from reconciler.execution.tally import Held, Orphan, Orphans, added_up, difference, whole
from reconciler.execution.watch import LATELY, OrderWatch
from reconciler.execution.wholeness import Wholeness
from reconciler.orders.market import spelled_as
from reconciler.orders.news import Shares
from reconciler.orders.order import Order, Outcome
from reconciler.ports import AccountView, EventLog
from reconciler.records.cadence import beat_time
from reconciler.records.event import EventReason
from reconciler.store.ledger import Ledger

log = logging.getLogger(__name__)

_AGAIN_S = 60.0
"""How long after it was compared an account is compared again, without being kept waiting for it."""
_SOON_S = 5.0
"""The same of one whose ledger is behind: somebody waits for it."""
_MOMENT_S = 0.02
_ENDED_ASKED = 50
"""So many orders that ended lately are asked for where an account holds something else than it should."""
_WRITTEN_OFF = timedelta(days=1)
"""For so long is asked for orders that were taken for never placed."""


@dataclass(frozen=True, slots=True)
class AccountComparison:
    """How the positions of an account last compared. `difference` is what they differ in, empty where they add up."""

    account_id: str
    at: str
    difference: str


class AccountLook:
    """What the exchange says of an account now, and what that means for the orders of ours that are on it."""

    def __init__(
        self,
        ledger: Ledger,
        settlement: Settlement,
        watch: OrderWatch,
        wholeness: Wholeness,
        look_up: LookUp,
        clerk: Clerk,
        orphans: Orphans,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self.watch = watch
        self._wholeness = wholeness
        self._look_up = look_up
        self._clerk = clerk
        self._clock = clock
        self.orphans = orphans
        self._lived_at = clock.time()
        self._looked_at: dict[str, float] = {}

    def recover(self) -> datetime:
        """Since when what ended or was refused may not have been looked up: counted from when an engine last lived."""
        now_s = self._clock.time()
        self._lived_at = min(now_s, self._ledger.lived_at() or now_s)
        return utc(self._lived_at) - LATELY

    async def held(
        self, server: Venue, account_id: str, client_ids: Sequence[str]
    ) -> tuple[Held | None, Mapping[str, Decimal]]:
        """What the exchange holds on it, None where it has no tool that tells; and what the instances' fills make."""
        ours = await self._clerk.do(lambda: self._ledger.held(account_id))
        told = await self.positions(server, account_id, client_ids)
        return None if told is None else whole(told, ours), ours

    async def orders(self, server: Venue, account_id: str, client_ids: Sequence[str]) -> frozenset[str]:
        """Learn what became of the orders on it. The client_order_ids of what is open there and not ours."""
        listed, unknown = await self._listed(server, account_id, client_ids)
        ours = await self._clerk.do(lambda: self._ours(account_id))
        asked = [order for order in ours if order.client_order_id not in listed]
        troubles = await asyncio.gather(*(self._look_up.ask(order) for order in asked))
        # One in doubt, or of which the answers make no sense, keeps nobody waiting but its own instance.
        silent = []
        for order, trouble in zip(asked, troubles, strict=True):
            if trouble is None or order.outcome is not Outcome.ACCEPTED or not order.is_open:
                continue
            if isinstance(trouble, Unreadable):
                self.watch.unreadable(order, str(trouble))
            else:
                silent.append(order.client_order_id)
        if silent:
            raise ExecError(f"{', '.join(silent)} could not be looked up")
        return unknown

    def _ours(self, account_id: str) -> list[Order]:
        """The orders on the account to which something may have happened; those written off not long ago, too."""
        doubted = self.watch.in_doubt()
        in_doubt = [
            order
            for order in self._ledger.unresolved()
            if order.outcome is Outcome.UNKNOWN or order.client_order_id in doubted
        ]
        # Counted from the last look: while an engine sleeps or is down, nothing grows too old to be asked for.
        looked_at = min(self._clock.time(), self._looked_at.get(account_id, self._lived_at))
        gone = self._ledger.written_off(utc(looked_at) - _WRITTEN_OFF)
        ours = (*in_doubt, *self._ledger.open_accepted(), *gone, *self._suspects(account_id))
        return [order for order in ours if order.provenance.account_id == account_id]

    def _suspects(self, account_id: str) -> Sequence[Order]:
        """Where an account holds something else than it should: what else, after a start, may have traded unseen.

        A fill that was under way when the engine stopped, and what was heard as refused.
        """
        if not self._wholeness.suspects(account_id):
            return ()
        lately = utc(self._lived_at) - LATELY
        return (*self._ledger.ended_on(account_id, lately, _ENDED_ASKED), *self._ledger.refused(lately))

    def looked(self, account_id: str) -> None:
        """Everything on the account was looked at."""
        self._looked_at[account_id] = self._clock.time()

    async def _listed(
        self, server: Venue, account_id: str, client_ids: Sequence[str]
    ) -> tuple[frozenset[str], frozenset[str]]:
        """The client_order_ids of ours that are listed and are settled so; and of what is open and not ours: an orphan.

        Empty where the server has no list: then each of ours is looked up. One that it refuses to give is none that
        was compared.
        """
        if "list_orders" not in server.status.tools:
            return frozenset(), frozenset()
        found: dict[tuple[str, str, str], Listed] = {}
        for client_id in client_ids:
            who = {"account_id": account_id, "client_id": client_id, "status": "open"}
            items = answers.listed(await server.call("list_orders", who))
            found.update(((item.symbol, item.client_order_id, item.order_id), item) for item in items)
        known = await self._clerk.do(lambda: [(item, self._known(account_id, item)) for item in found.values()])
        orphans = [item for item, order in known if order is None and not item.is_over]
        self.orphans.listed(account_id, orphans)
        reports = [(order, report) for item, order in known if order and (report := self._report(order, item))]
        for order, report in reports:
            await self._settle(order, report)
        await self._linger(account_id, [order for order, report in reports if _lingers(order, report)])
        settled = frozenset(order.client_order_id for order, _ in reports)
        return settled, frozenset(own_part(item.client_order_id) for item in orphans)

    def _known(self, account_id: str, item: Listed) -> Order | None:
        """The order of ours that it is. By the exchange's own id only where nothing says that it is another.

        Some exchanges count their orders market by market: the same id is another order on another market.
        """
        if item.client_order_id:
            return self._ledger.get(own_part(item.client_order_id))
        order = self._ledger.of_exchange_id(account_id, item.order_id) if item.order_id else None
        if order is None or (item.symbol and names_another(order.provenance.symbol, item.symbol)):
            return None
        return order

    def _report(self, order: Order, item: Listed) -> OrderReport | None:
        """What a list says of an order of ours; None where that is too little: it is looked up then."""
        try:
            report = Subject.of(order).report(item.answer)
        except Unreadable as error:
            self._settlement.unreadable(order, str(error))
            return None
        return None if report.hides_fills or not (item.client_order_id or item.symbol) else report

    async def _settle(self, order: Order, report: OrderReport) -> None:
        self.watch.heard(order)
        if is_news(order, report):
            await self._clerk.do(lambda: self._settlement.reported(order, report))

    async def _linger(self, account_id: str, orders: Sequence[Order]) -> None:
        """These, and no others, are listed as open, though they are over by all that we know."""
        overdue, gone = self.watch.lingering(account_id, orders)
        for order in overdue:
            await self._clerk.do(partial(self._settlement.still_open, order))
        for order in gone:
            self.watch.ended(order)  # it may have filled before it went

    async def positions(self, server: Venue, account_id: str, client_ids: Sequence[str]) -> list[Held] | None:
        """What the exchange says is held, to each client, markets as ours are spelled; None where it has no tool."""
        if "get_positions" not in server.status.tools:
            return None
        markets = await self._clerk.do(lambda: self._ledger.markets(account_id))
        told: list[Held] = []
        for client_id in client_ids:
            who = {"account_id": account_id, "client_id": client_id}
            positions = answers.positions(await server.call("get_positions", who))
            told.append(added_up((spelled_as(position.symbol, markets), position.quantity) for position in positions))
        return told


class Comparing:
    """`run` raises nothing; `orphans` and `comparisons` may be read from any thread."""

    def __init__(
        self,
        ledger: Ledger,
        look: AccountLook,
        readiness: Readiness,
        wholeness: Wholeness,
        servers: Servers,
        clerk: Clerk,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._look = look
        self._readiness = readiness
        self._wholeness = wholeness
        self._servers = servers
        self._clerk = clerk
        self._events = events
        self._clock = clock
        self._running: set[str] = set()
        self._due_s: dict[str, float] = {}
        self._suspected: dict[str, str] = {}
        self._unreadable: dict[str, str] = {}
        self._comparisons: dict[str, AccountComparison] = {}

    def orphans(self) -> tuple[Orphan, ...]:
        return self._look.orphans.snapshot()

    def comparisons(self) -> tuple[AccountComparison, ...]:
        """By account; of those whose positions were compared since the start."""
        return tuple(comparison for _, comparison in sorted(self._comparisons.items()))

    def is_pending(self) -> bool:
        """True while there is a connection that nobody has looked at, or an account that waits."""
        return self._readiness.is_pending()

    async def run(self) -> None:
        """Compare every account that waits for it or is due, but for those that are being compared."""
        try:
            clients = await self._clients()
            self._begin(clients)
            now_s = self._clock.monotonic()
            due = [a for a in clients if self._is_awaited(a) or self._due_at_s(a, now_s) <= now_s]
            await asyncio.gather(*(self._surviving(account_id, clients[account_id]) for account_id in due))
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._clerk.report("accounts not compared", error)

    def _is_awaited(self, account_id: str) -> bool:
        return self._readiness.waits(account_id) or bool(self._wholeness.pending(account_id))

    def _due_at_s(self, account_id: str, now_s: float) -> float:
        return self._due_s.setdefault(account_id, now_s + _AGAIN_S)

    async def _clients(self) -> dict[str, list[str]]:
        """The client_ids of every account that there may be something to compare on, and that is connected."""
        clients: defaultdict[str, list[str]] = defaultdict(list)
        for account_id, client_id in await self._clerk.do(self._ledger.clients):
            if self._server(account_id) is not None:
                clients[account_id].append(client_id)
        return clients

    def _server(self, account_id: str) -> Venue | None:
        try:
            server = self._servers.reaching(account_id)
        except ExecUnavailable:
            return None
        return server if server.status.connected else None

    def _begin(self, account_ids: Collection[str]) -> None:
        """Have the accounts of each new connection wait."""
        for status in self._servers.statuses():
            if status.connected and not self._readiness.has_seen(status):
                own = [a for a in account_ids if (server := self._server(a)) is not None and server.name == status.name]
                self._readiness.begin(status, own)

    async def _surviving(self, account_id: str, client_ids: Sequence[str]) -> None:
        """Compare one account. The boundary to what goes wrong with it: told in the condition, and tried again."""
        if account_id in self._running:
            return
        self._running.add(account_id)
        try:
            server = self._servers.reaching(account_id)
            status = server.status
            await self._compare(server, account_id, client_ids)
        except (ExecError, CapabilityUnavailable, StoreError) as error:
            self._failed(account_id, str(error))
            if isinstance(error, Unreadable) and self._unreadable.get(account_id) != str(error):
                self._unreadable[account_id] = str(error)
                self._events.record(
                    None, "Warning", EventReason.ANSWER_UNREADABLE, f"account {account_id}: not compared: {error}"
                )
        except Exception as error:  # noqa: BLE001 - the other accounts are compared all the same
            self._failed(account_id, f"{type(error).__name__}: {error}")
            self._clerk.report("account not compared", error, account_id=account_id)
        else:
            self._look.looked(account_id)
            self._readiness.compared(account_id, status)
            self._unreadable.pop(account_id, None)
        finally:
            self._running.discard(account_id)

    async def settle(self, account_id: str, shares: Shares) -> str:
        """A person says whose is what the account holds, which is looked at anew. Why that cannot be taken, else empty.

        Raises ExecError, CapabilityUnavailable or StoreError where it could not be looked at.
        """
        client_ids = (await self._clients()).get(account_id)
        if client_ids is None:
            server = self._servers.reaching(account_id)
            if not server.status.connected:
                raise ExecUnavailable(f"{server.name!r} is not connected: {server.status.last_error}")
            return "no instance is or was on it; see: reconciler status"
        while account_id in self._running:
            await self._clock.sleep(_MOMENT_S)
        self._running.add(account_id)
        try:
            server = self._servers.reaching(account_id)
            unknown = await self._look.orders(server, account_id, client_ids)
            theirs, ours = await self._look.held(server, account_id, client_ids)
            return await self._clerk.do(lambda: self._wholeness.settle(account_id, unknown, theirs, ours, shares))
        finally:
            self._running.discard(account_id)
            self._due_s[account_id] = self._clock.monotonic()

    def _failed(self, account_id: str, why: str) -> None:
        self._readiness.failed(account_id, why)
        self._wholeness.failed(account_id, why)

    async def _compare(self, server: Venue, account_id: str, client_ids: Sequence[str]) -> None:
        """Raises ExecError or StoreError where it could not be completed."""
        unknown = await self._look.orders(server, account_id, client_ids)
        self._due_s[account_id] = self._clock.monotonic() + _AGAIN_S
        differing = await self._difference(server, account_id, client_ids, unknown)
        if differing is not None:
            self._comparisons[account_id] = AccountComparison(account_id, iso(self._clock.time()), differing)

    async def _difference(
        self, server: Venue, account_id: str, client_ids: Sequence[str], unknown: frozenset[str]
    ) -> str | None:
        """What the account's positions differ in from the instances' own; told where two looks found the same.

        Whether that means that the ledger lost rows, the `unknown` orders of the account being what they are, too.

        None where it is not known: the server does not tell of positions, or two looks did not find the same.
        """
        theirs, ours = await self._look.held(server, account_id, client_ids)
        unasked = self._look.watch.unasked(account_id)
        if await self._clerk.do(lambda: self._wholeness.look(account_id, unknown, theirs, ours, unasked)):
            self._due_s[account_id] = self._clock.monotonic()
        elif self._wholeness.behind(account_id) is not None:
            self._due_s[account_id] = self._clock.monotonic() + _SOON_S
        if theirs is None:
            return None
        found, known = difference(theirs, ours), self._comparisons.get(account_id)
        suspected, self._suspected[account_id] = self._suspected.get(account_id, ""), found
        if found != suspected:
            # Something may have filled in between: look again at the next beat.
            self._due_s[account_id] = self._clock.monotonic()
            return None
        if found and (known is None or known.difference != found):
            self._events.record(None, "Warning", EventReason.POSITIONS_DIFFER, f"account {account_id}: {found}")
        return found


def _lingers(order: Order, report: OrderReport) -> bool:
    is_over = order.outcome is Outcome.ACCEPTED and not order.is_open
    return is_over and report.state is not None and not report.state.is_final


class AccountViews:
    """Thread-safe. `comparisons` are asked anew each time."""

    def __init__(
        self, market: MarketData, comparisons: Callable[[], Sequence[AccountComparison]], heartbeat_s: float
    ) -> None:
        self._market = market
        self._comparisons = comparisons
        self._heartbeat_s = heartbeat_s

    def view(self, account_id: str, client_id: str) -> AccountView:
        positions = self._market.last_positions(account_id, client_id)
        balances = self._market.last_balances(account_id, client_id)
        compared = next((one for one in self._comparisons() if one.account_id == account_id), None)
        return AccountView(
            positions=None if positions is None else positions[1],
            positions_at=None if positions is None else self._time_of(positions[0]),
            balances=None if balances is None else balances[1],
            balances_at=None if balances is None else self._time_of(balances[0]),
            compared_at=None if compared is None else compared.at,
            difference="" if compared is None else compared.difference,
        )

    def _time_of(self, beat: int) -> str:
        return iso(beat_time(beat, self._heartbeat_s))

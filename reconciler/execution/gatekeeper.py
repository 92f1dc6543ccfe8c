"""Whether an order may leave now: mode, pause, halts, unknown orders, the connection, limits. Decides, sends nothing.

Asked twice for every order: before its intent is written down, and again at the moment at which the call is claimed
for writing. That last look reads memory only: it is taken on the main loop.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecUnavailable
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.execution.brakes import Brakes, Throttling
from reconciler.execution.limits import QuotePrices, Standing, breach, reduces, staleness
from reconciler.execution.scope_limits import ScopeLimits
from reconciler.execution.watch import OrderWatch
from reconciler.execution.wholeness import Wholeness
from reconciler.orders.order import Order, OrderRequest, OrderType
from reconciler.ports import GateState
from reconciler.records.halt import Cancelling, Halt
from reconciler.records.mode import Mode
from reconciler.records.status import TradingCaveat, TradingReason, not_committed
from reconciler.store.store import Store


class Readiness:
    """Changed on the main loop, read by any thread.

    A connection nobody has looked at yet makes every account of its server wait; then those wait that have anything
    to compare, each until it was.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._seen: dict[str, int] = {}
        self._waiting: dict[str, str] = {}

    def pending(self, account_id: str) -> str:
        """Why no order of the account may leave yet, empty where it may, or where nothing reaches it anyway."""
        try:
            status = self._servers.reaching(account_id).status
        except ExecUnavailable:
            return ""
        failed = self._waiting.get(account_id)
        if failed is None and self.has_seen(status):
            return ""
        why = f"comparing the orders and positions of account {account_id} after (re)connecting to {status.name!r}"
        return f"{why}: {failed}" if failed else why

    def is_pending(self) -> bool:
        """True where an account of a connected server may have to wait."""
        connected = [status for status in self._servers.statuses() if status.connected]
        return bool(self._waiting) or not all(self.has_seen(status) for status in connected)

    def is_pending_for(self, status: ServerStatus) -> bool:
        """The same of the accounts of one server."""
        if not self.has_seen(status):
            return True
        accounts = [self._servers.account(account_id) for account_id in tuple(self._waiting)]
        return any(account is not None and account.server == status.name for account in accounts)

    def has_seen(self, status: ServerStatus) -> bool:
        return self._seen.get(status.name, 0) == status.connections

    def begin(self, status: ServerStatus, account_ids: Collection[str]) -> None:
        """A connection was looked at: these of its accounts wait to be compared."""
        self._waiting.update((account_id, "") for account_id in account_ids)
        self._seen[status.name] = status.connections

    def waits(self, account_id: str) -> bool:
        return account_id in self._waiting

    def failed(self, account_id: str, why: str) -> None:
        """It could not be compared: where it waits, it waits on."""
        if account_id in self._waiting:
            self._waiting[account_id] = why

    def compared(self, account_id: str, status: ServerStatus) -> None:
        """It was compared on the connection that `status` is of."""
        if self.has_seen(status):
            self._waiting.pop(account_id, None)


_REQUIRED = ("place_order", "get_order")
"""Without these no order leaves: it could not be placed, or not be looked up afterwards."""
_MINUTE = timedelta(minutes=1)


OWN_LIMIT: Final = "Limit"
"""A limit of the instance's own, or its account's orders a minute, refuses one order, and the gate stays open.

In the word of `TradingReason.LIMIT`, which is of a scope and closes the gate: people's scripts know both by it.
"""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order may not leave. `reason` is a `TradingReason` where the gate is shut.

    Else it is `OWN_LIMIT`, `Request`, `Quote` or `RefusedAgain`.
    """

    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


class Gatekeeper:
    """Thread-safe."""

    def __init__(
        self,
        store: Store,
        servers: Servers,
        watch: OrderWatch,
        readiness: Readiness,
        wholeness: Wholeness,
        brakes: Brakes,
        clock: Clock,
        scope_limits: ScopeLimits,
    ) -> None:
        self._contract_size = scope_limits.size_of
        self._scope_limits = scope_limits
        self._throttling = Throttling(store, clock)
        self._ledger = store.ledger
        self._halts = store.halts
        self._servers = servers
        self._watch = watch
        self._readiness = readiness
        self._wholeness = wholeness
        self._brakes = brakes
        self._clock = clock
        self._shut = ""
        self.why_uncommitted: Callable[[], str] = str

    def shut(self, why: str) -> None:
        """Let nothing leave any more, cancels included, for as long as the process lives."""
        self._shut = why

    def refusal(self, gate: GateState, order: Order, *, claim: bool = False) -> Refusal | None:
        """Why `order` may not leave, or None. In observe, every check but that of the mode and of what is committed.

        The order itself may be in the ledger already: it does not count against itself. With `claim` it leaves now:
        where nothing is against it, a unit of what is above its instance is taken, until the ledger says what became
        of it, or it is given back.
        """
        origin = order.provenance
        if origin.mode is Mode.OFF or gate.mode is not origin.mode:
            return Refusal(TradingReason.MODE, f"mode is {gate.mode}")
        if gate.paused:
            return Refusal(TradingReason.PAUSED, "the instance is paused")
        if (flaw := _flaw(order.request)) is not None:
            return Refusal("Request", flaw)
        book = self._book(gate, order)
        reducing = reduces(book, order.request)
        blocked = self._blocked(origin.instance_id, origin.account_id, order if reducing else None)
        if blocked is not None:
            return blocked
        is_real = self._servers.accounts.is_real(origin.account_id)
        uncommitted = not_committed(is_real=is_real, is_committed=gate.committed, why=self.why_uncommitted())
        if origin.mode is Mode.ACTIVE and uncommitted is not None:
            return Refusal(*uncommitted)
        if order.request.reduce_only and not reducing:
            return Refusal("Request", "reduce_only: the instance's own position has no room for it")
        if not reducing and self._contract_size(origin.account_id, origin.symbol) is None:
            why = f"{origin.symbol} is a contract, and its server does not tell how much one of it is: contract_size"
            return Refusal("Request", why)
        exceeded = breach(gate.limits, order.request, QuotePrices(order.quote_bid, order.quote_ask), book)
        if exceeded is None and not reducing:
            exceeded = self._stale(gate, order, real_money=is_real)
        if exceeded is not None:
            return Refusal(OWN_LIMIT, exceeded)
        held = self._brakes.held(order, reducing=reducing) if origin.mode is Mode.ACTIVE else ""
        if held:
            return Refusal(TradingCaveat.REFUSED_AGAIN, held)
        above = self._above(gate, order, reducing=reducing, claim=claim)
        return Refusal(TradingReason.LIMIT, above) if above else None

    def _above(self, gate: GateState, order: Order, *, reducing: bool, claim: bool) -> str:
        """What above the instance is against the order; where nothing is and it leaves now, a unit of it is taken."""
        if not reducing and (lacking := self._scope_limits.lacking(order, gate.limits)):
            return lacking
        if not claim:
            return "" if reducing else self._scope_limits.refusal(order)
        if (above := self._scope_limits.reserve(order, reducing=reducing)) or reducing:
            return above
        if order.provenance.mode is not Mode.ACTIVE:
            return ""
        if struck := self._throttling.strikes(order, self._scope_limits.accounts):
            self._scope_limits.give_back(order)
        return struck

    def reserve(self, order: Order) -> str:
        """A unit of what is above its instance, for an operator's order that opens something; why there is none."""
        return self._scope_limits.reserve(order, reducing=False)

    def give_back(self, order: Order) -> None:
        """The order was claimed, and certainly does not leave after all."""
        self._scope_limits.give_back(order)
        self._throttling.give_back(order)

    def is_reducing(self, gate: GateState, order: Order) -> bool:
        """True where it can only bring the instance's position nearer to zero."""
        return reduces(self._book(gate, order), order.request)

    def resting(self) -> tuple[tuple[Order, str], ...]:
        """Open orders that are to be cancelled, for they add exposure where a limit is reached; each with which."""
        return self._scope_limits.resting()

    def cancelling(self) -> tuple[Halt, ...]:
        """The halts in force that cancel something."""
        return tuple(halt for halt in self._halts.active() if halt.cancel is not Cancelling.NOTHING)

    @property
    def throttling(self) -> Throttling:
        return self._throttling

    def _stale(self, gate: GateState, order: Order, *, real_money: bool) -> str | None:
        """Why the quote is no measure of what the order would trade at. What real money asks for unasked, it cannot ask
        of a server that has no quotes."""
        most_s = gate.limits.quote_age_s(real_money=real_money)
        if most_s is None:
            return None
        is_own = gate.limits.max_quote_age_seconds is not None
        if order.quote_at is None and not is_own and not self._has_quotes(order.provenance.account_id):
            return None
        return staleness(most_s, order.quote_at, utc(self._clock.time()))

    def _has_quotes(self, account_id: str) -> bool:
        return "get_quote" in self._servers.reaching(account_id).status.tools

    def blocked(self, instance_id: str, account_id: str) -> Refusal | None:
        """Why the instance could open nothing, whatever its mode. From memory: cheap enough for a whole fleet."""
        return next(self._all_obstacles(instance_id, account_id), None)

    def obstacles(self, instance_id: str, account_id: str) -> list[Refusal]:
        """Everything that `blocked` may name, the strongest first."""
        return list(self._all_obstacles(instance_id, account_id))

    def _all_obstacles(self, instance_id: str, account_id: str) -> Iterator[Refusal]:
        yield from self._obstacles(instance_id, account_id, None)
        for reached in self._scope_limits.obstacles(instance_id):
            yield Refusal(TradingReason.LIMIT, reached)

    def cancel_refusal(self, instance_id: str, account_id: str, *, despite_halt: bool = False) -> Refusal | None:
        """Why not even an own cancel may leave: a full halt, or that nothing may any more.

        With `despite_halt` the engine or an operator cancels, whom no halt keeps from it.
        """
        if self._shut:
            return Refusal(TradingReason.LEDGER_DOWN, self._shut)
        if despite_halt:
            return None
        for halt in self._halts.active():
            if halt.full and halt.forbids(account_id, instance_id):
                return Refusal(TradingReason.HALTED, _told(halt))
        return None

    def _blocked(self, instance_id: str, account_id: str, reduction: Order | None = None) -> Refusal | None:
        return next(self._obstacles(instance_id, account_id, reduction), None)

    def _obstacles(self, instance_id: str, account_id: str, reduction: Order | None) -> Iterator[Refusal]:
        """`reduction` is the order where it only reduces what its instance holds: some things keep it from nothing."""
        if self._shut:
            yield Refusal(TradingReason.LEDGER_DOWN, self._shut)
        for halt in sorted(self._halts.active(), key=lambda one: not one.full):
            if halt.forbids(account_id, instance_id) and (halt.full or reduction is None):
                yield Refusal(TradingReason.HALTED, _told(halt))
        if doubt := self._watch.obstacle(instance_id):
            yield Refusal(TradingReason.UNKNOWN_ORDER, doubt)
        try:
            for tool in _REQUIRED:
                self._servers.requiring(account_id, tool)
        except ExecUnavailable as error:
            yield Refusal(TradingReason.EXEC_DOWN, str(error))
        except CapabilityUnavailable as error:
            yield Refusal(TradingReason.CAPABILITY_MISSING, str(error))
        else:
            if pending := self._readiness.pending(account_id) or self._wholeness.pending(account_id):
                yield Refusal(TradingReason.EXEC_DOWN, pending)
        behind = self._wholeness.behind(account_id)
        if behind is not None and (reduction is None or not self._wholeness.has_room(reduction)):
            yield Refusal(TradingReason.LEDGER_BEHIND, behind.message)
        if reduction is None and (limited := self.limited(account_id)):
            yield Refusal(TradingReason.RATE_LIMITED, limited)

    def limited(self, account_id: str) -> str:
        """Why, and until when, new orders of the account wait: too many requests, says the other side. Else empty."""
        try:
            return self._servers.reaching(account_id).limits.told(account_id)
        except ExecUnavailable:
            return ""

    def _book(self, gate: GateState, order: Order) -> Standing:
        origin, shadow = order.provenance, order.provenance.mode is not Mode.ACTIVE
        others = [
            other
            for other in self._ledger.open_orders(origin.instance_id, shadow)
            if other.client_order_id != order.client_order_id and other.provenance.symbol == origin.symbol
        ]
        holding = self._ledger.holding(origin.instance_id, origin.symbol, shadow)
        today = utc(self._clock.time()).date()
        loss = holding.loss_on(today, order.quote_bid, order.quote_ask)
        placed = 0
        if gate.limits.max_orders_per_minute is not None:
            last_minute = utc(self._clock.time()) - _MINUTE
            placed = self._ledger.passed(order.instance_id, shadow, last_minute, but=order.client_order_id)
        size = self._contract_size(origin.account_id, origin.symbol) or Decimal(1)
        return Standing(holding.quantity, others, placed, None if loss is None else exact.multiply(loss, size), size)


def _flaw(request: OrderRequest) -> str | None:
    """What is wrong with the request itself. The context refuses these, too; here it is the last look."""
    if not request.quantity.is_finite() or request.quantity <= 0:
        return f"quantity: expected more than zero, was {request.quantity}"
    needs = {
        "limit_price": request.type in (OrderType.LIMIT, OrderType.STOP_LIMIT),
        "stop_price": request.type in (OrderType.STOP, OrderType.STOP_LIMIT),
    }
    for name, needed in needs.items():
        price: Decimal | None = getattr(request, name)
        if needed != (price is not None):
            return f"{name}: a {request.type} order {'needs one' if needed else 'takes none'}"
        if price is not None and (not price.is_finite() or price <= 0):
            return f"{name}: expected more than zero, was {price}"
    return None


def _told(halt: Halt) -> str:
    scope = "all trading" if halt.scope == "all" else f"{halt.scope} {halt.id}"
    return f"{scope} is halted{' in full' if halt.full else ''}: {halt.reason}"


_MINUTE_S = 60.0
MINUTE = timedelta(seconds=_MINUTE_S)


class OrderRate:
    """Counts what is handed over, per account, over the last sixty seconds. Thread-safe.

    Cancels go before orders: they use the same minute up, and are never kept waiting for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent_s: dict[str, deque[float]] = {}

    def take(self, account_id: str, most: int | None) -> bool:
        """Count one order, where fewer than `most` (None: any number) calls were counted in the last minute."""
        with self._lock:
            sent = self._last_minute(account_id)
            if most is not None and len(sent) >= most:
                return False
            sent.append(self._clock.monotonic())
            return True

    def remember(self, sent: Iterable[tuple[str, datetime]]) -> None:
        """Take up where the last engine stopped: account and time of what it sent, oldest first. Before all else."""
        now, now_s = utc(self._clock.time()), self._clock.monotonic()
        with self._lock:
            for account_id, at in sent:
                ago_s = max(0.0, (now - at).total_seconds())
                self._sent_s.setdefault(account_id, deque()).append(now_s - ago_s)

    def take_cancel(self, account_id: str) -> None:
        """Count one cancel. It may always leave."""
        with self._lock:
            self._last_minute(account_id).append(self._clock.monotonic())

    def give_back(self, account_id: str) -> None:
        """What was taken last was certainly not sent after all."""
        with self._lock:
            sent = self._last_minute(account_id)
            if sent:
                sent.pop()

    def _last_minute(self, account_id: str) -> deque[float]:
        """The times of what was counted, oldest first, without what is too long ago. The caller holds the lock."""
        sent = self._sent_s.setdefault(account_id, deque())
        since_s = self._clock.monotonic() - _MINUTE_S
        while sent and sent[0] <= since_s:
            sent.popleft()
        return sent


class Units:
    """What is limited in number or amount: an order takes its part at its last look. Thread-safe; waits for nothing.

    The one place where something is reserved for an order that passed, and given back once its outcome is known.
    """

    def __init__(self, servers: Servers, rate: OrderRate) -> None:
        self._servers = servers
        self._rate = rate
        self._reserved: set[str] = set()

    def are_held(self, order: Order) -> bool:
        """True from when its part was reserved until it is settled."""
        return order.client_order_id in self._reserved

    def reserve(self, order: Order, is_reducing: Callable[[], bool]) -> Refusal | None:
        """Take a part for `order`; or why there is none left, but for one that only reduces."""
        id_, account_id = order.client_order_id, order.provenance.account_id
        account = self._servers.account(account_id)
        most = None if account is None else account.max_orders_per_minute
        if not self._rate.take(account_id, most) and not is_reducing():
            return Refusal(OWN_LIMIT, f"max_orders_per_minute: account {account_id} has sent {most} in the last minute")
        self._reserved.add(id_)
        return None

    def take_cancel(self, account_id: str) -> None:
        """A cancel may always leave, and counts."""
        self._rate.take_cancel(account_id)

    def settled(self, order: Order, *, is_sent: bool) -> bool:
        """The ledger says, or cannot say, what became of it; where it was certainly not sent, its part was not used.

        True where it had one.
        """
        if order.client_order_id not in self._reserved:
            return False
        self._reserved.discard(order.client_order_id)
        if not is_sent:
            self._rate.give_back(order.provenance.account_id)
        return True


WAIT_S = 30.0
"""From when the servers are connected to on. Then instances tick, whoever has not answered."""


class Arrivals:
    """Thread-safe to read. A server has arrived once it was connected, and its accounts were compared with the ledger.

    One that is lost later has arrived all the same: strategies are told of that as failures of their calls.
    """

    def __init__(self, servers: Servers, readiness: Readiness, clock: Clock) -> None:
        self._servers = servers
        self._readiness = readiness
        self._clock = clock
        self._arrived: frozenset[str] = frozenset()
        self._until_s: float | None = None

    def begin(self) -> None:
        """From now on the servers are connected to."""
        self._until_s = self._clock.monotonic() + WAIT_S

    def awaited(self) -> frozenset[str]:
        """The servers that are waited for."""
        if self._until_s is not None and self._clock.monotonic() >= self._until_s:
            return frozenset()
        missing = [status for status in self._servers.statuses() if status.name not in self._arrived]
        here = [one.name for one in missing if one.connections and not self._readiness.is_pending_for(one)]
        if here:
            self._arrived = self._arrived.union(here)
        return frozenset(one.name for one in missing if one.name not in here)

    def unheard(self) -> frozenset[str]:
        """The servers that were never connected, and are waited for no more."""
        if self._until_s is None or self._clock.monotonic() < self._until_s:
            return frozenset()
        return frozenset(status.name for status in self._servers.statuses() if not status.connections)

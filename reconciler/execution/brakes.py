"""What holds back an instance that does the same again and again: brakes and the throttle. From memory.

A brake holds requests that an exchange refuses in the same way each time. What is the same is by instance, side, type
and reason; quantity and price move with the market, and so do the amounts, ids and times in the exchange's words. A
brake is let go where something changed that a refusal may hang on.

The throttle counts what leaves, and halts what it strikes: the same order once too often. The same are orders of one
side, type and market, whatever their quantities and prices, that add exposure: of one instance, and of one code, by its
digest, over an account or over all of them.
"""

from __future__ import annotations

import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from reconciler import exact
from reconciler.clock import Clock, iso, utc
from reconciler.orders.market import Balance, pair_of, usual
from reconciler.orders.order import Order, OrderType, Side
from reconciler.records.accounts import Accounts, Throttle
from reconciler.records.event import EventReason
from reconciler.store.store import Store

EQUAL: Final = 5
"""So many equal refusals in a row hold requests like them back."""
_FIRST_S: Final = 10.0
_LONGEST_S: Final = 600.0
_LONGEST_REDUCING_S: Final = 30.0
"""A pause begins with the first, and doubles; what only reduces the own position waits no longer than the last."""
_SMALLER: Final = 5
"""So often a smaller quantity begins anew, whatever it is smaller by; from then on, one of half the size at most. Else
quantities that shrink at every tick, as the price rises, would never be held back."""
_LONGEST_SAID: Final = 200
_MOVING: Final = re.compile(r"[\w.+-]*\d[\w.+:-]*|[^\w\s]+")
"""What moves in the words of a refusal: amounts, ids, times, whatever has a digit in it; and what stands round it."""
LONGEST: Final = timedelta(days=1)
_BY: Final = "engine"
_STRUCK: Final = "throttle: "
"""What begins the reason of a halt that it put in force."""
_DIGEST: Final = 12


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a refusal may hang on besides the request: the own position, the balances as last told, the connection."""

    position: Decimal
    balances: object
    connections: int


@dataclass(frozen=True, slots=True)
class _Row:
    """Refusals in a row. `smallest` is the smallest quantity among them, `shrunk` how often a smaller one began anew.

    `pause_s` is 0 until requests are held back; it counts from `refused_s`, by the monotonic clock, and `refused_at_s`.
    """

    reason: str
    said: str
    around: Circumstances
    smallest: Decimal
    refused_s: float
    refused_at_s: float
    count: int = 1
    shrunk: int = 0
    pause_s: float = 0.0

    def waits_s(self, *, reducing: bool) -> float:
        return min(self.pause_s, _LONGEST_REDUCING_S) if reducing else self.pause_s

    def is_new(self, quantity: Decimal) -> bool:
        """True where so small a quantity was not refused yet."""
        most = self.smallest if self.shrunk < _SMALLER else exact.multiply(self.smallest, Decimal("0.5"))
        return quantity < self.smallest and quantity <= most


_Key = tuple[str, Side, OrderType]


class Brakes:
    """Thread-safe. `around` tells an order's circumstances, as they are now; it may block."""

    def __init__(self, clock: Clock, around: Callable[[Order], Circumstances]) -> None:
        self._clock = clock
        self._around = around
        self._lock = threading.Lock()
        self._rows: dict[_Key, _Row] = {}

    def refused(self, order: Order, said: str) -> str:
        """The exchange refused `order`. What is held back from now on, and was not before; else empty."""
        around, reason = self._around(order), plain(said)
        now_s, at_s = self._clock.monotonic(), self._clock.time()
        begun = _Row(reason, said[:_LONGEST_SAID], around, order.quantity, now_s, at_s)
        with self._lock:
            known = self._rows.get(_key(order))
            row = begun if known is None or (known.reason, known.around) != (reason, around) else _again(known, begun)
            self._rows[_key(order)] = row
        is_first = row.count == EQUAL
        return (
            f"{order.side} {order.type} orders are held back: refused again and again: {row.said}" if is_first else ""
        )

    def accepted(self, order: Order) -> None:
        """The exchange took `order`: it ends the row."""
        with self._lock:
            self._rows.pop(_key(order), None)

    def begin_anew(self, instance_id: str) -> None:
        """Whatever was refused to it may be asked for again, as if for the first time."""
        with self._lock:
            self._rows = {key: row for key, row in self._rows.items() if key[0] != instance_id}

    def held(self, order: Order, *, reducing: bool) -> str:
        """Why `order` is held back, and until when; empty where it may leave."""
        with self._lock:
            row = self._rows.get(_key(order))
        if row is None or not row.pause_s or row.is_new(order.quantity):
            return ""
        wait_s = row.waits_s(reducing=reducing)
        if self._clock.monotonic() >= row.refused_s + wait_s:
            return ""
        if self._around(order) != row.around:
            with self._lock:
                if self._rows.get(_key(order)) is row:
                    del self._rows[_key(order)]
            return ""
        what = f"the exchange refused {row.count} {order.side} {order.type} orders in a row: {row.said}"
        return f"{what}; the next may leave at {iso(row.refused_at_s + wait_s)}"

    def told(self, instance_id: str) -> str:
        """What of the instance is held back now, in words; empty where nothing is."""
        now_s = self._clock.monotonic()
        with self._lock:
            rows = [
                (key, row)
                for key, row in self._rows.items()
                if key[0] == instance_id and now_s < row.refused_s + row.pause_s
            ]
        return "; ".join(
            f"{side} {type} orders are held back until {iso(row.refused_at_s + row.pause_s)}: the exchange refused"
            f" {row.count} in a row: {row.said}"
            for (_, side, type), row in rows
        )

    def braked(self) -> frozenset[str]:
        """The instances of which something is held back now."""
        now_s = self._clock.monotonic()
        with self._lock:
            return frozenset(key[0] for key, row in self._rows.items() if now_s < row.refused_s + row.pause_s)


def relevant(balances: Sequence[Balance], order: Order) -> tuple[Balance, ...]:
    """Those of the balances that the order hangs on: of what it pays with, where its market tells what that is."""
    pair = pair_of(order.provenance.symbol)
    paid_with = pair.quotes if order.side is Side.BUY else () if pair.base is None else (pair.base,)
    return tuple(balance for balance in balances if not paid_with or usual(balance.asset) in paid_with)


def plain(said: str) -> str:
    """The words of a refusal without what moves in them."""
    return " ".join(_MOVING.sub(" ", said.lower()).split())


def _again(known: _Row, last: _Row) -> _Row:
    """The row with one more refusal in it, which is `last`."""
    if known.is_new(last.smallest):
        return replace(last, said=known.said, shrunk=known.shrunk + 1)
    count, pause_s = known.count + 1, 0.0
    if count >= EQUAL:
        pause_s = min(known.pause_s * 2 or _FIRST_S, _LONGEST_S)
    smallest = min(known.smallest, last.smallest)
    return replace(
        known, count=count, pause_s=pause_s, smallest=smallest, refused_s=last.refused_s, refused_at_s=last.refused_at_s
    )


def _key(order: Order) -> _Key:
    return order.instance_id, order.side, order.type


class _SameOrders(NamedTuple):
    """What is the same. `whose` is an instance, or a code and where it is counted: an account, or a kind of money."""

    whose: tuple[str, ...]
    side: str
    type: str
    market: str


class _Sent(NamedTuple):
    at_s: float
    client_order_id: str
    instance_id: str


class Throttling:
    """Thread-safe, from memory; `recover` blocks."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._ledger = store.ledger
        self._halts = store.halts
        self._events = store.events
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: defaultdict[_SameOrders, deque[_Sent]] = defaultdict(deque)
        self._struck: dict[str, str] = {}
        """The reasons of halts that it put in force, by instance: one that is lifted begins anew."""

    def recover(self, accounts: Accounts) -> None:
        """Take up where the last engine stopped: who starts anew and again does not begin to count anew."""
        since = utc(self._clock.time()) - LONGEST
        for halt in self._halts.active():
            if halt.scope == "instance" and halt.by == _BY and halt.reason.startswith(_STRUCK):
                self._struck[halt.id] = halt.reason
        lifted = self._halts.lifted_since(since, _BY)
        with self._lock:
            for order in self._ledger.left(since):
                if order.created_at >= lifted.get(order.instance_id, since):
                    self._note(order, _rules(order, accounts))

    def strikes(self, order: Order, accounts: Accounts) -> str:
        """Count `order`, which adds exposure and is about to leave. Why it is one too many, else empty."""
        now_s = self._clock.time()
        with self._lock:
            self._release(order.instance_id)
            rules = tuple(_rules(order, accounts))
            for throttle, key in rules:
                since_s = now_s - throttle.within_minutes * 60
                if self._is_used_up(key, throttle.same_orders, since_s):
                    return self._strike(order, throttle, key, (one for one in self._sent[key] if one.at_s > since_s))
            self._note(order, rules)
        return ""

    def give_back(self, order: Order) -> None:
        """It did not leave after all."""
        with self._lock:
            for key in _keys(order):
                sent = self._sent.get(key)
                if sent and sent[-1].client_order_id == order.client_order_id:
                    sent.pop()

    def _strike(self, order: Order, throttle: Throttle, key: _SameOrders, sent: Iterable[_Sent]) -> str:
        counted = [*sent]
        digest = order.provenance.code_digest[:_DIGEST]
        whose = f"instance {key.whose[1]}" if key.whose[0] == "instance" else f"code {digest} on {key.whose[2]}"
        reason = (
            f"{_STRUCK}{len(counted)} {order.side} {order.type} orders of {key.market} by {whose} within"
            f" {throttle.within_minutes} min: the first is {counted[0].client_order_id}, the last"
            f" {counted[-1].client_order_id}; code {digest}"
        )
        for instance_id in dict.fromkeys((*(one.instance_id for one in counted), order.instance_id)):
            self._struck.setdefault(instance_id, reason)
            if not self._is_halted(instance_id) and self._halts.begin("instance", instance_id, False, reason, _BY):
                self._events.record(instance_id, "Warning", EventReason.HALTED, reason)
        return reason

    def _release(self, instance_id: str) -> None:
        """A halt of it that was lifted: what it sent until then counts no more."""
        reason = self._struck.get(instance_id)
        if reason is None or self._is_halted(instance_id):
            return
        del self._struck[instance_id]
        for key, sent in self._sent.items():
            self._sent[key] = deque(one for one in sent if one.instance_id != instance_id)

    def _is_halted(self, instance_id: str) -> bool:
        return any(halt.id == instance_id and halt.by == _BY for halt in self._halts.active())

    def _is_used_up(self, key: _SameOrders, most: int, since_s: float) -> bool:
        """Whether as many have left since. They stand in order of time, so the last but `most` tells."""
        sent = self._sent[key]
        longest_s = self._clock.time() - LONGEST.total_seconds()
        while sent and sent[0].at_s <= longest_s:
            sent.popleft()
        return len(sent) >= most and sent[-most].at_s > since_s

    def _note(self, order: Order, rules: Iterable[tuple[Throttle, _SameOrders]]) -> None:
        at_s = order.created_at.timestamp()
        for key in {key for _, key in rules}:
            sent = self._sent[key]
            # Threads may come out of turn, and a clock may be set back: then it counts for longer, and none is missed.
            since_s = max(at_s, sent[-1].at_s) if sent else at_s
            sent.append(_Sent(since_s, order.client_order_id, order.instance_id))


def _keys(order: Order) -> tuple[_SameOrders, ...]:
    origin = order.provenance
    what = (str(order.side), str(order.type), origin.symbol)
    return (
        _SameOrders(("instance", origin.instance_id), *what),
        _SameOrders(("code", origin.code_digest, f"account {origin.account_id}"), *what),
        _SameOrders(("code", origin.code_digest, f"all {order.money} money"), *what),
    )


def _rules(order: Order, accounts: Accounts) -> Iterator[tuple[Throttle, _SameOrders]]:
    own, on_account, everywhere = _keys(order)
    account = accounts.get(order.provenance.account_id)
    if account is not None and account.throttle is not None:
        yield account.throttle, own
        yield account.throttle, on_account
    if accounts.throttle is not None:
        yield accounts.throttle, own
        yield accounts.throttle, everywhere

"""The brakes: requests that an exchange refuses in the same way again and again are held back. From memory.

What is the same is by instance, side, type and reason; quantity and price move with the market, and so do the amounts,
ids and times in the exchange's words. A brake is let go where something changed that a refusal may hang on.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from reconciler import exact
from reconciler.clock import Clock, iso
from reconciler.orders.market import Balance, pair_of, usual
from reconciler.orders.order import Order, OrderType, Side

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

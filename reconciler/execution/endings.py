"""Endings: orders that are over, by an answer that may not be the last word. Each is looked up once more. From memory.

A cancel is acknowledged while a fill is under way; an order that filled at once is answered without its price, which
a look-up would tell. Bounded: what no look-up tells either is left at that.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from reconciler.clock import Clock
from reconciler.records.order import Order, Outcome

_AT_S = (5.0, 30.0, 120.0)
"""When it is looked up, counted from its end; again only where price or fee of what is filled are still missing."""
_GIVE_UP_S = 3600.0
"""For so long it is tried where there is no answer."""


@dataclass(frozen=True, slots=True)
class _Ending:
    since_s: float
    answers: int = 0


class Endings:
    """Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[str, _Ending] = {}

    def note(self, order: Order, *, looked_up: bool) -> None:
        """What is known of an order now, `looked_up` where the exchange was asked for it."""
        with self._lock:
            known = self._ends.get(order.client_order_id)
            if order.outcome is not Outcome.ACCEPTED or order.is_open or _is_whole(order):
                self._ends.pop(order.client_order_id, None)
            elif known is None and not looked_up:
                self._ends[order.client_order_id] = _Ending(self._clock.monotonic())

    def answered(self, order: Order) -> None:
        """It was looked up, and answered; what that was is noted."""
        with self._lock:
            known = self._ends.pop(order.client_order_id, None)
            if known is not None and _lacks_price(order) and known.answers + 1 < len(_AT_S):
                self._ends[order.client_order_id] = _Ending(known.since_s, known.answers + 1)

    def due(self) -> list[str]:
        """The client_order_ids of those to be looked up now."""
        now_s = self._clock.monotonic()
        with self._lock:
            for id in [id for id, end in self._ends.items() if now_s - end.since_s >= _GIVE_UP_S]:
                del self._ends[id]
            return [id for id, end in self._ends.items() if now_s - end.since_s >= _AT_S[end.answers]]


def _is_whole(order: Order) -> bool:
    """True where nothing more can be learned."""
    return order.filled_quantity == order.quantity and not _lacks_price(order)


def _lacks_price(order: Order) -> bool:
    return bool(order.filled_quantity) and (order.average_price is None or order.fee is None)

"""Endings: orders that are over, by an answer that may not be the last word. Each is looked up once more. From memory.

A cancel is acknowledged while a fill is under way; an order that filled is told without its price, which a later
look-up would tell; one that the exchange is said to have refused is there all the same, for its server called something
else a refusal. Bounded: what no look-up tells either is left at that.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import timedelta

from reconciler.clock import Clock
from reconciler.records.order import Order, Outcome, RejectedBy

LATELY = timedelta(days=1)
"""For so long after its end an order is asked for by the next engine, which cannot know whether this one did."""
_AT_S = (5.0, 30.0, 120.0)
"""When it is looked up, counted from its end; again only where price or fee of what is filled are still missing."""
_TRIES = 600
"""So often it is tried in vain, once a beat. Without a connection it was not tried."""
_AT_ONCE = 50
"""Of so many at a time, lest a start floods a server with the questions of a day."""


@dataclass(frozen=True, slots=True)
class _Ending:
    since_s: float
    answers: int = 0
    tries: int = 0


class Endings:
    """Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[str, _Ending] = {}

    def note(self, order: Order) -> None:
        """What is known of an order now, however it came to be known."""
        with self._lock:
            if _may_be_more(order):
                self._ends.setdefault(order.client_order_id, _Ending(self._clock.monotonic()))
            else:
                self._ends.pop(order.client_order_id, None)

    def end(self, client_order_id: str) -> None:
        """What a look-up told of the order is the last word."""
        with self._lock:
            self._ends.pop(client_order_id, None)

    def answered(self, order: Order) -> None:
        """It was looked up when it was over already, and answered; what that was is noted.

        Before its time that says nothing: a fill that is under way would not be told yet.
        """
        with self._lock:
            known = self._ends.get(order.client_order_id)
            if known is None or not self._is_due(known):
                return
            del self._ends[order.client_order_id]
            if _lacks_price(order) and known.answers + 1 < len(_AT_S):
                self._ends[order.client_order_id] = _Ending(known.since_s, known.answers + 1)

    def unanswered(self, order: Order) -> None:
        """It was looked up in vain, though its server was there."""
        with self._lock:
            known = self._ends.pop(order.client_order_id, None)
            if known is not None and known.tries + 1 < _TRIES:
                self._ends[order.client_order_id] = replace(known, tries=known.tries + 1)

    def due(self) -> list[str]:
        """The client_order_ids of those to be looked up now: as many as may be at a time, by turns."""
        with self._lock:
            found = [id for id, end in self._ends.items() if self._is_due(end)][:_AT_ONCE]
            for id in found:
                self._ends[id] = self._ends.pop(id)  # to the end of the line
            return found

    def _is_due(self, end: _Ending) -> bool:
        return self._clock.monotonic() - end.since_s >= _AT_S[end.answers]


def _may_be_more(order: Order) -> bool:
    """True where a look-up may tell what is not known. What was never sent the exchange cannot have."""
    if order.outcome is Outcome.REJECTED:
        return order.rejected_by is RejectedBy.EXCHANGE
    is_whole = order.filled_quantity == order.quantity and not _lacks_price(order)
    return order.outcome is Outcome.ACCEPTED and not order.is_open and not is_whole


def _lacks_price(order: Order) -> bool:
    return bool(order.filled_quantity) and (order.average_price is None or order.fee is None)

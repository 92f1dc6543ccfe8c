"""Denials: orders that their exchange took, and by now says it does not know. Somebody has to look what became of them.

Kept in memory: a start asks anew, and finds out again.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.clock import Clock, iso
from reconciler.records.order import Order


@dataclass(frozen=True, slots=True)
class Denial:
    """An order, whose it is, and how often its exchange has denied it. `seen_at` (ISO 8601) is since when."""

    client_order_id: str
    instance_id: str
    account_id: str
    message: str
    seen_at: str


class Denials:
    """Changed on the main loop, read by any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, Denial] = {}

    def __contains__(self, client_order_id: str) -> bool:
        return client_order_id in self._known

    def add(self, order: Order, message: str) -> None:
        origin, id_ = order.provenance, order.client_order_id
        self._known[id_] = Denial(id_, origin.instance_id, origin.account_id, message, iso(self._clock.time()))

    def end(self, client_order_id: str) -> None:
        """The exchange knows the order after all."""
        self._known.pop(client_order_id, None)

    def told(self) -> tuple[Denial, ...]:
        """By instance. What became of some of them an operator may have said meanwhile."""
        return tuple(sorted(self._known.values(), key=lambda one: (one.instance_id, one.seen_at)))

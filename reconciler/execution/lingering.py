"""Lingering orders: over by all that we know, and listed as open by their exchange. Kept in memory, told once.

One that was cancelled a moment ago may still be listed: what counts is two lists in a row, some time apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from reconciler.clock import Clock
from reconciler.execution.doubts import SPREAD_S
from reconciler.records.order import Order


@dataclass(frozen=True, slots=True)
class _Lingering:
    order: Order
    since_s: float
    is_told: bool = False


class Lingering:
    """Lives on the main loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[str, dict[str, _Lingering]] = {}

    def listed(self, account_id: str, orders: Iterable[Order]) -> tuple[list[Order], list[Order]]:
        """These, and no others, linger on the account now: those to be told of, and those that linger no more."""
        now_s, before = self._clock.monotonic(), self._known.get(account_id, {})
        now = {o.client_order_id: before.get(o.client_order_id) or _Lingering(o, now_s) for o in orders}
        overdue = [one for one in now.values() if not one.is_told and now_s - one.since_s >= SPREAD_S]
        now.update((one.order.client_order_id, replace(one, is_told=True)) for one in overdue)
        self._known[account_id] = now
        return [one.order for one in overdue], [one.order for id, one in before.items() if id not in now]

"""Orphans: open orders at an exchange that belong to no known instance. Kept in memory, told once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain

from reconciler.clock import Clock, iso
from reconciler.execution.answers import Listed
from reconciler.execution.settlement import EventLog


@dataclass(frozen=True, slots=True)
class Orphan:
    """An open order that the ledger does not know. Texts as the exchange has them, empty where it does not tell.

    `seen_at` (ISO 8601) is when it was first listed.
    """

    account_id: str
    client_order_id: str
    exchange_order_id: str
    symbol: str
    side: str
    quantity: str
    state: str
    seen_at: str


class Orphans:
    """Changed on the main loop, read by any thread."""

    def __init__(self, events: EventLog, clock: Clock) -> None:
        self._events = events
        self._clock = clock
        self._known: dict[str, dict[tuple[str, str], Orphan]] = {}

    def snapshot(self) -> tuple[Orphan, ...]:
        """Those listed when their accounts were last compared, by account."""
        return tuple(chain.from_iterable(known.values() for _, known in sorted(self._known.items())))

    def listed(self, account_id: str, items: Iterable[Listed]) -> None:
        """These, and no others, are listed on the account now."""
        before = self._known.get(account_id, {})
        now: dict[tuple[str, str], Orphan] = {}
        for item in items:
            ids = (item.client_order_id, item.order_id)
            if ids not in before and ids not in now:
                what = f"{item.side} {item.quantity} {item.symbol} ({item.client_order_id or item.order_id})"
                self._events.record(
                    None, "Warning", "OrphanOrder", f"account {account_id}: an order of no known instance: {what}"
                )
            seen_at = before[ids].seen_at if ids in before else iso(self._clock.time())
            now[ids] = Orphan(account_id, *ids, item.symbol, item.side, item.quantity, item.status, seen_at)
        self._known[account_id] = now

"""Resting shadow orders: those to which something may still happen, from memory, kept up with every write."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from contextlib import suppress

from reconciler.records.order import Order, Outcome
from reconciler.store.connection import ReadPool
from reconciler.store.orders import order_from

_OPEN = "SELECT * FROM orders WHERE is_open AND outcome = 'shadow' ORDER BY id"
_NOT_OBSERVING = (
    "SELECT id FROM instances WHERE id IN (SELECT value FROM json_each(?))"
    " AND (coalesce(mode_override, mode) <> 'observe' OR removed_at IS NOT NULL)"
)


class Resting:
    """Read from the ledger once. Thread-safe."""

    def __init__(self, reads: ReadPool) -> None:
        self._reads = reads
        self._lock = threading.Lock()
        self._orders: dict[str, dict[str, Order]] = {}
        """By instance, then by client_order_id, in the order they were placed."""
        for columns in reads.query(_OPEN):
            self.changed(order_from(columns))

    def changed(self, order: Order) -> None:
        """A shadow order was written down, or something became known of it; that is committed."""
        if order.outcome is not Outcome.SHADOW:
            return
        with self._lock:
            if order.is_open:
                self._orders.setdefault(order.instance_id, {})[order.client_order_id] = order
                return
            with suppress(KeyError):
                own = self._orders[order.instance_id]
                del own[order.client_order_id]
                if not own:
                    del self._orders[order.instance_id]

    def forget(self, instance_ids: Iterable[str]) -> None:
        """All of theirs were ended together; that is committed."""
        with self._lock:
            for instance_id in instance_ids:
                self._orders.pop(instance_id, None)

    def observed(self) -> list[Order]:
        """Those of all instances but the ones whose record says that they do not observe. Blocks; one small query."""
        with self._lock:
            ids = list(self._orders)
        if not ids:
            return []
        others = {columns["id"] for columns in self._reads.query(_NOT_OBSERVING, [json.dumps(ids)])}
        with self._lock:
            return [order for id in ids if id not in others for order in self._orders.get(id, {}).values()]

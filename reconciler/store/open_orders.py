"""Open orders: those to which something may still happen, from memory, kept up with every commit."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from operator import attrgetter

from reconciler.records.order import Order, Outcome
from reconciler.store.connection import ReadPool
from reconciler.store.orders import order_from

_OPEN = "SELECT * FROM orders WHERE is_open ORDER BY id"
_NOT_OBSERVING = (
    "SELECT id FROM instances WHERE id IN (SELECT value FROM json_each(?))"
    " AND (coalesce(mode_override, mode) <> 'observe' OR removed_at IS NOT NULL)"
)


class OpenOrders:
    """Read from the ledger once; told of each change in the order of the commits, by the writer's thread.

    Thread-safe: the gate asks twice for every order, strategies at every tick.
    """

    def __init__(self, reads: ReadPool) -> None:
        self._reads = reads
        self._lock = threading.Lock()
        self._orders: dict[str, Order] = {}
        self._of: dict[tuple[str, bool], dict[str, Order]] = {}
        """By instance and book (True is the shadow book), then by client_order_id."""
        for columns in reads.query(_OPEN):
            self.changed(order_from(columns))

    def changed(self, order: Order) -> None:
        """An order was written down, or something became known of it; that is committed."""
        id, book = order.client_order_id, _book(order)
        with self._lock:
            if order.is_open:
                self._orders[id] = order
                self._of.setdefault(book, {})[id] = order
            elif self._orders.pop(id, None) is not None:
                own = self._of[book]
                del own[id]
                if not own:
                    del self._of[book]

    def shadow_books_ended(self, instance_ids: Iterable[str]) -> None:
        """All that was open in them ended with them; that is committed."""
        with self._lock:
            for instance_id in instance_ids:
                for id in self._of.pop((instance_id, True), ()):
                    del self._orders[id]

    def get(self, client_order_id: str) -> Order | None:
        """The order of that id, None where it is not open."""
        return self._orders.get(client_order_id)

    def of(self, instance_id: str, shadow: bool) -> list[Order]:
        """The instance's, oldest first."""
        with self._lock:
            own = list(self._of.get((instance_id, shadow), {}).values())
        return sorted(own, key=attrgetter("created_at"))

    def observed(self) -> list[Order]:
        """Shadow orders, but those of instances whose record says that they do not observe. Blocks; one small query."""
        with self._lock:
            ids = [instance_id for instance_id, shadow in self._of if shadow]
        if not ids:
            return []
        others = {columns["id"] for columns in self._reads.query(_NOT_OBSERVING, [json.dumps(ids)])}
        return [order for id in ids if id not in others for order in self.of(id, shadow=True)]


def _book(order: Order) -> tuple[str, bool]:
    # An open order is in the shadow book where it is one: what an observing instance was refused is not open.
    return order.instance_id, order.outcome is Outcome.SHADOW

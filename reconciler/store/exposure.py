"""Exposure: who holds something real, or may yet, kept up with every write to the ledger instead of added up anew."""

from __future__ import annotations

import threading
from collections import Counter
from decimal import Decimal

from reconciler.records.holding import Holding
from reconciler.records.mode import Mode
from reconciler.records.order import Order, Outcome
from reconciler.store.connection import ReadPool

_OPEN = "SELECT instance_id, count(*) AS number FROM orders WHERE is_open AND NOT shadow GROUP BY instance_id"
_HELD = "SELECT instance_id, symbol, quantity FROM books WHERE shadow = 0 AND quantity <> '0'"


class Exposure:
    """Read from the ledger once. Thread-safe."""

    def __init__(self, reads: ReadPool) -> None:
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()
        self._held: dict[str, dict[str, Decimal]] = {}
        with reads.snapshot() as db:
            for row in db.query(_OPEN):
                self._open[row["instance_id"]] = row["number"]
            for row in db.query(_HELD):
                self._hold(row["instance_id"], row["symbol"], Decimal(row["quantity"]))
        self.ids = frozenset(self._open) | frozenset(self._held)
        """The instances with a real order that may still fill, or a real position."""

    def changed(self, before: Order | None, after: Order, holding: Holding | None) -> None:
        """An order was written down (`before` is None), or something became known of it; that is committed.

        `holding` is what its book holds now, None where it did not change. In the order of the commits.
        """
        with self._lock:
            self._open[after.instance_id] += _is_open(after) - _is_open(before)
            if not self._open[after.instance_id]:
                del self._open[after.instance_id]
            if holding is not None and after.outcome is not Outcome.SHADOW:
                self._hold(after.instance_id, holding.symbol, holding.quantity)
            self._follow(after.instance_id)

    def held(self, instance_id: str, holding: Holding) -> None:
        """A real book was put right; that is committed."""
        with self._lock:
            self._hold(instance_id, holding.symbol, holding.quantity)
            self._follow(instance_id)

    def _follow(self, instance_id: str) -> None:
        is_exposed = instance_id in self._open or instance_id in self._held
        if is_exposed != (instance_id in self.ids):
            self.ids = self.ids ^ {instance_id}

    def _hold(self, instance_id: str, symbol: str, quantity: Decimal) -> None:
        held = self._held.setdefault(instance_id, {})
        held[symbol] = quantity
        if not quantity:
            del held[symbol]
        if not held:
            del self._held[instance_id]


def _is_open(order: Order | None) -> bool:
    return order is not None and order.is_open and not _is_shadow(order)


def _is_shadow(order: Order) -> bool:
    """As the table's column `shadow` has it."""
    is_refused = order.outcome is Outcome.REJECTED and order.provenance.mode is not Mode.ACTIVE
    return order.outcome is Outcome.SHADOW or is_refused

"""Holdings as readers see them: from memory, read again only after something was filled. Never added up anew."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.records.holding import Holding
from reconciler.store.books import BOOK, begun_from, holding_from
from reconciler.store.connection import ReadPool


class Holdings:
    """Thread-safe. Strategies and the gate ask at every tick."""

    def __init__(self, reads: ReadPool) -> None:
        self._reads = reads
        self._versions: dict[str, object] = {}
        self._known: dict[tuple[str, str, bool], tuple[object, Holding]] = {}

    def get(self, instance_id: str, symbol: str, shadow: bool) -> Holding:
        """What the instance's open book holds. A shadow book that has no order yet holds what the real one does."""
        key, version = (instance_id, symbol, shadow), self._versions.get(instance_id)
        known = self._known.get(key)
        if known is None or known[0] is not version:
            known = self._known[key] = (version, self._read(instance_id, symbol, shadow))
        return known[1]

    def all(self, instance_id: str, shadow: bool) -> list[Holding]:
        """What all open books of the instance hold, of every symbol that it ever filled."""
        found = self._reads.query(
            "SELECT * FROM books WHERE instance_id = ? AND shadow = ? AND ended_at IS NULL ORDER BY symbol",
            [instance_id, int(shadow)],
        )
        return [holding_from(columns) for columns in found]

    def changed(self, instance_ids: Iterable[str]) -> None:
        """Their books changed, and that is committed: what was read before is outdated.

        A new object is unlike any version before.
        """
        for instance_id in instance_ids:
            self._versions[instance_id] = object()

    def _read(self, instance_id: str, symbol: str, shadow: bool) -> Holding:
        found = self._reads.query(f"SELECT * FROM books WHERE {BOOK}", [instance_id, symbol, int(shadow)])
        if found:
            return holding_from(found[0])
        return begun_from(self.get(instance_id, symbol, shadow=False), symbol) if shadow else Holding(symbol)

"""Holdings as readers see them: from memory, kept up with every commit. Never added up anew."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from reconciler.records.holding import Holding
from reconciler.store.books import BOOK, begun_from, holding_from
from reconciler.store.connection import ReadPool

_Own = dict[tuple[str, bool], Holding | None]
"""By symbol and kind of book (True is the shadow book); None where there is no open one."""


class Holdings:
    """Thread-safe. Strategies ask at every tick, the gate twice for every order."""

    def __init__(self, reads: ReadPool) -> None:
        self._reads = reads
        self._lock = threading.Lock()
        self._of: dict[str, _Own] = {}

    def get(self, instance_id: str, symbol: str, shadow: bool) -> Holding:
        """What the instance's open book holds. A shadow book that has no order yet holds what the real one does.

        Read from the ledger the first time it is asked for.
        """
        key = (symbol, shadow)
        # What is read here is put down before the writer can tell of a later commit: nothing newer is overwritten.
        with self._lock:
            own = self._of.setdefault(instance_id, {})
            if key not in own:
                own[key] = self._read(instance_id, symbol, shadow)
            found = own[key]
        if found is not None:
            return found
        return begun_from(self.get(instance_id, symbol, shadow=False), symbol) if shadow else Holding(symbol)

    def all(self, instance_id: str, shadow: bool) -> list[Holding]:
        """What all open books of the instance hold, of every symbol that it ever filled."""
        found = self._reads.query(
            "SELECT * FROM books WHERE instance_id = ? AND shadow = ? AND ended_at IS NULL ORDER BY symbol",
            [instance_id, int(shadow)],
        )
        return [holding_from(columns) for columns in found]

    def everybody(self, shadow: bool) -> list[tuple[str, Holding]]:
        """What all open books hold, each with its instance's id; by id, then symbol."""
        found = self._reads.query(
            "SELECT * FROM books WHERE shadow = ? AND ended_at IS NULL ORDER BY instance_id, symbol", [int(shadow)]
        )
        return [(columns["instance_id"], holding_from(columns)) for columns in found]

    def changed(self, instance_id: str, shadow: bool, holding: Holding) -> None:
        """What the instance's open book holds now; that is committed."""
        with self._lock:
            self._of.setdefault(instance_id, {})[holding.symbol, shadow] = holding

    def shadow_books_ended(self, instance_ids: Iterable[str]) -> None:
        """They hold what the real ones do from now on; that is committed."""
        with self._lock:
            for instance_id in instance_ids:
                own = self._of.get(instance_id, {})
                own.update({key: None for key in own if key[1]})

    def _read(self, instance_id: str, symbol: str, shadow: bool) -> Holding | None:
        found = self._reads.query(f"SELECT * FROM books WHERE {BOOK}", [instance_id, symbol, int(shadow)])
        return holding_from(found[0]) if found else None

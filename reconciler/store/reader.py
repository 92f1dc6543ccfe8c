"""The read side: what the page and the command line see, with or without a running engine. Cannot write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.errors import StoreError
from reconciler.records.record import Attempt, Row
from reconciler.store import beats, desired, halts, schema
from reconciler.store.connection import ReadPool
from reconciler.store.orders import ITEM
from reconciler.store.rows import row_from

Item = dict[str, Any]
"""One row, ready for JSON: money as decimal strings, times ISO 8601, None where nothing is known."""


class Reader:
    """Read-only, thread-safe; every call sees the last commit. Every call may raise StoreError.

    Lists come one page at a time, newest first, with how many match in all; empty filters match everything.
    """

    def __init__(self, reads: ReadPool) -> None:
        self._reads = reads

    @classmethod
    def open(cls, path: Path) -> Reader:
        """Raises StoreError where there is no database, or none that this version can read."""
        if not path.exists():
            raise StoreError(f"{path}: no database there: start the engine once, it makes one")
        reads = ReadPool(path)
        try:
            with reads.snapshot() as db:
                schema.require_current(db, path)
        except BaseException:
            reads.close()
            raise
        return cls(reads)

    def close(self) -> None:
        self._reads.close()

    def orders(
        self,
        instance_id: str = "",
        outcome: str = "",
        state: str = "",
        shadow: bool | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Item], int]:
        """Orders, in the order they were placed. `shadow` chooses a book: True the simulated one, None both."""
        filters = {"instance_id": instance_id, "outcome": outcome, "state": state, "shadow": shadow}
        items, total = self._page(f"SELECT {ITEM} FROM orders", "orders", filters, "id DESC", limit, offset)
        for item in items:
            item["shadow"] = bool(item["shadow"])
        return items, total

    def events(
        self, instance_id: str = "", type: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[list[Item], int]:
        """Events, in the order they last happened: `id instance_id type reason message count first_at last_at`."""
        filters = {"instance_id": instance_id, "type": type}
        return self._page("SELECT * FROM events", "events", filters, "last_at DESC, id DESC", limit, offset)

    def history(self, instance_id: str, limit: int = 100, offset: int = 0) -> tuple[list[Item], int]:
        """Every change of a row: `generation kind summary at revision committed mode code_digest values` and ids."""
        items, total = self._page(
            "SELECT * FROM generations", "generations", {"instance_id": instance_id}, "id DESC", limit, offset
        )
        for item in items:
            item["committed"] = bool(item["committed"])
            item["values"] = json.loads(item["values"])
        return items, total

    def operations(self, limit: int = 100, offset: int = 0) -> tuple[list[Item], int]:
        """What operators did: `id at uid action scope reason`."""
        return self._page("SELECT * FROM operations", "operations", {}, "id DESC", limit, offset)

    def row(self, instance_id: str) -> Row | None:
        """The applied row of that id, a tombstone too; None where there never was one."""
        found = self._reads.query("SELECT * FROM instances WHERE id = ?", [instance_id])
        return row_from(found[0]) if found else None

    def rows(self) -> dict[str, Row]:
        """Every row by id, tombstones included."""
        return desired.read_rows(self._reads)

    def attempts(self) -> dict[str, Attempt]:
        """What was last attempted with each file, by path."""
        return desired.read_attempts(self._reads)

    def halts(self) -> list[Item]:
        """Every halt in force, oldest first: `scope id full reason by at`."""
        return [halt.to_json() for halt in halts.read_active(self._reads)]

    def last_beat(self) -> tuple[int, float] | None:
        """The last beat fired and the heartbeat in seconds it was counted with."""
        return beats.read_last(self._reads)

    def _page(
        self, select: str, table: str, filters: Mapping[str, str | bool | None], order: str, limit: int, offset: int
    ) -> tuple[list[Item], int]:
        wanted = {column: value for column, value in filters.items() if value not in ("", None)}
        where = " AND ".join(f"{column} = :{column}" for column in wanted) or "TRUE"
        with self._reads.snapshot() as db:
            items = list(
                db.query(
                    f"{select} WHERE {where} ORDER BY {order} LIMIT :limit OFFSET :offset",
                    {**wanted, "limit": max(0, limit), "offset": max(0, offset)},
                )
            )
            total = db.table(table).count_where(where, wanted)
        return items, total

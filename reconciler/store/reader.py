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
        self, instance_id: str = "", outcome: str = "", state: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[list[Item], int]:
        """Orders, in the order they were placed."""
        filters = {"instance_id": instance_id, "outcome": outcome, "state": state}
        return self._page(f"SELECT {', '.join(ITEM)} FROM orders", "orders", filters, "id DESC", limit, offset)

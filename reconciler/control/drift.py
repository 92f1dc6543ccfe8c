"""Drift: rows that somebody changed in the database by hand, and how they are written back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from reconciler.errors import StoreError
from reconciler.records.record import Row, RowChange
from reconciler.store.desired import Desired

log = logging.getLogger(__name__)


class Drift:
    """Compares the table with what the engine wrote, whenever somebody else has written to the database."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._is_suspected = False

    def changes(self, rows: Mapping[str, Row], at: str) -> tuple[RowChange, ...]:
        """What puts the table back to `rows`. The suspicion stays until `settled` says that it was written."""
        self._is_suspected |= self._desired.changed_by_others()
        if not self._is_suspected:
            return ()
        try:
            stored = self._desired.rows()
        except StoreError as error:
            log.warning("rows changed by hand cannot be read: all are written back", extra={"error": str(error)})
            stored = {}
        back = [
            RowChange(row, "drift", "changed by hand in the database; written back")
            for row in rows.values()
            if stored.get(row.id) != row
        ]
        back.extend(
            RowChange(replace(row, removed_at=at), "drift", "inserted by hand in the database; removed")
            for row in stored.values()
            if row.id not in rows
        )
        return tuple(back)

    def settled(self) -> None:
        """The table is as it should be again."""
        self._is_suspected = False

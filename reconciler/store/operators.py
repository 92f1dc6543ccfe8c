"""What operators did: every action, with the uid that did it and a reason. Never forgotten."""

from __future__ import annotations

from sqlite_utils import Database

from reconciler.clock import Clock, iso
from reconciler.records.text import storable
from reconciler.store.writer import Writer


class Operators:
    """The `operations` table, as the engine writes it."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    def record(self, uid: int, action: str, scope: str, reason: str) -> None:
        """Write an operator's action down; committed on return. Raises StoreError.

        `action` is the command's word (`pause`, `halt`, `prune`), `scope` what it was done to.
        """
        at = iso(self._clock.time())

        def job(db: Database) -> None:
            db.execute(
                "INSERT INTO operations (at, uid, action, scope, reason) VALUES (?, ?, ?, ?, ?)",
                [at, uid, action, storable(scope), storable(reason)],
            )

        self._writer.write(job)

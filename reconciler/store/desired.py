"""Desired state: the rows the engine reconciles from, what was attempted with each file, and every generation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from sqlite_utils import Database

from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Row, RowChange
from reconciler.store.books import end_shadow_books, with_open_shadow_book
from reconciler.store.connection import ReadPool
from reconciler.store.rows import Columns, attempt_columns, attempt_from, generation_columns, instance_columns, row_from
from reconciler.store.writer import Writer

_ROWS_AT_ONCE = 100
"""Times the columns of a row, far below the 32,766 values that SQLite takes in one statement."""


class Desired:
    """The `instances` table and what belongs to it. Every method blocks and may raise StoreError.

    A change that makes an instance active, or removes it, ends its shadow book; `ended` is told whose.
    """

    def __init__(self, writer: Writer, reads: ReadPool, ended: Callable[[Collection[str]], None]) -> None:
        self._writer = writer
        self._reads = reads
        self._ended = ended
        self._seen_version = writer.write(_data_version)

    def rows(self) -> dict[str, Row]:
        """Every row by id, tombstones included, each as it was applied."""
        return read_rows(self._reads)

    def attempts(self) -> dict[str, Attempt]:
        """What was last attempted with each file, by path."""
        return read_attempts(self._reads)

    def apply(
        self, changes: Sequence[RowChange], attempts: Sequence[Attempt] = (), forgotten_paths: Sequence[str] = ()
    ) -> None:
        """All of it or nothing, in one transaction, committed on return.

        Rows of `changes` replace those of their id, each with an entry in the history. `attempts` replace
        those of their path; those of `forgotten_paths` go.
        """
        if not (changes or attempts or forgotten_paths):
            return
        instances = [instance_columns(change.row) for change in changes]
        generations = [generation_columns(change, row) for change, row in zip(changes, instances, strict=True)]
        tried = [attempt_columns(attempt) for attempt in attempts]

        def job(db: Database) -> list[str]:
            ended = _end_shadow_books(db, [change.row for change in changes])
            _put(db, "instances", instances)
            _put(db, "generations", generations)
            _put(db, "attempts", tried)
            for path in forgotten_paths:
                db.execute("DELETE FROM attempts WHERE path = ?", [path])
            return ended

        self._writer.write(job, self._ended)

    def changed_by_others(self) -> bool:
        """True where something other than this engine has committed to the database since this was last asked.

        It says that, not what: compare the rows. May be true where nothing that matters here changed.
        """
        before, self._seen_version = self._seen_version, self._writer.write(_data_version)
        return self._seen_version != before


def _put(db: Database, table: str, rows: Sequence[Columns]) -> None:
    """Insert `rows`, which all have the same columns, or replace those that have their keys.

    In few large statements and not by `upsert_all`: that looks at each value for what it might have to convert.
    """
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        some = rows[begin : begin + _ROWS_AT_ONCE]
        names = ", ".join(f'"{name}"' for name in some[0])
        marks = f"({', '.join('?' * len(some[0]))})"
        values = [value for row in some for value in row.values()]
        db.execute(f'REPLACE INTO "{table}" ({names}) VALUES {", ".join([marks] * len(some))}', values)


def _end_shadow_books(db: Database, rows: Sequence[Row]) -> list[str]:
    """End those of the instances that become active, were so until now, or are removed. Returns whose there were.

    One that was active and has a shadow book placed a shadow order while it was rising.
    """
    begun = with_open_shadow_book(db, [row.id for row in rows])
    ended: list[str] = []
    for row in rows:
        if row.id in begun and (Mode.ACTIVE in (row.mode, _mode(db, row.id)) or row.removed_at is not None):
            ended += end_shadow_books(db, [row.id], datetime.fromisoformat(row.removed_at or row.applied_at))
    return ended


def _mode(db: Database, instance_id: str) -> str:
    found = db.query("SELECT coalesce(mode_override, mode) AS mode FROM instances WHERE id = ?", [instance_id])
    return next((columns["mode"] for columns in found), Mode.OFF)


def read_rows(reads: ReadPool) -> dict[str, Row]:
    return {columns["id"]: row_from(columns) for columns in reads.query("SELECT * FROM instances ORDER BY id")}


def read_attempts(reads: ReadPool) -> dict[str, Attempt]:
    return {columns["path"]: attempt_from(columns) for columns in reads.query("SELECT * FROM attempts ORDER BY path")}


def _data_version(db: Database) -> int:
    """A number that SQLite changes whenever another connection, but never this one, commits."""
    return int(db.execute("PRAGMA data_version").fetchone()[0])

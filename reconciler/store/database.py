"""Connections: the one that writes, and a pool of read-only ones. Here, and only here, SQLite's errors get words."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from sqlite_utils import Database

from reconciler.errors import StoreError
from reconciler.store import tables as schema
from reconciler.store.columns import rows


class MigratedDatabase(Database):
    """One whose tables are made: a script within a transaction is cut at its semicolons.

    `Database` looks after each letter whether a statement is whole, which is most of what making the tables takes.
    """

    def executescript(self, sql: str) -> sqlite3.Cursor:
        if not self.conn.in_transaction:
            return super().executescript(sql)
        cursor, statement = self.conn.cursor(), ""
        for part in sql.split(";"):
            statement += f"{part};"
            if part.strip() and sqlite3.complete_statement(statement):
                cursor.execute(statement)
                statement = ""
        return cursor


def make_folder(path: Path) -> None:
    """The folder, with those above it, for its owner only (0700) where it is missing. Raises StoreError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be made: {error.strerror}: check who may write to the folder above"
        ) from error


def open_writable(path: Path, busy_timeout_s: float) -> Database:
    """The writing connection, its tables up to date; the file is created, for its owner only (0600), where missing.

    It waits `busy_timeout_s` for another process that holds the database. The thread that opens it hands
    it to the writer's thread and must not use it afterwards. Raises StoreError.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened for writing: {error.strerror}: check its owner and mode") from error
    with explained(path):
        connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
        try:
            db = MigratedDatabase(connection, execute_plugins=False)
            db.enable_wal()
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            schema.migrate(db, path)
        except BaseException:
            connection.close()
            raise
    return db


def open_read_only(path: Path) -> Database:
    """A connection that cannot write; any one thread at a time may use it. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        db = Database(connection, execute_plugins=False)
        db.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return db


def open_in_memory(tag: str) -> Database:
    """A database with its tables and nothing in them, whose orders' ids carry `tag`; it ends with its connection."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.deserialize(_made())
    db = Database(connection, execute_plugins=False)
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("UPDATE tags SET tag = ?", [tag])
    return db


_FOR_READERS = (
    "orders_of_book", "orders_by_book", "orders_by_outcome", "orders_by_state", "orders_by_time",
    "orders_by_exchange_id", "books_of_account",
)  # fmt: skip
"""Indexes by which lists of orders are looked for; each is kept up with every order, and in memory nobody looks."""


@cache
def _made() -> bytes:
    """The tables, made once: that takes longer than all that most are used for."""
    with MigratedDatabase(memory=True, execute_plugins=False) as db:
        db.conn.isolation_level = None
        schema.migrate(db, IN_MEMORY)
        for name in _FOR_READERS:
            db.execute(f"DROP INDEX {name}")
        return bytes(db.conn.serialize())


IN_MEMORY = Path(":memory:")
"""What messages call a database that is no file."""


class Reads(Protocol):
    """What reads the database: every query sees the last commit."""

    def snapshot(self) -> AbstractContextManager[Database]:
        """A connection on which every query sees the database as of one moment. Raises StoreError."""
        ...

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows that `sql` selects, by column name. Raises StoreError."""
        ...

    def close(self) -> None: ...


class ReadsOf:
    """Implements `Reads` on the one connection of a database in memory, for the one thread that has it."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @contextmanager
    def snapshot(self) -> Iterator[Database]:
        with explained(IN_MEMORY):
            yield self._db

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with explained(IN_MEMORY):
            return rows(self._db, sql, parameters)

    def close(self) -> None:
        """It is closed by who writes to it."""


class ReadPool:
    """Implements `Reads`: read-only connections to one database, as many as are used at once. Thread-safe.

    Every query sees the last commit. Connections are handed from thread to thread rather than kept by
    each, because worker threads come and go.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: deque[Database] = deque()
        self._closed = False

    @contextmanager
    def snapshot(self) -> Iterator[Database]:
        """A connection on which every query sees the database as of one moment. Raises StoreError."""
        with self._borrowed() as db, db.atomic():
            yield db

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """All rows that `sql` selects, by column name. Raises StoreError."""
        with self._borrowed() as db:
            return rows(db, sql, parameters)

    def close(self) -> None:
        """Close what is idle now, and what is in use as soon as it is not."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    @contextmanager
    def _borrowed(self) -> Iterator[Database]:
        """A connection of the caller's own for a while; after an error it is not used again."""
        if self._closed:
            raise StoreError(f"{self._path}: expected an open database, was closed")
        with explained(self._path):
            try:
                db = self._idle.pop()
            except IndexError:
                db = open_read_only(self._path)
            try:
                yield db
            except BaseException:
                db.close()
                raise
        self._idle.append(db)
        if self._closed:
            self.close()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """What SQLite raises within is raised as StoreError, with the file and how to mend it."""
    try:
        yield
    except sqlite3.Error as error:
        raise explanation(path, error) from error


def explanation(path: Path, error: sqlite3.Error) -> StoreError:
    """`error` in words: where, what, and how to mend it where that is known."""
    mend = _MENDS.get(getattr(error, "sqlite_errorcode", 0) & 0xFF, "")
    return StoreError(f"{path}: {error}" + (f": {mend}" if mend else ""))


_MENDS = {
    sqlite3.SQLITE_BUSY: "another program is writing to it: let it finish, or end it",
    sqlite3.SQLITE_CANTOPEN: "check that the folder exists and who may enter it",
    sqlite3.SQLITE_CORRUPT: "restore a backup",
    sqlite3.SQLITE_FULL: "make room on the disk",
    sqlite3.SQLITE_IOERR: "check the disk",
    sqlite3.SQLITE_NOTADB: "name another file, or move this one away",
    sqlite3.SQLITE_READONLY: "check the owner and mode of the file and of its folder",
}
"""How to mend what SQLite complains of, by primary result code."""

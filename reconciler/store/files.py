"""The files a database stands in: itself, its log (`-wal`) and the log's index (`-shm`).

What is written to a file that no path names any more is lost with the process, and SQLite does not notice: it goes
on in the log it has open. A database written over in place keeps its identity, but not its size and time. Nor does
one that another program merely wrote the log back into, which is no harm: that one still has our stamp.

Nothing may be closed here before SQLite has closed it: closing a file gives up all locks that this process holds on
it, SQLite's too.
"""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.errors import StoreError
from reconciler.store.wal import Reach, Wal

REPLACED = "the database was removed or replaced while the engine ran"
OVERWRITTEN = "the database was written over by another program while the engine ran"
LOG_LOST = "the database's log (its -wal and -shm files) was removed or replaced while the engine ran"
LOG_DAMAGED = "the database's log (its -wal file) was cut or written over while the engine ran"

_SCHEMA_COOKIE, _USER_VERSION = slice(40, 44), slice(60, 64)
"""Where these stand in a database file's header, which are the stamp. Every change of the tables, VACUUM too, counts
the first one up; the engine counts the second one up before each time it writes the log back."""

_Stat = os.stat_result | None


class Files:
    """As they are when this is made, which is when all three are there: after a write, the connection still open.

    Every method raises StoreError where a file cannot be looked at. Asked twice for each commit.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        real = path.resolve()  # SQLite keeps the log beside the file itself, not beside a link to it
        self._log, self._index = f"{real}-wal", f"{real}-shm"
        try:
            self._descriptor = os.open(real, os.O_RDONLY)
        except OSError as error:
            raise StoreError(f"{path}: cannot be looked at: {error.strerror}: check its owner and mode") from error
        found = _found(self._path)
        self._identity, self._state = _identity(found), _state(found)
        self._stamps = {self._header()}
        self._logs = (_identity(_found(self._log)), _identity(_found(self._index)))
        if None in (self._identity, *self._logs):
            os.close(self._descriptor)
            raise StoreError(f"{path}: expected its log beside it, found none: name a file on an ordinary disk")
        try:
            self._wal = Wal(self._log, self._index)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"{path}: its log cannot be looked at: {error.strerror}") from error
        self._reach = self._wal.reach()

    def change(self, *, thorough: bool = False) -> str:
        """What became of them, empty where they are what they were. All of the log is read now and then, or now."""
        if why := self.database_change():
            return why
        if (_identity(_found(self._log)), _identity(_found(self._index))) != self._logs:
            return LOG_LOST
        try:
            return LOG_DAMAGED if self._wal.is_damaged(thorough) else ""
        except OSError as error:
            raise StoreError(f"{self._log}: cannot be read: {error.strerror}: check the disk") from error

    def database_change(self) -> str:
        """The same of the database alone: where it is empty, what the log holds may be written back into it."""
        found = _found(self._path)
        if _identity(found) != self._identity:
            return REPLACED
        # The files before the index: whoever writes the log back says so there first.
        state, reach = _state(found), self._wal.reach()
        if state == self._state:
            self._begun_anew(reach)
            return ""
        if self._header() not in self._stamps or not self._is_going_back(reach):
            return OVERWRITTEN
        self._state, self._reach = state, reach  # somebody else wrote the log back
        return ""

    def _begun_anew(self, reach: Reach | None) -> None:
        """Where the log was begun anew, nothing of it is in the database yet."""
        if reach is not None and (self._reach is None or reach.salt != self._reach.salt):
            self._reach = reach._replace(back=0, going_back=0)

    def _is_going_back(self, reach: Reach | None) -> bool:
        """Whether what was written into the database can have come out of the log, by how far that is written back."""
        before = self._reach
        if reach is None or before is None or reach.salt != before.salt:
            return True
        return (reach.back, reach.going_back) != (before.back, before.going_back) or reach.back < reach.going_back

    def checkpointed(self, stamp: int) -> None:
        """The log was written back by the engine itself, in part where somebody reads or the disk is full.

        `stamp` is the last `user_version` that was committed: if it is not in the database yet, it may get there later.
        """
        self._state = _state(_found(self._path))
        self._reach = self._wal.reach()
        header = self._header()
        self._stamps = {header, header[:4] + stamp.to_bytes(4, "big")}

    def close(self) -> None:
        """Once all connections of this process to the database are closed."""
        self._wal.close()
        os.close(self._descriptor)

    def _header(self) -> bytes:
        header = os.pread(self._descriptor, 64, 0)
        return header[_SCHEMA_COOKIE] + header[_USER_VERSION]


def _found(path: str) -> _Stat:
    """None where there is no such file."""
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be looked at: {error.strerror}: check the disk and its mounts") from error


def _identity(found: _Stat) -> tuple[int, int] | None:
    return None if found is None else (found.st_dev, found.st_ino)


def _state(found: _Stat) -> tuple[int, int] | None:
    return None if found is None else (found.st_size, found.st_mtime_ns)

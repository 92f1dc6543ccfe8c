"""The files a database stands in: itself, its log (`-wal`) and the log's index (`-shm`). Looks at them, opens none.

What is written to a file that no path names any more is lost with the process, and SQLite does not notice: it goes
on in the log it has open. A database written over in place keeps its identity, but not its size and time: nothing
but the engine's own checkpoints writes to it, every commit goes to the log.

None may be opened here: closing a file gives up all locks that this process holds on it, SQLite's too.
"""

from __future__ import annotations

import os
from pathlib import Path

from reconciler.errors import StoreError

REPLACED = "the database was removed or replaced while the engine ran"
OVERWRITTEN = "the database was written over by another program while the engine ran"
LOG_LOST = "the database's log (its -wal and -shm files) was removed or replaced while the engine ran"

_Stat = os.stat_result | None


class Files:
    """As they are when this is made, which is when all three are there: after a write, the connection still open.

    Every method raises StoreError where a file cannot be looked at. Asked twice for each commit.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._log = f"{path}-wal"
        self._index = f"{path}-shm"
        found = _found(self._path)
        self._identity, self._state = _identity(found), _state(found)
        self._logs = (_identity(_found(self._log)), _identity(_found(self._index)))

    def change(self) -> str:
        """What became of them, empty where they are what they were."""
        if why := self.database_change():
            return why
        if (_identity(_found(self._log)), _identity(_found(self._index))) != self._logs:
            return LOG_LOST
        return ""

    def database_change(self) -> str:
        """The same of the database alone: where it is empty, what the log holds may be written back into it."""
        found = _found(self._path)
        if _identity(found) != self._identity:
            return REPLACED
        return OVERWRITTEN if _state(found) != self._state else ""

    def checkpointed(self) -> None:
        """The database was written to, by the engine itself."""
        self._state = _state(_found(self._path))


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

"""The lock that makes one engine per database: the operating system's, so that it ends with its holder, however."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from reconciler.errors import StoreError, StoreLocked


class EngineLock:
    """An exclusive lock on a file beside the database, which holds the pid of whoever has it.

    The file is never removed: a second opener could otherwise lock a file that a third no longer sees.
    """

    def __init__(self, path: Path) -> None:
        """Takes the lock at once. Raises StoreLocked, naming the holder's pid, or StoreError."""
        try:
            # What stands there is written over: a link would have that done to what it leads to.
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise StoreError(f"{path}: expected a file of its own, was a link: remove the link") from error
            raise StoreError(f"{path}: cannot be opened: {error.strerror}: check its owner and mode") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(self._file, 0)
            os.write(self._file, str(os.getpid()).encode())
        except BlockingIOError:
            holder = os.read(self._file, 20).decode("ascii", "replace") or "unknown"
            os.close(self._file)
            raise StoreLocked(
                f"{path}: another engine (pid {holder}) holds this database: stop it first, or name another database"
            ) from None
        except OSError as error:
            os.close(self._file)
            raise StoreError(f"{path}: cannot be locked: {error.strerror}: use a local file system") from error

    def release(self) -> None:
        """Give it up. Once."""
        os.close(self._file)

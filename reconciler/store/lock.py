"""The lock that makes one engine per database: the operating system's, so that it ends with its holder, however."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from reconciler.errors import StoreError, StoreLocked
from reconciler.forks import in_children, let_go
from reconciler.visible import visible


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
            found = os.fstat(self._file)
            os.close(self._file)
            raise _refusal(path, holder, _holders(found)) from None
        except OSError as error:
            os.close(self._file)
            raise StoreError(f"{path}: cannot be locked: {error.strerror}: use a local file system") from error

        self._kept = ExitStack()
        self._kept.enter_context(in_children(lambda: let_go([self._file])))

    def release(self) -> None:
        """Give it up. Once."""
        self._kept.close()
        os.close(self._file)


def _refusal(path: Path, engine: str, holders: Sequence[int]) -> StoreLocked:
    """Who is in the way, and what to do about it. A lock outlives its engine with a process that has the file, too."""
    heirs = [pid for pid in holders if str(pid) != engine]
    if str(os.getpid()) == engine or len(heirs) < len(holders) or not heirs:
        holds = f"another engine (pid {engine}) holds this database"
        return StoreLocked(f"{path}: {holds}: stop it first, or name another database")
    named = ", ".join(f"pid {pid} ({_command(pid)})" for pid in heirs)
    whose = "its child" if len(heirs) == 1 else "its children"
    held = f"the engine (pid {engine}) has ended, and its lock is held by {whose}, {named}"
    refusal = StoreLocked(f"{path}: {held}: end that first: kill {' '.join(map(str, heirs))}")
    refusal.has_ended = True
    return refusal


def _holders(lock: os.stat_result) -> list[int]:
    """The processes that have the lock's file open, as far as this user may see."""
    folders = {int(name): f"/proc/{name}/fd" for name in _entries("/proc") if name.isdecimal()}
    return [pid for pid, folder in folders.items() if any(_is(f"{folder}/{one}", lock) for one in _entries(folder))]


def _entries(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:  # it has ended, is another user's, or there is no such thing on this system
        return []


def _is(path: str, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), file)
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return visible(Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip())
    except OSError:
        return "ended meanwhile"

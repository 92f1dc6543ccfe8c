"""The files a database stands in: itself, its log (`-wal`) and the log's index (`-shm`).

What is written to a file that no path names any more is lost with the process, and SQLite does not notice: it goes
on in the log it has open. A database written over in place keeps its identity, but not its size and time. Nor does
one that another program merely wrote the log back into, which is no harm: that one still has our stamp.

Nothing may be closed here before SQLite has closed it: closing a file gives up all locks that this process holds on
it, SQLite's too.

And the file beside it, `reconciler.db.id`, that remembers which database it is, by the tags that ids of its orders
carry. A tag is a digit and three characters of `[a-z0-9]`. A database has the one it began with, and one more from
each restore on; all of them are its own. The file holds the first: where the database is emptied, gone or another
one, it says so. It is no lock and no secret; without it, nothing is lost but that.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import struct
import tempfile
import zlib
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from reconciler.ending import in_children, let_go
from reconciler.errors import StoreError, StoreLocked
from reconciler.visible import visible

_INDEX = struct.Struct("=4x4x4xBBHI4x8x8s8x")
"""One of the two copies of the index's head: is it valid, byte order, size of a page, frames, and the log's salt."""
_BACK = struct.Struct("=I28xI")
"""Frames that were written back, and those that were being written back, behind both copies."""
_BACK_AT = 2 * _INDEX.size
_LOG_HEAD, _FRAME_HEAD = 32, 24
_SALT = slice(16, 24)
_MAGIC = 0x377F_0682
_READ_BYTES = 1024 * 1024
_READ_AGAIN_NS = 100_000_000
"""All of the log is read again at the first commit that comes so long after it was. Whoever writes into it in between
is told by its time, but for who does so in the very moment in which the engine did, by the clock of its file system."""
_TAG = re.compile("[0-9][a-z0-9]{3}")


class Reach(NamedTuple):
    """How far the log reaches. `back` frames of it are in the database; more are being written there."""

    salt: bytes
    frames: int
    frame_bytes: int
    back: int
    going_back: int

    @property
    def end(self) -> int:
        return _LOG_HEAD + self.frames * self.frame_bytes if self.frames else 0


class Wal:
    """The log, as it is from when this is made on. Every method may raise OSError."""

    def __init__(self, log: str, index: str) -> None:
        self._log = os.open(log, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._index = os.open(index, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._log)
            raise
        self._salt = b""
        self._end = 0
        """Up to here its content is known by its checksum."""
        self._checksum = 0
        self._read_at_ns = 0

    def reach(self) -> Reach | None:
        """None where the index cannot be read: it is being written, or is none."""
        for _ in range(3):
            told = os.pread(self._index, _BACK_AT + _BACK.size, 0)
            first, second = told[: _INDEX.size], told[_INDEX.size : _BACK_AT]
            if len(told) == _BACK_AT + _BACK.size and first == second:
                is_valid, _, page_bytes, frames, salt = _INDEX.unpack(first)
                back, going_back = _BACK.unpack(told[_BACK_AT:])
                page_bytes = 65_536 if page_bytes == 1 else page_bytes
                return Reach(salt, frames, page_bytes + _FRAME_HEAD, back, going_back) if is_valid else None
        return None

    def is_damaged(self, reach: Reach | None, size: int, written_ns: int, thorough: bool = False) -> bool:
        """Whether it, of that size and written at that time, is not what was written into it. All of it is read now and
        then, or where that is asked for."""
        if reach is None or not reach.frames:
            self._forget()
            return False
        if size < reach.end:
            return True
        is_due = thorough or abs(written_ns - self._read_at_ns) >= _READ_AGAIN_NS
        if (is_due or reach.salt != self._salt) and os.pread(self._log, _LOG_HEAD, 0)[_SALT] != reach.salt:
            return True
        if reach.salt != self._salt or reach.end < self._end:
            self._forget()  # it begins anew, or something of it was taken back
            self._salt = reach.salt
        if is_due:
            self._read_at_ns = written_ns
            if self._end and self._read(0, self._end, 0) != self._checksum:
                return True
        self._checksum = self._read(self._end, reach.end, self._checksum)
        self._end = reach.end
        return False

    def close(self) -> None:
        """Once all connections of this process to the database are closed."""
        os.close(self._index)
        os.close(self._log)

    def _forget(self) -> None:
        self._salt, self._end, self._checksum = b"", 0, 0

    def _read(self, start: int, end: int, checksum: int) -> int:
        while start < end:
            piece = os.pread(self._log, min(_READ_BYTES, end - start), start)
            if not piece:
                break
            checksum = zlib.crc32(piece, checksum)
            start += len(piece)
        return checksum


class Break(NamedTuple):
    """Where a log that was left is damaged, and how many transactions stand behind that: they are lost."""

    at: int
    transactions: int

    def __str__(self) -> str:
        return f"its log is damaged at byte {self.at}, and the {self.transactions} transactions behind that are lost"


def broken(log: str) -> Break | None:
    """Where a log that an engine left, as a killed one does, is damaged in its middle: SQLite reads as far as that, and
    says nothing. None where it is whole, or was cut off within its last transaction, which nobody waited for.

    Raises OSError where it is there and cannot be read.
    """
    try:
        with open(log, "rb") as file:
            head = file.read(_LOG_HEAD)
            if len(head) < _LOG_HEAD:
                return None
            magic, _, page_bytes = struct.unpack(">3I", head[:12])
            if magic & ~1 != _MAGIC or page_bytes & (page_bytes - 1) or not 512 <= page_bytes <= 65_536:
                return None
            words = struct.Struct(">2I" if magic & 1 else "<2I")
            sums, at, broke_at, behind = _checksum(words, head[:24], (0, 0)), _LOG_HEAD, 0, 0
            if sums != struct.unpack(">2I", head[24:]):
                return None
            while len(frame := file.read(_FRAME_HEAD + page_bytes)) == _FRAME_HEAD + page_bytes:
                is_ours, ends = frame[8:16] == head[_SALT], frame[4:8] != bytes(4)
                if not broke_at:
                    sums = _checksum(words, frame[_FRAME_HEAD:], _checksum(words, frame[:8], sums))
                    if not is_ours or sums != struct.unpack(">2I", frame[16:24]):
                        broke_at = at
                behind += bool(broke_at and is_ours and ends)
                at += len(frame)
    except FileNotFoundError:
        return None
    # One alone may have been cut off by a loss of power.
    return Break(broke_at, behind) if behind > 1 else None


def _checksum(words: struct.Struct, data: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    one, two = sums
    for first, second in words.iter_unpack(data):
        one = (one + first + two) & 0xFFFF_FFFF
        two = (two + second + one) & 0xFFFF_FFFF
    return one, two


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
        self._left: tuple[int, int] | None = None
        """The log's size and time when it was looked at last; None where that was not since it was written back."""

    def change(self, *, is_written: bool = False, thorough: bool = False) -> str:
        """What became of them, empty where they are what they were.

        `is_written` where the engine just wrote: of a log that was touched otherwise, all is read; of one that the
        engine wrote to, what is new, and now and then all. And all where that is asked for.
        """
        database, log, index = _found(self._path), _found(self._log), _found(self._index)
        is_there = (_identity(log), _identity(index)) == self._logs
        is_untouched = is_there and self._left is not None and _state(log) == self._left
        is_same = (_identity(database), _state(database)) == (self._identity, self._state)
        if is_untouched and is_same and not (is_written or thorough):
            return ""
        self._left, reach = None, self._wal.reach()
        if why := self._database_change(database, reach):
            return why
        if not is_there or log is None:
            return LOG_LOST
        try:
            is_all = thorough or not is_written
            if self._wal.is_damaged(reach, log.st_size, log.st_mtime_ns, is_all):
                return LOG_DAMAGED
        except OSError as error:
            raise StoreError(f"{self._log}: cannot be read: {error.strerror}: check the disk") from error
        self._left = _state(log)
        return ""

    def database_change(self) -> str:
        """The same of the database alone: where it is empty, what the log holds may be written back into it."""
        # The files before the index: whoever writes the log back says so there first.
        found = _found(self._path)
        return self._database_change(found, self._wal.reach())

    def _database_change(self, found: _Stat, reach: Reach | None) -> str:
        if _identity(found) != self._identity:
            return REPLACED
        state = _state(found)
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
        self._state, self._left = _state(_found(self._path)), None
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


class Lineage:
    """What the file beside the database at `path` says, which is asked before the database is opened."""

    def __init__(self, path: Path) -> None:
        """Raises StoreError where an empty file stands in the place of a database that was there."""
        self._path = path
        self._file = path.with_name(f"{path.name}.id")
        self._remembered = self._read()
        is_there = path.exists()
        self.is_begun = not is_there or path.stat().st_size == 0
        """True where there is no database yet: whoever opens it begins one."""
        if self._remembered and is_there and self.is_begun:
            raise StoreError(
                f"{path}: expected the database {self._remembered}, was an empty file: restore a backup (reconciler"
                " restore FILE); or, to begin a new ledger, which knows no order and no position, move the file away"
            )

    @property
    def lost(self) -> str:
        """The tag of the database that was here and is gone; empty where none was, or it is here."""
        return self._remembered if self.is_begun else ""

    def compare(self, tag: str) -> None:
        """`tag` is the first of what was opened, and is remembered. Raises StoreError where it is another database."""
        if self._remembered and not self.is_begun and self._remembered != tag:
            raise StoreError(
                f"{self._path}: expected the database {self._remembered}, which was here before, was {tag}, another"
                f" ledger: put the right one back; or, where this one is meant, move {self._file.name} away"
            )
        if self._remembered != tag:
            self._write(tag)

    def _read(self) -> str:
        try:
            text = self._file.read_text("ascii").strip()
        except (OSError, ValueError):
            return ""
        return text if _TAG.fullmatch(text) else ""

    def _write(self, tag: str) -> None:
        aside = ""
        try:
            number, aside = tempfile.mkstemp(prefix=f"{self._file.name}.", dir=self._file.parent)
            with open(number, "w", encoding="ascii") as opened:
                opened.write(f"{tag}\n")
                opened.flush()
                os.fsync(opened.fileno())
            os.replace(aside, self._file)
        except OSError as error:
            with suppress(OSError):
                os.unlink(aside)
            raise StoreError(f"{self._file}: cannot be written: {error.strerror}: check the disk") from error

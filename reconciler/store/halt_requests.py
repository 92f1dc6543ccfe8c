"""`.reconciler/halt-requests`: halts that no engine answered and the database did not take, a JSON line each.

Whoever halts appends here; the engine looks each beat and at its start, puts what it finds in force, stores it, and
empties the file. It is read without a lock, for lines are only ever added; what is taken away is taken away under one,
which is this file's own: no engine that hangs, and no lock on the database, keeps a halt from the disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
from collections.abc import Collection, Iterator
from dataclasses import fields, replace
from pathlib import Path

from reconciler.clock import Clock, from_iso, iso
from reconciler.errors import StoreError
from reconciler.records.halt import Cancelling, Halt, collar_of, shortened
from reconciler.store.database import make_folder

HALT_REQUESTS = "halt-requests"
RESERVE_BYTES = 64 * 1024
"""Of disk, kept beside the file and given up where the disk is full: a halt needs a few hundred."""
_LARGEST_BYTES = 1024 * 1024
_FLAGS = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_TRIES, _BETWEEN_S = 20, 0.1
"""How long a lock that somebody holds is waited for: it is held for moments only, unless its holder was stopped."""


class HaltRequests:
    """The file in the folder of the engine's state. Thread-safe, and safe beside other processes."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._path = folder / HALT_REQUESTS
        self._reserve = folder / f"{HALT_REQUESTS}.reserve"
        self._clock = clock
        self._seen: tuple[int, int, int] | None = None
        self._held: tuple[int, int] | None = None
        self._mutex = threading.Lock()

    def append(self, halt: Halt) -> None:
        """Write it down; on the disk on return. Raises StoreError where it is not."""
        line = json.dumps(halt.to_json()).encode() + b"\n"
        make_folder(self._path.parent)
        with self._locked():
            try:
                self._write(line)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise self._told(error) from error
                with contextlib.suppress(OSError):
                    self._reserve.unlink()
                try:
                    self._write(line)
                except OSError as again:
                    raise self._told(again) from again

    def keep_reserve(self) -> None:
        """Take some of the disk while there is some. Nothing is lost where that fails."""
        with contextlib.suppress(OSError):
            file = os.open(self._reserve, os.O_WRONLY | _FLAGS, 0o600)
            try:
                if os.fstat(file).st_size < RESERVE_BYTES:
                    os.posix_fallocate(file, 0, RESERVE_BYTES)
            finally:
                os.close(file)

    def hold(self) -> None:
        """Have the file and its lock open: where no descriptor is left, halts are read all the same. Until `close`.

        Nothing is lost where that fails. Called again, it sees to it that it is still the file.
        """
        with self._mutex, contextlib.suppress(OSError):
            if self._held is not None and self._held_file() is None:
                self._let_go()
            if self._held is None:
                file = os.open(self._path, os.O_RDWR | _FLAGS, 0o600)
                try:
                    self._held = file, self._open_lock()
                except BaseException:
                    os.close(file)
                    raise

    def close(self) -> None:
        """Let go what `hold` has open."""
        with self._mutex:
            self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        for descriptor in held or ():
            os.close(descriptor)

    def has_news(self) -> bool:
        """True where it is not as it was when it was read last. Cheap."""
        return self._stat() != self._seen

    def is_empty(self) -> bool:
        return self._stat() is None

    def read(self) -> tuple[Halt, ...]:
        """What is asked for. A line that cannot be understood may have asked for anything: it halts all, in full.

        Raises StoreError where the file is there and cannot be read.
        """
        seen = self._stat()
        if seen is None:
            self._seen = None
            return ()
        data = self._data()
        self._seen = seen
        if len(data) == _LARGEST_BYTES:
            data += b"\nthere is more than is read"  # whatever it says: it is no halt
        return tuple(dict.fromkeys(self._halt(line) for line in data.splitlines() if line.strip(b"\0 \t")))

    def drop(self, done: Collection[Halt]) -> None:
        """Take these away, whenever they were asked for, and leave what else was added.

        Raises StoreError where that cannot be done.
        """
        if self._stat() is None:
            return
        is_done = {replace(halt, at="") for halt in done}
        with self._locked():
            data = self._data()
            if len(data) == _LARGEST_BYTES:
                raise StoreError(
                    f"{self._path}: expected less than {_LARGEST_BYTES:,} bytes: look at it, and remove it"
                )
            lines = [line for line in data.splitlines() if line.strip(b"\0 \t")]
            left = b"".join(line + b"\n" for line in lines if replace(self._halt(line), at="") not in is_done)
            if left == data:
                return
            try:
                self._replace(left)
            except OSError as error:
                raise self._told(error) from error

    def _halt(self, line: bytes) -> Halt:
        try:
            item = json.loads(line)
            if not isinstance(item, dict):
                raise ValueError("expected an object")
            told = {field.name: item[field.name] for field in fields(Halt) if field.name in item}
            told["cancel"] = Cancelling.of(told.get("cancel", False))
            told["collar"] = collar_of(item.get("flatten"))
            if not isinstance(told["full"], bool) or not all(
                isinstance(told[name], str) for name in ("scope", "id", "reason", "by", "at")
            ):
                raise ValueError("expected text, and true or false")
            from_iso(told["at"])
            return replace(Halt(**told), reason=shortened(told["reason"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            said = line[:80].decode("ascii", "backslashreplace")
            why = shortened(
                f"a line of {self._path.name} cannot be understood, and may have asked for anything: {said}"
            )
            return Halt("all", "", True, why, HALT_REQUESTS, iso(self._clock.time()))

    def _write(self, line: bytes) -> None:
        held = self._held_file()
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | _FLAGS, 0o600) if held is None else held
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":
                line = b"\n" + line  # after what somebody began and did not end
            try:
                if (os.write(file, line) if held is None else os.pwrite(file, line, size)) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(file, size)
                raise
        finally:
            if held is None:
                os.close(file)
        if held is None:
            self._sync_folder()

    def _replace(self, data: bytes) -> None:
        """Emptied in place, which a full disk allows; else written anew beside it."""
        if not data:
            os.truncate(self._path, 0)
            return
        beside = self._path.with_name(f"{HALT_REQUESTS}.new")
        file = os.open(beside, os.O_WRONLY | os.O_TRUNC | _FLAGS, 0o600)
        try:
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        finally:
            os.close(file)
        beside.replace(self._path)
        self._sync_folder()

    def _held_file(self) -> int | None:
        """The descriptor that is held, where it is still that of the file."""
        if self._held is None:
            return None
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(self._held[0]), os.stat(self._path)):
                return self._held[0]
        return None

    def _sync_folder(self) -> None:
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _data(self) -> bytes:
        try:
            if (held := self._held_file()) is not None:
                return os.pread(held, _LARGEST_BYTES, 0)
            with self._path.open("rb") as file:
                return file.read(_LARGEST_BYTES)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise self._told(error) from error

    def _stat(self) -> tuple[int, int, int] | None:
        """None where there is nothing in it."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._told(error) from error
        return (found.st_ino, found.st_size, found.st_mtime_ns) if found.st_size else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock, or, where its holder does not let go, nothing: a halt does not wait for who was stopped."""
        with self._mutex:
            try:
                lock = self._open_lock() if self._held is None else self._held[1]
            except OSError as error:
                raise self._told(error) from error
            try:
                for _ in range(_TRIES):
                    try:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        self._clock.wait(threading.Event(), _BETWEEN_S)
                yield
            finally:
                fcntl.flock(lock, fcntl.LOCK_UN)
                if self._held is None:
                    os.close(lock)

    def _open_lock(self) -> int:
        return os.open(self._path.with_name(f"{HALT_REQUESTS}.lock"), os.O_RDWR | _FLAGS, 0o600)

    def _told(self, error: OSError) -> StoreError:
        return StoreError(f"{self._path}: {error.strerror}: check the disk, and the file's owner and mode")


class NoRequests:
    """Of a store in memory, which no other program can reach: nothing is ever asked for, and nothing kept."""

    def append(self, halt: Halt) -> None:
        raise StoreError("a store in memory keeps no halt requests")

    def has_news(self) -> bool:
        return False

    def is_empty(self) -> bool:
        return True

    def read(self) -> tuple[Halt, ...]:
        return ()

    def drop(self, done: Collection[Halt]) -> None:
        """There is nothing."""

    def keep_reserve(self) -> None:
        """There is no disk."""

    def hold(self) -> None:
        """There is no file."""

    def close(self) -> None:
        """There is no file."""

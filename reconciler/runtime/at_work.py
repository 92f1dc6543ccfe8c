"""At work: who was at it when the process ended without a word, so that the next one does not run into the same again.

Each thread that runs foreign code writes a number into a page of memory that is a file as well, which costs nothing
and outlives any end of the process. Whose number it is stands behind that page, written once per load. Who was at
work twice when a process ended is suspected: it is not loaded again until it changes or a person says so. While foreign
code waits in a call of the engine's, the engine is at work, and nobody is suspected.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import threading
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

log = logging.getLogger(__name__)

TIMES: Final = 2
"""So many ends make a suspect."""

_MAGIC: Final = b"at work 1\n"
_PAGE: Final = 16_384
_HEADER: Final = 4_096
_NOTE: Final = 512
"""Where in the header what was noted last stands: how long it is, and its text."""
_THREADS: Final = (_PAGE - _HEADER) // 8
_RECORD: Final = 256


class Culprit(NamedTuple):
    """Foreign code: an instance by its id, or a strategy's source by its path, in the version that its digests name."""

    kind: str
    name: str
    version: str


class Ended(NamedTuple):
    """What is known of a process that ended while these were at work; `how`, where one of them ended it by name."""

    culprits: tuple[Culprit, ...]
    how: str


class AtWork:
    """Thread-safe. `marks[thread]` is the number of who is at work there, 0 for nobody: plain stores, see `Crew`."""

    def __init__(self, folder: Path | None = None, boot: str = "") -> None:
        """Without a folder nothing is remembered. `boot` tells one running of the machine from another."""
        self._lock = threading.Lock()
        self._numbers: dict[Culprit, int] = {}
        self._free = list(range(_THREADS - 1, -1, -1))
        self._suspicions: dict[Culprit, dict[str, Any]] = {}
        self._counts = None if folder is None else folder / "crashes.json"
        self.marks: MutableSequence[int] = [0] * _THREADS
        self.ended: Ended | None = None
        """How the process before this one ended, where foreign code was at work."""
        self._file = -1
        if folder is not None:
            self._open(folder / "at-work", boot.encode()[:64])

    def _open(self, path: Path, boot: bytes) -> None:
        """A disk that refuses costs the memory, not the engine."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            before = os.pread(self._file, _PAGE, 0)
            if before.startswith(_MAGIC + boot.ljust(64)) and len(before) == _PAGE:
                self.ended = self._found(before)
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, bytes(_PAGE), 0)  # written before it is mapped: a full disk must not end us later
            page = mmap.mmap(self._file, _PAGE)
        except OSError as error:
            log.warning("who is at work cannot be remembered", extra={"path": str(path), "error": str(error)})
            return
        page[: len(_MAGIC) + 64] = _MAGIC + boot.ljust(64)
        self._page = page
        self.marks = cast("MutableSequence[int]", memoryview(page).cast("Q")[_HEADER // 8 :])
        self._take_up()

    # What was.

    def _found(self, before: bytes) -> Ended | None:
        marks = memoryview(before).cast("Q")[_HEADER // 8 :]
        length = int.from_bytes(before[_NOTE : _NOTE + 4], "little")
        number, _, how = before[_NOTE + 4 : _NOTE + 4 + length].decode(errors="replace").partition(" ")
        numbers = [int(number)] if how and number.isdecimal() else sorted({mark for mark in marks if mark})
        culprits = tuple(one for one in map(self._named, numbers) if one is not None)
        return Ended(culprits, how) if culprits else None

    def _named(self, number: int) -> Culprit | None:
        with suppress(OSError, ValueError, TypeError, OverflowError):
            record = os.pread(self._file, _RECORD, _PAGE + number * _RECORD).rstrip(b"\0")
            return Culprit(*json.loads(record))
        return None

    def _take_up(self) -> None:
        assert self._counts is not None
        with suppress(OSError, ValueError, TypeError, KeyError):
            for one in json.loads(self._counts.read_bytes()):
                self._suspicions[Culprit(*one["who"])] = one
        if self.ended is not None:
            for who in self.ended.culprits:
                one = self._suspicions.setdefault(who, {"who": list(who), "times": 0, "how": ""})
                one["times"] += 1
                one["how"] = self.ended.how
        self._write()

    def _write(self) -> None:
        if self._counts is None:
            return
        try:
            beside = self._counts.with_name(f"{self._counts.name}.new")
            beside.write_text(json.dumps(list(self._suspicions.values())))
            beside.chmod(0o600)
            beside.replace(self._counts)
        except OSError as error:
            log.warning("who was at work cannot be remembered", extra={"error": str(error)})

    def suspicion(self, who: Culprit) -> str:
        """Why it must not be run, empty where it may be."""
        one = self._suspicions.get(who)
        if one is None or one["times"] < TIMES:
            return ""
        how = f", by {one['how']}" if one["how"] else ""
        return f"the engine ended {one['times']} times while its code ran{how}"

    def forgive(self, kind: str, name: str) -> None:
        """Somebody has looked at it, or it has proven itself."""
        with self._lock:
            for who in [who for who in self._suspicions if (who.kind, who.name) == (kind, name)]:
                del self._suspicions[who]
            self._write()

    # What is.

    def number(self, who: Culprit) -> int:
        """What to mark for it; 0 where that cannot be written down."""
        with self._lock:
            number = self._numbers.get(who)
            if number is None:
                number = self._numbers[who] = len(self._numbers) + 1
                record = json.dumps(who, separators=(",", ":")).encode()
                if self._file >= 0 and len(record) <= _RECORD:
                    with suppress(OSError):
                        os.pwrite(self._file, record.ljust(_RECORD, b"\0"), _PAGE + number * _RECORD)
            return number

    def place(self) -> int:
        """A place for one more thread; the last one is shared by all that there is no place for."""
        with self._lock:
            return self._free.pop() if len(self._free) > 1 else self._free[0]

    def leave(self, place: int) -> None:
        with self._lock:
            self.marks[place] = 0
            if place not in self._free:
                self._free.append(place)

    @contextmanager
    def working(self, who: Culprit) -> Iterator[None]:
        """This thread runs its code while the context lasts."""
        place = self.place()
        self.marks[place] = self.number(who)
        _here.place = place
        try:
            yield
        finally:
            _here.place = -1
            self.leave(place)

    def settle(self, place: int) -> None:
        """This thread is the one of that place, from now on."""
        _here.place = place

    def note(self, how: str) -> None:
        """The process is about to be ended from this thread, by the code that is at work here. Takes no lock."""
        place = getattr(_here, "place", -1)
        if self._file < 0 or place < 0 or not self.marks[place]:
            return
        text = f"{self.marks[place]} {how}".encode()[: _HEADER - _NOTE - 4]
        self._page[_NOTE + 4 : _NOTE + 4 + len(text)] = text
        self._page[_NOTE : _NOTE + 4] = len(text).to_bytes(4, "little")

    def engine_works(self) -> Callable[[], None] | None:
        """The engine is at work on this thread, until what is returned is called; None where nobody was at work."""
        place = getattr(_here, "place", -1)
        marks = self.marks
        number = marks[place] if place >= 0 else 0
        if not number:
            return None
        marks[place] = 0

        def back() -> None:
            marks[place] = number

        return back

    def close(self) -> None:
        """The process ends in order: whoever is at work still, it was not them. Suspicions of one end are forgotten."""
        with self._lock:
            self._suspicions = {who: one for who, one in self._suspicions.items() if one["times"] >= TIMES}
            self._write()
        self.stop()

    def stop(self) -> None:
        """The process is asked to end: from now on nobody is suspected. Takes no lock."""
        if self._file >= 0:
            self._page[: len(_MAGIC)] = bytes(len(_MAGIC))


_here = threading.local()


def may_step_aside(step_aside: Callable[[], bool], step_back: Callable[[], None]) -> None:
    """This thread is a worker's, who leaves its place to somebody else while it waits for the world; see `Crew`."""
    _here.steps = (step_aside, step_back)


def step_aside() -> Callable[[], None] | None:
    """Who works here waits for the world until what is returned is called; None where nobody leaves a place."""
    steps = getattr(_here, "steps", None)
    return steps[1] if steps is not None and steps[0]() else None


def culprit(kind: str, name: str, digests: Sequence[str]) -> Culprit:
    """One version of foreign code."""
    return Culprit(kind, name, "+".join(digest[:12] for digest in digests))

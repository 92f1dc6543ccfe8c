"""The process that strategies share: what is of the whole of it is as the engine left it, and who ended it is known.

A strategy that wants another locale, directory or recursion limit gets it for the rest of its hook. Then it is put
back, and told with the name of the hook, so that it does not become the trouble of everybody else: an interpreter that
hands over too seldom delays each beat, a limit of its own makes pages fail, a trace function ends threads. Not what a
module keeps to itself: whoever replaces functions of others is not stopped here.

Who was at work when the process ended without a word is known to the next one, so that it does not run into the same
again. Each thread that runs foreign code writes a number into a page of memory that is a file as well, which costs
nothing and outlives any end of the process. Whose number it is stands behind that page, written once per load. Who
was at work twice when a process ended is suspected: it is not loaded again until it changes or a person says so.
While foreign code waits in a call of the engine's, the engine is at work, and nobody is suspected.
"""

from __future__ import annotations

import builtins
import decimal
import gc
import json
import locale
import logging
import mmap
import operator
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

_LIMITS: Final = ("RLIMIT_FSIZE", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_CPU")
_TIMERS: Final = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")
"""Their signals end the process, whoever is at work then."""
_SHOWN: Final = 60
_ADDRESS: Final = re.compile(" at 0x[0-9a-f]+")
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


class _Setting(NamedTuple):
    """One thing of the process: what it is called, how it is looked at, and how it is put back."""

    name: str
    look: Callable[[], Any]
    put: Callable[[Any], object]


class Surroundings:
    """As they are when this is made. Any thread may put them back; what two do at once comes to the same."""

    def __init__(self) -> None:
        self._built_in = dict(vars(builtins))
        self._settings = _settings()
        self._looks = [setting.look for setting in self._settings]
        self._kept = [look() for look in self._looks]
        self._told = [""] * len(self._settings)

    def put_back(self) -> list[str]:
        """Put back whatever is otherwise; returns what it was, `the switch interval was 10.0`. Takes 0.02 ms where
        nothing is, as after nearly every hook.

        What cannot be put back is told once.
        """
        changed = [] if self._has_built_in() else self._put_back_built_in()
        try:
            found = _list(_map(_call, self._looks))
            if found == self._kept:
                return changed
        except Exception:  # noqa: BLE001 - a boundary as below: one that fails is looked at with the others again
            found = _list(_map(_unseen, self._settings))
        for index, setting in enumerate(self._settings):
            was = _put_back(setting, self._kept[index], found[index])
            if was and was != self._told[index]:
                changed.append(f"{setting.name} was {was}")
            self._told[index] = was if was and _put_back(setting, self._kept[index]) else ""
        return changed

    def _has_built_in(self) -> bool:
        """True where each is the very object, told without calling one by its name."""
        kept = self._built_in
        return _all(_map(_is, kept.values(), _map(builtins.__dict__.get, kept)))

    def _put_back_built_in(self) -> list[str]:
        """The first of all, and without calling any: whatever else is done here stands on them."""
        now, changed = builtins.__dict__, []
        for name, value in self._built_in.items():
            if name not in now or now[name] is not value:
                if name != "_":  # what an interpreter at a prompt showed last
                    changed.append(f"the built-in {name} was another one")
                now[name] = value
        return changed


_all, _list, _map, _is, _call = all, list, map, operator.is_, operator.call
_UNSEEN: Final = object()


def _unseen(setting: _Setting) -> object:
    return _UNSEEN


def _put_back(setting: _Setting, kept: Any, found: Any = _UNSEEN) -> str:
    """What it was instead, empty where it was as it is to be; `found` is what was seen of it, where it was.

    A boundary: what is looked at may be foreign code.
    """
    try:
        found = setting.look() if found is _UNSEEN else found
        if found == kept:
            return ""
        setting.put(kept)
    except Exception as error:  # noqa: BLE001 - the others are to be put back all the same
        return f"not to be had: {type(error).__name__}"
    return _shown(found)


def _shown(value: object) -> str:
    text = _ADDRESS.sub("", repr(value))
    return text if len(text) <= _SHOWN else f"another one ({type(value).__name__})"


def _settings() -> list[_Setting]:
    own = logging.getLogger("reconciler")
    mask = os.umask(0o077)
    os.umask(mask)
    new = _decimals()
    found = [
        _Setting("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
        _Setting("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
        _Setting("the limit of digits", sys.get_int_max_str_digits, sys.set_int_max_str_digits),
        _Setting("the trace function of threads", threading.gettrace, threading.settrace),
        _Setting("the profile function of threads", threading.getprofile, threading.setprofile),
        _Setting("the thread's trace function", sys.gettrace, sys.settrace),
        _Setting("the thread's profile function", sys.getprofile, sys.setprofile),
        _Setting("the working directory", os.getcwd, os.chdir),
        _Setting("the locale", lambda: locale.setlocale(locale.LC_ALL), _set_locale),
        _Setting("the time zone", _zone, _set_zone),
        _Setting(
            "the decimal context of new threads", lambda: repr(decimal.DefaultContext), lambda _: _set_decimals(new)
        ),
        _Setting("the time-out of new sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
        *(_Setting(f"the timer {name}", *_timer(getattr(signal, name))) for name in _TIMERS),
        _Setting("the garbage collector", gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
        _Setting("the level below which nothing is logged", lambda: logging.root.manager.disable, logging.disable),
        _Setting("the level of the engine's log", lambda: (own.level, own.disabled), lambda kept: _set_log(own, kept)),
        _Setting("where the log goes", lambda: list(logging.root.handlers), _set_handlers),
        _Setting("the hook for threads that fail", lambda: threading.excepthook, _setter(threading, "excepthook")),
        _Setting("the standard output", lambda: sys.stdout, _setter(sys, "stdout")),
        _Setting("the standard error", lambda: sys.stderr, _setter(sys, "stderr")),
    ]
    for name in _LIMITS:
        number = getattr(resource, name, None)
        if number is not None:
            found.append(_Setting(f"the limit {name}", *_limit(number)))
    # The last: a look at it puts it back, and where another look fails all are looked at again.
    return [*found, _Setting("the umask", lambda: os.umask(mask), os.umask)]


def _timer(number: int) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: signal.getitimer(number) == (0.0, 0.0), lambda _: signal.setitimer(number, 0)


def _limit(number: int) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    def put(soft: int) -> None:
        resource.setrlimit(number, (soft, resource.getrlimit(number)[1]))

    return lambda: resource.getrlimit(number)[0], put


def _setter(where: Any, name: str) -> Callable[[Any], object]:
    return lambda value: setattr(where, name, value)


def _set_locale(kept: str) -> None:
    locale.setlocale(locale.LC_ALL, kept)


def _zone() -> tuple[str | None, tuple[str, str]]:
    return os.environ.get("TZ"), time.tzname


def _set_zone(kept: tuple[str | None, tuple[str, str]]) -> None:
    if kept[0] is None:
        os.environ.pop("TZ", None)
    else:
        os.environ["TZ"] = kept[0]
    time.tzset()


_DECIMAL: Final = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimals() -> tuple[Any, ...]:
    one = decimal.DefaultContext
    return (*(getattr(one, name) for name in _DECIMAL), [flag for flag, traps in one.traps.items() if traps])


def _shown_decimals() -> str:
    return repr(decimal.DefaultContext)


def _set_decimals(kept: tuple[Any, ...]) -> None:
    one = decimal.DefaultContext
    for name, value in zip(_DECIMAL, kept[:-1], strict=True):
        setattr(one, name, value)
    for flag in one.traps:
        one.traps[flag] = flag in kept[-1]
    one.clear_flags()


def _set_log(own: logging.Logger, kept: tuple[int, bool]) -> None:
    own.setLevel(kept[0])
    own.disabled = kept[1]


def _set_handlers(kept: list[logging.Handler]) -> None:
    logging.root.handlers[:] = kept


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
        """What to mark for it; nobody knows what it stands for where that cannot be written down."""
        self.expect((who,))  # does not return while another thread is still writing it
        return self._numbers[who]

    def expect(self, culprits: Sequence[Culprit]) -> None:
        """Write down at once what to mark for each of them: who writes keeps all others from it."""
        with self._lock:
            first, records = len(self._numbers) + 1, bytearray()
            for who in culprits:
                if who not in self._numbers:
                    record = json.dumps(who, separators=(",", ":")).encode()
                    records += (record if len(record) <= _RECORD else b"").ljust(_RECORD, b"\0")
                    self._numbers[who] = first + len(records) // _RECORD - 1
            if records and self._file >= 0:
                with suppress(OSError):
                    os.pwrite(self._file, records, _PAGE + first * _RECORD)

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

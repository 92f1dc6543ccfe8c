"""Imports beside the pass: strategy code is imported on threads of its own, and nobody waits for it.

What an import fails at depends on the moment: a slow disk, a package that is being installed, a machine that is busy.
So one that is slow, fails or misses a package is tried again, from 1 s doubling to 5 min. What is wrong with the
source itself, or with the class in it, is final until the source changes.

Imports begin one after the other, which is the order that libraries are tested in; one that takes long has the next
begin beside it. One that is over its deadline is told and goes on: a library that was interrupted half-way cannot be
imported again in the same process. Only a loop in the strategy's own code is ended.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import NamedTuple, TypeAlias

from reconciler.clock import Clock
from reconciler.errors import Problem
from reconciler.strategy.module_loading import IMPORT_DEADLINE_S, Around, ImportAttempt, Result, Version

CODE_LOADING, IMPORT_FAILED = "CodeLoading", "ImportFailed"

_PATIENT_TRIES, _PATIENT_DEADLINES = 3, 6
"""What fails so often, or hangs for so many deadlines, is given up: by then it is no moment's matter."""
_SHARE_S = 0.25
"""How long an import has to itself before the next begins."""
_FIRST_S, _MOST_S = 1.0, 300.0
_FREELY, _MOST_HANGING = 4, 12
"""How many versions of one strategy may hang before the next has to stay as it is for a while, and how many at most:
none of them can be taken away."""

Key: TypeAlias = tuple[str, str]
"""A strategy's type and the digest of its source."""


class Importing(NamedTuple):
    """Why a version is not at hand: a reason as conditions have it, a sentence, and what is wrong, once it is known."""

    reason: str
    message: str
    problems: tuple[Problem, ...] = ()
    is_given_up: bool = False
    """It failed often enough, or hung long enough, that what builds on it goes on without it. It is tried again."""


class Importer:
    """Thread-safe. `changed` is called, on a thread of its own, when there is something new to `take` or to tell."""

    def __init__(
        self,
        clock: Clock,
        changed: Callable[[], object],
        deadline_s: float = IMPORT_DEADLINE_S,
        around: Around = nullcontext,
        barred: Callable[[Version], str] = lambda version: "",
    ) -> None:
        """`around` is entered on the thread of each import, `barred` says why a version must not be imported."""
        self._around = around
        self._barred = barred
        self._clock = clock
        self._changed = changed
        self._deadline_s = deadline_s
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._stopping = False
        self._wanted: dict[Key, _Import] = {}
        self._left: list[_Import] = []
        self._done: dict[Key, Result] = {}
        self._has_news = False
        self._thread: threading.Thread | None = None

    @property
    def has_news(self) -> bool:
        """True where something has changed since `take`."""
        return self._has_news

    @property
    def is_busy(self) -> bool:
        """True while an import is under way, or about to be, that has not been told as failed."""
        return not self._idle.is_set()

    def want(self, versions: Iterable[Version]) -> None:
        """Import these, and no others any more. Returns at once."""
        with self._lock:
            named = {(version.strategy_type, version.digest): version for version in versions}
            for key in [key for key in self._wanted if key not in named]:
                self._leave(self._wanted.pop(key))
            for key, version in named.items():
                if key not in self._wanted and key not in self._done:
                    self._wanted[key] = _Import(version, self._wake.set, self._around)
            self._note_idle()
            if self._wanted and self._thread is None:
                self._thread = threading.Thread(target=self._run, name="imports", daemon=True)
                self._thread.start()
        self._wake.set()

    def settle(self, within_s: float) -> None:
        """Wait until nothing is under way, at most so long: most imports take a moment."""
        self._clock.wait(self._idle, within_s)

    def take(self) -> dict[Key, Result]:
        """What has come to an end since this was called last: definitions, or what is wrong with the source."""
        with self._lock:
            done, self._done = self._done, {}
            self._has_news = False
            return done

    def state(self, key: Key) -> Importing | None:
        """Why a version that is wanted is not at hand; None for one that is not wanted."""
        with self._lock:
            one = self._wanted.get(key)
            return None if one is None else one.state()

    def stop(self) -> None:
        """Begin no other import. What is under way is left alone."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(1.0)

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            with self._lock:
                next_s, news = self._step()
                self._note_idle()
            if news:
                self._changed()
            self._clock.wait(self._wake, next_s)

    def _step(self) -> tuple[float | None, bool]:
        """Look at all of them. Returns after how many seconds to look again, and whether anything is new."""
        now_s = self._clock.monotonic()
        before = [(one.problems, one.is_given_up) for one in self._wanted.values()]
        for key, one in list(self._wanted.items()):
            result = one.look(now_s, self._deadline_s)
            if result is not None:
                self._done[key] = result
                del self._wanted[key]
        self._left = [one for one in self._left if one.is_alive]
        news = bool(self._done) or before != [(one.problems, one.is_given_up) for one in self._wanted.values()]
        self._has_news = self._has_news or news
        waits_s = [self._begin(one, now_s) for one in self._wanted.values()]
        return min((wait_s for wait_s in waits_s if wait_s is not None), default=None), news

    def _begin(self, one: _Import, now_s: float) -> float | None:
        """Begin it where it is its turn; returns when it is to be looked at again, None where it will tell itself."""
        if one.attempt is not None:
            if one.is_given_up:
                return None
            deadlines = _PATIENT_DEADLINES if one.is_over_deadline else 1
            return max(0.0, one.begun_s + deadlines * self._deadline_s - now_s)
        if now_s < one.due_s:
            return one.due_s - now_s
        others = [other for other in self._wanted.values() if other.attempt is not None]
        share_s = _SHARE_S / max(1, len(others))  # many that hang delay the rest little more than one
        turn_s = max((other.begun_s + share_s for other in others), default=now_s)
        if now_s < turn_s:
            return turn_s - now_s
        if why := self._barred(one.version):
            one.hold_back(f"expected code that leaves the engine alive: {why}; change it", "code-ends-engine")
            return _MOST_S
        hanging = [left for left in self._left if left.version.strategy_type == one.version.strategy_type]
        if len(hanging) >= _FREELY and not one.has_waited:
            one.has_waited = True
            one.due_s = now_s + _FIRST_S * 2.0 ** (len(hanging) - _FREELY)
            return one.due_s - now_s
        if len(hanging) >= _MOST_HANGING:
            told = f"expected fewer than {len(hanging)} of its versions to hang while they are imported"
            one.hold_back(f"{told}; restart the engine", "code-import-hangs")
            return _MOST_S
        one.begin(now_s)
        return min(_SHARE_S, self._deadline_s)

    def _leave(self, one: _Import) -> None:
        one.leave()
        if one.is_alive:
            self._left.append(one)

    def _note_idle(self) -> None:
        if any(not one.problems for one in self._wanted.values()):
            self._idle.clear()
        else:
            self._idle.set()


class _Import:
    """One version on its way. `problems` is what it failed at last, empty until it does."""

    def __init__(self, version: Version, ended: Callable[[], object], around: Around) -> None:
        self._around = around
        self.version = version
        self.attempt: ImportAttempt | None = None
        self.problems: tuple[Problem, ...] = ()
        self.begun_s = 0.0
        self.due_s = 0.0
        self.is_over_deadline = False
        self.has_waited = False
        self.is_given_up = False
        self._ended = ended
        self._tries = 0

    @property
    def is_alive(self) -> bool:
        return self.attempt is not None and not self.attempt.done.is_set()

    def begin(self, now_s: float) -> None:
        if self._tries:
            importlib.invalidate_caches()  # what was missing may have been installed
        self._tries += 1
        self.begun_s = now_s
        self.is_over_deadline = False
        self.attempt = ImportAttempt(self.version, self._ended, self._around)
        self.attempt.begin()

    def look(self, now_s: float, deadline_s: float) -> Result | None:
        """What it has come to, where that is final. What is not is tried again."""
        attempt = self.attempt
        if attempt is None:
            return None
        if attempt.done.is_set():
            self.attempt = None
            if attempt.is_final:
                return attempt.result
            self.is_given_up = self.is_given_up or self._tries >= _PATIENT_TRIES
            if not self.is_over_deadline:  # else it was ended for that, and told
                self.problems = attempt.result if isinstance(attempt.result, tuple) else ()
            self.due_s = now_s + min(_MOST_S, _FIRST_S * 2.0 ** (self._tries - 1))
        elif now_s - self.begun_s >= deadline_s and not self.is_over_deadline:
            self.is_over_deadline = True
            self.problems = (attempt.hangs(deadline_s),)
            attempt.end_own_loop()
        elif now_s - self.begun_s >= _PATIENT_DEADLINES * deadline_s:
            self.is_given_up = True
        return None

    def hold_back(self, message: str, rule: str) -> None:
        self.problems = (Problem(self.version.path, 0, 0, "", message, rule=rule),)
        self.is_given_up = True
        self.due_s = 0.0

    def leave(self) -> None:
        """It is not wanted any more."""
        if self.attempt is not None:
            self.attempt.end_own_loop()

    def state(self) -> Importing:
        if not self.problems:
            return Importing(CODE_LOADING, f"{self.version.path} is being imported")
        told = "; ".join(map(str, self.problems))
        if self.attempt is not None:
            return Importing(IMPORT_FAILED, f"{told}; it goes on", self.problems, self.is_given_up)
        again = f"{told}; it is tried again (failed so far: {self._tries})"
        return Importing(IMPORT_FAILED, again, self.problems, self.is_given_up)

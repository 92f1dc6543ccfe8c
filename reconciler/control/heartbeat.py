"""The heartbeat: one thread that fires each beat once, and never the same beat twice.

A beat is committed to the database before it fires: killed in between, it is lost, not repeated. Beats
that passed while the process was stopped are counted, never replayed. A clock that was set back is
waited out, visibly, or forgotten by an operator; one that jumped ahead is looked at until it is sure that it stays.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Protocol

from reconciler.clock import Clock
from reconciler.errors import StoreError
from reconciler.records.cadence import (
    RUN_GAP,
    BeatMark,
    BeatRun,
    beat_at,
    beat_time,
    free_from_s,
    last_fired,
    moment_of,
)

LOOKS = 3
LOOK_EVERY_S = 5.0
"""A clock that jumped ahead is believed once it was looked at so often, so far apart, and stayed where it was."""


class ClockWatch:
    """Says of a wall clock that is far ahead of the last beat whether that time has passed, or the clock jumped.

    It has passed where the machine was up for as long since, asleep or not. Where that is not so, or cannot be known
    (another boot), the clock must stay where it is for some looks: one that was set ahead for a moment, by a bad time
    server or a virtual machine that wakes up, is back by then.
    """

    def __init__(self, clock: Clock, heartbeat_s: float, tolerance_s: float) -> None:
        """`tolerance_s`: how far apart the clocks may run while the process is stopped."""
        self._clock = clock
        self._every_s = max(LOOK_EVERY_S, heartbeat_s)
        self._jitter_s = max(1.0, heartbeat_s / 2)
        self._tolerance_s = tolerance_s
        self._looks = 0
        self._offset_s = 0.0
        self._looked_s = 0.0

    @property
    def is_looking(self) -> bool:
        """True while a clock that is ahead is looked at, and until the beat it allowed has fired."""
        return self._looks > 0

    def mark(self) -> BeatMark:
        """This moment."""
        boot, uptime_s = self._clock.uptime()
        return BeatMark(self._clock.time(), uptime_s, boot)

    def has_passed(self, since: BeatMark | None) -> bool:
        """True where the time since then has passed by every clock, and where there is nothing to judge by."""
        if since is None:
            return True
        now = self.mark()
        return bool(
            now.boot
            and now.boot == since.boot
            and now.uptime_s >= since.uptime_s
            and abs((now.time_s - since.time_s) - (now.uptime_s - since.uptime_s)) <= self._tolerance_s
        )

    def is_confirmed(self) -> bool:
        """Look once more at a clock that is ahead; True once it has stayed there for long enough."""
        now_s = self._clock.monotonic()
        offset_s = self._clock.time() - now_s
        if not self._looks or abs(offset_s - self._offset_s) > self._jitter_s:
            self._looks, self._offset_s, self._looked_s = 1, offset_s, now_s
        elif now_s - self._looked_s >= self._every_s:
            self._looks += 1
            self._looked_s = now_s
        return self._looks >= LOOKS

    def forget(self) -> None:
        """The clock is where it should be: the next jump is looked at from the beginning."""
        self._looks = 0


log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 0.5
"""A wait is cut into pieces of this length, so that a stepped clock is noticed."""
SILENT_BEATS = 3
"""After so many heartbeats without a beat that is told, whatever the reason."""
STANDING_S = 2.0
"""A wall clock that has not moved for so long, by the monotonic one, stands still."""
_HANGS_S = 30.0
"""A thread that has not come round for so long does not come back: a restart mends that."""


class Beats(Protocol):
    """Where the beats that fired are kept."""

    def runs(self) -> Sequence[BeatRun]:
        """All that is known, the forgotten ones too."""
        ...

    def marked(self) -> BeatMark | None:
        """When the last beat fired, None where nothing is known."""
        ...

    def fire(self, beat: int, heartbeat_s: float, mark: BeatMark) -> Future[None]:
        """Commit that `beat` fires now; done, once it is. StoreError in it where it could not be committed."""
        ...

    def forget(self, mark: BeatMark) -> Sequence[BeatRun]:
        """Wait no more for beats that fired ahead of `mark`; returns the runs they are in. Raises StoreError."""
        ...


def _nothing() -> None:
    """There is nothing else to look at."""


def _nobody(beat: int) -> None:
    """Nothing goes on without a commit."""


class Heartbeat:
    """Calls `fire(beat)` at the beginning of each beat, on its own thread.

    `uncommitted(beat)` is called instead where the beat could not be committed: what needs no commit goes on.
    `look()` is called each time the thread comes round, twice a second, beats or none.
    """

    def __init__(
        self,
        clock: Clock,
        heartbeat_s: float,
        beats: Beats,
        fire: Callable[[int], object],
        uncommitted: Callable[[int], object] = _nobody,
        look: Callable[[], object] = _nothing,
    ) -> None:
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._beats = beats
        self._fire = fire
        self._uncommitted = uncommitted
        self._look = look
        self._watch = ClockWatch(clock, heartbeat_s, RUN_GAP * heartbeat_s)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._turn = threading.Lock()  # one beat, or one change of what has fired, at a time
        self._runs: tuple[BeatRun, ...] = ()
        self._seen: int | None = None
        self._tried: int | None = None
        self._anchor: BeatMark | None = None
        self._began_s: float | None = None
        self._round_s: float | None = None
        self._wall_s = clock.time()
        self._moved_s = clock.monotonic()
        self._silent = ""
        self._counted: int | None = None
        self.last_beat: int | None = None
        self.last_fired_s: float | None = None
        self.lost = 0
        self.behind_s = 0.0
        self.fault = ""
        self._recall()

    def start(self) -> None:
        self._began_s = self._round_s = self._clock.monotonic()
        self._thread.start()

    def is_alive(self) -> bool:
        """True from `start` until it is stopped, unless its thread ended by itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Fire no further beat. Returns once one under way has been dispatched."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def age_s(self) -> float | None:
        """Seconds since the last beat fired, None before the first."""
        return None if self.last_fired_s is None else max(0.0, self._clock.monotonic() - self.last_fired_s)

    def silence(self) -> str:
        """Why no beat has fired for three heartbeats, empty where one has, or none was expected yet. Any thread."""
        since_s = self.last_fired_s if self.last_fired_s is not None else self._began_s
        if since_s is None or self._stopping.is_set():
            return ""
        if self._clock.monotonic() - since_s <= SILENT_BEATS * self._heartbeat_s + _LONGEST_WAIT_S:
            return ""
        return (
            self.ended()
            or self._standing()
            or self._set_back()
            or self._silent
            or "the clock stands still, or the heartbeat's thread gets no time"
        )

    def _standing(self) -> str:
        """The wall clock does not move, though the thread looks at it again and again."""
        if self._round_s is None or self._round_s - self._moved_s < STANDING_S:
            return ""
        return f"the clock stands still, at {moment_of(self._wall_s)}"

    def _set_back(self) -> str:
        seen = self._seen
        if not self.behind_s or seen is None:
            return ""
        until = moment_of(beat_time(seen + 1, self._heartbeat_s))
        return (
            f"the clock was set back, or had been ahead: beats until {until} have fired, and none fires twice; "
            "where the clock is right now: reconciler beats forget --reason …"
        )

    def ended(self) -> str:
        """Why no beat will ever fire again in this process, empty where one may. Any thread."""
        if self._began_s is None or self._round_s is None or self._stopping.is_set():
            return ""
        if not self._thread.is_alive():
            return "the heartbeat has ended"
        hangs_s = max(_HANGS_S, SILENT_BEATS * self._heartbeat_s)
        if self._clock.monotonic() - self._round_s > hangs_s:
            return "the heartbeat hangs"
        return ""

    def forget(self) -> tuple[Sequence[BeatRun], float]:
        """The clock is right now: wait no more for what fired ahead of it. Any thread; waits for a beat under way.

        Returns the runs that are not waited for any more, and when the next beat may fire (seconds since the epoch):
        their numbers are skipped when their time comes. Raises StoreError.
        """
        with self._turn:
            forgotten = self._beats.forget(self._watch.mark())
            self._recall()
            self._tried = None
            self._watch.forget()
            self._notice_clock()
            return forgotten, free_from_s(self._runs, self._clock.time())

    def _recall(self) -> None:
        """What has fired, in beats of today's length: a changed heartbeat renumbers them."""
        self._runs = tuple(self._beats.runs())
        self._seen = self._counted = last_fired(self._runs, self._heartbeat_s)
        self._anchor = self._beats.marked()

    def _run(self) -> None:
        upcoming = beat_at(self._clock.time(), self._heartbeat_s) + 1
        while not self._stopping.is_set():
            self._come_round()
            remaining_s = beat_time(upcoming, self._heartbeat_s) - self._clock.time()
            if remaining_s > 0:
                self._clock.wait(self._stopping, min(remaining_s, _LONGEST_WAIT_S))
                self._notice_clock()
                upcoming = min(upcoming, beat_at(self._clock.time(), self._heartbeat_s) + 1)
                continue
            if not self.step() and self._watch.is_looking:
                self._clock.wait(self._stopping, _LONGEST_WAIT_S)
                continue  # the same beat, or what has become of it, is looked at again soon
            upcoming = beat_at(self._clock.time(), self._heartbeat_s) + 1

    def step(self) -> bool:
        """Fire the beat under way unless it has fired; True where it did. Only the heartbeat's thread calls it."""
        with self._turn:
            self._notice_clock()
            beat = beat_at(self._clock.time(), self._heartbeat_s)
            if beat == self._tried or not self._may_fire(beat):
                return False
            self._tried = beat
            if not self._is_committed(beat):
                return False
            self._count_lost(beat - 1)
            self._watch.forget()
            self._seen = self._counted = beat
            self.last_beat = beat
            self.last_fired_s = self._clock.monotonic()
            self._silent = ""
        self._surviving(self._fire, beat)
        return True

    def _may_fire(self, beat: int) -> bool:
        """False where it has fired, or the clock is not to be believed; `silence` says so."""
        if self._seen is not None and beat <= self._seen:
            return False
        for run in (run.counted_in(self._heartbeat_s) for run in self._runs if run.forgotten):
            if run.first <= beat <= run.last:
                self._silent = (
                    f"these beats fired while the clock was ahead: the next is due at {moment_of(run.until_s)}"
                )
                return False
        if self._seen is None or beat - self._seen <= RUN_GAP or self._watch.has_passed(self._anchor):
            self._watch.forget()
            return True
        if not self._watch.is_looking:
            ahead_s = round((beat - self._seen) * self._heartbeat_s)
            log.warning(
                "the clock is far ahead of the last beat: it is looked at before it counts", extra={"s": ahead_s}
            )
        self._silent = "the clock is far ahead of the last beat: it counts once it has stayed there for three looks"
        return self._watch.is_confirmed()

    def _is_committed(self, beat: int) -> bool:
        """True once the beat is on the disk; whatever waits for that long still looks at the rest."""
        mark = self._watch.mark()
        pending = self._beats.fire(beat, self._heartbeat_s, mark)
        try:
            while True:
                try:
                    pending.result(_LONGEST_WAIT_S)
                    break
                except TimeoutError:
                    if pending.done():
                        raise
                    if self._stopping.is_set():
                        return False
                    self._silent = "the database takes no beat: a program holds it, or the disk does not answer"
                    self._come_round()
        except (StoreError, TimeoutError) as error:
            self._count_lost(beat)
            self._silent = f"no beat can be committed: {error}"
            log.error("a beat did not fire: it could not be committed", extra={"beat": beat, "error": str(error)})
            self._surviving(self._uncommitted, beat)
            return False
        self._anchor = mark
        return True

    def _count_lost(self, until: int) -> None:
        """Beats after the last one counted, up to `until`, did not fire; where the clock jumped there were none."""
        if self._counted is not None and until > self._counted and not self._watch.is_looking:
            self.lost += until - self._counted
        elif self._counted is None and until == self._tried:
            self.lost += 1
        self._counted = until

    def _come_round(self) -> None:
        """Twice a second, whatever else the thread waits for."""
        self._round_s, wall_s = self._clock.monotonic(), self._clock.time()
        if wall_s != self._wall_s:
            self._wall_s, self._moved_s = wall_s, self._round_s
        try:
            self._look()
        except Exception:
            log.exception("what is looked at each beat could not be")

    def _surviving(self, act: Callable[[int], object], beat: int) -> None:
        """The boundary to what hangs on a beat: whatever it raises, the next beat comes."""
        try:
            act(beat)
        except Exception as error:
            self.fault = f"beat {beat}: {type(error).__name__}: {error}"
            log.exception("a beat was not carried out in full", extra={"beat": beat})
        else:
            self.fault = ""

    def _notice_clock(self) -> None:
        """How far the clock stands before a beat that has already fired; 0 where it does not."""
        if self._seen is None:
            self.behind_s = 0.0
            return
        behind_s = max(0.0, beat_time(self._seen, self._heartbeat_s) - self._clock.time())
        if behind_s > 0 and self.behind_s == 0:
            log.warning("the clock was set back: beats wait until it catches up", extra={"behind_s": behind_s})
        self.behind_s = behind_s

"""The heartbeat: one thread that fires each beat once, and never the same beat twice.

A beat is committed to the database before it fires: killed in between, it is lost, not repeated. Beats
that passed while the process was stopped are counted, never replayed. A clock that was set back is
waited out, visibly.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from reconciler.clock import Clock
from reconciler.errors import StoreError
from reconciler.records.cadence import beat_at, beat_time

log = logging.getLogger(__name__)

_LONGEST_WAIT_S = 0.5
"""A wait is cut into pieces of this length, so that a stepped clock is noticed."""


class Beats(Protocol):
    """Where the last beat fired is kept."""

    def last(self) -> tuple[int, float] | None:
        """(beat, heartbeat_s) of the last beat fired, None where none ever was."""
        ...

    def fired(self, beat: int, heartbeat_s: float) -> None:
        """Commit that `beat` fires now. Raises StoreError where it could not be committed."""
        ...


class Heartbeat:
    """Calls `fire(beat)` at the beginning of each beat, on its own thread."""

    def __init__(self, clock: Clock, heartbeat_s: float, beats: Beats, fire: Callable[[int], object]) -> None:
        self._clock = clock
        self._heartbeat_s = heartbeat_s
        self._beats = beats
        self._fire = fire
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._seen = self._stored_beat()
        self.last_beat: int | None = None
        self.last_fired_s: float | None = None
        self.lost = 0
        self.behind_s = 0.0
        self.fault = ""

    def _stored_beat(self) -> int | None:
        """The last beat fired, in beats of today's length: a changed heartbeat renumbers them."""
        stored = self._beats.last()
        if stored is None:
            return None
        beat, heartbeat_s = stored
        if heartbeat_s == self._heartbeat_s:
            return beat
        return beat_at(beat_time(beat, heartbeat_s), self._heartbeat_s)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Fire no further beat. Returns once one under way has been dispatched."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def age_s(self) -> float | None:
        """Seconds since the last beat fired, None before the first."""
        return None if self.last_fired_s is None else max(0.0, self._clock.monotonic() - self.last_fired_s)

    def _run(self) -> None:
        upcoming = beat_at(self._clock.time(), self._heartbeat_s) + 1
        while not self._stopping.is_set():
            remaining_s = beat_time(upcoming, self._heartbeat_s) - self._clock.time()
            if remaining_s > 0:
                self._clock.wait(self._stopping, min(remaining_s, _LONGEST_WAIT_S))
                self._notice_clock()
                upcoming = min(upcoming, beat_at(self._clock.time(), self._heartbeat_s) + 1)
                continue
            self.step()
            upcoming = beat_at(self._clock.time(), self._heartbeat_s) + 1

    def step(self) -> bool:
        """Fire the beat under way unless it has fired; True where it did. Only the heartbeat's thread calls it."""
        self._notice_clock()
        beat = beat_at(self._clock.time(), self._heartbeat_s)
        if self._seen is not None and beat <= self._seen:
            return False
        if self._seen is not None:
            self.lost += beat - self._seen - 1
        self._seen = beat
        try:
            self._beats.fired(beat, self._heartbeat_s)
        except StoreError as error:
            self.lost += 1
            log.error("a beat did not fire: it could not be committed", extra={"beat": beat, "error": str(error)})
            return False
        self.last_beat = beat
        self.last_fired_s = self._clock.monotonic()
        self._fire_surviving(beat)
        return True

    def _fire_surviving(self, beat: int) -> None:
        """The boundary to what hangs on a beat: whatever it raises, the next beat comes."""
        try:
            self._fire(beat)
        except Exception as error:
            self.fault = f"beat {beat}: {type(error).__name__}: {error}"
            log.exception("a beat was not carried out in full", extra={"beat": beat})
        else:
            self.fault = ""

    def _notice_clock(self) -> None:
        """How far the clock stands before a beat that has already fired; 0 where it does not."""
        if self._seen is None:
            return
        behind_s = max(0.0, beat_time(self._seen, self._heartbeat_s) - self._clock.time())
        if behind_s > 0 and self.behind_s == 0:
            log.warning("the clock was set back: beats wait until it catches up", extra={"behind_s": behind_s})
        self.behind_s = behind_s

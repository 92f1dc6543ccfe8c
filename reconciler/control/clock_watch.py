"""Whether the wall clock is to be believed: judged by clocks that nobody can set. Knows no beats."""

from __future__ import annotations

from reconciler.clock import Clock
from reconciler.records.cadence import Mark

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

    def mark(self) -> Mark:
        """This moment."""
        boot, uptime_s = self._clock.uptime()
        return Mark(self._clock.time(), uptime_s, boot)

    def has_passed(self, since: Mark | None) -> bool:
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

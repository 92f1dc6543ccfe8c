"""The clock: the only module that reads the time or waits for it to pass. And its fake, and one that is moved.

Everything else receives a `Clock`. Wall time decides beats and stamps records; monotonic time measures
deadlines and durations, so that a clock set back cannot stretch or cut them.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Time as the engine sees it."""

    def time(self) -> float:
        """Seconds since the Unix epoch, UTC. May step backwards."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. Never steps backwards."""
        ...

    def uptime(self) -> tuple[str, float]:
        """Which boot of the machine this is, and the seconds since, its sleep included; no boot where none is told.

        Nobody can set it, and it survives the process.
        """
        ...

    def wait(self, event: threading.Event, timeout_s: float | None = None) -> bool:
        """Block this thread until `event` is set or `timeout_s` has passed; True where it was set."""
        ...

    async def sleep(self, duration_s: float) -> None:
        """Suspend this task for `duration_s`."""
        ...


class SystemClock:
    """The machine's clock. It is read for every tick, hence without a frame of our own in between."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def __init__(self) -> None:
        self._boot = _boot_id()

    def uptime(self) -> tuple[str, float]:
        return self._boot, time.clock_gettime(_UPTIME) if self._boot else 0.0

    def wait(self, event: threading.Event, timeout_s: float | None = None) -> bool:
        return event.wait(timeout_s)

    async def sleep(self, duration_s: float) -> None:
        import asyncio  # slow to import, and who awaits this has done so

        await asyncio.sleep(duration_s)


_UPTIME = getattr(time, "CLOCK_BOOTTIME", -1)


def _boot_id() -> str:
    """Empty where the machine counts no time that includes its sleep, or does not tell its boots apart."""
    if _UPTIME < 0:
        return ""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class FakeClock:
    """A clock that stands still until a test moves it. Thread-safe.

    `wait` and `sleep` return when the event is set or when `advance` has carried time past their
    deadline; they notice within a millisecond of real time.
    """

    _GLANCE_S = 0.001

    def __init__(self, start_s: float = 1_700_000_000.0) -> None:
        self._wall_s = start_s
        self._monotonic_s = 0.0
        self._asleep_s = 0.0
        self._boot = "boot 1"
        self._lock = threading.Lock()

    def time(self) -> float:
        with self._lock:
            return self._wall_s

    def monotonic(self) -> float:
        with self._lock:
            return self._monotonic_s

    def advance(self, duration_s: float) -> None:
        """Carry both wall and monotonic time `duration_s` forward."""
        if duration_s < 0:
            raise ValueError("monotonic time does not go back; use set_wall to step the wall clock")
        with self._lock:
            self._wall_s += duration_s
            self._monotonic_s += duration_s

    def uptime(self) -> tuple[str, float]:
        with self._lock:
            return self._boot, self._monotonic_s + self._asleep_s

    def sleep_machine(self, duration_s: float) -> None:
        """As a laptop whose lid is closed: the wall clock and the uptime go on, monotonic time does not."""
        with self._lock:
            self._wall_s += duration_s
            self._asleep_s += duration_s

    def reboot(self) -> None:
        """Another boot of the machine: what was up before tells nothing any more."""
        with self._lock:
            self._boot += "'"
            self._asleep_s = -self._monotonic_s

    def set_wall(self, time_s: float) -> None:
        """Step the wall clock, as an operator or NTP would. Monotonic time is unmoved."""
        with self._lock:
            self._wall_s = time_s

    def wait(self, event: threading.Event, timeout_s: float | None = None) -> bool:
        deadline_s = None if timeout_s is None else self.monotonic() + timeout_s
        while not event.wait(self._GLANCE_S):
            if deadline_s is not None and self.monotonic() >= deadline_s:
                return event.is_set()
        return True

    async def sleep(self, duration_s: float) -> None:
        import asyncio

        deadline_s = self.monotonic() + duration_s
        while self.monotonic() < deadline_s:
            await asyncio.sleep(self._GLANCE_S)


class SimulatedClock:
    """A clock that is moved by whoever runs an engine at it, and belongs to that one thread. Nobody waits by it."""

    def __init__(self, start_s: float) -> None:
        self._start_s = self._now_s = start_s

    def time(self) -> float:
        return self._now_s

    def monotonic(self) -> float:
        return self._now_s - self._start_s

    def move_to(self, time_s: float) -> None:
        """It is now `time_s`, seconds since the epoch. Raises ValueError for what is past."""
        if time_s < self._now_s:
            raise ValueError(f"simulated time does not go back: expected at least {self._now_s}, was {time_s}")
        self._now_s = time_s

    def uptime(self) -> tuple[str, float]:
        return "simulated", self.monotonic()

    def wait(self, event: threading.Event, timeout_s: float | None = None) -> bool:
        """At once: nothing happens meanwhile."""
        return event.is_set()

    async def sleep(self, duration_s: float) -> None:
        """At once, as `wait`."""


def utc(time_s: float) -> datetime:
    """The moment `time_s` seconds after the epoch, as an aware UTC datetime."""
    return datetime.fromtimestamp(time_s, UTC)


def iso(time_s: float) -> str:
    """ISO 8601, UTC, milliseconds, `Z`: `2026-01-31T12:00:00.000Z`. Sorts as text."""
    return _iso(round(time_s * 1_000_000) // 1_000)


@lru_cache(4_096)
def _iso(time_ms: int) -> str:
    """Kept, for whole fleets tick within a few milliseconds."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_iso(text: str) -> float:
    """Seconds since the epoch of what `iso` wrote."""
    return datetime.fromisoformat(text).timestamp()

"""Beats and cadences: which beat it is, which instances are due. Pure arithmetic.

Beats are numbered from the Unix epoch, so a cadence lines up with the clock and survives restarts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NamedTuple

from reconciler import exact
from reconciler.clock import iso

MINIMUM_TICK_MINUTES = 0.1


def steps(tick_minutes: float) -> int:
    """Beats from one tick to the next: `max(1, round_half_up(tick_minutes × 10))`.

    Ten beats a minute at the default heartbeat of six seconds. Decimal on the shortest repr, so that
    2.1 minutes are 21 beats and 0.25 rounds up to 3.
    """
    return max(1, int(exact.shifted(Decimal(repr(tick_minutes)), 1).to_integral_value(ROUND_HALF_UP)))


def beat_at(time_s: float, heartbeat_s: float) -> int:
    """The number of the beat under way at `time_s` (seconds since the epoch). `beat_time` is its inverse."""
    beat = math.floor(time_s / heartbeat_s)
    # A heartbeat such as 0.1 s has no exact float: the quotient may fall a hair short of the beat.
    return beat + 1 if beat_time(beat + 1, heartbeat_s) <= time_s else beat


def beat_time(beat: int, heartbeat_s: float) -> float:
    """When `beat` begins, in seconds since the epoch."""
    return beat * heartbeat_s


def is_due(beat: int, cadence_steps: int) -> bool:
    """True where an instance of this cadence ticks at `beat`."""
    return beat % cadence_steps == 0


def next_due(beat: int, cadence_steps: int) -> int:
    """The first due beat after `beat`."""
    return beat - beat % cadence_steps + cadence_steps


class BeatMark(NamedTuple):
    """When something happened: by the wall clock, and by how long the machine has been up, and since which boot."""

    time_s: float
    uptime_s: float
    boot: str


@dataclass(frozen=True, slots=True)
class BeatRun:
    """Beats that fired, or were lost, from `first` to `last`, numbered by `heartbeat_s`.

    A new run begins where more than `RUN_GAP` numbers were left out. `forgotten`: it fired while the clock was ahead,
    and nobody waits for it any more; its numbers are skipped when their time comes.
    """

    first: int
    last: int
    heartbeat_s: float
    forgotten: bool = False

    @property
    def until_s(self) -> float:
        """When the next beat after it begins."""
        return beat_time(self.last + 1, self.heartbeat_s)

    def counted_in(self, heartbeat_s: float) -> BeatRun:
        """The same time in beats of another length, no part of it left out."""
        if heartbeat_s == self.heartbeat_s:
            return self
        first = beat_at(beat_time(self.first, self.heartbeat_s), heartbeat_s)
        last = beat_at(beat_time(self.last, self.heartbeat_s), heartbeat_s)
        return replace(self, first=first, last=last, heartbeat_s=heartbeat_s)


RUN_GAP = 10
"""Beats further apart than this belong to two runs, and the later one is looked at twice: has that time passed?"""


def last_fired(runs: Sequence[BeatRun], heartbeat_s: float) -> int | None:
    """The last beat that fired, but for what is forgotten, in beats of this length; None where none did."""
    return max((run.counted_in(heartbeat_s).last for run in runs if not run.forgotten), default=None)


NOTHING_AHEAD = "no beat fired ahead of the clock as it is now, so there is nothing to forget"


def forgetting(forgotten: Sequence[BeatRun], free_from_s: float) -> str:
    """What it is recorded as that these are not waited for any more."""
    spans = ", ".join(
        f"{moment_of(beat_time(run.first, run.heartbeat_s))} to {moment_of(run.until_s)}" for run in forgotten
    )
    return (
        f"beats go on from {moment_of(free_from_s)}; those that fired ahead are skipped when their time comes: {spans}"
    )


def free_from_s(runs: Sequence[BeatRun], now_s: float) -> float:
    """When the next beat may fire, seconds since the epoch: at once, or once those numbers are over that fired."""
    free_s = now_s
    for run in sorted(runs, key=lambda one: one.first * one.heartbeat_s):
        begins_s = beat_time(run.first, run.heartbeat_s) if run.forgotten else 0.0
        if begins_s <= free_s < run.until_s:
            free_s = run.until_s
    return free_s


def moment_of(time_s: float) -> str:
    """As `iso`, of whatever a clock may have said."""
    try:
        return iso(time_s)
    except (ValueError, OverflowError, OSError):
        return f"{time_s:.0f} s after 1970"


_AGO: Final = re.compile(r"([0-9]{1,5})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_EXPECTED: Final = "expected a day, a time or how long ago (2026-01-31, 2026-01-31T12:00, 24h, 7d)"


def moment(text: str, now: datetime) -> datetime:
    """`2026-01-31` (as it begins), `2026-01-31T12:00`, `2026-01-31T12:00+02:00`; or before `now`: `90s 5m 24h 7d 2w`.

    Aware, in UTC. Raises ValueError, saying what was expected.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago is not None:
            return now.astimezone(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        written = datetime.fromisoformat(text)
        return written.replace(tzinfo=UTC) if written.tzinfo is None else written.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{_EXPECTED}, was {text if len(text) <= 40 else text[:39] + '…'!r}") from None


def duration(seconds: float) -> str:
    """How long, as people say it: `0.012 s`, `42 s`, `3 min`, `5 h`, `2 d`."""
    if seconds < 1:
        return f"{max(0.0, seconds):.3f} s"
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"


def ago(then: str, now: datetime) -> str:
    """How long before `now` an ISO 8601 time was, as people say it: `just now`, `42 s ago`."""
    passed_s = (now - datetime.fromisoformat(then)).total_seconds()
    return "just now" if passed_s < 1 else f"{duration(passed_s)} ago"


def to_the_second(then: str) -> str:
    """An ISO 8601 time in UTC without its fraction: `2026-01-31T12:00:00Z`."""
    head, has_fraction, _ = then.partition(".")
    return f"{head}Z" if has_fraction else then

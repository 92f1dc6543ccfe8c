"""Which row of a replayed file holds when. Rows are numbered for ever, through all the turns there and back. Pure."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Protocol

_SECONDS = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_LAST_S = 253_402_300_800.0
"""The year 10,000: no clock goes so far."""


class Pace(Protocol):
    """How rows follow each other. Numbers never fall as time goes on."""

    def row_of(self, step: int) -> int:
        """The row that holds when `step` begins."""
        ...

    def rows_during(self, start_s: float, end_s: float) -> tuple[int, int]:
        """The first and the last row that hold from `start_s` to before `end_s`, seconds since the epoch."""
        ...


class RowAStep:
    """One row a step; the first holds in the step of `begin_s`."""

    def __init__(self, step_s: float, begin_s: float) -> None:
        self._step_s = step_s
        self._begin = math.floor(begin_s / step_s)

    def row_of(self, step: int) -> int:
        return step - self._begin

    def rows_during(self, start_s: float, end_s: float) -> tuple[int, int]:
        return math.floor(start_s / self._step_s) - self._begin, math.ceil(end_s / self._step_s) - 1 - self._begin


class Timed:
    """Every row as long as in its own time, `speed` times as fast. `times_s` are those of the rows, each one later.

    The last row lasts as long as the one before it.
    """

    def __init__(self, times_s: Sequence[float], step_s: float, speed: float, begin_s: float) -> None:
        self._step_s = step_s
        self._speed = speed
        self._begin_s = begin_s
        gaps_s = [after - before for before, after in pairwise(times_s)]
        *starts_s, self._turn_s = accumulate([*gaps_s, *reversed(gaps_s)], initial=0.0)
        self._starts_s = starts_s

    def row_of(self, step: int) -> int:
        return self._row_at(step * self._step_s)

    def rows_during(self, start_s: float, end_s: float) -> tuple[int, int]:
        first, last = self._row_at(start_s), self._row_at(end_s)
        if last > first and self._starts(last, end_s):
            last -= 1
        return first, last

    def _row_at(self, time_s: float) -> int:
        turns, within_s = divmod((time_s - self._begin_s) * self._speed, self._turn_s)
        return int(turns) * len(self._starts_s) + bisect_right(self._starts_s, within_s) - 1

    def _starts(self, row: int, time_s: float) -> bool:
        """True where `row` begins no earlier than `time_s`."""
        within_s = ((time_s - self._begin_s) * self._speed) % self._turn_s
        return self._starts_s[row % len(self._starts_s)] >= within_s


def moments(rows: Iterable[tuple[int, str]]) -> list[float]:
    """When rows hold, by the number of their line and their first column. Raises ValueError where they do not rise."""
    times_s: list[float] = []
    for line, text in rows:
        time_s = _moment(text)
        if time_s is None:
            raise ValueError(f"line {line}: expected an ISO 8601 time or seconds, was {text!r:.60}")
        if times_s and time_s <= times_s[-1]:
            raise ValueError(f"line {line}: expected a later time than in the row before, was {text!r:.60}")
        times_s.append(time_s)
    return times_s


def _moment(text: str) -> float | None:
    """Seconds since the epoch, as they are or as an ISO 8601 time; None for what is neither, or out of all bounds."""
    if _SECONDS.fullmatch(text):
        time_s = float(text)
        return time_s if abs(time_s) < _LAST_S else None
    try:
        time = datetime.fromisoformat(text)
        return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).timestamp()
    except (ValueError, OverflowError):
        return None

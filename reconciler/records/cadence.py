"""Beats and cadences: which beat it is, which instances are due. Pure arithmetic.

Beats are numbered from the Unix epoch, so a cadence lines up with the clock and survives restarts.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

from reconciler.records import exact

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

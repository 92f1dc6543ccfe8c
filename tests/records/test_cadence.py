"""Beats and cadences."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.records.cadence import beat_at, beat_time, is_due, next_due, steps


@pytest.mark.parametrize(
    ("tick_minutes", "expected"),
    [(0.1, 1), (0.14, 1), (0.15, 2), (0.25, 3), (1.0, 10), (1, 10), (2.1, 21), (60, 600), (1440.05, 14401)],
)
def test_steps_round_half_up_on_what_was_typed(tick_minutes: float, expected: int) -> None:
    assert steps(tick_minutes) == expected


@given(beat=st.integers(0, 10**9), cadence=st.integers(1, 10**6))
def test_the_next_due_beat_is_the_first_due_one_after(beat: int, cadence: int) -> None:
    due = next_due(beat, cadence)
    assert is_due(due, cadence)
    assert beat < due <= beat + cadence


@given(beat=st.integers(0, 10**9), heartbeat_s=st.sampled_from([6.0, 1.0, 0.5, 0.1, 0.3, 0.05]))
def test_a_beat_begins_at_its_own_time(beat: int, heartbeat_s: float) -> None:
    assert beat_at(beat_time(beat, heartbeat_s), heartbeat_s) == beat

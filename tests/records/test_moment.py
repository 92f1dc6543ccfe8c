"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from reconciler.records.cadence import moment

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-31", "2026-01-31T00:00:00+00:00"),
        ("2026-01-31T12:30", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31 12:30:05.25", "2026-01-31T12:30:05.250000+00:00"),
        ("2026-01-31T12:30:00Z", "2026-01-31T12:30:00+00:00"),
        ("2026-01-31T12:30:00+02:00", "2026-01-31T10:30:00+00:00"),
        ("90s", "2026-01-31T11:58:30+00:00"),
        ("5m", "2026-01-31T11:55:00+00:00"),
        ("24h", "2026-01-30T12:00:00+00:00"),
        ("7d", "2026-01-24T12:00:00+00:00"),
        ("2w", "2026-01-17T12:00:00+00:00"),
    ],
)
def test_a_day_a_time_and_how_long_ago_are_understood(text: str, meant: str) -> None:
    assert moment(text, NOW).isoformat() == meant
    assert moment(text, NOW).tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-13-01", "24", "h", "-1h", "1.5h", "999999h", "0001-01-01T00:00+23:00", "9" * 90]
)
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="expected a day, a time or how long ago") as caught:
        moment(text, NOW)
    assert str(caught.value).endswith("'")
    assert len(str(caught.value)) < 140

"""Time as people write and say it: a day, a time of day, how long ago. UTC where it does not say otherwise. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

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

"""A moment as people write it: a day, a time of day, or how long ago. UTC where it does not say otherwise. Pure."""

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

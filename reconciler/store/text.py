"""How values become text in the database, and back: JSON, decimals, times. Exact both ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from reconciler.records.order import decimal_text


def _plain(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"expected plain values, was {type(value).__name__}")


json_text = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=_plain
).encode
"""JSON of plain values; NaN and infinities are a ValueError. Keys keep their order: it is how they were written."""


def time_text(moment: datetime) -> str:
    """ISO 8601, UTC, microseconds, `Z`: exact, and sorts as text. Raises ValueError where it has no time zone."""
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with its zone, was {moment.isoformat()}")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def decimal_text_or_none(value: Decimal | None) -> str | None:
    """`decimal_text`, None staying None."""
    return None if value is None else decimal_text(value)


def decimal_or_none(text: str | None) -> Decimal | None:
    """The decimal that was written, None staying None."""
    return None if text is None else Decimal(text)

"""How values become text in the database, and back: JSON, decimals, times. Exact both ways."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlite_utils import Database

from reconciler.orders.order import decimal_text


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


def insert(db: Database, table: str, columns: Mapping[str, Any]) -> int:
    """A new row; its rowid. Raises sqlite3.Error. Inside the caller's transaction."""
    number = db.conn.execute(_insert(table, tuple(columns)), columns).lastrowid
    assert number is not None
    return number


def update(db: Database, table: str, columns: Mapping[str, Any], key: str) -> None:
    """Change `columns` of the row that has their `key`. Raises sqlite3.Error. Inside the caller's transaction."""
    db.conn.execute(_update(table, tuple(columns), key), columns)


@lru_cache
def _insert(table: str, names: tuple[str, ...]) -> str:
    return f'INSERT INTO "{table}" ({_listed(names)}) VALUES ({", ".join(f":{name}" for name in names)})'


@lru_cache
def _update(table: str, names: tuple[str, ...], key: str) -> str:
    changed = ", ".join(f'"{name}" = :{name}' for name in names if name != key)
    return f'UPDATE "{table}" SET {changed} WHERE "{key}" = :{key}'


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)

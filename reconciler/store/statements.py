"""Single rows in and out of tables, as prepared statements: for what is written at every order.

sqlite-utils looks at each table and value anew, which costs more than the writing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from sqlite_utils import Database


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

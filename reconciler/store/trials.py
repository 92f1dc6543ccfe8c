"""What was tried: every version of a strategy that was ever backtested here, and who has looked at a holdout.

A database of its own, `trials.db`, so that a backtest needs no engine and disturbs none; what was observed is read from
the engine's, read-only. Opened for a moment: two backtests wait for each other.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import StoreError
from reconciler.records.record import digest
from reconciler.store.database import make_folder

_WAIT_S = 30.0
_TABLES = """
CREATE TABLE IF NOT EXISTS trials (
    strategy_type TEXT NOT NULL, version TEXT NOT NULL, data TEXT NOT NULL, sharpe REAL,
    PRIMARY KEY (strategy_type, version, data)
) STRICT;
CREATE TABLE IF NOT EXISTS holdout_looks (
    strategy_type TEXT NOT NULL, version TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (strategy_type, version, data)
) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Tried:
    """How many versions of a strategy were tried, and the Sharpe ratios, of a day, of those that have one."""

    count: int
    sharpes: tuple[float, ...]


def version_of(code_digest: str, config: object) -> str:
    """What counts as one trial: a version of the code, with a config as it was written."""
    return f"{code_digest[:16]}/{digest(config)}"


class Trials:
    """The file at `path`, made where it is missing; `engine` is the engine's database, which need not be there."""

    def __init__(self, path: Path, engine: Path) -> None:
        self._path = path
        self._engine = engine

    def note(self, strategy_type: str, version: str, data: str, sharpe: float | None) -> Tried:
        """It was tried on data of that digest; what was tried of the strategy by now. Raises StoreError.

        A `sharpe` of None tells nothing new: it was stopped before its end, or has none.
        """
        with self._opened() as db:
            db.execute(
                "INSERT INTO trials VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " sharpe = coalesce(excluded.sharpe, sharpe)",
                [strategy_type, version, data, sharpe],
            )
            found = db.execute(
                "SELECT version, sharpe FROM trials WHERE strategy_type = ? ORDER BY version, data", [strategy_type]
            ).fetchall()
        versions = {version for version, _ in found} | self._observed(strategy_type)
        return Tried(len(versions), tuple(sharpe for _, sharpe in found if sharpe is not None))

    def look(self, strategy_type: str, version: str, data: str) -> tuple[bool, int]:
        """A look at a holdout: whether it is the first of that version, and how many versions have looked by now."""
        with self._opened() as db:
            is_first = db.execute(
                "INSERT INTO holdout_looks VALUES (?, ?, ?) ON CONFLICT DO NOTHING", [strategy_type, version, data]
            ).rowcount
            (count,) = db.execute(
                "SELECT count(*) FROM holdout_looks WHERE strategy_type = ? AND data = ?", [strategy_type, data]
            ).fetchone()
        return bool(is_first), int(count)

    def _observed(self, strategy_type: str) -> set[str]:
        """The versions that an engine here observed or ran, as far as its database can be read."""
        if not self._engine.exists():
            return set()
        sql = (
            'SELECT DISTINCT g.code_digest, g."values" FROM generations g JOIN instances i ON i.id = g.instance_id'
            " WHERE i.strategy_type = ? AND g.mode <> 'off'"
        )
        try:
            with closing(sqlite3.connect(f"{self._engine.as_uri()}?mode=ro", uri=True, timeout=_WAIT_S)) as db:
                rows: Sequence[tuple[str, str]] = db.execute(sql, [strategy_type]).fetchall()
            return {version_of(code, json.loads(values).get("config", {})) for code, values in rows}
        except (sqlite3.Error, ValueError, AttributeError) as error:
            raise StoreError(f"{self._engine}: what was observed cannot be read: {error}") from error

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        make_folder(self._path.parent)
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT_S, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                for statement in filter(str.strip, _TABLES.split(";")):
                    db.execute(statement)
                yield db
                db.execute("COMMIT")
            self._path.chmod(0o600)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{self._path}: trials cannot be counted: {error}; move it away to begin anew") from error

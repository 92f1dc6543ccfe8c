"""10,000 rows changed at once, with their history: the store against raw `executemany` of the same columns.

Both write to the same tables of a database of their own, in one transaction, on the same disk. The peer's
columns are made beforehand; the store also has to make them.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from reconciler.clock import SystemClock
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row, RowChange, digest
from reconciler.store import Store
from reconciler.store.desired import generation_columns, instance_columns
from tests.bench.result import Result

ROWS = 10_000
ROUNDS = 5


def measure() -> Result:
    """The median of five rounds each, taken in turns."""
    with tempfile.TemporaryDirectory() as folder:
        path, peer_path = Path(folder, "store", "reconciler.db"), Path(folder, "peer", "reconciler.db")
        Store.open(peer_path, SystemClock()).close()
        peer = sqlite3.connect(peer_path, isolation_level=None)
        peer.execute("PRAGMA synchronous = FULL")
        with Store.open(path, SystemClock()) as store:
            store.desired.apply(_changes(0))
            _executemany(peer, _columns(0))
            figures, peers = [], []
            for generation in range(1, ROUNDS + 1):
                changes, columns = _changes(generation), _columns(generation)
                figures.append(_seconds(store.desired.apply, changes))
                peers.append(_seconds(_executemany, peer, columns))
        peer.close()
    figure_s, peer_s = median(figures), median(peers)
    ratio = figure_s / peer_s
    return Result(
        work=f"{ROWS:,} rows changed at once",
        to_reach="≤ 1.5 × raw executemany",
        figure=f"{figure_s * 1000:.0f} ms",
        peer=f"executemany {peer_s * 1000:.0f} ms",
        ratio=ratio,
        ok=ratio <= 1.5,
        note="both replace the rows and add their history; the store also turns records into columns",
    )


def _changes(generation: int) -> list[RowChange]:
    return [RowChange(_row(number, generation), "changed", f"config.levels: {generation}") for number in range(ROWS)]


def _row(number: int, generation: int) -> Row:
    identity = Identity("grid", "main", "desk-a", "BTC/USD")
    config = {"levels": generation, "spread": "0.12", "centre": {"kind": "moving", "window": 20}}
    effective = {**config, "refill": True}
    written: dict[str, Any] = {
        "id": f"btc-grid-{number}",
        "strategy_type": "grid",
        "account": {"account_id": "main", "client_id": "desk-a"},
        "market": "BTC/USD",
        "mode": "observe",
        "config": config,
    }
    record = InstanceRecord(f"btc-grid-{number}", identity, Mode.OBSERVE, config, effective, values=written)
    return Row(
        record=record,
        path=f"instances/btc-grid-{number}.yaml",
        generation=generation,
        values_digest=digest(generation),
        config_digest=digest(-generation),
        file_digest="0" * 40,
        code_digest="1" * 16,
        revision="2" * 40,
        committed=True,
        applied_at="2026-01-31T12:00:00.000Z",
    )


def _columns(generation: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    changes = _changes(generation)
    instances = [instance_columns(change.row) for change in changes]
    return instances, [generation_columns(change, row) for change, row in zip(changes, instances, strict=True)]


def _executemany(db: sqlite3.Connection, columns: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> None:
    db.execute("BEGIN")
    for verb, table, rows in (("REPLACE", "instances", columns[0]), ("INSERT", "generations", columns[1])):
        names = ", ".join(f'"{name}"' for name in rows[0])
        marks = ", ".join("?" * len(rows[0]))
        db.executemany(f"{verb} INTO {table} ({names}) VALUES ({marks})", [tuple(row.values()) for row in rows])
    db.execute("COMMIT")


def _seconds(work: Callable[..., None], *arguments: Any) -> float:
    start_s = perf_counter()
    work(*arguments)
    return perf_counter() - start_s


if __name__ == "__main__":
    print(measure())

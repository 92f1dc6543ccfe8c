"""The scope book: what scopes above the instances must know across restarts, marks by hand, and labels that were left.

Reading blocks. What the engine keeps for itself is written soon, and nobody waits for it.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlite_utils import Database

from reconciler.clock import Clock, iso
from reconciler.errors import StoreError
from reconciler.orders.order import decimal_text
from reconciler.records.record import Row
from reconciler.records.scopes import ScopeMemory
from reconciler.store.books import note
from reconciler.store.columns import decimal_or_none, decimal_text_or_none, insert
from reconciler.store.database import Reads
from reconciler.store.writer import Writer
from reconciler.visible import storable

log = logging.getLogger(__name__)


class ScopeBook:
    """The tables `scopes`, `marks` and `kept_labels`. Thread-safe."""

    def __init__(self, writer: Writer, reads: Reads, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    def memories(self) -> dict[tuple[str, str], ScopeMemory]:
        """By scope and kind of money."""
        found = self._reads.query("SELECT * FROM scopes")
        return {(columns["scope"], columns["kind"]): _memory(columns) for columns in found}

    def marks(self) -> dict[str, Decimal]:
        """The last price that a person said one unit of what an instance holds is worth, by instance."""
        found = self._reads.query("SELECT instance_id, price FROM marks ORDER BY id")
        return {columns["instance_id"]: Decimal(columns["price"]) for columns in found}

    def kept_labels(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """By instance: labels that it left while something was open, and whose limits bind it until it is flat."""
        found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for columns in self._reads.query("SELECT instance_id, label FROM kept_labels ORDER BY instance_id, label"):
            key, _, value = columns["label"].partition("=")
            found[columns["instance_id"]].append((key, value))
        return {instance_id: tuple(labels) for instance_id, labels in found.items()}

    def keep(self, scope: str, kind: str, memory: ScopeMemory) -> None:
        """Have it written down. Never waits, never raises."""
        columns = _columns(scope, kind, memory)
        self._submit(lambda db: _put(db, columns))

    def forget_labels(self, instance_id: str) -> None:
        """It is flat. Never waits, never raises."""
        self._submit(lambda db: db.execute("DELETE FROM kept_labels WHERE instance_id = ?", [instance_id]))

    def lift(self, scope: str) -> bool:
        """Forget the highest result of a scope, and that its drawdown was reached; committed on return.

        False where nothing is known of it. Raises StoreError.
        """

        def job(db: Database) -> bool:
            done = db.execute("UPDATE scopes SET high = NULL, fallen_at = '' WHERE scope = ?", [scope])
            return bool(done.rowcount)

        return self._writer.write(job)

    def mark(self, instance_id: str, price: Decimal, reason: str, by: str) -> None:
        """Write down what a person says one unit of what the instance holds is worth; committed on return.

        Raises StoreError where there is and was no such instance.
        """
        at = iso(self._clock.time())
        row = {
            "instance_id": instance_id,
            "price": decimal_text(price),
            "reason": storable(reason),
            "marked_by": storable(by),
            "at": at,
        }

        def job(db: Database) -> None:
            if not db.execute("SELECT 1 FROM instances WHERE id = ?", [instance_id]).fetchone():
                raise StoreError(f"{instance_id}: there is and was no such instance; see: reconciler status")
            insert(db, "marks", row)
            note(db, instance_id, f"marked at {decimal_text(price)}: {reason} ({by})", datetime.fromisoformat(at))

        self._writer.write(job)

    def _submit(self, job: Any) -> None:
        self._writer.submit(job).add_done_callback(_note_failure)


def keep_left_labels(db: Database, rows: Sequence[Row]) -> None:
    """Write down the labels that `rows` leave, of those that have something open; in their transaction, before them.

    What comes back to a label that it left is in it again, and no longer only kept there.
    """
    changed = {row.id: row.record.labels for row in rows}
    if exposed := _exposed(db) & changed.keys():
        for instance_id, was in _labels_of(db, exposed).items():
            left = [f"{key}={value}" for key, value in was.items() if changed[instance_id].get(key) != value]
            db.conn.executemany(
                "INSERT OR IGNORE INTO kept_labels (instance_id, label) VALUES (?, ?)",
                [(instance_id, label) for label in left],
            )
    for columns in list(db.query("SELECT instance_id, label FROM kept_labels")):
        key, _, value = columns["label"].partition("=")
        if changed.get(columns["instance_id"], {}).get(key) == value:
            db.execute("DELETE FROM kept_labels WHERE instance_id = ? AND label = ?", list(columns.values()))


def _exposed(db: Database) -> set[str]:
    """The instances that hold something, or may come to."""
    found = db.query(
        "SELECT instance_id FROM books WHERE shadow = 0 AND quantity <> '0' AND ended_at IS NULL"
        " UNION SELECT instance_id FROM orders WHERE is_open AND NOT shadow"
    )
    return {columns["instance_id"] for columns in found}


def _labels_of(db: Database, ids: Iterable[str]) -> dict[str, dict[str, str]]:
    """The labels of the instances as they are applied, of those that have any."""
    found = db.query(
        "SELECT id, json_extract(\"values\", '$.labels') AS labels FROM instances"
        " WHERE id IN (SELECT value FROM json_each(?))",
        [json.dumps(sorted(ids))],
    )
    return {columns["id"]: json.loads(columns["labels"]) for columns in found if columns["labels"]}


def _memory(columns: Mapping[str, Any]) -> ScopeMemory:
    return ScopeMemory(
        decimal_or_none(columns["high"]),
        Decimal(columns["folded"]),
        {instance_id: Decimal(base) for instance_id, base in json.loads(columns["bases"]).items()},
        columns["fallen_at"],
        None if columns["lost_on"] is None else date.fromisoformat(columns["lost_on"]),
    )


def _columns(scope: str, kind: str, memory: ScopeMemory) -> dict[str, Any]:
    return {
        "scope": storable(scope),
        "kind": kind,
        "high": decimal_text_or_none(memory.high),
        "folded": decimal_text(memory.folded),
        "bases": json.dumps({instance_id: decimal_text(base) for instance_id, base in memory.bases.items()}),
        "fallen_at": memory.fallen_at,
        "lost_on": None if memory.lost_on is None else memory.lost_on.isoformat(),
    }


def _put(db: Database, columns: Mapping[str, Any]) -> None:
    names = ", ".join(columns)
    db.execute(
        f"INSERT OR REPLACE INTO scopes ({names}) VALUES ({', '.join('?' * len(columns))})", list(columns.values())
    )


def _note_failure(written: Future[Any]) -> None:
    if (error := written.exception()) is not None:
        log.error("a limit above the instances is not remembered", extra={"error": str(error)})

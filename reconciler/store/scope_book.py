"""The scope book: what scopes above the instances must know across restarts, marks by hand, and labels that were left.

Reading blocks. What the engine keeps for itself is written soon, and nobody waits for it.

And differences: what accounts hold beside what the ledger booked, as two looks agreed on it last. A ledger that lost
rows is told by it: after a start, the difference is another than the one that was kept. Blocks; raises StoreError.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlite_utils import Database

from reconciler import exact
from reconciler.clock import Clock, iso, utc
from reconciler.errors import StoreError
from reconciler.orders.order import decimal_text
from reconciler.records.accounts import ScopeMemory
from reconciler.records.record import Row
from reconciler.store.books import note
from reconciler.store.columns import decimal_or_none, decimal_text_or_none, insert, time_text
from reconciler.store.database import Reads
from reconciler.store.writer import Writer
from reconciler.visible import storable

log = logging.getLogger(__name__)
_FILLED = (
    "SELECT f.quantity, f.fee, f.fee_currency FROM fills f JOIN orders o ON o.client_order_id = f.client_order_id"
    " WHERE f.id > ? AND o.account_id = ? AND o.symbol = ? AND o.shadow = 0"
)


_FILLED_ON = (
    "SELECT o.symbol, f.fee, f.fee_currency FROM fills f JOIN orders o ON o.client_order_id = f.client_order_id"
    " WHERE f.id > ? AND o.account_id = ? AND o.shadow = 0"
)
_CORRECTED = "SELECT quantity, quantity_before FROM corrections WHERE id > ? AND account_id = ? AND symbol = ?"
_MARKS = "coalesce((SELECT max(id) FROM fills), 0), coalesce((SELECT max(id) FROM corrections), 0)"


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


@dataclass(frozen=True, slots=True)
class Kept:
    """The difference of one symbol: what the exchange held less what the ledger booked.

    With all fills up to `last_fill`, and all corrections of people up to `last_correction`.
    """

    quantity: Decimal
    last_fill: int
    last_correction: int


class KeptDifferences(Mapping[str, Kept]):
    """By symbol; what was never different is zero since the account was first compared, and is not counted."""

    def __init__(self, first: Kept, differences: Mapping[str, Kept]) -> None:
        self._first = first
        self._differences = differences

    def __getitem__(self, symbol: str) -> Kept:
        return self._differences.get(symbol, self._first)

    def __iter__(self) -> Iterator[str]:
        return iter(self._differences)

    def __len__(self) -> int:
        return len(self._differences)


class Differences:
    """By account and symbol."""

    def __init__(self, writer: Writer, reads: Reads, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    def kept(self, account_id: str) -> KeptDifferences | None:
        """Those of the account; None where it was never compared."""
        with self._reads.snapshot() as db:
            compared = list(db.query("SELECT * FROM compared WHERE account_id = ?", [account_id]))
            found = list(db.query("SELECT * FROM differences WHERE account_id = ?", [account_id]))
        if not compared:
            return None
        return KeptDifferences(_kept(compared[0]), {one["symbol"]: _kept(one) for one in found})

    def keep(self, account_id: str, agreed: Mapping[str, Decimal]) -> None:
        """Two looks agreed on these, after all that is booked by now; committed on return."""
        now = time_text(utc(self._clock.time()))

        def job(db: Database) -> None:
            db.execute(f"INSERT OR IGNORE INTO compared SELECT ?, {_MARKS}, ?", [account_id, now])
            for symbol, quantity in agreed.items():
                told = [account_id, storable(symbol), decimal_text(quantity), now]
                db.execute(f"INSERT OR REPLACE INTO differences SELECT ?, ?, ?, {_MARKS}, ?", told)

        self._writer.write(job)

    def filled_since(self, account_id: str, symbol: str, last_fill: int) -> tuple[Decimal, bool]:
        """How much was filled there after that fill, both sides together; and whether all its fees are known.

        A fee whose currency is not told may be one in coins.
        """
        found = self._reads.query(_FILLED, [last_fill, account_id, symbol])
        return exact.total(Decimal(one["quantity"]) for one in found), all(map(_is_fee_known, found))

    def untold_since(self, account_id: str, last_fill: int) -> tuple[frozenset[str], int]:
        """The symbols of which something was filled there after that fill whose fee is not known; and the last fill."""
        with self._reads.snapshot() as db:
            found = list(db.query(_FILLED_ON, [last_fill, account_id]))
            (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM fills").fetchone()
        return frozenset(one["symbol"] for one in found if not _is_fee_known(one)), newest

    def corrected_since(self, account_id: str, symbol: str, last_correction: int) -> Decimal:
        """What people added to the books there after that correction; less than zero where they took away."""
        found = self._reads.query(_CORRECTED, [last_correction, account_id, symbol])
        changes = (exact.subtract(Decimal(one["quantity"]), Decimal(one["quantity_before"])) for one in found)
        return exact.total(changes)

    def strays(self, account_id: str) -> frozenset[str]:
        """Orders of ours that the ledger does not know, and that somebody has settled."""
        found = self._reads.query("SELECT client_order_id FROM strays WHERE account_id = ?", [account_id])
        return frozenset(one["client_order_id"] for one in found)

    def settle_strays(self, account_id: str, client_order_ids: Collection[str]) -> None:
        """Somebody has seen that these orders are there; committed on return."""
        now = time_text(utc(self._clock.time()))
        rows = [[account_id, storable(id), now] for id in client_order_ids]

        def job(db: Database) -> None:
            db.conn.executemany("INSERT OR IGNORE INTO strays (account_id, client_order_id, at) VALUES (?, ?, ?)", rows)

        self._writer.write(job)


def _kept(columns: Mapping[str, Any]) -> Kept:
    return Kept(Decimal(columns.get("quantity", 0)), columns["last_fill"], columns["last_correction"])


def _is_fee_known(fill: Mapping[str, Any]) -> bool:
    return fill["fee"] is not None and (fill["fee_currency"] is not None or not Decimal(fill["fee"]))

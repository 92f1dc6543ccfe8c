"""A database as a whole: copied while an engine runs on it, put back while none does, and looked through.

Whether it is whole is told by the file itself, by the ledger against the books, and by rows against their history.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.errors import StoreError
from reconciler.orders.holding import Holding
from reconciler.orders.order import Side, decimal_text
from reconciler.records.event import EventReason
from reconciler.records.halt import Halt
from reconciler.store import tables as schema
from reconciler.store.columns import fill_from
from reconciler.store.database import ReadPool, explained, explanation, make_folder, open_read_only
from reconciler.store.files import EngineLock, broken
from reconciler.store.halts import read_active
from reconciler.store.store import Store

_NAMED = 100
"""So many faults of a kind are named."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_UNFILLED = (
    "SELECT o.client_order_id, o.filled_quantity, group_concat(f.quantity, ' ') AS told FROM orders o"
    " LEFT JOIN fills f ON f.client_order_id = o.client_order_id"
    " WHERE o.filled_quantity <> '0' OR f.id IS NOT NULL GROUP BY o.id ORDER BY o.id"
)
_FILLS = (
    "SELECT f.*, o.side FROM fills f JOIN orders o ON o.client_order_id = f.client_order_id"
    " WHERE o.instance_id = ? AND o.symbol = ? AND o.shadow = ? AND f.id > ? AND o.id > ? AND o.id <= ? ORDER BY f.id"
)
_LAST = 2**62
_BOOKLESS = (
    "SELECT DISTINCT o.instance_id, o.symbol FROM fills f JOIN orders o ON o.client_order_id = f.client_order_id"
    " WHERE o.shadow = 0 AND NOT EXISTS (SELECT 1 FROM books b WHERE b.instance_id = o.instance_id"
    " AND b.symbol = o.symbol AND b.shadow = 0)"
)
_UNTOLD = (
    'SELECT i.id, i.generation, i."values" AS row_values, g."values" AS told_values, newest.generation AS newest'
    " FROM instances i LEFT JOIN (SELECT instance_id, max(generation) AS generation FROM generations"
    " GROUP BY instance_id) newest ON newest.instance_id = i.id"
    " LEFT JOIN generations g ON g.id = (SELECT max(id) FROM generations WHERE instance_id = i.id"
    " AND generation = i.generation) ORDER BY i.id"
)
_ENDS = ("", "-wal", "-shm")


@dataclass(frozen=True, slots=True)
class Examination:
    """What was looked at, and a sentence for each thing that is not as it must be."""

    orders: int
    books: int
    instances: int
    faults: tuple[str, ...]


def examine(path: Path) -> Examination:
    """With an engine running, or without. Raises StoreError where it cannot be looked at: not there, another program's,
    of another version, or a disk that refuses.
    """
    if not path.exists():
        raise StoreError(f"{path}: no database there: start the engine once, it makes one")
    try:
        damage = broken(f"{path.resolve()}-wal")  # SQLite, once it has looked, knows nothing of it
    except OSError as error:
        raise StoreError(f"{path}: its log cannot be read: {error.strerror}") from error
    try:
        with closing(open_read_only(path)) as db, db.atomic():
            faults = [*_of_the_file(db), *([] if damage is None else [f"the file: {damage}"])]
            if faults:
                return Examination(0, 0, 0, tuple(faults))
            schema.require_current(db, path)
            faults = [*_first(_fills(db)), *_first(_books(db)), *_first(_history(db))]
            orders, books, instances = (db.table(name).count for name in ("orders", "books", "instances"))
            return Examination(orders, books, instances, tuple(faults))
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            return Examination(0, 0, 0, (f"the file: {error}",))
        raise explanation(path, error) from error


def require_whole_file(db: Database, path: Path) -> None:
    """Raises StoreError where the file itself is damaged."""
    with explained(path):
        faults = list(_of_the_file(db))
    if faults:
        raise StoreError(f"{path}: {faults[0]}: take another copy")


def _first(faults: Iterator[str]) -> Iterator[str]:
    for number, fault in enumerate(faults):
        if number == _NAMED:
            yield "and more"
            return
        yield fault


def _of_the_file(db: Database) -> Iterator[str]:
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        yield "the file: it is empty, there is nothing of a ledger in it"
    for (told,) in db.execute(f"PRAGMA integrity_check({_NAMED})"):
        if told != "ok":
            yield f"the file: {told}"
    for table, row, parent, _ in db.execute("PRAGMA foreign_key_check").fetchmany(_NAMED):
        yield f"the file: row {row} of {table} belongs to a row of {parent} that is not there"


def _fills(db: Database) -> Iterator[str]:
    """Orders whose fills do not add up to what they say is filled."""
    for order in db.query(_UNFILLED):
        told = exact.total(Decimal(quantity) for quantity in (order["told"] or "0").split())
        if told != Decimal(order["filled_quantity"]):
            id, filled = order["client_order_id"], order["filled_quantity"]
            yield f"order {id}: {filled} of it is filled, its fills make {decimal_text(told)}"


def _books(db: Database) -> Iterator[str]:
    """Books that do not hold what their fills, and what people corrected, add up to."""
    begun: dict[tuple[str, str], int] = {}
    for book in db.query("SELECT * FROM books ORDER BY id"):
        owner = (book["instance_id"], book["symbol"])
        after_order = begun.get(owner, 0) if book["shadow"] else 0
        if book["shadow"] and book["last_order"] is not None:
            begun[owner] = book["last_order"]
        made = _made(db, book, after_order)
        if made != Decimal(book["quantity"]):
            kind = "shadow book" if book["shadow"] else "book"
            yield f"{kind} of {owner[0]}: it holds {book['quantity']} {owner[1]}, its fills make {decimal_text(made)}"
    for found in db.query(_BOOKLESS):
        yield f"book of {found['instance_id']}: there is none, but fills of {found['symbol']}"


def _made(db: Database, book: dict[str, Any], after_order: int) -> Decimal:
    holding, after_fill = Holding(book["symbol"], Decimal(book["start_quantity"])), 0
    if not book["shadow"]:
        corrections = "SELECT * FROM corrections WHERE instance_id = ? AND symbol = ? ORDER BY id DESC LIMIT 1"
        for last in db.query(corrections, [book["instance_id"], book["symbol"]]):
            holding, after_fill = Holding(book["symbol"], Decimal(last["quantity"])), last["after_fill"]
    last_order = _LAST if book["last_order"] is None else book["last_order"]
    about = [book["instance_id"], book["symbol"], book["shadow"], after_fill, after_order, last_order]
    for columns in db.query(_FILLS, about):
        holding = holding.filled(Side(columns["side"]), fill_from(columns), date.min)
    return holding.quantity


def _history(db: Database) -> Iterator[str]:
    """Rows that are not what the history says became of them last."""
    for row in db.query(_UNTOLD):
        if row["newest"] is None:
            yield f"instance {row['id']}: its history is empty"
        elif row["told_values"] is None or row["newest"] != row["generation"]:
            yield f"instance {row['id']}: its row is of generation {row['generation']}, its history ends with" + (
                f" {row['newest']}"
            )
        elif json.loads(row["told_values"]) != json.loads(row["row_values"]):
            yield f"instance {row['id']}: its row is not what its history says of generation {row['generation']}"


@dataclass(frozen=True, slots=True)
class Holds:
    """What a ledger says of an account: what the books make, what is open or in doubt. What to compare it with."""

    account_id: str
    held: Mapping[str, Decimal]
    open: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Restored:
    """A copy that was put back. `written_at` is when its last order was placed; `aside` is where what was here is."""

    accounts: tuple[Holds, ...]
    written_at: datetime | None
    aside: Path | None
    notes: tuple[str, ...]


def back_up(path: Path, target: Path) -> int:
    """Make `target`, one whole file for its owner only, of the database as it is at one moment; its size in bytes.

    An engine may run meanwhile. Raises StoreError where there is no database, where it is damaged, or where `target` is
    there already or cannot be written.
    """
    if not path.exists():
        raise StoreError(f"{path}: no database there, so there is nothing to copy")
    if os.path.lexists(target):
        raise StoreError(f"{target}: is there already: name a new file, no copy is ever written over")
    aside = _new_file(target.parent, f".{target.name}.")
    try:
        _copied(path, aside)
        _link(aside, target)
    finally:
        aside.unlink()
    return target.stat().st_size


def restore(source: Path, path: Path, clock: Clock, uid: int, reason: str) -> Restored:
    """Put the copy `source` in the place of the database at `path`, with everything halted. What was here is kept.

    Halts that were in force here stay so. Orders placed from now on are told from those that the copy does not know.
    Raises StoreLocked where an engine runs, StoreError where the copy is damaged, none of ours or of a newer version.
    """
    if not source.exists():
        raise StoreError(f"{source}: no such file: name a copy that reconciler backup made")
    make_folder(path.parent)
    lock = EngineLock(path.with_name(f"{path.name}.lock"))
    folder = Path(tempfile.mkdtemp(prefix="restoring-", dir=path.parent))
    try:
        fresh = folder / path.name
        _copied(source, fresh)
        halts, notes = _halts_here(path)
        found = _prepared(fresh, source, clock, uid, reason, halts)
        aside = _put_aside(path, clock)
        os.replace(fresh, path)
        path.with_name(f"{path.name}.id").unlink(
            missing_ok=True
        )  # another ledger may be meant: the next start notes it
        _sync(path.parent)
        return Restored(*found, aside, notes)
    except OSError as error:
        raise StoreError(f"{error.filename or path}: cannot be written: {error.strerror}: check the disk") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def _copied(source: Path, target: Path) -> None:
    """Make `target` one whole file of what `source` holds, its log included."""
    with (
        explained(source),
        closing(open_read_only(source)) as db,
        closing(sqlite3.connect(target, isolation_level=None)) as made,
    ):
        os.chmod(target, 0o600)
        db.conn.backup(made)
        made.execute("PRAGMA journal_mode = DELETE")
    with explained(target), closing(open_read_only(target)) as copy:
        require_whole_file(copy, source)
        tables = set(copy.table_names())
        if not {"meta", "orders", "_sqlite_migrations"} <= tables:
            raise StoreError(f"{source}: expected an engine's database, was another program's")
    _sync(target)


def _prepared(
    fresh: Path, source: Path, clock: Clock, uid: int, reason: str, halts: tuple[Halt, ...]
) -> tuple[tuple[Holds, ...], datetime | None]:
    """Halt everything in the copy before any engine can see it, and say who put it back."""
    why = f"restored from {source.name}" + (f": {reason}" if reason else "")
    with Store.open(fresh, clock) as store:
        for halt in halts:
            store.halts.add(halt.scope, halt.id, halt.full, halt.reason, halt.by)
        store.halts.add("all", "", False, f"{why}: compare with the exchanges, then unhalt", f"uid {uid}")
        store.operators.record(uid, "restore", str(source), reason or why)
        store.events.record(None, "Warning", EventReason.RESTORED, f"{why} (uid {uid}): everything is halted")
        store.renew()
        ledger = store.ledger
        in_doubt = (*ledger.unresolved(), *ledger.open_accepted())
        accounts = tuple(
            Holds(
                account_id,
                ledger.held(account_id),
                tuple(o.client_order_id for o in in_doubt if o.provenance.account_id == account_id),
            )
            for account_id in sorted({account_id for account_id, _ in ledger.clients()})
        )
        return accounts, ledger.latest()


def _halts_here(path: Path) -> tuple[tuple[Halt, ...], tuple[str, ...]]:
    """The halts in force in the database that is put aside, as far as it can be read."""
    if not path.exists():
        return (), ()
    reads = ReadPool(path)
    try:
        return read_active(reads), ()
    except StoreError as error:
        return (), (f"whether halts were in force here cannot be read, nor put back: {error}",)
    finally:
        reads.close()


def _put_aside(path: Path, clock: Clock) -> Path | None:
    """Move what is here away, its log with it: left there, it would be read into the copy."""
    aside = path.with_name(f"{path.name}.replaced-{utc(clock.time()):%Y%m%dT%H%M%S%f}")
    for end in _ENDS:
        with suppress(FileNotFoundError):
            os.rename(f"{path}{end}", f"{aside}{end}")
    return aside if aside.exists() else None


def _new_file(folder: Path, prefix: str) -> Path:
    try:
        number, name = tempfile.mkstemp(prefix=prefix, dir=folder)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written to: {error.strerror}: name another folder") from error
    os.close(number)
    return Path(name)


def _link(aside: Path, target: Path) -> None:
    try:
        os.link(aside, target)
        _sync(target.parent)
    except FileExistsError as error:
        raise StoreError(f"{target}: is there already: name a new file, no copy is ever written over") from error
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror}: name another file") from error


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)

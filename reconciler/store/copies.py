"""Copies: made of a database while an engine runs on it, and put back while none does."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from reconciler.clock import Clock, utc
from reconciler.errors import StoreError
from reconciler.records.event import EventReason
from reconciler.records.halt import Halt
from reconciler.store.database import ReadPool, explained, make_folder, open_read_only
from reconciler.store.examination import require_whole_file
from reconciler.store.files import EngineLock
from reconciler.store.halts import read_active
from reconciler.store.store import Store

_ENDS = ("", "-wal", "-shm")


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

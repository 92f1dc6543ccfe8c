"""`reconciler backup`, `restore` and `check`: what is done with a database as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.output import CouldNotRun, Failure, say, tell
from reconciler.cli.place import Place
from reconciler.clock import SystemClock, iso
from reconciler.documents.wording import some
from reconciler.errors import StoreError
from reconciler.orders.order import decimal_text

if TYPE_CHECKING:
    from reconciler.store import Restored


@click.command(
    epilog="""\b
Examples:
  reconciler backup /backups/fleet-2026-01-31.db
  reconciler backup "/backups/fleet-$(date -u +%Y%m%dT%H%M%SZ).db\""""
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(place: Place, file: Path) -> None:
    """Copy the ledger, the history and all else of the database into FILE, as they are at one moment.

    While an engine runs, or while none does. FILE is one whole file, for its owner only, looked through once it is
    written; it must not be there yet. Put it back with: reconciler restore FILE.
    """
    from reconciler.store import back_up

    try:
        size_bytes = back_up(place.database(), file)
    except StoreError as error:
        raise Failure(str(error)) from error
    tell(f"{file}: a whole copy of {place.database()}, {size_bytes} bytes")


_NAMED = 20
_NEXT = (
    "everything is halted; start the engine: it compares each account before the first order, and where something",
    "differs real money waits (Trading: LedgerBehind) until: reconciler exec settle ACCOUNT",
    "when all adds up: reconciler unhalt --all --reason …",
)


@click.command(
    epilog="""\b
Examples:
  reconciler restore /backups/fleet-2026-01-31.db
  reconciler restore /backups/fleet-2026-01-31.db --reason "the disk failed\""""
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--reason", default="", metavar="TEXT", help="Why; recorded with who asked.")
@click.pass_obj
def restore(place: Place, file: Path, reason: str) -> None:
    """Put FILE, which backup made, in the place of the database, while no engine runs.

    Everything is halted, and what to compare with the exchanges is told: what the copy knows of each account. What was
    here is kept beside it, and the halts that were in force stay so. A database that an engine left will do as FILE,
    too, its log (-wal) beside it.
    """
    from reconciler.store import restore as put_back

    try:
        done = put_back(file, place.database(), SystemClock(), os.getuid(), reason.strip())
    except StoreError as error:
        raise Failure(str(error)) from error
    for line in _told(done, file, place.database()):
        tell(line)
    for note in done.notes:
        say(note)
    say(*_NEXT)


def _told(done: Restored, file: Path, path: Path) -> Iterator[str]:
    last = "none" if done.written_at is None else iso(done.written_at.timestamp())
    yield f"{path}: restored from {file}; its last order: {last}"
    if done.aside is not None:
        yield f"what was here is kept as {done.aside}"
    for one in done.accounts:
        held = ", ".join(f"{decimal_text(quantity)} {symbol}" for symbol, quantity in sorted(one.held.items()))
        open_there = f"open or in doubt: {some(one.open, _NAMED) or 'nothing'}"
        yield f"compare account {one.account_id}: it holds {held or 'nothing'}; {open_there}"


@click.command(
    epilog="""\b
Example:
  reconciler check"""
)
@click.pass_obj
def check(place: Place) -> None:
    """Look whether the database is whole: the file, the ledger against its books, rows against their history.

    With an engine running, or without; changes nothing. Exit code 0 where all of it is whole, 1 where something is not,
    each fault a line, 2 where it could not be looked at. Whether rows were lost, only the exchange can tell: the engine
    compares at each start.
    """
    from reconciler.store import examine

    try:
        path = place.database()
        found = examine(path)
    except StoreError as error:
        raise CouldNotRun(str(error)) from error
    except Failure as failure:
        raise CouldNotRun(*failure.lines) from failure
    if found.faults:
        for fault in found.faults:
            tell(fault)
        raise Failure(f"{path}: not whole: {len(found.faults)} found; restore a copy, or find out who wrote to it")
    tell(f"{path}: whole: {found.orders} orders, {found.books} books, {found.instances} instances")

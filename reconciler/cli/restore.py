"""`reconciler restore`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Failure
from reconciler.cli.output import say, tell
from reconciler.cli.place import Place
from reconciler.clock import SystemClock, iso
from reconciler.errors import StoreError
from reconciler.records.order import decimal_text

if TYPE_CHECKING:
    from reconciler.store import Restored

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
        more = f" and {len(one.open) - _NAMED} more" if len(one.open) > _NAMED else ""
        waiting = ", ".join(one.open[:_NAMED]) + more
        open_there = f"open or in doubt: {waiting or 'nothing'}"
        yield f"compare account {one.account_id}: it holds {held or 'nothing'}; {open_there}"

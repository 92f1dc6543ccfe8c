"""`reconciler backup`, `restore` and `check`: what is done with a database as a whole.

And `export`: all there is in it, for spreadsheets, scripts and tax advisers. Column names stay as they are.
"""

from __future__ import annotations

import csv
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.output import CouldNotRun, Failure, say, tell
from reconciler.cli.parameters import between
from reconciler.cli.place import Place, require_known
from reconciler.clock import SystemClock, iso
from reconciler.documents.wording import some
from reconciler.errors import StoreError
from reconciler.orders.order import decimal_text
from reconciler.visible import json_text, visible

if TYPE_CHECKING:
    from reconciler.store import Restored
    from reconciler.store.reader import Export

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
"""A minus in front of one is no formula."""
STARTS_FORMULA = frozenset("=+-@")
_OVERLOOKED = frozenset(("Cc", "Cf", "Zs", "Zl", "Zp"))
"""Control characters, invisible ones and spaces, as Unicode sorts them: some spreadsheets read on behind them."""


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


@click.command(
    epilog="""\b
Examples:
  reconciler export orders
  reconciler export fills --since 2026-01-01 --until 2027-01-01
  reconciler export fills --instance btc-grid-1 --format json
  reconciler export history --since 7d"""
)
@click.argument("what", metavar="orders|fills|history", type=click.Choice(["orders", "fills", "history"]))
@between
@click.option("--instance", "instance_id", metavar="ID", default="", help="Only what is of this instance.")
@click.option(
    "--format", "form", type=click.Choice(["csv", "json"]), default="csv", help="For spreadsheets, or for machines."
)
@click.pass_obj
def export(
    place: Place, what: Export, since: datetime | None, until: datetime | None, instance_id: str, form: str
) -> None:
    """Write the whole ledger or history to stdout, oldest first: real and simulated, never only a part.

    Numbers are exact decimals and times are UTC. In csv a text that a spreadsheet would take for a formula gets an
    apostrophe in front, and what cannot be seen is escaped, line breaks too: a row is a line. Json is as it is.
    """
    from reconciler.store.reader import columns

    reader = place.reader()
    try:
        if instance_id:
            require_known(reader, instance_id)
        items = reader.exported(what, instance_id, since, until)
        if form == "json":
            _write_json(items)
        else:
            _write_csv(columns(what), items)
    finally:
        reader.close()


def _write_json(items: Iterator[Mapping[str, Any]]) -> None:
    """As every list is written, but an item a line."""
    between_items = ""
    sys.stdout.write('{"items": [')
    for item in items:
        sys.stdout.write(f"{between_items}\n{json_text(item)}")
        between_items = ","
    sys.stdout.write("\n]}\n")


def _write_csv(names: Sequence[str], items: Iterator[Mapping[str, Any]]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(names)
    out.writerows([_cell(item[name]) for name in names] for item in items)


def _cell(value: Any) -> Any:
    """A value as a spreadsheet may read it: what would be taken for a formula is text, numbers are left alone."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json_text(value)
    if not isinstance(value, str):
        return value
    return visible(f"'{value}" if _is_formula(value) else value)


def _is_formula(text: str) -> bool:
    """True where a spreadsheet might take `text` for one: also behind spaces, and written in full width."""
    if NUMBER.fullmatch(text):
        return False
    first = next((one for one in text if unicodedata.category(one) not in _OVERLOOKED), "")
    return not STARTS_FORMULA.isdisjoint(unicodedata.normalize("NFKC", first)[:1])

"""`reconciler check`."""

from __future__ import annotations

import click

from reconciler.cli.failure import CouldNotRun, Failure
from reconciler.cli.output import tell
from reconciler.cli.place import Place
from reconciler.errors import StoreError


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

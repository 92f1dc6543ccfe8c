"""`reconciler backup`."""

from __future__ import annotations

from pathlib import Path

import click

from reconciler.cli.failure import Failure
from reconciler.cli.output import tell
from reconciler.cli.place import Place
from reconciler.errors import StoreError


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

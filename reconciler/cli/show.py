"""`reconciler show`."""

from __future__ import annotations

import click

from reconciler.cli.failure import Failure
from reconciler.cli.output import print_table, say
from reconciler.cli.place import Place


@click.command(
    epilog="""\b
Examples:
  reconciler show btc-grid-1"""
)
@click.argument("instance_id", metavar="ID")
@click.pass_obj
def show(place: Place, instance_id: str) -> None:
    """Show the record that is applied, each value with the line it comes from.

    What the strategy's schema fills in is marked as default.
    """
    from reconciler.review.origin import origins

    reader = place.reader()
    try:
        row = reader.row(instance_id)
    finally:
        reader.close()
    if row is None:
        raise Failure(f"{instance_id}: there is no such instance; all there are: reconciler status")
    file = place.root() / row.path
    data = file.read_bytes() if file.is_file() else None
    found = origins(row, data)
    if row.removed_at is not None:
        say(f"{instance_id} was removed at {row.removed_at}; its id and identity are kept")
    elif not found.file_is_applied:
        say(f"{row.path} has changed since this was applied: lines are left out")
    revision = f"commit {row.revision}" if row.revision else "not committed"
    say(f"generation {row.generation}, applied at {row.applied_at}, {revision}")
    print_table(("VALUE", "", "ORIGIN"), [(value.pointer, value.text, value.origin) for value in found.values])

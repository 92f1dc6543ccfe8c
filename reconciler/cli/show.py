"""`reconciler show`."""

from __future__ import annotations

from dataclasses import asdict

import click

from reconciler.cli.known import no_such
from reconciler.cli.output import print_items, print_table, say
from reconciler.cli.place import Place


@click.command(
    epilog="""\b
Examples:
  reconciler show btc-grid-1
  reconciler show btc-grid-1 --format json"""
)
@click.argument("instance_id", metavar="ID")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def show(place: Place, instance_id: str, form: str) -> None:
    """Show the record that is applied, each value with the line it comes from: of its file, or of its template.

    What the strategy's schema fills in is marked as default.
    """
    from reconciler.review.origin import origins

    reader = place.reader()
    try:
        row = reader.row(instance_id)
        if row is None:
            raise no_such(instance_id, reader.ids())
    finally:
        reader.close()
    found = origins(row, _bytes(place, row.path), _bytes(place, row.template_path) if row.template_path else None)
    if row.removed_at is not None:
        say(f"{instance_id} was removed at {row.removed_at}; its id and identity are kept")
    elif found.changed:
        verb = "has" if len(found.changed) == 1 else "have"
        say(f"{' and '.join(found.changed)} {verb} changed since this was applied: lines are left out")
    revision = f"commit {row.revision}" if row.revision else "not committed"
    say(f"generation {row.generation}, applied at {row.applied_at}, {revision}")
    if form == "json":
        print_items(asdict(value) for value in found.values)
    else:
        print_table(("VALUE", "", "ORIGIN"), [(value.pointer, value.text, value.origin) for value in found.values])


def _bytes(place: Place, path: str) -> bytes | None:
    file = place.root() / path
    return file.read_bytes() if file.is_file() else None

"""`reconciler show` and `history`: one record, and how it became what it is."""

from __future__ import annotations

from dataclasses import asdict

import click

from reconciler.cli.output import print_items, print_table, say
from reconciler.cli.place import Place, no_such, require_known
from reconciler.records.cadence import to_the_second


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


@click.command(
    epilog="""\b
Examples:
  reconciler history btc-grid-1
  reconciler history btc-grid-1 --limit 5 --format json"""
)
@click.argument("instance_id", metavar="ID")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def history(place: Place, instance_id: str, limit: int, form: str) -> None:
    """Show every generation of an instance, newest first: when, from which commit, and what changed."""
    reader = place.reader()
    try:
        found = reader.history(instance_id, limit=limit)[0]
        if not found:
            require_known(reader, instance_id)
    finally:
        reader.close()
    if form == "json":
        print_items(found)
        return
    print_table(
        ("GENERATION", "AT", "COMMIT", "MODE", "KIND", "CHANGED"),
        [
            (g["generation"], to_the_second(g["at"]), (g["revision"] or "")[:12], g["mode"], g["kind"], g["summary"])
            for g in found
        ],
        least=("KIND", "MODE", "COMMIT"),
    )

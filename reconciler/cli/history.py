"""`reconciler history`."""

from __future__ import annotations

import click

from reconciler.cli.known import require_known
from reconciler.cli.output import print_items, print_table
from reconciler.cli.place import Place
from reconciler.records.moment import to_the_second


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

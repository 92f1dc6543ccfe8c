"""`reconciler history`."""

from __future__ import annotations

import click

from reconciler.cli.failure import Failure
from reconciler.cli.output import print_items, print_table
from reconciler.cli.place import Place


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
        known = bool(found) or reader.row(instance_id) is not None
    finally:
        reader.close()
    if not known:
        raise Failure(f"{instance_id}: there never was such an instance; all there are: reconciler status")
    if form == "json":
        print_items(found)
        return
    print_table(
        ("GENERATION", "AT", "COMMIT", "MODE", "KIND", "CHANGED"),
        [(g["generation"], g["at"], (g["revision"] or "")[:12], g["mode"], g["kind"], g["summary"]) for g in found],
    )

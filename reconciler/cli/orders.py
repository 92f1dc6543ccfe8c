"""`reconciler orders`."""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli.output import print_items, print_table
from reconciler.cli.place import Place
from reconciler.records.order import Outcome
from reconciler.store import Reader

COLUMNS = ("CREATED", "INSTANCE", "ORDER", "OUTCOME", "STATE", "SIDE", "TYPE", "QUANTITY", "LIMIT", "FILLED", "REASON")
FIELDS = (
    "created_at",
    "instance_id",
    "client_order_id",
    "outcome",
    "state",
    "side",
    "type",
    "quantity",
    "limit_price",
    "filled_quantity",
    "reason",
)


@click.command(
    epilog="""\b
Examples:
  reconciler orders
  reconciler orders btc-grid-1 --limit 20
  reconciler orders btc-grid-1 --shadow
  reconciler orders --format json"""
)
@click.argument("instance_id", metavar="[ID]", default="")
@click.option("--shadow", is_flag=True, help="Simulated orders, those of observe, instead of real ones.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def orders(place: Place, instance_id: str, shadow: bool, limit: int, form: str) -> None:
    """Show the order ledger, of all instances or of one, newest first.

    Json tells of each order also its mode, generation, beat and commit.
    """
    reader = place.reader()
    try:
        found = _newest(reader, instance_id, shadow, limit)
    finally:
        reader.close()
    if form == "json":
        print_items(found)
    else:
        print_table(COLUMNS, [[order[name] for name in FIELDS] for order in found])


def _newest(reader: Reader, instance_id: str, shadow: bool, limit: int) -> list[dict[str, Any]]:
    wanted = [outcome for outcome in Outcome if (outcome is Outcome.SHADOW) == shadow]
    found = [order for o in wanted for order in reader.orders(instance_id=instance_id, outcome=o, limit=limit)[0]]
    return sorted(found, key=lambda order: str(order["created_at"]), reverse=True)[:limit]

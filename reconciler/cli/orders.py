"""`reconciler orders`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from reconciler.cli.output import print_items, print_table
from reconciler.cli.place import Place

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
@click.option("--shadow", is_flag=True, help="The simulated book, that of observe, instead of the real one.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def orders(place: Place, instance_id: str, shadow: bool, limit: int, form: str) -> None:
    """Show the order ledger, of all instances or of one, newest first.

    What observe was refused is in the simulated book. Json tells of each order also its mode, generation, beat
    and commit.
    """
    reader = place.reader()
    try:
        found = reader.orders(instance_id=instance_id, shadow=shadow, limit=limit)[0]
    finally:
        reader.close()
    if form == "json":
        print_items(found)
    else:
        print_table(COLUMNS, [_row(order) for order in found])


def _row(order: Mapping[str, Any]) -> list[Any]:
    by = f" by {order['rejected_by']}" if order["rejected_by"] else ""
    shown = {**order, "outcome": f"{order['outcome']}{by}"}
    return [shown[name] for name in FIELDS]

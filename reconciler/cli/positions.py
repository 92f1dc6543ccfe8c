"""`reconciler positions`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import click

from reconciler.cli.output import print_items, print_table, say
from reconciler.cli.place import Engine, NoEngine, Place, require_known
from reconciler.orders.order import decimal_text

COLUMNS = ("INSTANCE", "SYMBOL", "POSITION", "AVERAGE", "REALISED", "UNREALISED", "FEES", "ACCOUNT")
LEAST = ("ACCOUNT", "FEES", "AVERAGE", "UNREALISED", "REALISED")
"""What a narrow terminal does without, in this order."""
SIMULATED = "simulated: nothing of this was traded"

Item = Mapping[str, Any]


@click.command(
    epilog="""\b
Examples:
  reconciler positions
  reconciler positions btc-grid-1
  reconciler positions --all
  reconciler positions --shadow
  reconciler positions --format json"""
)
@click.argument("instance_id", metavar="[ID]", default="")
@click.option("--all", "flat_too", is_flag=True, help="Those that hold nothing any more, too.")
@click.option("--shadow", is_flag=True, help="The simulated books, those of observe, instead of the real ones.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def positions(place: Place, instance_id: str, flat_too: bool, shadow: bool, form: str) -> None:
    """Show what instances hold by their own fills, what it cost, and the profit of what they closed.

    Removed instances too: what they held is still there. A running engine adds what closing now would bring, at the
    last quote it saw.
    """
    reader = place.reader()
    try:
        if instance_id:
            require_known(reader, instance_id)
        rows = reader.rows()
        books = [
            book for book in reader.books(shadow) if instance_id in ("", book[0]) and (flat_too or book[1].quantity)
        ]
        doubts = {} if shadow else reader.in_doubt()
    finally:
        reader.close()
    valued = _valued(place.engine(), sorted({owner for owner, _ in books}), shadow)
    items = []
    for owner, holding in books:
        account = rows[owner].record.identity.account_id if owner in rows else None
        items.append(
            {
                "instance_id": owner,
                "account_id": account,
                **(valued.get((owner, holding.symbol)) or _as_text(holding.to_item(shadow, None))),
                "in_doubt": doubts.get(owner, []),
            }
        )
    if form == "json":
        print_items(items)
    else:
        print_table(COLUMNS, [_row(item) for item in items], least=LEAST)
        _talk(items, doubts, instance_id, shadow)


def _valued(engine: Engine, owners: list[str], shadow: bool) -> dict[tuple[str, str], Item]:
    """The same holdings as a running engine values them, by instance and symbol; nothing where none is running."""
    try:
        found = [(owner, engine.get(f"/api/v1/instances/{owner}")) for owner in owners]
    except NoEngine:
        return {}
    return {
        (owner, holding["symbol"]): holding
        for owner, item in found
        if item is not None
        for holding in item["holdings"]
        if holding["shadow"] is shadow
    }


def _as_text(item: Item) -> Item:
    return {name: decimal_text(value) if isinstance(value, Decimal) else value for name, value in item.items()}


def _row(item: Item) -> list[Any]:
    doubted = " (not known)" if item["in_doubt"] else ""
    return [
        item["instance_id"],
        item["symbol"],
        f"{item['quantity']}{doubted}",
        _short(item["average_price"]),
        _money(item, "realised"),
        _money(item, "unrealised"),
        "; ".join([_money(item, "fees") or "", *(f"{fee} {name}" for name, fee in item["other_fees"].items())]),
        item["account_id"],
    ]


def _money(item: Item, name: str) -> str | None:
    amount = _short(item[name])
    return None if amount is None else f"{amount} {item['currency']}".rstrip()


def _short(number: str | None) -> str | None:
    """As the page writes it: an average is a quotient, and of its 28 digits nobody reads all."""
    from reconciler.dashboard.render import amount

    return None if number is None else amount(Decimal(number))


def _talk(items: Sequence[Item], doubts: Mapping[str, list[str]], instance_id: str, shadow: bool) -> None:
    if shadow:
        say(SIMULATED)
    elif not items:
        say("nothing is held" + (f" by {instance_id}" if instance_id else ""))
    for owner, orders in doubts.items():
        if instance_id in ("", owner):
            say(f"{owner}: nobody knows yet what became of {', '.join(orders)}: what it holds may be more or less")

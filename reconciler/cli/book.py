"""`reconciler book`."""

from __future__ import annotations

from decimal import Decimal

import click

from reconciler.cli.engine import NoEngine
from reconciler.cli.output import Failure, print_outcome, say, tell
from reconciler.cli.parameters import Fee, Held, reason_option
from reconciler.cli.place import Place, owned_store
from reconciler.orders.order import decimal_text
from reconciler.orders.verdict import Correction

_DONE = "book put right"


@click.command(
    epilog="""\b
Examples:
  reconciler book btc-dca --set 0.999@60000 --fee 0.001:BTC --reason "the exchange kept its fee in BTC"
  reconciler book btc-dca --set 2@61000 --reason "bought one more by hand"
  reconciler book btc-dca --set 0@52000 --reason "liquidated"
  reconciler book btc-dca --set 0@0 --reason "delisted, written off\""""
)
@click.argument("instance_id", metavar="ID")
@click.option(
    "--set",
    "held",
    type=Held(),
    required=True,
    metavar="QUANTITY@PRICE",
    help="All that it holds, negative where short, and what one cost; of 0, what all of it was closed at.",
)
@click.option(
    "--fee",
    type=Fee(),
    metavar="AMOUNT[:CURRENCY]",
    help="A fee that the book does not know, in the quote currency where none is named.",
)
@reason_option
@click.pass_obj
def book(
    place: Place,
    instance_id: str,
    held: tuple[Decimal, Decimal],
    fee: tuple[Decimal, str | None] | None,
    reason: str,
) -> None:
    """Put right what an instance holds, after looking at the exchange: both ways, or to an end.

    Kept as a row of its own in ledger, history and export; it lowers no loss of the day. For what was liquidated,
    delisted or written off, too, and for instances that are removed. With an engine running, and with none.
    """
    amount, currency = fee or (None, None)
    try:
        body = {
            "id": instance_id,
            "quantity": decimal_text(held[0]),
            "price": decimal_text(held[1]),
            "reason": reason,
            **({} if amount is None else {"fee": decimal_text(amount)}),
            **({} if currency is None else {"fee_currency": currency}),
        }
        print_outcome(_DONE, place.engine().post("/v1/book", body))
    except NoEngine:
        _correct_without_engine(place, instance_id, Correction(*held, reason, "", amount, currency))
        tell(f"{instance_id}: {_DONE}")
        say("no engine is running here: the ledger was written to")
    _say_doubts(place, instance_id)


def _correct_without_engine(place: Place, instance_id: str, said: Correction) -> None:
    from dataclasses import replace

    with owned_store(place) as owned:
        correction = replace(said, by=owned.by)
        if fault := owned.settlement.corrected(instance_id, correction):
            raise Failure(f"{instance_id}: {fault}")
        owned.books.corrected(instance_id, correction, owned.uid)


def _say_doubts(place: Place, instance_id: str) -> None:
    reader = place.reader()
    try:
        doubts = reader.in_doubt().get(instance_id, [])
    finally:
        reader.close()
    if doubts:
        say(f"{instance_id}: nobody knows yet what became of {', '.join(doubts)}: what is filled of it comes on top")

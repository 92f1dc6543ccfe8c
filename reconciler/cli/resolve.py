"""`reconciler orders resolve`."""

from __future__ import annotations

from decimal import Decimal

import click

from reconciler.cli.choice import reason_option
from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.money import Fee, Money
from reconciler.cli.outcome import print_outcome
from reconciler.cli.output import say, tell
from reconciler.cli.place import Place
from reconciler.control.commands import named
from reconciler.records.order import decimal_text
from reconciler.records.verdict import WORDS, Verdict, VerdictWord


@click.command(
    epilog="""\b
Examples:
  reconciler orders resolve 8fl267loyw3v28l39j --as rejected --reason "not in the exchange's history"
  reconciler orders resolve 8fl267loyw3v28l39j --as filled --price 59000 --fee 0.59 --reason "trade 4711"
  reconciler orders resolve 8fl267loyw3v28l39j --as cancelled --filled 0.2 --price 59000 --reason "by hand"
  reconciler orders resolve 8fl267loyw3v28l39j --as accepted --exchange-id 4711 --reason "rests in the book\""""
)
@click.argument("client_order_id")
@click.option(
    "--as", "word", type=click.Choice(WORDS), required=True, help="What became of it; accepted: it is there, and open."
)
@click.option("--filled", type=Money(zero_too=True), metavar="QUANTITY", help="How much is filled in all.")
@click.option("--price", type=Money(), help="The average price of what is filled.")
@click.option(
    "--fee",
    type=Fee(),
    metavar="AMOUNT[:CURRENCY]",
    help="The fees of all that is filled, in the quote currency where none is named.",
)
@click.option("--exchange-id", metavar="ID", help="What the exchange calls the order.")
@reason_option
@click.pass_obj
def resolve(
    place: Place,
    client_order_id: str,
    word: VerdictWord,
    filled: Decimal | None,
    price: Decimal | None,
    fee: tuple[Decimal, str | None] | None,
    exchange_id: str | None,
    reason: str,
) -> None:
    """Settle an order by hand, when the exchange cannot be asked what became of it: look there first.

    Of one in doubt, every word can be said; of one that the exchange took, but has forgotten, how it ended. Of one that
    is over, what is filled can be put right, both ways: more than was ordered, too, where the exchange rounded up. With
    an engine running, and with none.
    """
    charged, currency = fee or (None, None)
    amounts = {"filled_quantity": filled, "average_price": price, "fee": charged}
    try:
        body = {
            "client_order_id": client_order_id,
            "as": word,
            "reason": reason,
            **{name: decimal_text(amount) for name, amount in amounts.items() if amount is not None},
            **({} if currency is None else {"fee_currency": currency}),
            **({} if exchange_id is None else {"exchange_order_id": exchange_id}),
        }
        print_outcome(f"resolved as {word}", place.engine().post("/v1/resolve", body))
    except NoEngine:
        said = Verdict(word, reason, "", filled, price, charged, exchange_id, currency)
        _resolve_without_engine(place, client_order_id, said)
        tell(f"{client_order_id}: resolved as {word}")
        say("no engine is running here: the ledger was written to")


def _resolve_without_engine(place: Place, client_order_id: str, said: Verdict) -> None:
    from dataclasses import replace

    from reconciler.cli.ownership import owned_store
    from reconciler.execution.doubts import Doubts
    from reconciler.execution.settlement import Settlement

    with owned_store(place) as (store, uid):
        store.ledger.mark_unknown_on_startup()  # nobody waits for an answer: what is pending is in doubt
        verdict = replace(said, by=named(uid))
        settlement = Settlement(store.ledger, Doubts(), store.halts, store.events)
        if fault := settlement.resolved(client_order_id, verdict):
            raise Failure(f"{client_order_id}: {fault}")
        store.operators.record(uid, "resolve", f"order {client_order_id}", f"{verdict}: {verdict.reason}")

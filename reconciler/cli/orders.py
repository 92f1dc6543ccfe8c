"""`reconciler orders`: the list, and below it what can be done about one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.output import Failure, print_blocks, print_items, print_json, print_outcome, print_table, say, tell
from reconciler.cli.parameters import Fee, Money, between, reason_option
from reconciler.cli.place import NoEngine, Place, owned_store, require_known
from reconciler.orders.news import WORDS, Verdict, VerdictWord
from reconciler.orders.order import OrderState, Outcome, decimal_text
from reconciler.records.cadence import to_the_second
from reconciler.review.validate.report import count

if TYPE_CHECKING:
    from reconciler.store import Reader


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

    with owned_store(place) as owned:
        owned.store.ledger.mark_unknown_on_startup()  # nobody waits for an answer: what is pending is in doubt
        verdict = replace(said, by=owned.by)
        if fault := owned.settlement.resolved(client_order_id, verdict):
            raise Failure(f"{client_order_id}: {fault}")
        owned.books.resolved(client_order_id, verdict, owned.uid)


COLUMNS = (
    "CREATED",
    "INSTANCE",
    "ORDER",
    "OUTCOME",
    "SIDE",
    "TYPE",
    "QUANTITY",
    "LIMIT",
    "FILLED",
    "MODE",
    "GENERATION",
    "BEAT",
    "COMMIT",
    "REASON",
)
LEAST = ("BEAT", "GENERATION", "COMMIT", "MODE", "REASON", "TYPE", "ORDER", "INSTANCE", "CREATED")
"""What gives way on a narrow terminal, in this order: what was asked for, and what became of it, stay longest."""
BENEATH = ("REASON", "ORDER", "INSTANCE", "CREATED")
"""What of that is kept all the same, below each row."""

OUTCOMES = [one.value for one in Outcome]
STATES = [one.value for one in OrderState]

Item = Mapping[str, Any]


class OrdersGroup(click.Group):
    """A group whose own arguments are those of the list; only the name of a sub-command, as first word, is one."""

    allow_interspersed_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:
            ctx.allow_interspersed_args = False
            args = ["", *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=OrdersGroup,
    invoke_without_command=True,
    subcommand_metavar="| COMMAND …",
    epilog="""\b
Examples:
  reconciler orders
  reconciler orders btc-grid-1 --limit 20
  reconciler orders 8fl267loyw3v28l39j
  reconciler orders btc-grid-1 --shadow
  reconciler orders --outcome rejected --since 24h
  reconciler orders --state open --until 2026-01-31
  reconciler orders --format json
  reconciler orders resolve 8fl267loyw3v28l39j --as rejected --reason "not in the exchange's history\"""",
)
@click.argument("instance_id", metavar="[ID]", default="")
@click.option("--shadow", is_flag=True, help="The simulated book, that of observe, instead of the real one.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only those of which this became.")
@click.option("--state", type=click.Choice(STATES), help="Only those that the exchange says this of.")
@between
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_context
def orders(
    ctx: click.Context,
    instance_id: str,
    shadow: bool,
    outcome: str | None,
    state: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    form: str,
) -> None:
    """Show the order ledger, of all instances or of one, newest first; or one order whole, and where it came from.

    ID is an instance's id, or a client_order_id. What observe was refused is in the simulated book. Json has all there
    is on each order, its fills too. All of the ledger at once: reconciler export orders.
    """
    if ctx.invoked_subcommand is not None:
        return
    place: Place = ctx.obj
    reader = place.reader()
    try:
        if instance_id and reader.row(instance_id) is None and (one := reader.order(instance_id)) is not None:
            _print_whole(reader, one, form)
            return
        if instance_id:
            require_known(reader, instance_id)
        found, total = reader.orders(
            instance_id, outcome or "", state or "", shadow, since=since, until=until, limit=limit
        )
        simulated = 0 if found or shadow or not instance_id else reader.orders(instance_id, shadow=True, limit=0)[1]
    finally:
        reader.close()
    if form == "json":
        print_items(found)
    else:
        least, beneath = list(LEAST), list(BENEATH)
        if instance_id:  # it says nothing where all are of one
            beneath.remove("INSTANCE")
            least.remove("INSTANCE")
            least.insert(0, "INSTANCE")
        print_table(COLUMNS, [_row(order) for order in found], least, beneath=beneath)
    if total > len(found):
        say(f"the newest {len(found)} of {total:,}; more with --limit, all with: reconciler export orders")
    if simulated:
        say(f"none was sent; {count(simulated, 'simulated order')} of it: reconciler orders {instance_id} --shadow")
    if not instance_id and not shadow:
        _say_orphans(_orphans(place))


orders.add_command(resolve)


@orders.command(
    epilog="""\b
Examples:
  reconciler orders cancel 8fl267loyw3v28l39j --reason "far from the market\""""
)
@click.argument("client_order_id")
@reason_option
@click.pass_obj
def cancel(place: Place, client_order_id: str, reason: str) -> None:
    """Have the engine cancel one open order of whichever instance, under a full halt, too."""
    try:
        body = {"client_order_id": client_order_id, "reason": reason}
        print_outcome("cancelled", place.engine().post("/v1/cancel", body))
    except NoEngine as error:
        raise Failure(f"{error}: only a running engine reaches the exchange; or cancel it there by hand") from None


def _outcome(order: Item) -> str:
    """What became of it: of what the exchange took, its state there."""
    word = order["outcome"]
    if order["state"] is not None:
        word = order["state"] if word == Outcome.ACCEPTED else f"{word}, {order['state']}"
    by = f" by {order['rejected_by']}" if order["rejected_by"] else ""
    times = f" (×{order['repeats']})" if order["repeats"] > 1 else ""
    simulated = ", simulated" if order["shadow"] and order["outcome"] != Outcome.SHADOW else ""
    return f"{word}{by}{times}{simulated}"


def _row(order: Item) -> list[Any]:
    return [
        to_the_second(order["created_at"]),
        order["instance_id"],
        order["client_order_id"],
        _outcome(order),
        order["side"],
        order["type"],
        order["quantity"],
        order["limit_price"],
        order["filled_quantity"],
        order["mode"],
        order["generation"],
        order["beat"],
        order["revision"][:12] if order["revision"] else "not committed",
        order["reason"],
    ]


def _print_whole(reader: Reader, order: Item, form: str) -> None:
    """Everything that is known of one order."""
    from reconciler.dashboard.pages import traces

    origin = reader.generation(order["instance_id"], order["generation"])
    found = traces(order, {} if origin is None else origin["values"], reader.row(order["instance_id"]))
    if form == "json":
        print_json({**order, "origin": origin, "traces": [trace._asdict() for trace in found]})
        return
    quote = (order["quote_bid"], order["quote_ask"])
    prices = [f"{word} {order[f'{word}_price']}" for word in ("limit", "stop") if order[f"{word}_price"] is not None]
    asked = " ".join((order["side"], order["quantity"], order["symbol"], order["type"].replace("_", " "), *prices))
    reduces = ", reduce only" if order["reduce_only"] else ""
    average = "" if order["average_price"] is None else f", on average at {order['average_price']}"
    since = "" if origin is None else f", since {origin['at']}: {origin['summary']}"
    print_blocks(
        [
            [
                ("order", order["client_order_id"]),
                ("asked for", f"{asked}, {order['time_in_force']}{reduces}"),
                ("outcome", _outcome(order)),
                ("reason", order["reason"]),
                ("filled", f"{order['filled_quantity']} of {order['quantity']}{average}"),
                ("fee", order["fee"]),
                ("exchange's id", order["exchange_order_id"]),
                ("placed", order["created_at"]),
                ("placed by", order["provenance"]),
                ("last news", order["updated_at"]),
                ("quote it saw", f"{quote[0]} bid, {quote[1]} ask" if quote[0] is not None else None),
                ("instance", order["instance_id"]),
                ("account", f"{order['account_id']}/{order['client_id']}, money {order['money'] or 'not noted'}"),
                ("mode", order["mode"]),
                ("generation", f"{order['generation']}{since}"),
                ("beat", order["beat"]),
                ("config", order["config_digest"]),
                ("code", order["code_digest"]),
                *((f"fill {fill['exchange_fill_id']}", _fill(fill)) for fill in order["fills"]),
                ("commit", order["revision"] or "not committed"),
                *_change(order.get("change")),
            ]
        ]
    )
    for trace in found:
        say(f"{trace.question}: {trace.command}")


def _change(change: Item | None) -> Iterator[tuple[str, str]]:
    """Who changed what the order came from, as its commit says, and who signed it, which is proven."""
    if change is not None:
        request = f" ({change['pull_request']})" if change["pull_request"] else ""
        yield "change", f"{change['subject']}{request}"
        yield "author", f"{change['author']} <{change['author_email']}>"
        yield "committer", f"{change['committer']}, {change['committed_at'] or 'at no time that is known'}"
        signed = change["signed_by"]
        yield "signed by", "nobody whose signature was checked" if signed is None else signed["principal"]


def _fill(fill: Item) -> str:
    price = "a price not told" if fill["price"] is None else fill["price"]
    return f"{fill['quantity']} at {price}, fee {fill['fee'] or 'not told'}, {fill['at']}"


def _orphans(place: Place) -> list[Item]:
    """What exchanges list and the ledger does not know: only a running engine can tell."""
    try:
        found = place.engine().get("/api/v1/orders/orphans")
    except NoEngine:
        return []
    return [] if found is None else list(found["items"])


def _say_orphans(orphans: Sequence[Item]) -> None:
    for one in orphans:
        words = (one["side"], one["quantity"], one["symbol"], one["state"])
        name = one["client_order_id"] or one["exchange_order_id"]
        say(
            f"ORPHAN on account {one['account_id']}: {' '.join(str(word) for word in words if word)}, "
            f"order {name}: not in the ledger, seen since {one['seen_at']}",
            alarming=True,
        )

"""`reconciler positions` and `limits`: what is held, and how much more may be; and `limits lift`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import click

from reconciler.cli.output import Failure, print_items, print_outcome, print_table, say, tell
from reconciler.cli.parameters import reason_option
from reconciler.cli.place import Engine, NoEngine, Place, owned_store, require_known
from reconciler.orders.order import decimal_text

COLUMNS = ("INSTANCE", "SYMBOL", "POSITION", "AVERAGE", "REALISED", "UNREALISED", "FEES", "ACCOUNT")
LEAST = ("ACCOUNT", "FEES", "AVERAGE", "UNREALISED", "REALISED")
"""What a narrow terminal does without, in this order."""
SIMULATED = "simulated: nothing of this was traded"

Item = Mapping[str, Any]
LIMIT_COLUMNS = ("SCOPE", "MONEY", "LIMIT", "USED", "OF", "LEFT", "STATE", "MOST BY")
LEAST_OF_LIMITS = ("MOST BY", "LEFT", "MONEY")
"""What a narrow terminal does without, in this order."""
_USERS = 3
_NO_ENGINE = "no engine is running, and only one measures them"
_LIFTED = "drawdown lifted: it is measured from now on"

LimitItem = Mapping[str, Any]


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


@click.group(
    invoke_without_command=True,
    epilog="""\b
Examples:
  reconciler limits
  reconciler limits --format json
  reconciler limits lift --account main --reason "looked at it with the desk\"""",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_context
def limits(context: click.Context, form: str) -> None:
    """Show the limits above the instances: of accounts, of labels, of all; how much is used, left, and by whom.

    Each kind of money by itself: paper, shadow and real are never added up. Without an engine, what the settings say.
    """
    if context.invoked_subcommand is not None:
        return
    place: Place = context.obj
    try:
        found: LimitItem = place.engine().get("/api/v1/limits") or {"items": ()}
        items = list(found["items"])
    except NoEngine:
        say(_NO_ENGINE)
        items = _declared(place)
    if form == "json":
        print_items(items)
        return
    print_table(LIMIT_COLUMNS, [_limit_row(item) for item in items], least=LEAST_OF_LIMITS)
    if not items:
        say("the settings set none; see docs/limits.md")


@limits.command(
    epilog="""\b
Examples:
  reconciler limits lift --all --reason "the desk has looked"
  reconciler limits lift --account main --reason "margin is back"
  reconciler limits lift --label team=majors --reason "the strategy was mended\""""
)
@click.option("--all", "everything", is_flag=True, help="The limits of all instances together.")
@click.option("--account", metavar="ID", help="Those of an account.")
@click.option("--label", metavar="KEY=VALUE", help="Those of a label.")
@reason_option
@click.pass_obj
def lift(place: Place, everything: bool, account: str | None, label: str | None, reason: str) -> None:
    """Measure a drawdown from now on: max_drawdown was reached, somebody has looked, and it may trade on.

    The loss of a day is not lifted: it ends with the day. With an engine running, and with none.
    """
    chosen = [name for name in ("all" if everything else None, account, label) if name]
    if len(chosen) != 1:
        raise click.UsageError("expected one of --all, --account ID, --label KEY=VALUE")
    scope = "all" if everything else f"account {account}" if account else f"label {label}"
    try:
        print_outcome(_LIFTED, place.engine().post("/v1/limits/lift", {"scope": scope, "reason": reason}))
    except NoEngine:
        with owned_store(place) as owned:
            if not owned.store.scopes.lift(scope):
                raise Failure(f"{scope}: nothing was measured of it: there is nothing to lift") from None
            owned.books.limit_lifted(scope, reason, owned.uid)
        tell(f"{scope}: {_LIFTED}")
        say("no engine is running here: the database was written to")


def _declared(place: Place) -> list[LimitItem]:
    """What the settings say, none of it measured."""
    from reconciler.orders.order import decimal_text
    from reconciler.records.accounts import Turnover

    def amount(value: Any) -> str:
        return decimal_text(value.amount) if isinstance(value, Turnover) else f"{value:f}"

    accounts = place.servers_settings().accounts
    return [
        {
            "scope": str(scope),
            "kind": scope.kind,
            "id": scope.id,
            "money": accounts.money(scope.id) if scope.kind == "account" else None,
            "limit": name,
            "currency": scope.currency or None,
            "most": amount(value) if not isinstance(value, int) else str(value),
            "used": None,
            "left": None,
            "near": False,
            "full": False,
            "reached": False,
            "why": _NO_ENGINE,
            "by": [],
        }
        for scope in accounts.scopes()
        for name, value in scope.ceilings.each()
    ]


def _limit_row(item: LimitItem) -> tuple[str, ...]:
    unit = f" {item['currency']}" if item["currency"] else ""
    named = next((name for name in ("reached", "full", "near") if item[name]), None)
    state = named or ("" if item["used"] is None else "within")
    users = [f"{user['instance_id']} {user['used'] or 'not measured'}" for user in item["by"][:_USERS]]
    more = len(item["by"]) - len(users)
    return (
        item["scope"],
        item["money"] or "",
        item["limit"],
        "not measured" if item["used"] is None else item["used"],
        f"{item['most']}{unit}",
        item["left"] or "",
        state,
        ", ".join([*users, f"and {more} more"] if more > 0 else users),
    )

"""`reconciler limits`, and `limits lift`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from reconciler.cli.output import Failure, print_items, print_outcome, print_table, say, tell
from reconciler.cli.parameters import reason_option
from reconciler.cli.place import NoEngine, Place, owned_store

COLUMNS = ("SCOPE", "MONEY", "LIMIT", "USED", "OF", "LEFT", "STATE", "MOST BY")
LEAST = ("MOST BY", "LEFT", "MONEY")
"""What a narrow terminal does without, in this order."""
_USERS = 3
_NO_ENGINE = "no engine is running, and only one measures them"
_LIFTED = "drawdown lifted: it is measured from now on"

Item = Mapping[str, Any]


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
        found: Item = place.engine().get("/api/v1/limits") or {"items": ()}
        items = list(found["items"])
    except NoEngine:
        say(_NO_ENGINE)
        items = _declared(place)
    if form == "json":
        print_items(items)
        return
    print_table(COLUMNS, [_row(item) for item in items], least=LEAST)
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


def _declared(place: Place) -> list[Item]:
    """What the settings say, none of it measured."""
    from reconciler.orders.order import decimal_text
    from reconciler.records.scopes import Turnover

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
            "reached": False,
            "why": _NO_ENGINE,
            "by": [],
        }
        for scope in accounts.scopes()
        for name, value in scope.ceilings.each()
    ]


def _row(item: Item) -> tuple[str, ...]:
    unit = f" {item['currency']}" if item["currency"] else ""
    state = "reached" if item["reached"] else "near" if item["near"] else "" if item["used"] is None else "within"
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

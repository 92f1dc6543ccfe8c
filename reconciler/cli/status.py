"""`reconciler status`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.halted import halts_of, halts_without_engine, say_halts
from reconciler.cli.known import no_such
from reconciler.cli.output import print_json, print_table, say, tell
from reconciler.cli.place import Place
from reconciler.cli.watching import watch
from reconciler.records.halt import Halt

WATCH_S = 2.0
COLUMNS = (
    "ID",
    "STRATEGY",
    "MARKET",
    "ACCOUNT",
    "MODE",
    "SYNC",
    "HEALTH",
    "TICKS",
    "ERRORS",
    "MISSED",
    "LAST TICK",
    "NOTES",
)
LEAST = ("LAST TICK", "STRATEGY", "ACCOUNT", "MARKET", "MISSED")
"""What a narrow terminal does without, in this order."""
SAID_ELSEWHERE = ("Mode", "Paused", "Halted")
"""Obstacles that the mode, and the halts, say already."""

Item = Mapping[str, Any]


@click.command(
    epilog="""\b
Examples:
  reconciler status
  reconciler status btc-grid-1
  reconciler status --format json
  reconciler status --watch"""
)
@click.argument("instance_id", metavar="[ID]", required=False)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.option("--watch", "is_watching", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@click.pass_obj
def status(place: Place, instance_id: str | None, form: str, is_watching: bool) -> None:
    """Show how all instances are doing, or one of them with its conditions.

    Asks the engine; where none is running, shows what is applied according to the database.
    """

    def look() -> None:
        items, halts = _look(place, instance_id)
        if is_watching and form == "table":
            click.clear()
        say_halts(halts)
        _print(items, halts, instance_id, form)

    if is_watching:
        watch(look, WATCH_S)
    else:
        look()


def _look(place: Place, instance_id: str | None) -> tuple[list[Item], list[Halt]]:
    """The instances asked for and the halts that are in force on any of them; Failure where the one is not there."""
    try:
        engine = place.engine()
        if instance_id is None:
            items = list(engine.items("/api/v1/instances"))
        else:
            found = engine.get(f"/api/v1/instances/{instance_id}")
            items = [] if found is None else [found]
        halts = halts_of(engine)
    except NoEngine:
        say("no engine is running here: this is what is applied, and nothing ticks")
        items, halts = _applied(place)
        items = [item for item in items if instance_id in (None, item["id"])]
    if instance_id is None:
        return items, halts
    if not items:
        raise _no_such(place, instance_id)
    return items, _covering(items[0], halts)


def _covering(item: Item, halts: Iterable[Halt]) -> list[Halt]:
    """Those of the halts that are in force on the instance."""
    return [halt for halt in halts if halt.forbids(item["account"]["account_id"], item["id"])]


def _no_such(place: Place, instance_id: str) -> Failure:
    reader = place.reader()
    try:
        row = reader.row(instance_id)
        if row is not None and row.removed_at is not None:
            return Failure(f"{instance_id} was removed at {row.removed_at}; its past: reconciler history {instance_id}")
        return no_such(instance_id, reader.ids())
    finally:
        reader.close()


def _applied(place: Place) -> tuple[list[Item], list[Halt]]:
    """What the database says of instances and halts, and the settings of money."""
    from reconciler.records.accounts import Accounts
    from reconciler.review.applied import applied_statuses

    try:
        accounts = place.settings().accounts
    except Failure as failure:
        say(*failure.lines, "the settings cannot be used: whose money is real is not known")
        accounts = Accounts()
    reader = place.reader()
    try:
        statuses = applied_statuses(reader.rows(), reader.attempts(), reader.exposed(), reader.in_doubt(), accounts)
        return [one.to_json() for one in statuses], halts_without_engine(place, reader.halts())
    finally:
        reader.close()


def _print(items: list[Item], halts: list[Halt], instance_id: str | None, form: str) -> None:
    if form == "json":
        told = {"halts": [halt.to_json() for halt in halts]}
        print_json({**items[0], **told} if instance_id else {"items": items, **told})
    elif instance_id:
        _print_one(items[0], halts)
    else:
        print_table(COLUMNS, [_row(item, halts) for item in items], least=LEAST)


def _row(item: Item, halts: Sequence[Halt]) -> tuple[Any, ...]:
    ticks = item["ticks"]
    account = f"{item['account']['account_id']}/{item['account']['client_id']}"
    return (
        item["id"],
        item["strategy_type"],
        item["market"],
        account,
        _mode(item),
        item["sync"],
        item["health"],
        ticks["count"],
        ticks["errors"],
        ticks["missed"],
        ticks["last_at"],
        ", ".join(_notes(item, halts)),
    )


def _notes(item: Item, halts: Sequence[Halt]) -> Iterator[str]:
    """What mode, sync and health do not say: whose money it is, and what keeps it from acting."""
    if item["real_money"]:
        yield "real money"
    if covering := _covering(item, halts):
        yield "halted in full" if any(halt.full for halt in covering) else "halted"
    if item["frozen_with_exposure"]:
        yield "frozen with exposure"
    yield from dict.fromkeys(one["reason"] for one in item["obstacles"] if one["reason"] not in SAID_ELSEWHERE)
    for condition in item["conditions"]:
        if condition["type"] == "Trading" and condition["status"] == "True" and condition["reason"] != "Open":
            yield condition["reason"]


def _mode(item: Item) -> str:
    mode: str = item["mode"]
    if item["effective_mode"] != mode:
        mode += f" (in force: {item['effective_mode']})"
    return f"{mode}, paused" if item["paused"] else mode


def _print_one(item: Item, halts: Sequence[Halt]) -> None:
    for name, value in zip(COLUMNS, _row(item, halts), strict=True):
        tell(f"{name.lower() + ':':<12}{'-' if value in (None, '') else value}")
    tell(f"{'generation:':<12}{item['generation']}, running: {item['observed_generation']}")
    tell(f"{'revision:':<12}{item['revision'] or 'not committed'}")
    tell(f"{'file:':<12}{item['path']}")
    if not item["conditions"]:  # no engine runs, which would tell them
        for obstacle in item["obstacles"]:
            tell(f"{'Trading:':<12}False  {obstacle['reason']}  {obstacle['message']}")
    for condition in item["conditions"]:
        tell(
            f"{condition['type'] + ':':<12}{condition['status']}  {condition['reason']}  {condition['message']}"
            f"  (since {condition['last_transition_at']})"
        )

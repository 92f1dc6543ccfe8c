"""`reconciler status`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.output import print_items, print_json, print_table, say
from reconciler.cli.place import Place
from reconciler.cli.watching import watch

WATCH_S = 2.0
COLUMNS = ("ID", "STRATEGY", "MARKET", "ACCOUNT", "MODE", "SYNC", "HEALTH", "TICKS", "ERRORS", "MISSED", "LAST TICK")

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
        items = _items(place, instance_id)
        if is_watching and form == "table":
            click.clear()
        _print(items, instance_id, form)

    if is_watching:
        watch(look, WATCH_S)
    else:
        look()


def _items(place: Place, instance_id: str | None) -> list[Item]:
    try:
        if instance_id is None:
            return list(place.engine().items("/api/v1/instances"))
        found = place.engine().get(f"/api/v1/instances/{instance_id}")
    except NoEngine:
        say("no engine is running here: this is what is applied, and nothing ticks")
        found = _applied(place)
        if instance_id is None:
            return found
        found = next((item for item in found if item["id"] == instance_id), None)
    if found is None:
        raise Failure(f"{instance_id}: there is no such instance; all there are: reconciler status")
    return [found]


def _applied(place: Place) -> list[Item]:
    from reconciler.review.applied import applied_statuses

    reader = place.reader()
    try:
        return [one.to_json() for one in applied_statuses(reader.rows(), reader.attempts())]
    finally:
        reader.close()


def _print(items: list[Item], instance_id: str | None, form: str) -> None:
    if form == "json":
        print_json(items[0]) if instance_id else print_items(items)
    elif instance_id:
        _print_one(items[0])
    else:
        print_table(COLUMNS, [_row(item) for item in items])


def _row(item: Item) -> tuple[Any, ...]:
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
    )


def _mode(item: Item) -> str:
    mode: str = item["mode"]
    if item["effective_mode"] != mode:
        mode += f" (in force: {item['effective_mode']})"
    return f"{mode}, paused" if item["paused"] else mode


def _print_one(item: Item) -> None:
    for name, value in zip(COLUMNS, _row(item), strict=True):
        click.echo(f"{name.lower() + ':':<12}{'-' if value is None else value}")
    click.echo(f"{'generation:':<12}{item['generation']}, running: {item['observed_generation']}")
    click.echo(f"{'revision:':<12}{item['revision'] or 'not committed'}")
    click.echo(f"{'file:':<12}{item['path']}")
    for condition in item["conditions"]:
        click.echo(
            f"{condition['type'] + ':':<12}{condition['status']}  {condition['reason']}  {condition['message']}"
            f"  (since {condition['last_transition_at']})"
        )

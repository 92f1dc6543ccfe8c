"""`reconciler logs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from reconciler.cli.engine import Engine, NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.known import require_known
from reconciler.cli.output import print_items, print_json_line, say, tell
from reconciler.cli.place import Place
from reconciler.cli.watching import watch

FOLLOW_S = 1.0

Line = Mapping[str, Any]


@click.command(
    epilog="""\b
Examples:
  reconciler logs btc-grid-1
  reconciler logs btc-grid-1 --limit 20
  reconciler logs btc-grid-1 --follow
  reconciler logs btc-grid-1 --format json"""
)
@click.argument("instance_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Go on printing what it logs, until Ctrl-C.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def logs(place: Place, instance_id: str, follow: bool, limit: int, form: str) -> None:
    """Show what an instance logged with `context.log`, newest last.

    The engine keeps the newest lines in memory, for as long as the instance is loaded; with --follow, json is one
    object a line.
    """
    engine = place.engine()
    first = _lines(place, engine, instance_id)[-limit:]
    if follow:
        _follow(place, engine, instance_id, first, form)
    elif form == "json":
        print_items(first)
    else:
        _print(first, form)
        if not first:
            say(f"{instance_id} has logged nothing since it was loaded")


def _lines(place: Place, engine: Engine, instance_id: str) -> list[Line]:
    """All that the engine keeps, oldest first."""
    try:
        found = engine.get(f"/api/v1/instances/{instance_id}")
    except NoEngine:
        raise Failure("no engine is running here, and what instances log is kept in its memory") from None
    if found is None:
        reader = place.reader()
        try:
            require_known(reader, instance_id)
        finally:
            reader.close()
        raise Failure(f"{instance_id} was removed; what is left: reconciler history {instance_id}")
    return list(reversed(found["logs"]))


def _follow(place: Place, engine: Engine, instance_id: str, first: Sequence[Line], form: str) -> None:
    _print(first, form)
    seen = [list(first)]

    def look() -> None:
        now = _lines(place, engine, instance_id)
        _print(_unseen(seen[0], now), form)
        seen[0] = now

    watch(look, FOLLOW_S)


def _unseen(before: Sequence[Line], now: Sequence[Line]) -> Sequence[Line]:
    """Those of `now` that follow the last of `before`, as far as it is still kept: the oldest fall out."""
    for kept in range(min(len(before), len(now)), 0, -1):
        if list(before[-kept:]) == list(now[:kept]):
            return now[kept:]
    return now


def _print(lines: Sequence[Line], form: str) -> None:
    for line in lines:
        if form == "json":
            print_json_line(line)
        else:
            tell(f"{line['at']}  {line['level']:<7}  {line['message']}")

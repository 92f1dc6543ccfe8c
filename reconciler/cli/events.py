"""`reconciler events` and `logs`: what happened, and what instances said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from reconciler.cli.output import Failure, hanging, print_items, print_json_line, say, tell, watch
from reconciler.cli.place import Engine, NoEngine, Place, require_known
from reconciler.store import Reader

FOLLOW_S = 1.0


@click.command(
    epilog="""\b
Examples:
  reconciler events
  reconciler events btc-grid-1 --limit 20
  reconciler events --follow
  reconciler events --format json"""
)
@click.argument("instance_id", metavar="[ID]", default="")
@click.option("--follow", is_flag=True, help="Go on printing what happens, until Ctrl-C.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def events(place: Place, instance_id: str, follow: bool, limit: int, form: str) -> None:
    """Show what happened, to all instances or to one, newest last.

    An event that repeats is counted, not piled up. With --follow, json is one object a line.
    """
    reader = place.reader()
    try:
        latest = reader.events(instance_id=instance_id, limit=limit)[0]
        if instance_id and not latest:  # a file that was refused has events, and no instance yet
            require_known(reader, instance_id)
        if follow:
            _follow(reader, instance_id, limit, form)
            return
        if form == "json":
            print_items(latest)
        else:
            _print_lines(latest, form)
    finally:
        reader.close()


def _follow(reader: Reader, instance_id: str, limit: int, form: str) -> None:
    seen: dict[int, int] = {}

    def look() -> None:
        latest = reader.events(instance_id=instance_id, limit=limit)[0]
        _print_lines([event for event in latest if seen.get(event["id"]) != event["count"]], form)
        seen.update((event["id"], event["count"]) for event in latest)

    watch(look, FOLLOW_S)


def _print_lines(newest_first: list[dict[str, Any]], form: str) -> None:
    for event in reversed(newest_first):
        if form == "json":
            print_json_line(event)
        else:
            tell(*hanging("", _line(event)))


def _line(event: dict[str, Any]) -> str:
    times = f"  (×{event['count']} since {event['first_at']})" if event["count"] > 1 else ""
    who = event["instance_id"] or "engine"
    return f"{event['last_at']}  {event['type']:<7}  {who}  {event['reason']}  {event['message']}{times}"


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
        _logs_follow(place, engine, instance_id, first, form)
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


def _logs_follow(place: Place, engine: Engine, instance_id: str, first: Sequence[Line], form: str) -> None:
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
            tell(*hanging("", f"{line['at']}  {line['level']:<7}  {line['message']}"))

"""`reconciler events`."""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli.known import require_known
from reconciler.cli.output import print_items, print_json_line, tell
from reconciler.cli.place import Place
from reconciler.cli.watching import watch
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
            tell(_line(event))


def _line(event: dict[str, Any]) -> str:
    times = f"  (×{event['count']} since {event['first_at']})" if event["count"] > 1 else ""
    who = event["instance_id"] or "engine"
    return f"{event['last_at']}  {event['type']:<7}  {who}  {event['reason']}  {event['message']}{times}"

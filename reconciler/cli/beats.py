"""`reconciler beats`."""

from __future__ import annotations

import click

from reconciler.cli.choice import reason_option
from reconciler.cli.engine import NoEngine
from reconciler.cli.failure import Failure
from reconciler.cli.output import tell
from reconciler.cli.place import Place
from reconciler.control.commands import named
from reconciler.records.cadence import NOTHING_AHEAD, forgetting, free_from_s


@click.group(
    epilog="""\b
Examples:
  reconciler beats forget --reason "the time server was wrong, it is right now\""""
)
def beats() -> None:
    """What fires the ticks of all instances, once every few seconds."""


@beats.command(
    epilog="""\b
Examples:
  reconciler beats forget --reason "the time server was wrong, it is right now\""""
)
@reason_option
@click.pass_obj
def forget(place: Place, reason: str) -> None:
    """Wait no more for a clock that was ahead: beats go on by the clock as it is now. Set the clock right first.

    No beat fires twice: the numbers that fired while it was ahead are kept, and skipped when their time comes.
    Works with no engine running, too.
    """
    try:
        outcome = place.engine().post("/v1/beats/forget", {"reason": reason})
    except NoEngine:
        outcome = _forgotten_without_engine(place, reason)
    if outcome["failed"]:
        raise Failure(*(one["message"] for one in outcome["failed"]))
    for told in outcome["done"]:
        tell(told)


def _forgotten_without_engine(place: Place, reason: str) -> dict[str, list[object]]:
    from reconciler.cli.ownership import owned_store
    from reconciler.clock import SystemClock
    from reconciler.records.cadence import Mark

    clock = SystemClock()
    boot, uptime_s = clock.uptime()
    with owned_store(place) as (store, uid):
        forgotten = store.beats.forget(Mark(clock.time(), uptime_s, boot))
        if not forgotten:
            return {"done": [], "failed": [{"message": NOTHING_AHEAD}]}
        told = forgetting(forgotten, free_from_s(store.beats.runs(), clock.time()))
        store.operators.record(uid, "beats-forget", told, reason)
        store.events.record(None, "Warning", "BeatsForgotten", f"{told}: {reason} ({named(uid)})")
        return {"done": [told], "failed": []}

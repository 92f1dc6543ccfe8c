"""`reconciler wait`."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import click

from reconciler.cli.output import Failure, tell
from reconciler.cli.place import Engine, NoEngine, Place, require_known
from reconciler.records.status import ConditionType, Health, Sync

LOOK_S = 0.5
SETTLE_S = 1.0
"""So long after the engine was asked to look again, what was just saved is seen: until then nothing counts."""

HEALTHS = tuple(str(word) for word in Health)
SYNCS = tuple(str(word) for word in Sync)
CONDITIONS: tuple[str, ...] = get_args(ConditionType)
WORDS = (*HEALTHS, *SYNCS, *CONDITIONS)

Item = Mapping[str, Any]


@click.command(
    epilog="""\b
Examples:
  reconciler wait btc-grid-1
  reconciler wait btc-grid-1 eur-usd-dca --timeout 120
  reconciler wait btc-grid-1 --for Synced --for Trading"""
)
@click.argument("instance_ids", metavar="ID…", nargs=-1, required=True)
@click.option(
    "--for",
    "wanted",
    type=click.Choice(WORDS),
    multiple=True,
    default=("Healthy",),
    show_default=True,
    help="A health, a sync or a condition that is True; given again, all of them.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How many seconds to wait at most.",
)
@click.pass_obj
def wait(place: Place, instance_ids: tuple[str, ...], wanted: tuple[str, ...], timeout_s: float) -> None:
    """Wait until instances are as they should be. For scripts that merge, and go on when it runs.

    The engine is asked to look at the files again first. Exit code 0: all are. 1: they were not within --timeout
    seconds, and what is missing is said.
    """
    from reconciler.clock import SystemClock

    clock = SystemClock()
    engine = place.engine()
    asked_at_s = clock.monotonic()
    try:
        engine.post("/v1/reconcile", {})
        while True:
            age_s = clock.monotonic() - asked_at_s
            missing = [said for id_ in dict.fromkeys(instance_ids) for said in _missing(engine, id_, wanted)]
            if not missing and age_s >= min(SETTLE_S, timeout_s):
                tell(*(f"{id_}: {', '.join(wanted)}" for id_ in dict.fromkeys(instance_ids)))
                return
            if missing and age_s >= timeout_s:
                raise Failure(*missing, *_unknown(place, instance_ids))
            clock.wait(threading.Event(), LOOK_S)
    except NoEngine:
        raise Failure("no engine is running here: nothing will change by waiting") from None


def _missing(engine: Engine, instance_id: str, wanted: Sequence[str]) -> list[str]:
    """One sentence for each word that is not true yet."""
    item = engine.get(f"/api/v1/instances/{instance_id}")
    if item is None:
        return [f"{instance_id}: expected {', '.join(wanted)}, there is no such instance yet"]
    conditions = {condition["type"]: condition for condition in item["conditions"]}
    return [said for word in wanted if (said := _lacks(item, conditions, word))]


def _lacks(item: Item, conditions: Mapping[str, Item], word: str) -> str:
    if word in HEALTHS:
        found = item["health"]
        return "" if found == word else f"{item['id']}: expected {word}, is {found}{_why(conditions.values())}"
    if word in SYNCS:
        return (
            ""
            if item["sync"] == word
            else f"{item['id']}: expected {word}, is {item['sync']}{_why(conditions.values())}"
        )
    condition = conditions.get(word)
    if condition is not None and condition["status"] == "True":
        return ""
    return f"{item['id']}: expected {word}, is not" + ("" if condition is None else _why([condition]))


def _why(conditions: Any) -> str:
    """The first condition that is not True, beside that of trading, which is no matter of health."""
    unmet = [one for one in conditions if one["status"] != "True"]
    first = next((one for one in unmet if one["type"] != "Trading"), unmet[0] if len(unmet) == 1 else None)
    return "" if first is None else f": {first['type']} {first['reason']}: {first['message']}"


def _unknown(place: Place, instance_ids: Sequence[str]) -> list[str]:
    """What there is to say of ids that no record ever had."""
    said = []
    reader = place.reader()
    try:
        for id_ in dict.fromkeys(instance_ids):
            try:
                require_known(reader, id_)
            except Failure as failure:
                said.append(failure.message)
    finally:
        reader.close()
    return said

"""`reconciler pause`, `resume`, `prune`, `beats` and `book`: what an engine is told that is no halt.

And `wait`: until instances are as what it was told says.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args

import click

from reconciler.cli.output import Failure, print_outcome, say, tell
from reconciler.cli.parameters import Fee, Held, Money, one_or_all, reason_option
from reconciler.cli.place import READ_S, Engine, NoAnswer, NoEngine, Place, owned_store, require_known
from reconciler.orders.news import Correction
from reconciler.orders.order import decimal_text
from reconciler.records.cadence import NOTHING_AHEAD, free_from_s
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
  reconciler pause btc-grid-1 --reason "spread looks wrong"
  reconciler pause --all --reason "exchange maintenance\""""
)
@one_or_all
@reason_option
@click.pass_obj
def pause(place: Place, ids: tuple[str, ...], everything: bool, reason: str) -> None:
    """Stop ticks and trading of instances until they are resumed or the engine restarts.

    A pause lives in the running engine only. To stop for good, merge mode: off; against all odds, halt.
    """
    chosen = {"all": True} if everything else {"ids": list(ids)}
    try:
        print_outcome("paused", place.engine().post("/v1/pause", {**chosen, "reason": reason}))
    except NoEngine:
        raise Failure("no engine is running here, so nothing ticks and there is nothing to pause") from None


@click.command(
    epilog="""\b
Examples:
  reconciler resume btc-grid-1 --reason "spread is back"
  reconciler resume --all --reason "maintenance is over\""""
)
@one_or_all
@reason_option
@click.pass_obj
def resume(place: Place, ids: tuple[str, ...], everything: bool, reason: str) -> None:
    """End a pause, an operator's or the engine's own (quarantine). What is halted stays halted."""
    chosen = {"all": True} if everything else {"ids": list(ids)}
    try:
        print_outcome("resumed", place.engine().post("/v1/resume", {**chosen, "reason": reason}))
    except NoEngine:
        raise Failure("no engine is running here; a pause ends with the engine, so there is none to end") from None


@click.command(
    epilog="""\b
Examples:
  reconciler prune
  reconciler prune --confirm 3f2a9c01d4e5b678 --reason "the desk is closed\""""
)
@click.option("--confirm", metavar="DIGEST", help="Carry out exactly the removals that this digest stands for.")
@click.option(
    "--reason", metavar="TEXT", help="Why; recorded with who confirmed. Optional, for scripts; say it where you can."
)
@click.pass_obj
def prune(place: Place, confirm: str | None, reason: str | None) -> None:
    """Show the removals that are held, or confirm exactly those.

    Removing very many files at once looks like an accident, so it is held until someone confirms it; the
    instances run on.
    """
    if reason is not None and confirm is None:
        raise click.UsageError("--reason goes with --confirm DIGEST")
    why = {} if reason is None else {"reason": reason}
    try:
        if confirm is not None:
            print_outcome("removed", place.engine().post("/v1/prune", {"digest": confirm, **why}))
            return
        state = place.engine().get("/v1/prune")
    except NoEngine:
        raise Failure("no engine is running here; only a running one knows which removals are held") from None
    if not state["held"]:
        say("nothing is held")
        return
    for name in state["held"]:
        tell(name)
    say(f"{len(state['held'])} held; to remove exactly these: reconciler prune --confirm {state['digest']} --reason …")


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
    from reconciler.clock import SystemClock
    from reconciler.records.cadence import BeatMark

    clock = SystemClock()
    boot, uptime_s = clock.uptime()
    with owned_store(place) as owned:
        forgotten = owned.store.beats.forget(BeatMark(clock.time(), uptime_s, boot))
        if not forgotten:
            return {"done": [], "failed": [{"message": NOTHING_AHEAD}]}
        free_s = free_from_s(owned.store.beats.runs(), clock.time())
        told = owned.books.beats_forgotten(forgotten, free_s, reason, owned.uid)
        return {"done": [told], "failed": []}


_DONE = "book put right"


@click.command(
    epilog="""\b
Examples:
  reconciler book btc-dca --set 0.999@60000 --fee 0.001:BTC --reason "the exchange kept its fee in BTC"
  reconciler book btc-dca --set 2@61000 --reason "bought one more by hand"
  reconciler book btc-dca --set 0@52000 --reason "liquidated"
  reconciler book btc-dca --set 0@0 --reason "delisted, written off"
  reconciler book btc-dca --mark 48000 --reason "no quote any more, the desk's own estimate\""""
)
@click.argument("instance_id", metavar="ID")
@click.option(
    "--set",
    "held",
    type=Held(),
    metavar="QUANTITY@PRICE",
    help="All that it holds, negative where short, and what one cost; of 0, what all of it was closed at.",
)
@click.option(
    "--fee",
    type=Fee(),
    metavar="AMOUNT[:CURRENCY]",
    help="A fee that the book does not know, in the quote currency where none is named.",
)
@click.option(
    "--mark",
    type=Money(zero_too=True),
    metavar="PRICE",
    help="What one unit of what it holds is worth: limits above it count so where there is no quote.",
)
@reason_option
@click.pass_obj
def book(
    place: Place,
    instance_id: str,
    held: tuple[Decimal, Decimal] | None,
    fee: tuple[Decimal, str | None] | None,
    mark: Decimal | None,
    reason: str,
) -> None:
    """Put right what an instance holds, after looking at the exchange: both ways, or to an end.

    Kept as a row of its own in ledger, history and export; it lowers no loss of the day. For what was liquidated,
    delisted or written off, too, and for instances that are removed. With an engine running, and with none.
    """
    if held is None and mark is None:
        raise click.UsageError("expected --set QUANTITY@PRICE or --mark PRICE")
    if mark is not None and (held is not None or fee is not None):
        raise click.UsageError("expected --mark alone: it changes nothing of what is held")
    if mark is not None:
        _mark(place, instance_id, mark, reason)
        return
    assert held is not None
    amount, currency = fee or (None, None)
    try:
        body = {
            "id": instance_id,
            "quantity": decimal_text(held[0]),
            "price": decimal_text(held[1]),
            "reason": reason,
            **({} if amount is None else {"fee": decimal_text(amount)}),
            **({} if currency is None else {"fee_currency": currency}),
        }
        print_outcome(_DONE, place.engine().post("/v1/book", body))
    except NoEngine:
        _correct_without_engine(place, instance_id, Correction(*held, reason, "", amount, currency))
        tell(f"{instance_id}: {_DONE}")
        say("no engine is running here: the ledger was written to")
    _say_doubts(place, instance_id)


_MARKED = "marked"


def _mark(place: Place, instance_id: str, price: Decimal, reason: str) -> None:
    body = {"id": instance_id, "price": decimal_text(price), "reason": reason}
    try:
        print_outcome(_MARKED, place.engine().post("/v1/mark", body))
    except NoEngine:
        from reconciler.errors import StoreError

        with owned_store(place) as owned:
            try:
                owned.store.scopes.mark(instance_id, price, reason, owned.by)
            except StoreError as error:
                raise Failure(str(error)) from error
            owned.books.marked(instance_id, price, reason, owned.uid)
        tell(f"{instance_id}: {_MARKED}")
        say("no engine is running here: the database was written to")


def _correct_without_engine(place: Place, instance_id: str, said: Correction) -> None:
    from dataclasses import replace

    with owned_store(place) as owned:
        correction = replace(said, by=owned.by)
        if fault := owned.settlement.corrected(instance_id, correction):
            raise Failure(f"{instance_id}: {fault}")
        owned.books.corrected(instance_id, correction, owned.uid)


def _say_doubts(place: Place, instance_id: str) -> None:
    reader = place.reader()
    try:
        doubts = reader.in_doubt().get(instance_id, [])
    finally:
        reader.close()
    if doubts:
        say(f"{instance_id}: nobody knows yet what became of {', '.join(doubts)}: what is filled of it comes on top")


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
    ids = tuple(dict.fromkeys(instance_ids))

    def left_s() -> float:
        """How long one answer may take; an engine that gives one gives it in that time, however soon all is over."""
        return min(max(timeout_s - (clock.monotonic() - asked_at_s), SETTLE_S), READ_S)

    try:
        engine.post("/v1/reconcile", {}, left_s())
        while True:
            age_s = clock.monotonic() - asked_at_s
            missing = [said for id_ in ids for said in _missing(engine, id_, wanted, left_s())]
            if not missing and age_s >= min(SETTLE_S, timeout_s):
                tell(*(f"{id_}: {', '.join(wanted)}" for id_ in ids))
                return
            if missing and age_s >= timeout_s:
                raise Failure(*missing, *_unknown(place, ids))
            clock.wait(threading.Event(), LOOK_S)
    except NoAnswer as error:
        raise Failure(*(f"{id_}: expected {', '.join(wanted)}, is not known" for id_ in ids), *error.lines) from error
    except NoEngine:
        raise Failure("no engine is running here: nothing will change by waiting") from None


def _missing(engine: Engine, instance_id: str, wanted: Sequence[str], timeout_s: float) -> list[str]:
    """One sentence for each word that is not true yet."""
    item = engine.get(f"/api/v1/instances/{instance_id}", timeout_s=timeout_s)
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

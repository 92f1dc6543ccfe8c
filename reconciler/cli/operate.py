"""`reconciler pause`, `resume`, `prune` and `beats`: what an engine is told that is no halt."""

from __future__ import annotations

import click

from reconciler.cli.engine import NoEngine
from reconciler.cli.output import Failure, print_outcome, say, tell
from reconciler.cli.parameters import one_or_all, reason_option
from reconciler.cli.place import Place, owned_store
from reconciler.records.cadence import NOTHING_AHEAD, free_from_s


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

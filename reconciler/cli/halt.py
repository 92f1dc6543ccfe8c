"""`reconciler halt` and `unhalt`: over a running engine, or on the database where there is none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import click

from reconciler.cli.output import Failure, print_outcome, say, tell
from reconciler.cli.parameters import Fraction, asked_reason, scope_of, scope_options
from reconciler.cli.place import Engine, NoAnswer, NoEngine, Place, owned_store
from reconciler.control.bookkeeping import Bookkeeping, covers_nothing, named
from reconciler.records.halt import Cancelling, Halt

ANSWER_S = 5.0
"""How long the engine may take to answer before the halt goes another way."""


@click.command(
    epilog="""\b
Examples:
  reconciler halt --all --reason "prices are wrong"
  reconciler halt --account main --flatten --reason "out of it"
  reconciler halt --all --flatten --collar 0.01 --yes --reason "out of it"
  reconciler halt --account main --cancel --reason "margin call"
  reconciler halt --instance btc-grid-1 --full --reason "orders loop\""""
)
@scope_options
@click.option("--full", is_flag=True, help="Stop own cancels and reductions too.")
@click.option(
    "--cancel",
    "cancels",
    is_flag=False,
    flag_value="exposing",
    type=click.Choice(["exposing", "all"]),
    help="Cancel open orders that could add exposure; --cancel=all: those that only reduce, too.",
)
@click.option("--flatten", is_flag=True, help="Halt in full, cancel all, then close what the scope holds.")
@click.option(
    "--collar",
    type=Fraction(),
    default="0.03",
    show_default=True,
    help="With --flatten: how far from the quote, at most.",
)
@click.option("--yes", is_flag=True, help="With --flatten: do not ask for the scope to be typed again.")
@asked_reason
@click.pass_obj
def halt(
    place: Place,
    everything: bool,
    account: str | None,
    instance: str | None,
    full: bool,
    cancels: str | None,
    flatten: bool,
    collar: Decimal,
    yes: bool,
    reason: str | None,
) -> None:
    """The kill switch: no new exposure, for everything, an account or an instance, until unhalt.

    Cancels and orders that reduce the instance's own position still pass, unless --full. Kept in the
    database: it outlives restarts, and works with no engine running. Where an engine does not answer, or its
    database takes nothing, the halt is written beside it, and an engine that runs puts it in force within a beat.

    With --cancel the engine cancels what rests, loaded or not, and tries again each beat until nothing of it is open;
    its own cancels pass a full halt. How far it is: reconciler status.

    With --flatten it halts in full, cancels all that rests, waits until nothing of the scope is open or in doubt, and
    closes what its instances hold, never more than the exchange says is there, with limit orders within the collar. It
    asks for the scope to be typed again.
    """
    scope, id_, why = scope_of(everything, account, instance, reason)
    full, cancel = full or flatten, Cancelling.ALL if flatten else Cancelling(cancels or "nothing")
    wanted = Halt(scope, id_, full, why, named(os.getuid()), "", cancel, collar if flatten else None)
    if flatten and not yes:
        _confirm(wanted)
    verb = "halted in full" if full else "halted"
    try:
        names = ("scope", "id", "full", "cancel", "flatten", "reason")
        body = {name: value for name, value in wanted.to_json().items() if name in names}
        print_outcome(verb, place.engine().post("/v1/halt", body, ANSWER_S))
    except (NoEngine, NoAnswer) as unanswered:
        strange, where = _halt_without_answer(place, wanted, unanswered)
        if strange:
            raise Failure(f"{id_}: {strange}", *where) from None
        tell(f"{id_ or 'all'}: {verb}")
        for line in where:
            say(line)


def _confirm(wanted: Halt) -> None:
    """Have the scope typed again: what is closed cannot be held again at the price it was."""
    expected = wanted.id or "all"
    typed = click.prompt(f"This closes what {wanted.target} holds. Type {expected} to go on", default="", err=True)
    if typed.strip() != expected:
        raise Failure(f"nothing is halted: expected {expected}, was {typed.strip() or 'nothing'}; or give --yes")


def _halt_without_answer(place: Place, halt: Halt, unanswered: Exception) -> tuple[str, tuple[str, ...]]:
    """Why it covers nothing, empty where it covers something; and where the halt is, in lines.

    Failure where it is nowhere.
    """
    from reconciler.clock import SystemClock, iso
    from reconciler.errors import StoreError
    from reconciler.store import Store
    from reconciler.store.halt_requests import HALT_REQUESTS, HaltRequests

    clock, uid = SystemClock(), os.getuid()
    scope, id_, cancels = halt.scope, halt.id, "" if halt.cancel is Cancelling.NOTHING else "; it cancels orders then"
    try:
        with Store.open(place.database(), clock) as store:
            say(*store.tell_opened(place.database()))
            store.halts.add(scope, id_, halt.full, halt.reason, halt.by, halt.cancel, halt.collar)
            Bookkeeping(store).halted(halt, uid)
            strange = covers_nothing(scope, id_, store.desired.rows())
            held = "no engine is running here: the halt is in the database and holds from its next start"
            return strange, (f"{held}{cancels}",)
    except StoreError as error:
        requests = HaltRequests(place.state_dir(), clock)
        try:
            requests.append(replace(halt, at=iso(clock.time())))
        except StoreError as nowhere:
            raise Failure(str(unanswered) or str(error), str(nowhere), "nothing is halted") from error
        return "", (
            str(unanswered) or str(error),
            f"the halt is on the disk, in {place.state_dir() / HALT_REQUESTS}: an engine that runs puts it in force "
            f"within a beat, and one that starts before anything else{cancels}",
        )


def halts_of(engine: Engine) -> list[Halt]:
    """The halts in force in a running engine. Raises NoEngine."""
    found: Mapping[str, Any] = engine.get("/api/v1/engine") or {"halts": ()}
    return [Halt.from_json(item) for item in found["halts"]]


def notes_of(engine: Engine) -> list[str]:
    """What keeps beats from firing, halts from being stored, and files from being read or told committed."""
    found: Mapping[str, Any] = engine.get("/api/v1/engine") or {}
    notes = [f"nothing ticks: {found['no_beat']}"] if found.get("no_beat") else []
    unstored = [Halt.from_json(item).target for item in found.get("halts", ()) if not item.get("stored", True)]
    notes += [f"the halt of {target} is in force, the database has not taken it yet" for target in unstored]
    notes += [found[name] for name in ("descriptors_note", "source_error") if found.get(name)]
    return [*notes, *found.get("source_notes", ())]


def halts_without_engine(place: Place, stored: Iterable[Mapping[str, Any]]) -> list[Halt]:
    """Those in the database, `stored`, and those that files ask for: all hold from the next start."""
    from reconciler.clock import SystemClock, iso
    from reconciler.errors import SourceError, StoreError
    from reconciler.records.halt import read_halts
    from reconciler.sources.layout import HALT_PATHS
    from reconciler.store.halt_requests import HaltRequests

    clock = SystemClock()
    halts = [Halt.from_json(item) for item in stored]
    try:
        halts += [halt for halt in HaltRequests(place.state_dir(), clock).read() if halt not in halts]
    except StoreError as error:
        say(str(error), alarming=True)
    followed = place.followed()
    if followed is not None and followed.applied is not None:
        from reconciler.sources.branch import Branch

        halts += followed.halts  # of commits that were held
        try:
            branch = Branch(place.root(), followed.branch or "", followed.remote, clock)
            declared = branch.snapshot(followed.applied).halt
            halts += read_halts(declared, iso(clock.time()))[0]
        except SourceError as error:
            say(f"what {followed.applied[:10]} halts is not known: {error}", alarming=True)
        return halts
    for path in HALT_PATHS:
        if (place.root() / path).exists():
            halts += read_halts(_source(place, path), iso(clock.time()))[0]
    return halts


def say_halts(halts: Iterable[Halt]) -> None:
    """One red line for each, on stderr."""
    for halt in halts:
        say(f"HALTED  {halt.target}, {halt.kind}: {halt.reason} (by {halt.by}, since {halt.at})", alarming=True)


def say_still_halted(halts: Iterable[Halt]) -> None:
    """What is left in force where one was lifted; nothing where none is."""
    if left := list(halts):
        say("still halted:")
        say_halts(left)


def _source(place: Place, path: str) -> Any:
    from reconciler.records.snapshot import SourceFile

    try:
        return SourceFile(path, (place.root() / path).read_bytes(), "", committed=False)
    except OSError as error:
        return SourceFile(path, None, "", committed=False, error=f"cannot be read: {error.strerror}")


@click.command(
    epilog="""\b
Examples:
  reconciler unhalt --all --reason "prices are right again"
  reconciler unhalt --account main --reason "margin restored"
  reconciler unhalt --instance btc-grid-1 --reason "fixed and reviewed\""""
)
@scope_options
@asked_reason
@click.pass_obj
def unhalt(place: Place, everything: bool, account: str | None, instance: str | None, reason: str | None) -> None:
    """End the halts of exactly this scope. Another scope's stay: ending --all does not end an account's."""
    scope, id_, why = scope_of(everything, account, instance, reason)
    try:
        engine = place.engine()
        print_outcome("no longer halted", engine.post("/v1/unhalt", {"scope": scope, "id": id_, "reason": why}))
        say_still_halted(halts_of(engine))
    except NoEngine:
        with owned_store(place) as owned:
            declared = halts_without_engine(place, ())
            if fault := owned.books.unhalt(scope, id_, why, owned.uid, declared):
                raise Failure(f"{id_ or 'all'}: {fault}") from None
            left = [halt.to_json() for halt in owned.store.halts.active()]
        tell(f"{id_ or 'all'}: no longer halted")
        say_still_halted(halts_without_engine(place, left))

"""`reconciler halt` and `unhalt`: over a running engine, or on the database where there is none.

And `drill`: the kill switch, tried on paper money through a running engine.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.output import CouldNotRun, Failure, print_json, print_outcome, say, tell
from reconciler.cli.parameters import Fraction, asked_reason, scope_of, scope_options
from reconciler.cli.place import Engine, NoAnswer, NoEngine, Place, owned_store
from reconciler.control.chronicle import Bookkeeping, covers_nothing, named
from reconciler.records.halt import Cancelling, Halt

if TYPE_CHECKING:
    from reconciler.clock import Clock
    from reconciler.records.accounts import Accounts

ANSWER_S = 5.0
"""How long the engine may take to answer before the halt goes another way."""
WHY = "a drill of the kill switch"
LOOK_S = 0.2


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
    notes += [found[name] for name in ("descriptors_note", "settings_note", "source_error") if found.get(name)]
    return [*notes, *found.get("source_notes", ())]


def halts_without_engine(place: Place, stored: Iterable[Mapping[str, Any]]) -> list[Halt]:
    """Those in the database, `stored`, and those that files ask for: all hold from the next start. Since when files do,
    only an engine notes."""
    from reconciler.clock import SystemClock
    from reconciler.errors import SourceError, StoreError
    from reconciler.records.halt import read_halts
    from reconciler.sources.layout import HALT_PATHS, the_halt
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
            halts += read_halts(declared, at="")[0]
        except SourceError as error:
            say(f"what {followed.applied[:10]} halts is not known: {error}", alarming=True)
        return halts
    files = [_source(place, path) for path in HALT_PATHS if os.path.lexists(place.root() / path)]
    return [*halts, *read_halts(the_halt(files), at="")[0]]


def say_halts(halts: Iterable[Halt]) -> None:
    """One red line for each, on stderr."""
    for halt in halts:
        since = f", since {halt.at}" if halt.at else ""
        say(f"HALTED  {halt.target}, {halt.kind}: {halt.reason} (by {halt.by}{since})", alarming=True)


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
        outcome = engine.post("/v1/unhalt", {"scope": scope, "id": id_, "reason": why})
        left = halts_of(engine)
        try:
            print_outcome("no longer halted", outcome)
        finally:
            say_still_halted(left)
    except NoEngine:
        with owned_store(place) as owned:
            declared = halts_without_engine(place, ())
            fault = owned.books.unhalt(scope, id_, why, owned.uid, declared)
            stored = [halt.to_json() for halt in owned.store.halts.active()]
        say_still_halted(halts_without_engine(place, stored))
        if fault:
            raise Failure(f"{id_ or 'all'}: {fault}") from None
        tell(f"{id_ or 'all'}: no longer halted")


@dataclass(frozen=True, slots=True)
class DrillStep:
    """One thing that was tried: whether it held, and what happened."""

    name: str
    held: bool
    message: str


@click.command(
    epilog="""\b
Examples:
  reconciler drill
  reconciler drill --account paper --timeout 120 --format json"""
)
@click.option("--account", metavar="ID", help="One account of paper money. All of them where it is left out.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=1),
    default=60.0,
    show_default=True,
    metavar="S",
    help="How long cancels and closing may take, each.",
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", help="For people, or for machines."
)
@click.pass_obj
def drill(place: Place, account: str | None, timeout_s: float, form: str) -> None:
    """Try the kill switch, on paper money: place, halt, count what still left, cancel, flatten, lift the halt.

    What instances of the account hold is closed, too, for that is what is tried. What happened is kept in
    .reconciler/drills. Exit code 0: all held. 1: something did not. 2: it could not be tried.
    """
    try:
        _drilled(place, account, timeout_s, form)
    except Failure as error:
        raise CouldNotRun(*error.lines) from None
    except OSError as error:
        raise CouldNotRun(f"what happened could not be kept: {error}") from None


def _drilled(place: Place, account: str | None, timeout_s: float, form: str) -> None:
    """What happened is told and kept. Raises SystemExit where something did not hold."""
    from reconciler.clock import SystemClock, iso

    clock = SystemClock()
    accounts = place.engine_settings().accounts
    engine = place.engine()
    try:
        chosen = [account] if account else _on_paper(engine, accounts)
        if real := [one for one in chosen if accounts.is_real(one)]:
            raise CouldNotRun(f"{real[0]} is real money: a drill places orders, on paper alone")
        if not chosen:
            raise CouldNotRun("no instance trades on an account of paper money")
        started_at = iso(clock.time())
        drills = {one: _Drill(place, engine, one, clock, timeout_s) for one in chosen}
        found = {one: each.run() for one, each in drills.items()}
    except NoEngine:
        raise CouldNotRun("no engine is running here: there is no kill switch to try") from None
    except NoAnswer as error:
        raise CouldNotRun(str(error)) from None
    held = all(step.held for steps in found.values() for step in steps)
    report = {
        "at": started_at,
        "held": held,
        "items": [{"account_id": one, "steps": [asdict(step) for step in steps]} for one, steps in found.items()],
    }
    kept = place.state_dir() / "drills" / f"{started_at.replace(':', '')}.json"
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    kept.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if form == "json":
        print_json(report)
    else:
        for one, steps in found.items():
            failing = "DID NOT HOLD" if drills[one].is_tried else "could not"
            tell(*(f"{one}  {'held' if step.held else failing}  {step.name}: {step.message}" for step in steps))
    say(f"kept in {kept}")
    if any(not step.held for one, steps in found.items() if drills[one].is_tried for step in steps):
        raise SystemExit(1)
    if untried := [one for one, each in drills.items() if not each.is_tried]:
        raise CouldNotRun(*(f"account {one}: no halt was tried, for its orders could not be placed" for one in untried))


def _on_paper(engine: Engine, accounts: Accounts) -> list[str]:
    """The accounts of paper money on which an instance trades."""
    ids = {item["account"]["account_id"] for item in engine.items("/api/v1/instances")}
    return sorted(id_ for id_ in ids if not accounts.is_real(id_))


def _of_cancelling(name: str, halt: Mapping[str, Any]) -> list[str]:
    return list(halt["cancelling"][name])


class _Drill:
    """One account, step by step. Whatever happens, the halt that it made is lifted in the end."""

    def __init__(self, place: Place, engine: Engine, account: str, clock: Clock, timeout_s: float) -> None:
        self._fleet = place
        self._engine = engine
        self.account = account
        self._clock = clock
        self._timeout_s = timeout_s
        self._steps: list[DrillStep] = []
        self.is_tried = False
        """False where its orders could not be placed: that says nothing of the kill switch, either way."""

    def run(self) -> list[DrillStep]:
        if any(halt["scope"] == "all" or halt["id"] == self.account for halt in self._halts()):
            raise CouldNotRun(f"account {self.account} is halted already: a drill would lift that")
        for name, takes in (("place an order that fills", True), ("place an order that rests", False)):
            placed, said = self._place(takes)
            self._note(name, placed, said)
        if not all(step.held for step in self._steps):
            return self._steps
        self.is_tried = True
        try:
            self._try_out()
        except (NoEngine, NoAnswer) as error:
            self._note("the engine answers", False, str(error) or "no engine is running any more")
        finally:
            self._lift()
        return self._steps

    def _lift(self) -> None:
        try:
            answer = self._engine.post("/v1/unhalt", {"scope": "account", "id": self.account, "reason": WHY})
        except (NoEngine, NoAnswer):
            answer = {"failed": f"it is still in force: reconciler unhalt --account {self.account} --reason …"}
        self._note("lift the halt", not answer.get("failed"), str(answer.get("failed") or "lifted"))

    def _try_out(self) -> None:
        self._halt("halt", {})
        placed, said = self._place(takes=True)
        self._note("nothing leaves under the halt", not placed, said)
        before = {order["client_order_id"] for order in self._orders()}
        self._halt("halt in full, cancel all", {"full": True, "cancel": "all"})
        left = partial(_of_cancelling, "left")
        self._wait("all is cancelled", lambda halt: not left(halt), left)
        self._halt("flatten", {"full": True, "cancel": "all", "flatten": "0.05"})
        flat = partial(_of_cancelling, "flattening")
        self._wait("all is closed", lambda halt: halt["cancelling"]["closed"] or not self._held(), flat)
        sent = [
            order["client_order_id"]
            for order in self._orders()
            if order["client_order_id"] not in before
            and order["outcome"] not in ("rejected", "shadow")
            and order["provenance"] == "strategy"
        ]
        self._note("no strategy's order left meanwhile", not sent, ", ".join(sent) or "none")

    def _place(self, takes: bool) -> tuple[bool, str]:
        answer = self._engine.post("/v1/drill", {"account": self.account, "takes": takes, "reason": WHY})
        failed = answer.get("failed") or []
        return not failed, failed[0]["message"] if failed else f"{answer['done'][0]}: {answer.get('note', '')}"

    def _halt(self, name: str, more: Mapping[str, Any]) -> None:
        begun_s = self._clock.monotonic()
        answer = self._engine.post("/v1/halt", {"scope": "account", "id": self.account, "reason": WHY, **more})
        took_ms = (self._clock.monotonic() - begun_s) * 1000
        failed = answer.get("failed") or []
        self._note(name, not failed, failed[0]["message"] if failed else f"in force after {took_ms:.0f} ms")

    def _wait(self, name: str, is_over: Callable[[Any], bool], left: Callable[[Any], Any]) -> None:
        begun_s = self._clock.monotonic()
        while True:
            cancelling = [halt for halt in self._halts() if halt["id"] == self.account and halt["cancelling"]]
            took_s = self._clock.monotonic() - begun_s
            if cancelling and is_over(cancelling[-1]):
                self._note(name, True, "; ".join([f"after {took_s:.1f} s", *left(cancelling[-1])]))
                return
            if took_s >= self._timeout_s:
                told = left(cancelling[-1]) if cancelling else "no such halt is in force"
                self._note(name, False, f"not within {self._timeout_s:g} s: {told}")
                return
            self._clock.wait(threading.Event(), LOOK_S)

    def _halts(self) -> list[Any]:
        return list((self._engine.get("/api/v1/engine") or {"halts": []})["halts"])

    def _orders(self) -> list[Any]:
        found = self._engine.get("/api/v1/orders", {"limit": 1000}) or {"items": []}
        return [order for order in found["items"] if order["account_id"] == self.account]

    def _held(self) -> list[str]:
        reader = self._fleet.reader()
        try:
            rows = reader.rows()
            holding = [id_ for id_, held in reader.books(False) if held.quantity and id_ in rows]
            return [id_ for id_ in holding if rows[id_].record.identity.account_id == self.account]
        finally:
            reader.close()

    def _note(self, name: str, held: bool, message: str) -> None:
        self._steps.append(DrillStep(name, held, message))

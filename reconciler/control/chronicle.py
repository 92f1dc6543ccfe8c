"""The chronicle: what happened, as events people read, faults of files in the log too. Decides nothing.

And the bookkeeping of what an operator did: who and why, in the same words with an engine running and with none. It
carries nothing out but the lifting of halts, and reads no clock; its callers know what is in force.
"""

from __future__ import annotations

import logging
import pwd
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import assert_never

from reconciler.documents.wording import some
from reconciler.orders.news import Correction, Shares, Verdict
from reconciler.orders.order import decimal_text
from reconciler.ports import EventLog
from reconciler.records.admission import Removal
from reconciler.records.cadence import BeatRun, forgetting
from reconciler.records.event import EventReason, EventType
from reconciler.records.followed import CHECKING, Followed
from reconciler.records.halt import WAS_IT_MEANT, Halt, HaltScope, stranger
from reconciler.records.plan import Action, Load, Reload, SetMode, Unload, Update
from reconciler.records.record import Attempt, Row, RowChange
from reconciler.records.status import Sync
from reconciler.runtime.protocol import (
    Disturbed,
    HookFailed,
    Loaded,
    LoadFailed,
    Quarantined,
    Recovered,
    Report,
    Stuck,
    TicksKept,
    TicksMissed,
    Unloaded,
    Unstuck,
)
from reconciler.store.store import Store

log = logging.getLogger(__name__)

NORMAL: EventType = "Normal"
WARNING: EventType = "Warning"


MANY = 100
"""More than this of a kind at once are told in one event of the engine: a fleet that starts would otherwise push
everything else out of the log. The history of each instance is kept apart from it, and faults are always told singly.
"""

_NAMED = 10
"""So many of them are told by their ids."""


def named(uid: int) -> str:
    """The operator as people read it, `ada, uid 1000`: the name may belong to somebody else one day, the uid tells."""
    try:
        return f"{pwd.getpwuid(uid).pw_name}, uid {uid}"
    except KeyError:
        return f"uid {uid}"


def covers_nothing(scope: HaltScope, id: str, rows: Mapping[str, Row]) -> str:
    """What is said of a halt that covers no instance, though it is in force; empty where it covers one."""
    strange = stranger(scope, id, rows, (row.record.identity.account_id for row in rows.values()))
    return f"{strange}; {WAS_IT_MEANT}" if strange else ""


class Bookkeeping:
    """Writes into the store's list of operations and into its events. Thread-safe: each of them is."""

    def __init__(self, store: Store) -> None:
        self._halts = store.halts
        self._operations = store.operators
        self._events = store.events

    def paused(self, instance_id: str, reason: str, uid: int) -> None:
        self._record(uid, "pause", f"instance {instance_id}", reason)
        self._events.record(instance_id, "Normal", EventReason.PAUSED, f"{reason} ({named(uid)})")

    def resumed(self, instance_id: str, reason: str, uid: int) -> None:
        self._record(uid, "resume", f"instance {instance_id}", reason)
        self._events.record(instance_id, "Normal", EventReason.RESUMED, f"{reason} ({named(uid)})")

    def halted(self, halt: Halt, uid: int) -> None:
        """An event alone: the table of halts says who and why."""
        self._tell_halting(EventReason.HALTED, halt, halt.reason, uid)

    def unhalt(self, scope: HaltScope, id: str, reason: str, uid: int, declared: Iterable[Halt]) -> str:
        """End the halts of exactly that scope and id. Why there are none to lift, empty where some were.

        `declared` are the halts that files ask for; others may be among them.
        """
        lifted = self._halts.lift(scope, id, named(uid), reason)
        if not lifted:
            files = [halt.by for halt in declared if halt.is_declared and (halt.scope, halt.id) == (scope, id)]
            why = f"it comes from {files[0]}: change that file" if files else "there is none"
            return f"no halt of {f'{scope} {id}' if id else 'everything'} to lift: {why}"
        strongest = max(lifted, key=lambda halt: halt.full)
        self._record(uid, "unhalt", strongest.told_lifted, reason)
        self._tell_halting(EventReason.UNHALTED, strongest, reason, uid)
        return ""

    def cancelled(self, instance_id: str, client_order_id: str, fault: str, reason: str, uid: int) -> None:
        """That a person had one order cancelled, or tried to: `fault` says why it was not."""
        self._record(
            uid, "cancel", f"order {client_order_id}", f"{reason} (not cancelled: {fault})" if fault else reason
        )
        if not fault:
            self._tell(EventReason.CANCELLED_BY_HAND, f"{client_order_id}: {reason}", uid, instance_id)

    def resolved(self, client_order_id: str, verdict: Verdict, uid: int) -> None:
        self._record(uid, "resolve", f"order {client_order_id}", f"{verdict}: {verdict.reason}")

    def corrected(self, instance_id: str, correction: Correction, uid: int) -> None:
        self._record(uid, "book", f"instance {instance_id}", f"{correction}: {correction.reason}")

    def marked(self, instance_id: str, price: Decimal, reason: str, uid: int) -> None:
        self._record(uid, "mark", f"instance {instance_id}", f"{decimal_text(price)}: {reason}")

    def limit_lifted(self, scope: str, reason: str, uid: int) -> None:
        self._record(uid, "limits-lift", scope, reason)
        self._tell(EventReason.LIMIT_LIFTED, f"{scope}: max_drawdown is measured from now on: {reason}", uid)

    def settled(self, account: str, shares: Shares, uid: int) -> None:
        said = f"{shares}: {shares.reason}"
        self._record(uid, "settle", f"account {account}", said)
        self._tell(EventReason.LEDGER_SETTLED, f"account {account}: {said}", uid)

    def tools_accepted(self, server: str, reason: str, uid: int) -> None:
        self._record(uid, "accept-tools", f"server {server}", reason)
        self._tell(EventReason.TOOLS_ACCEPTED, f"{server}: {reason}", uid)

    def placing(self, account: str, order: str, reason: str, uid: int) -> None:
        """Before it is sent by hand, past the gateway; committed on return. Raises StoreError."""
        self._record(uid, "place", f"account {account}", f"{order}: {reason}")
        self._tell(EventReason.PLACED_BY_HAND, f"account {account}: {order}: {reason}", uid)

    def prune_confirmed(self, held: Sequence[str], digest: str, reason: str, uid: int) -> None:
        """`reason` may be empty."""
        what = ", ".join(held)
        self._record(uid, "prune", what, f"{reason} ({digest})" if reason else digest)
        why = f": {reason}" if reason else ""
        self._events.record(None, "Normal", EventReason.PRUNE_CONFIRMED, f"{what}{why} ({named(uid)})")

    def commit_accepted(self, commit: str, reason: str, uid: int) -> None:
        self._record(uid, "accept-commit", f"commit {commit}", reason)
        self._tell(EventReason.SOURCE_ACCEPTED, f"commit {commit[:12]}: {reason}", uid)

    def source_switched(self, before: str, now: str, reason: str, uid: int) -> None:
        told = f"{before} → {now}"
        self._record(uid, "source-switch", told, reason)
        self._tell(EventReason.SOURCE_ACCEPTED, f"{told}: {reason}", uid)

    def beats_forgotten(self, runs: Sequence[BeatRun], free_from_s: float, reason: str, uid: int) -> str:
        """The sentence that is written down."""
        told = forgetting(runs, free_from_s)
        self._record(uid, "beats-forget", told, reason)
        self._tell(EventReason.BEATS_FORGOTTEN, f"{told}: {reason}", uid)
        return told

    def _record(self, uid: int, action: str, scope: str, reason: str) -> None:
        self._operations.record(uid, action, scope, reason)

    def _tell(self, event: EventReason, what: str, uid: int, instance_id: str | None = None) -> None:
        self._events.record(instance_id, "Warning", event, f"{what} ({named(uid)})")

    def _tell_halting(self, event: EventReason, halt: Halt, reason: str, uid: int) -> None:
        how = halt.told if event is EventReason.HALTED else halt.told_lifted
        self._tell(event, f"{how}: {reason}", uid, halt.id if halt.scope == "instance" else None)


class Chronicle:
    """Turns what the controller learns and does into events."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._arriving: set[str] = set()
        self._arrived = 0

    def admitted(
        self, changes: Sequence[RowChange], attempts: Sequence[Attempt], removal: Removal, before: Removal
    ) -> None:
        """What a snapshot changed, refused or left waiting."""
        kinds: defaultdict[str, list[RowChange]] = defaultdict(list)
        for change in changes:
            kinds[change.kind.capitalize()].append(change)
        for kind, alike in kinds.items():
            reason = EventReason(kind)
            if len(alike) > MANY:
                self._record_many(reason, [change.row.id for change in alike])
            else:
                for change in alike:
                    self._events.record(change.row.id, NORMAL, reason, change.summary)
        faulty = [attempt for attempt in attempts if attempt.sync in (Sync.INVALID, Sync.REFUSED)]
        for number, attempt in enumerate(faulty):
            self._events.record(attempt.id, WARNING, EventReason(str(attempt.sync)), attempt.why)
            if number < MANY:
                log.warning("a file was not applied", extra={"file": attempt.path, "why": attempt.why})
        if len(faulty) > MANY:
            log.warning("more files were not applied", extra={"files": len(faulty) - MANY})
        if removal.held and removal.held_digest != before.held_digest:
            told = (
                f"{len(removal.held)} without a file are held, for {removal.held_why}; they run on: "
                f"{some(removal.held, _NAMED)}. "
                f"To remove exactly these: reconciler prune --confirm {removal.held_digest}"
            )
            log.warning("removals are held", extra={"why": told})
            self._events.record(None, WARNING, EventReason.PRUNE_HELD, told)
        for instance_id in sorted(set(removal.protected) - set(before.protected)):
            self._events.record(
                instance_id, WARNING, EventReason.PROTECTED, "its file is missing; it runs on: protect is true"
            )

    def declared(self, before: Sequence[Halt], now: Sequence[Halt], origin: str) -> None:
        """What the halt file has put in force, and what it has lifted. `origin` is the commit that says so, or none."""
        for reason, halts, others in ((EventReason.HALTED, now, before), (EventReason.UNHALTED, before, now)):
            others_said = {(halt.scope, halt.id, halt.full, halt.reason) for halt in others}
            for halt in halts:
                if (halt.scope, halt.id, halt.full, halt.reason) not in others_said:
                    about = halt.id if halt.scope == "instance" else None
                    how = halt.told if reason == EventReason.HALTED else halt.told_lifted
                    self._events.record(about, WARNING, reason, f"{how}: {halt.reason} ({halt.by}, {origin})")

    def source_failed(self, error: str) -> None:
        log.error("the source could not be read", extra={"error": error})
        self._events.record(None, WARNING, EventReason.SOURCE_ERROR, error)

    def blocked(self, why: str) -> None:
        until = "until that is over, modes may be lowered and nothing else is applied"
        log.warning("what changed is not applied", extra={"why": f"{why}: {until}"})
        self._events.record(None, WARNING, EventReason.SOURCE_BLOCKED, f"{why}: {until}")

    def unblocked(self) -> None:
        self._events.record(None, NORMAL, EventReason.SOURCE_UNBLOCKED, "changes and removals are applied again")

    def followed(self, before: Followed, now: Followed) -> None:
        """That a commit is held, where it was not so before; it is told once."""
        if now.held is None or (now.held, now.held_why) == (before.held, before.held_why) or now.held_why == CHECKING:
            return
        commit, why = now.held, now.held_why
        way_out = f"; to take it all the same: reconciler source accept {commit} --reason …" if commit else ""
        told = f"commit {commit[:12]} is held: {why}" if commit else f"{why}; what is applied stays"
        log.warning("the branch is not followed", extra={"why": f"{told}{way_out}"})
        self._events.record(None, WARNING, EventReason.SOURCE_HELD, f"{told}{way_out}")

    def reached(self, fault: str) -> None:
        """What became of asking the remote: `fault` is empty where it answers again."""
        if fault:
            log.warning("the remote does not answer", extra={"why": fault})
            self._events.record(None, WARNING, EventReason.SOURCE_UNREACHABLE, f"{fault}; what is applied stays")
        else:
            log.info("the remote answers again")
            self._events.record(None, NORMAL, EventReason.SOURCE_REACHED, "it answers again")

    def pass_failed(self, error: str) -> None:
        self._events.record(None, WARNING, EventReason.PASS_FAILED, error)

    def acting(self, actions: Sequence[Action]) -> None:
        """What the controller is about to set in motion."""
        loads = [action.row.id for action in actions if isinstance(action, Load)]
        if len(loads) > MANY:
            self._arriving.update(loads)
            self._record_many(EventReason.LOADING, loads)
        for action in actions:
            self._acting(action)

    def _acting(self, action: Action) -> None:
        match action:
            case Reload(row=row, reason=reason):
                self._events.record(row.id, NORMAL, EventReason.RELOADING, reason)
            case Unload(id=instance_id, reason=reason):
                self._events.record(instance_id, NORMAL, EventReason.UNLOADING, reason)
            case SetMode(id=instance_id, reason=reason):
                self._events.record(instance_id, NORMAL, EventReason.LOWERED, reason)
            case Load() | Update():
                pass
            case _:
                assert_never(action)

    def reported(self, report: Report) -> None:
        """What a host says of an instance."""
        is_one_of_many = self._arrives(report)
        match report:
            case Loaded() if is_one_of_many:
                pass
            case Loaded(id=id_, generation=generation):
                self._events.record(id_, NORMAL, EventReason.LOADED, f"generation {generation} is loaded")
            case LoadFailed(id=id_, error=error):
                self._events.record(id_, WARNING, EventReason.LOAD_FAILED, error)
            case Unloaded(id=id_, error=""):
                self._events.record(id_, NORMAL, EventReason.UNLOADED, "unloaded")
            case Unloaded(id=id_, error=error):
                self._events.record(id_, WARNING, EventReason.UNLOADED, f"on_unload failed: {error}")
            case HookFailed(id=id_, hook=hook, error=error):
                self._events.record(id_, WARNING, EventReason.HOOK_FAILED, f"{hook}: {error}")
            case Recovered(id=id_):
                self._events.record(id_, NORMAL, EventReason.RECOVERED, "a tick succeeded again")
            case Quarantined(id=id_, error=error, is_barred=True):
                told = f"not loaded: {error}; look at it, then change it, or: reconciler resume {id_}"
                self._events.record(id_, WARNING, EventReason.QUARANTINED, told)
            case Quarantined(id=id_, error=error):
                self._events.record(
                    id_, WARNING, EventReason.QUARANTINED, f"paused after repeated failed ticks: {error}"
                )
            case Stuck(id=id_, hook=hook, deadline_s=deadline_s, at=at):
                message = f"{hook} has outlived its deadline of {deadline_s:g} s"
                self._events.record(id_, WARNING, EventReason.STUCK, f"{message}; it was at {at}" if at else message)
            case TicksMissed(id=id_, missed=missed, due=due):
                why = "each found the one before still running, or waiting for a thread"
                self._events.record(
                    id_, WARNING, EventReason.TICKS_MISSED, f"{missed} of its last {due} ticks were missed: {why}"
                )
                log.warning("ticks are missed", extra={"instance": id_, "missed": missed, "of": due})
            case TicksKept(id=id_):
                self._events.record(id_, NORMAL, EventReason.TICKS_KEPT, "it keeps its ticks again")
            case Disturbed(id=id_, hook=hook, changed=changed, others=others):
                self._events.record(
                    id_ or None, WARNING, EventReason.PROCESS_CHANGED, _disturbance(hook, changed, others)
                )
            case Unstuck(id=id_, hook=hook, duration_s=duration_s):
                self._events.record(id_, NORMAL, EventReason.UNSTUCK, f"{hook} returned after {duration_s:.1f} s")
            case _:
                assert_never(report)

    def _arrives(self, report: Report) -> bool:
        """True for one of many that load together; the last of them tells how many did."""
        if report.id not in self._arriving or not isinstance(report, (Loaded, LoadFailed, Unloaded)):
            return False
        self._arriving.discard(report.id)
        self._arrived += isinstance(report, Loaded)
        if not self._arriving:
            self._events.record(None, NORMAL, EventReason.LOADED, f"{self._arrived:,} instances are loaded")
            self._arrived = 0
        return True

    def _record_many(self, reason: EventReason, ids: Sequence[str]) -> None:
        self._events.record(None, NORMAL, reason, f"{len(ids):,} instances: {some(ids, _NAMED)}")


def _disturbance(hook: str, changed: Sequence[str], others: Sequence[str]) -> str:
    what = f"of the whole process was changed and put back: {', '.join(changed)}"
    if not hook:
        return f"{what}; by one that ticked before: {some(others, _NAMED)}" if others else what
    whose = f"{hook}, or a hook of {some(others, _NAMED)}, which ran meanwhile" if others else hook
    return f"{what}; by {whose}"

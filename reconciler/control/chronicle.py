"""The chronicle: what happened, as events people read, faults of files in the log too. Decides nothing."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import assert_never

from reconciler.documents.wording import some
from reconciler.ports import EventLog
from reconciler.records.admission import Removal
from reconciler.records.event import EventReason, EventType
from reconciler.records.followed import CHECKING, Followed
from reconciler.records.halt import Halt
from reconciler.records.plan import Action, Load, Reload, SetMode, Unload, Update
from reconciler.records.record import Attempt, RowChange
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

log = logging.getLogger(__name__)

NORMAL: EventType = "Normal"
WARNING: EventType = "Warning"


MANY = 100
"""More than this of a kind at once are told in one event of the engine: a fleet that starts would otherwise push
everything else out of the log. The history of each instance is kept apart from it, and faults are always told singly.
"""

_NAMED = 10
"""So many of them are told by their ids."""


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
            self._events.record(
                None,
                WARNING,
                EventReason.PRUNE_HELD,
                f"{len(removal.held)} without a file are held, for {removal.held_why}; they run on: "
                f"{some(removal.held, _NAMED)}. "
                f"To remove exactly these: reconciler prune --confirm {removal.held_digest}",
            )
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
        self._events.record(None, WARNING, EventReason.SOURCE_HELD, f"{told}{way_out}")

    def reached(self, fault: str) -> None:
        """What became of asking the remote: `fault` is empty where it answers again."""
        if fault:
            self._events.record(None, WARNING, EventReason.SOURCE_UNREACHABLE, f"{fault}; what is applied stays")
        else:
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

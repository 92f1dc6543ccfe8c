"""The observer: files → rows. Reads a snapshot, has every file judged, and writes what changed in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from reconciler.clock import Clock, iso
from reconciler.control.chronicle import Chronicle
from reconciler.control.fleet import Fleet
from reconciler.errors import Problem, SourceError, StoreError
from reconciler.records.admission import Admission, Arrival, Removal, admit, removal_digest
from reconciler.records.crosscheck import template_problems
from reconciler.records.evaluation import Evaluation
from reconciler.records.halt import Halt, read_halts, strange_halts
from reconciler.records.mode import Mode, descent
from reconciler.records.plan import SetMode
from reconciler.records.record import Row, RowChange
from reconciler.records.snapshot import Snapshot, SourceFile, named_id
from reconciler.runtime.host import Host
from reconciler.store.desired import Desired
from reconciler.store.halts import Halts
from reconciler.store.store import Store
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.definition import Definition

log = logging.getLogger(__name__)


class Drift:
    """Compares the table with what the engine wrote, whenever somebody else has written to the database."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired
        self._is_suspected = False

    def changes(self, rows: Mapping[str, Row], at: str) -> tuple[RowChange, ...]:
        """What puts the table back to `rows`. The suspicion stays until `settled` says that it was written."""
        self._is_suspected |= self._desired.changed_by_others()
        if not self._is_suspected:
            return ()
        try:
            stored = self._desired.rows()
        except StoreError as error:
            log.warning("rows changed by hand cannot be read: all are written back", extra={"error": str(error)})
            stored = {}
        back = [
            RowChange(row, "drift", "changed by hand in the database; written back")
            for row in rows.values()
            if stored.get(row.id) != row
        ]
        back.extend(
            RowChange(replace(row, removed_at=at), "drift", "inserted by hand in the database; removed")
            for row in stored.values()
            if row.id not in rows
        )
        return tuple(back)

    def settled(self) -> None:
        """The table is as it should be again."""
        self._is_suspected = False


class HaltWatch:
    """Follows the halt file from snapshot to snapshot."""

    def __init__(self, halts: Halts) -> None:
        self._halts = halts
        self._seen: tuple[SourceFile | None, bool] = (None, True)
        self._missing_since_s: float | None = None
        self.declared: tuple[Halt, ...] = ()
        self.problems: tuple[Problem, ...] = ()

    @property
    def is_missing(self) -> bool:
        """True while the file has just gone, and what it said still holds."""
        return self._missing_since_s is not None

    def follow(self, snapshot: Snapshot, at: str, now_s: float) -> bool:
        """True where the halts in force have changed. A snapshot that is not whole, or a file that is still being
        written, may add halts; it lifts none. Nor does a file that has just gone: who replaces one may delete it first.
        """
        if self._may_come_back(snapshot, now_s):
            return False
        seen = (snapshot.halt, snapshot.whole)
        if seen == self._seen:
            return False
        halts, problems = read_halts(snapshot.halt, at)
        if not snapshot.whole or (snapshot.halt is not None and snapshot.halt.is_unfinished):
            halts = tuple(dict.fromkeys((*self.declared, *halts)))
        self._seen = seen
        return self.put(halts, problems)

    def _may_come_back(self, snapshot: Snapshot, now_s: float) -> bool:
        is_missing = snapshot.halt is None and snapshot.whole and bool(self.declared)
        since_s = now_s if self._missing_since_s is None else self._missing_since_s
        self._missing_since_s = since_s if is_missing and now_s < since_s + ACTIVE_S else None
        return self.is_missing

    def put(self, halts: tuple[Halt, ...], problems: tuple[Problem, ...]) -> bool:
        self._halts.declare(halts)
        self.declared, self.problems = halts, problems
        return True


SETTLING_S = 1.0
"""A file must be missing from two whole reads at least this far apart."""
QUIET_S = 1.5
"""And for so long no other may have gone: whoever deletes slowly, over a network or by hand, has not ended yet."""
ACTIVE_S = 10.0
"""What is active is looked for so long: who uploads often deletes first, and a returning id starts from off."""
RECENT_S = 600.0
"""So long what went counts with what goes."""


class Absence:
    """Remembers between snapshots; `confirm` may come from any thread."""

    def __init__(self) -> None:
        self._missing_since_s: dict[str, float] = {}
        self._grew_at_s = float("-inf")
        self._removed_at_s: dict[str, float] = {}
        self._holds = False
        self.confirmed = ""
        """The digest of the held removal that may happen; empty where none may."""

    def confirm(self, removal_digest: str) -> None:
        """Let the held removal that `removal_digest` stands for happen, and no other."""
        self.confirmed = removal_digest

    def settled(self, now_s: float, active: Container[str] = ()) -> frozenset[str]:
        """The ids that were missing from a whole snapshot long enough ago; none while others still go."""
        if now_s < self._grew_at_s + QUIET_S:
            return frozenset()
        missing = self._missing_since_s.items()
        return frozenset(i for i, at_s in missing if at_s <= now_s - (ACTIVE_S if i in active else SETTLING_S))

    def recent(self, now_s: float) -> frozenset[str]:
        """The ids that went within the last ten minutes, those that somebody confirmed left out.

        While a removal is held because of them they do not grow old: it passes once somebody has looked, not by time.
        """
        return frozenset(i for i, at_s in self._removed_at_s.items() if self._holds or at_s > now_s - RECENT_S)

    def note(self, removal: Removal, confirmed: str, now_s: float) -> None:
        """Take what became of the missing ids of a whole snapshot, judged with `confirmed`.

        A confirmation is good for the moment: where the set it stands for is no longer what is held, it lapses.
        """
        missing = (*removal.waiting, *removal.held, *removal.protected)
        if not self._missing_since_s.keys() >= set(missing):
            self._grew_at_s = now_s
        self._missing_since_s = {i: self._missing_since_s.get(i, now_s) for i in missing}
        recent = self.recent(now_s)
        self._holds = bool(removal.held)
        self._removed_at_s = {i: at_s for i, at_s in self._removed_at_s.items() if i in recent}
        if removal.remove and removal_digest(removal.remove) != confirmed:
            self._removed_at_s |= dict.fromkeys(removal.remove, now_s)
        if self.confirmed == confirmed and removal.held_digest != confirmed:
            self.confirmed = ""


class Source(Protocol):
    """Where snapshots come from."""

    def read(self) -> Snapshot:
        """A snapshot of this moment. Raises SourceError where nothing can be said at all."""


BLOCKED_S = 60.0
"""What keeps changes from being applied for longer than that is an event: whoever began it may be gone."""

Evaluate = Callable[[Snapshot, Catalogue], Sequence[Evaluation]]
"""Judges every file on its own, upon its template, and those that claim one id against each other."""


class Observer:
    """Owns the fleet's desired state in memory; the only writer of it. One thread uses it."""

    def __init__(
        self,
        clock: Clock,
        source: Source | None,
        catalogue: Catalogue,
        evaluate: Evaluate,
        store: Store,
        host: Host,
        adopt: bool,
        declared_accounts: Collection[str] = (),
    ) -> None:
        """`source`: None for who looks elsewhere. `adopt`: take as established what the first whole snapshot says."""
        self._clock = clock
        self._source = source
        self._catalogue = catalogue
        self._evaluate = evaluate
        self._desired = store.desired
        self._chronicle = Chronicle(store.events)
        self._host = host
        self._adopt = adopt
        self._found: frozenset[str] = frozenset()
        self._declared_accounts = declared_accounts
        self._drift = Drift(store.desired)
        self._halt_watch = HaltWatch(store.halts)
        self._snapshot: Snapshot | None = None
        self._is_unfinished = self._awaits_settings = self._told_blocked = False
        self.distrusted: Callable[[Sequence[Evaluation], str], str] = lambda evaluations, commit: ""
        """Why what a commit says may not be taken as established; empty where it may."""
        self.absence = Absence()
        self.fleet = Fleet(rows=store.desired.rows(), attempts=store.desired.attempts())
        self._judged_by = dict(store.desired.judged_by)

    @property
    def chronicle(self) -> Chronicle:
        """What is told goes in here, in its order."""
        return self._chronicle

    @property
    def is_in_doubt(self) -> bool:
        """True where another look, soon, may tell what this one could not."""
        fleet = self.fleet
        waits = fleet.removal.waiting or fleet.not_whole or self.absence.confirmed or self._is_unfinished
        return bool(waits or self._halt_watch.is_missing or self._awaits_settings)

    @property
    def is_loading_code(self) -> bool:
        """True until those that are imported have come, or been told as slow or broken, and been looked at."""
        return self._catalogue.is_loading or self.has_new_code

    @property
    def has_new_code(self) -> bool:
        """True where strategies have been imported, or failed to be, since they were looked at last."""
        return self._catalogue.has_news

    def definition(self, row: Row) -> Definition | None:
        """The code that `row` was validated against, None where it is not at hand."""
        return self._catalogue.definition(row.record.strategy_type, row.code_digest)

    def observe(self) -> frozenset[str]:
        """Look at the source; returns the ids of which something has changed. Raises StoreError."""
        at = iso(self._clock.time())
        assert self._source is not None
        try:
            snapshot = self._source.read()
        except SourceError as error:
            return self._fail(str(error))
        self._awaits_settings = snapshot.settings_unfinished
        self._follow_halts(snapshot, at)
        self._follow_blocking(snapshot)
        if self._is_old_news(snapshot):
            return self._write_back(at)
        arrival = self._arrival(snapshot, at)
        self._follow_code(snapshot, arrival)
        evaluations = self._evaluate(snapshot, self._catalogue)
        admission = self._admit(evaluations, arrival)
        self._close_gates(admission)  # before the commit, which may block or fail: what is lowered trades no more
        drift = self._drift.changes(self.fleet.rows, at)
        changes = (*drift, *admission.changes)
        if changes or admission.attempts or admission.forgotten_paths:
            judged_by = self._judgements([change.row for change in changes], evaluations)
            self._desired.apply(changes, admission.attempts, admission.forgotten_paths, judged_by=judged_by)
        self._drift.settled()
        self._remember(snapshot, evaluations, admission, changes, arrival)
        return frozenset(change.row.id for change in changes).union(
            attempt.id for attempt in admission.attempts if attempt.id is not None
        )

    def _fail(self, why: str) -> frozenset[str]:
        self._tell_source_error(why)
        self.fleet = replace(self.fleet, source_error=why)
        return frozenset()

    def _write_back(self, at: str) -> frozenset[str]:
        """What is left to do where the files say nothing new."""
        drift = self._drift.changes(self.fleet.rows, at)
        if drift:
            self._desired.apply(drift)
            self._chronicle.admitted(drift, (), self.fleet.removal, self.fleet.removal)
            self.fleet = self.fleet.after(drift, (), ())
        self._drift.settled()
        return frozenset(change.row.id for change in drift)

    def _judgements(self, rows: Iterable[Row], evaluations: Sequence[Evaluation]) -> dict[str, str]:
        """By id what those of `rows` were judged by that are as their files say; noted as kept."""
        judged = {one.record.id: one for one in evaluations if one.record is not None and one.judged_by}
        told = {row.id: one.judged_by for row in rows if (one := judged.get(row.id)) is not None and _says(one, row)}
        self._judged_by.update(told)
        return told

    def _seal(self, evaluations: Sequence[Evaluation]) -> None:
        """Keep for the next engine what rows are judged by that were judged anew, and did not change by it."""
        known, rows = self._judged_by, self.fleet.rows
        judged = {one.record.id: one.judged_by for one in evaluations if one.record is not None and one.judged_by}
        anew = [rows[id_] for id_, word in judged.items() if known.get(id_) != word and id_ in rows]
        told = self._judgements(anew, evaluations) if anew else {}
        self._desired.seal([row for row in anew if row.id in told], told)

    def _admit(self, evaluations: Sequence[Evaluation], arrival: Arrival) -> Admission:
        return admit(evaluations, self.fleet.rows, self.fleet.attempts, arrival)

    def _follow_code(self, snapshot: Snapshot, arrival: Arrival) -> None:
        """Have loaded what is new in `strategies/`. Modes are lowered before, by the code there was."""
        last = self._snapshot
        if last is not None and snapshot.strategies is last.strategies and not self._catalogue.has_news:
            return
        evaluations = self._evaluate(snapshot, self._catalogue) if self._host.views() else ()
        self._close_gates(self._admit(evaluations, replace(arrival, whole=False)))
        self._catalogue.refresh(snapshot.strategies)
        self._forget_unused_code()

    def _follow_halts(self, snapshot: Snapshot, at: str) -> None:
        """First of all, and whatever else comes of this snapshot: halting may never wait."""
        before = self._halt_watch.declared
        if self._halt_watch.follow(snapshot, at, self._clock.monotonic()):
            self._host.settle()
            is_committed = snapshot.clean if snapshot.halt is None else snapshot.halt.committed
            origin = f"commit {snapshot.revision[:10]}" if snapshot.revision and is_committed else "not committed"
            self._chronicle.declared(before, self._halt_watch.declared, origin)
            self.fleet = replace(self.fleet, halt_problems=self._halt_watch.problems)

    def _follow_blocking(self, snapshot: Snapshot) -> None:
        """Since when nothing but lowering is applied; told as an event once that is no passing moment any more."""
        now_s, since_s = self._clock.monotonic(), self.fleet.blocked_since_s
        if not snapshot.not_whole:
            if self._told_blocked:
                self._chronicle.unblocked()
            self._told_blocked = False
            since_s = None
        elif since_s is None:
            since_s = now_s
        elif not self._told_blocked and now_s - since_s >= BLOCKED_S:
            self._told_blocked = True
            self._chronicle.blocked(snapshot.not_whole)
        if since_s != self.fleet.blocked_since_s:
            self.fleet = replace(self.fleet, blocked_since_s=since_s)

    def _is_old_news(self, snapshot: Snapshot) -> bool:
        last = self._snapshot
        return (
            last is not None
            and snapshot.instances is last.instances
            and snapshot.strategies is last.strategies
            and snapshot.templates is last.templates
            and snapshot.halt is last.halt
            and snapshot.revision == last.revision
            and snapshot.not_whole == last.not_whole
            and snapshot.lost == last.lost
            and snapshot.git_problem == last.git_problem
            and not self._catalogue.has_news
            and snapshot.git_note == last.git_note
            and not self.fleet.removal.waiting
            and not self.absence.confirmed
            and not self.fleet.source_error
        )

    def _arrival(self, snapshot: Snapshot, at: str) -> Arrival:
        now_s = self._clock.monotonic()
        return Arrival(
            at=at,
            revision=snapshot.revision,
            whole=snapshot.whole,
            not_whole=snapshot.not_whole,
            settled=self.absence.settled(now_s, {i for i, row in self.fleet.rows.items() if row.mode is Mode.ACTIVE}),
            recent=self.absence.recent(now_s),
            adopt=self._adopt,
            found=self._found,
            confirmed_removal=self.absence.confirmed,
        )

    def _close_gates(self, admission: Admission) -> None:
        """Lower what is to be lowered before anything else, the commit included: the gate closes first."""
        views = self._host.views()
        steps: list[SetMode] = []
        for change in admission.changes:
            view = views.get(change.row.id)
            if view is not None and change.row.is_live:
                mode = view.mode
                for lower in descent(mode, change.row.mode):
                    steps.append(SetMode(view.id, lower, f"{mode} → {lower}"))
                    mode = lower
        for step in steps:
            self._host.set_mode(step.id, step.mode)
        self._chronicle.acting(steps)

    def _remember(
        self,
        snapshot: Snapshot,
        evaluations: Sequence[Evaluation],
        admission: Admission,
        changes: Sequence[RowChange],
        arrival: Arrival,
    ) -> None:
        removal = admission.removal
        if snapshot.whole:
            self.absence.note(removal, arrival.confirmed_removal, self._clock.monotonic())
            if self._adopt:
                self._found = frozenset(one.file_digest for one in evaluations if one.waiting)
            self._adopt = False
        self._chronicle.admitted(changes, admission.attempts, removal, self.fleet.removal)
        if snapshot.lost:
            self._tell_source_error(snapshot.lost)
        self._snapshot = snapshot
        self._is_unfinished = snapshot.has_unfinished()
        fleet = self.fleet.after(changes, admission.attempts, admission.forgotten_paths)
        self.fleet = replace(
            fleet,
            evaluations=evaluations,
            halt_problems=(*self._halt_watch.problems, *self._strange_halts(snapshot, fleet)),
            template_problems=template_problems(snapshot.templates, evaluations),
            removal=removal,
            revision=snapshot.revision,
            head=snapshot.head,
            clean=snapshot.clean,
            not_whole=snapshot.not_whole,
            git_problem=snapshot.git_problem,
            git_note=snapshot.git_note,
            source_error=snapshot.lost,
            observed=True,
        )
        self._seal(evaluations)

    def _strange_halts(self, snapshot: Snapshot, fleet: Fleet) -> tuple[Problem, ...]:
        """Files that are refused count, too: what is in them is halted once they are not."""
        if snapshot.halt is None:
            return ()
        rows = [row for row in fleet.rows.values() if row.is_live]
        ids = {*(row.id for row in rows), *(named_id(file.path) for file in snapshot.instances)}
        accounts = {*self._declared_accounts, *(row.record.identity.account_id for row in rows)}
        return strange_halts(snapshot.halt, ids, lambda: accounts)

    def _tell_source_error(self, error: str) -> None:
        if self.fleet.source_error != error:
            self._chronicle.source_failed(error)

    def _forget_unused_code(self) -> None:
        running = (view.key.code_digest for view in self._host.views().values())
        self._catalogue.keep({*running, *(row.code_digest for row in self.fleet.rows.values() if row.is_live)})


def _says(evaluation: Evaluation, row: Row) -> bool:
    """True where the row is what this file says, to the letter, by the code and the template of now."""
    origin = (evaluation.path, evaluation.file_digest, evaluation.template_path, evaluation.template_digest)
    return (
        row.is_live
        and row.mode_override is None
        and (row.path, row.file_digest, row.template_path, row.template_digest) == origin
        and row.code_digest == evaluation.code_digest
        and row.record == evaluation.record
    )

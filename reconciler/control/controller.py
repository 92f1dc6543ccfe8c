"""The controller loop: observe → plan → act → record. Level-triggered: a hint means only "look again".

One thread. It reads the source, has the files judged, writes what changed in one transaction, and makes
the running fleet match. What hosts report back wakes it; so do a timer and hints from the watcher.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, assert_never

from reconciler.clock import Clock, iso
from reconciler.control.chronicle import Chronicle
from reconciler.control.fleet import Fleet
from reconciler.control.rollout import Rollout
from reconciler.errors import SourceError, StoreError
from reconciler.records.admission import Admission, Arrival, admit
from reconciler.records.evaluation import Evaluation
from reconciler.records.halt import Halt
from reconciler.records.halt_file import read_halts
from reconciler.records.mode import lowers
from reconciler.records.plan import Action, Load, Phase, Reload, Running, SetMode, Unload, Update, plan
from reconciler.records.record import Row, RowChange
from reconciler.records.snapshot import Snapshot, SourceFile
from reconciler.runtime.host import Host, LoadSpec
from reconciler.runtime.outcome import LoadFailed, Report
from reconciler.store.desired import Desired
from reconciler.strategy.catalogue import Catalogue

T = TypeVar("T")

log = logging.getLogger(__name__)

SETTLING_S = 1.0
"""A file must be missing from two whole reads at least this far apart."""


class Source(Protocol):
    """Where snapshots come from."""

    def read(self) -> Snapshot:
        """A snapshot of this moment. Raises SourceError where nothing can be said at all."""
        ...


class DeclaredHalts(Protocol):
    """Where the halts of `instances/_halt.yaml` come into force."""

    def declare(self, halts: tuple[Halt, ...]) -> None: ...


Evaluate = Callable[[tuple[SourceFile, ...], Catalogue], Sequence[Evaluation]]
"""Judges every file on its own, and those that claim one id against each other."""


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """`interval_s`: a full pass at least this often. `adopt`: on an empty database, modes found are established."""

    interval_s: float = 30.0
    adopt: bool = False


class Controller:
    """Owns the fleet's desired state in memory; the only writer of it."""

    def __init__(
        self,
        clock: Clock,
        options: ControllerOptions,
        source: Source,
        catalogue: Catalogue,
        evaluate: Evaluate,
        desired: Desired,
        halts: DeclaredHalts,
        chronicle: Chronicle,
        host: Host,
    ) -> None:
        self._clock = clock
        self._options = options
        self._source = source
        self._catalogue = catalogue
        self._evaluate = evaluate
        self._desired = desired
        self._halts = halts
        self._chronicle = chronicle
        self._host = host
        self._wake = threading.Event()
        self._stopping = False
        self._look_again = True
        self._looked_at_s = float("-inf")
        self._plan_everything = True
        self._at_rest: tuple[Mapping[str, Row], Mapping[str, Running]] = ({}, {})
        self._reports: deque[Report] = deque()
        self._snapshot: Snapshot | None = None
        self._missing_since_s: dict[str, float] = {}
        self._retries_s: dict[str, float] = {}
        self._rollout = Rollout()
        self._confirmed_removal = ""
        self._halt_seen: tuple[SourceFile | None, bool] = (None, True)
        self._declared_halts: tuple[Halt, ...] = ()
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)
        self.settled = threading.Event()
        """Set once everything there was to do at the start has been done, or the loop has been stopped."""
        self._touched: set[str] = set()
        self.touched: Callable[[frozenset[str]], None] = lambda ids: None
        """Told after each pass which instances it changed or heard of."""
        self.fleet = Fleet(rows=desired.rows(), attempts=desired.attempts())
        self.version = 0
        self.fault = ""

    # The loop.

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish the pass under way, start no other."""
        self._stopping = True
        self._wake.set()
        self.settled.set()
        if self._thread.is_alive():
            self._thread.join()

    def hint(self) -> None:
        """Something may have changed: look again soon. Thread-safe, returns at once."""
        self._look_again = True
        self._wake.set()

    def on_report(self, report: Report) -> None:
        """Take a host's report. Thread-safe, returns at once."""
        self._reports.append(report)
        self._wake.set()

    @property
    def has_reports(self) -> bool:
        """True while a host has reported what no pass has taken yet."""
        return bool(self._reports)

    def confirm_removal(self, removal_digest: str) -> None:
        """Let the held removal of exactly this set happen, at the next pass."""
        self._confirmed_removal = removal_digest
        self.hint()

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._pass_surviving()
            if not self.settled.is_set() and self.fleet.observed and self._has_arrived():
                self.settled.set()
            if not self._stopping and not self._reports:
                self._clock.wait(self._wake, self._until_next_s())

    def converge(self, deadline_s: float) -> bool:
        """Pass after pass until nothing is left to do, instead of the loop; False where that took too long."""
        give_up_s = self._clock.monotonic() + deadline_s
        while True:
            self._wake.clear()
            actions = self.run_pass()
            if not actions and self._has_arrived() and not self.fleet.removal.waiting:
                return True
            remaining_s = give_up_s - self._clock.monotonic()
            if remaining_s <= 0:
                return False
            if not self._reports:
                self._clock.wait(self._wake, min(self._until_next_s(), remaining_s))

    def _has_arrived(self) -> bool:
        """True where nothing is on its way and nothing has been reported that no pass has taken."""
        is_moving = any(view.phase in (Phase.LOADING, Phase.UNLOADING) for view in self._host.views().values())
        return not is_moving and not self._reports

    def _pass_surviving(self) -> None:
        """The boundary that keeps the loop alive: a pass that fails is told, and tried again by the timer."""
        try:
            self.run_pass()
            self.fault = ""
        except Exception as error:
            self.fault = f"{type(error).__name__}: {error}"
            self._chronicle.pass_failed(self.fault)
            log.exception("a reconcile pass failed")

    def _until_next_s(self) -> float:
        now_s = self._clock.monotonic()
        due_s = [self._looked_at_s + self._options.interval_s, *self._retries_s.values()]
        if self.fleet.removal.waiting or self.fleet.not_whole:
            due_s.append(self._looked_at_s + SETTLING_S)
        return max(0.0, min(due_s) - now_s)

    def run_pass(self) -> tuple[Action, ...]:
        """One turn: take reports, look at the source where that is due, plan, act. Returns what was done."""
        self._take_reports()
        now_s = self._clock.monotonic()
        in_doubt = (self.fleet.removal.waiting or self.fleet.not_whole) and now_s - self._looked_at_s >= SETTLING_S
        if self._look_again or in_doubt or now_s - self._looked_at_s >= self._options.interval_s:
            self._look_again = False
            self._looked_at_s = now_s
            self._plan_everything = True
            self._observe()
        actions = self._plan(now_s)
        self._chronicle.acting(actions)
        for action in actions:
            self._perform(action)
        if self._touched:
            self.touched(frozenset(self._touched))
            self._touched.clear()
        return actions

    # Observe: files → rows.

    def _observe(self) -> None:
        try:
            snapshot = self._source.read()
        except SourceError as error:
            if self.fleet.source_error != str(error):
                self._chronicle.source_failed(str(error))
            self._publish(replace(self.fleet, source_error=str(error)))
            return
        self._declare_halts(snapshot)
        drift = self._drift()
        if not drift and self._is_old_news(snapshot):
            return
        if self._snapshot is None or snapshot.strategies is not self._snapshot.strategies:
            self._catalogue.refresh(snapshot.strategies)
            self._forget_unused_code()
        evaluations = self._evaluate(snapshot.instances, self._catalogue)
        admission = admit(evaluations, self.fleet.rows, self.fleet.attempts, self._arrival(snapshot))
        self._close_gates(admission)
        changes = (*drift, *admission.changes)
        if changes or admission.attempts or admission.forgotten_paths:
            self._desired.apply(changes, admission.attempts, admission.forgotten_paths)
        self._remember(snapshot, admission, changes)

    def _declare_halts(self, snapshot: Snapshot) -> None:
        """First of all, and whatever else comes of this snapshot: halting may never wait.

        A snapshot that is not whole may add halts; it lifts none.
        """
        seen = (snapshot.halt, snapshot.whole)
        if seen == self._halt_seen:
            return
        self._halt_seen = seen
        halts, problems = read_halts(snapshot.halt, iso(self._clock.time()))
        if not snapshot.whole:
            halts = tuple(dict.fromkeys((*self._declared_halts, *halts)))
        self._declared_halts = halts
        self._halts.declare(halts)
        self._host.settle()
        self._publish(replace(self.fleet, halt_problems=problems))

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
            and snapshot.git_problem == last.git_problem
            and not self.fleet.removal.waiting
            and not self._confirmed_removal
            and not self.fleet.source_error
        )

    def _arrival(self, snapshot: Snapshot) -> Arrival:
        settled_before_s = self._clock.monotonic() - SETTLING_S
        return Arrival(
            at=iso(self._clock.time()),
            revision=snapshot.revision,
            whole=snapshot.whole,
            not_whole=snapshot.not_whole,
            settled=frozenset(i for i, since_s in self._missing_since_s.items() if since_s <= settled_before_s),
            adopt=self._options.adopt and not self.fleet.observed,
            confirmed_removal=self._confirmed_removal,
        )

    def _drift(self) -> tuple[RowChange, ...]:
        """Rows that somebody changed in the database by hand, written back as they were."""
        if not self._desired.changed_by_others():
            return ()
        try:
            stored = self._desired.rows()
        except StoreError as error:
            log.warning("rows changed by hand cannot be read: all are written back", extra={"error": str(error)})
            stored = {}
        at = iso(self._clock.time())
        back = [
            RowChange(row, "drift", "changed by hand in the database; written back")
            for row in self.fleet.rows.values()
            if stored.get(row.id) != row
        ]
        back.extend(
            RowChange(replace(row, removed_at=at), "drift", "inserted by hand in the database; removed")
            for row in stored.values()
            if row.id not in self.fleet.rows
        )
        return tuple(back)

    def _close_gates(self, admission: Admission) -> None:
        """Lower what is to be lowered before anything else, the commit included: the gate closes first."""
        views = self._host.views()
        for change in admission.changes:
            view = views.get(change.row.id)
            if view is not None and change.row.is_live and lowers(view.mode, change.row.mode):
                self._host.set_mode(change.row.id, change.row.mode)

    def _remember(self, snapshot: Snapshot, admission: Admission, changes: Sequence[RowChange]) -> None:
        now_s = self._clock.monotonic()
        removal = admission.removal
        if snapshot.whole:
            missing = (*removal.waiting, *removal.held, *removal.protected)
            self._missing_since_s = {i: self._missing_since_s.get(i, now_s) for i in missing}
        if removal.remove:
            self._confirmed_removal = ""
        self._touched.update(change.row.id for change in changes)
        self._touched.update(attempt.id for attempt in admission.attempts if attempt.id is not None)
        fleet = self.fleet.after(changes, admission.attempts, admission.forgotten_paths)
        self._chronicle.admitted(changes, admission.attempts, removal, self.fleet.removal)
        self._snapshot = snapshot
        self._publish(
            replace(
                fleet,
                removal=removal,
                revision=snapshot.revision,
                clean=snapshot.clean,
                not_whole=snapshot.not_whole,
                git_problem=snapshot.git_problem,
                source_error="",
                observed=True,
            )
        )

    def _publish(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.version += 1

    def _forget_unused_code(self) -> None:
        wanted = {row.code_digest for row in self.fleet.rows.values() if row.is_live}
        wanted.update(view.key.code_digest for view in self._host.views().values())
        self._catalogue.keep(wanted)

    # Act: rows → running instances.

    def _plan(self, now_s: float) -> tuple[Action, ...]:
        """What is to be done: of everything after a look at the source, else of what was heard of or is due again.

        Nothing else can need anything then: whatever changes in a host without being asked is reported.
        """
        rows, views = self.fleet.rows, self._host.views()
        due = [i for i, due_s in self._retries_s.items() if due_s <= now_s]
        for instance_id in due:
            del self._retries_s[instance_id]
        self._touched.update(due)
        if not self._plan_everything:
            planned = plan(_only(self._touched, rows), _only(self._touched, views), self._can_load, now_s)
        elif self._touched or rows is not self._at_rest[0] or views is not self._at_rest[1]:
            planned = plan(rows, views, self._can_load, now_s)
        else:
            planned = ()  # as it was when the last plan came to nothing
        actions = self._rollout.admit(planned, views)
        self._plan_everything = len(actions) < len(planned)  # some wait for their turn
        self._at_rest = ({}, {}) if planned else (rows, views)
        return actions

    def _can_load(self, row: Row) -> bool:
        return self._catalogue.definition(row.record.strategy_type, row.code_digest) is not None

    def _perform(self, action: Action) -> None:
        match action:
            case Load(row=row):
                definition = self._catalogue.definition(row.record.strategy_type, row.code_digest)
                if definition is not None:
                    self._touched.discard(row.id)  # to be looked at when it has arrived
                    self._retries_s.pop(row.id, None)
                    self._host.load(LoadSpec(row, definition))
            case Unload(id=instance_id, reason=reason):
                self._retries_s.pop(instance_id, None)
                self._host.unload(instance_id, reason)
            case Reload(row=row, reason=reason):
                self._host.unload(row.id, reason)
            case SetMode(id=instance_id, mode=mode):
                self._host.set_mode(instance_id, mode)
            case Update(row=row):
                self._host.update(row)
            case _:
                assert_never(action)
        self.version += 1

    # Record: reports → history.

    def _take_reports(self) -> None:
        while self._reports:
            report = self._reports.popleft()
            self._touched.add(report.id)
            if isinstance(report, LoadFailed):
                self._retries_s[report.id] = self._clock.monotonic() + report.retry_in_s
            try:
                self._chronicle.reported(report)
            except StoreError as error:
                log.error("a report could not be recorded", extra={"instance": report.id, "error": str(error)})
            self.version += 1


def _only(ids: Collection[str], mapping: Mapping[str, T]) -> dict[str, T]:
    return {i: mapping[i] for i in ids if i in mapping}

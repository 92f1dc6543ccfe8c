"""The controller loop: observe → plan → act → record. Level-triggered: a hint means only "look again".

One thread. It has the observer look at the files, and makes the running fleet match. What hosts report back
wakes it; so do a timer and hints from the watcher.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, assert_never

from reconciler.clock import Clock
from reconciler.control.fleet import Fleet
from reconciler.control.follower import Follower
from reconciler.control.observer import SETTLING_S, Observer
from reconciler.errors import StoreError
from reconciler.records.mode import Mode
from reconciler.records.plan import Action, Load, Phase, Reload, Running, SetMode, Unload, Update, load_key, plan
from reconciler.records.record import Row
from reconciler.records.status import Sync
from reconciler.runtime.host import Host
from reconciler.runtime.protocol import Loaded, LoadFailed, LoadSpec, Quarantined, Report
from reconciler.store.halts import Halts


class Rollout:
    """Lets through the next code reload of each strategy type once the one before it has arrived."""

    def __init__(self) -> None:
        self._on_its_way: dict[str, str] = {}

    def admit(self, actions: Sequence[Action], running: Mapping[str, Running]) -> tuple[Action, ...]:
        """`actions` less the code reloads that must wait their turn; the next plan yields those again."""
        loading = {action.row.id for action in actions if isinstance(action, Load)}
        self._on_its_way = {
            strategy_type: instance_id
            for strategy_type, instance_id in self._on_its_way.items()
            if instance_id in loading or _is_travelling(running.get(instance_id))
        }
        admitted = []
        for action in actions:
            if isinstance(action, Reload) and _is_for_code(action, running.get(action.row.id)):
                strategy_type = action.row.record.strategy_type
                if self._on_its_way.setdefault(strategy_type, action.row.id) != action.row.id:
                    continue
            admitted.append(action)
        return tuple(admitted)


def _is_travelling(view: Running | None) -> bool:
    return view is not None and view.phase in (Phase.LOADING, Phase.UNLOADING)


def _is_for_code(action: Reload, view: Running | None) -> bool:
    """True for a reload whose only urgency is new code; a change of mode never waits for its turn."""
    if view is None:
        return False
    key = load_key(action.row)
    return view.key.code_digest != key.code_digest and view.key.mode is key.mode


T = TypeVar("T")

_MANY = 100
"""So many that are loaded together are not heard of one by one."""
_TOGETHER_S = 0.1
"""What came of them is taken so often."""
_GATHERING_S = 5.0
"""For so long at most: those that have come by then are looked at, whatever keeps the others."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ControllerOptions:
    """`interval_s`: a full pass at least this often."""

    interval_s: float = 30.0


class Controller:
    """Makes the running fleet match what the observer has admitted. One thread of its own."""

    def __init__(
        self,
        clock: Clock,
        options: ControllerOptions,
        observer: Observer,
        halts: Halts,
        host: Host,
    ) -> None:
        self._clock = clock
        self._options = options
        self._observer = observer
        self._halts = halts
        self._chronicle = observer.chronicle
        self._host = host
        self._wake = threading.Event()
        self._stopping = False
        self._look_again = True
        self._looked_at_s = float("-inf")
        self._plan_everything = True
        self._in_force: tuple[Mapping[str, Row], Mapping[str, Mode], Mapping[str, Row]] = ({}, {}, {})
        self._at_rest: tuple[Mapping[str, Row], Mapping[str, Running]] = ({}, {})
        self._reports: deque[Report] = deque()
        self._retries_s: dict[str, float] = {}
        self._failed_passes = 0
        self._rollout = Rollout()
        self._touched: set[str] = set()
        self._coming = 0
        """About how many of those that load together have not reported yet. Whoever reports counts down."""
        self._gathers_until_s = float("-inf")
        """While many load; minus infinity else."""
        self._come: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="controller", daemon=True)
        self.settled = threading.Event()
        self._has_settled = False
        """Set once everything there was to do at the start has been done, or the loop has been stopped."""
        self.passed: Callable[[], None] = lambda: None
        """Told at the end of every pass: what it read holds from now on, and nothing of before."""
        self.touched: Callable[[frozenset[str]], None] = lambda ids: None
        """Told after each pass which instances it changed or heard of."""
        self.version = 0
        """Rises whenever something may have changed."""
        self.fault = ""

    @property
    def fleet(self) -> Fleet:
        """What is applied and attempted now: one frozen value, safe to read from any thread."""
        return self._observer.fleet

    # The loop.

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        """True from `start` until it is stopped, unless its thread ended by itself."""
        return self._thread.is_alive()

    def ask_to_stop(self) -> None:
        """Start no other pass. Thread-safe, returns at once."""
        self._stopping = True
        self._wake.set()
        self.settled.set()

    def stop(self, deadline_s: float = 5.0) -> None:
        """Start no other pass, and finish the one under way; given up after `deadline_s`."""
        self.ask_to_stop()
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def hint(self) -> None:
        """Something may have changed: look again soon. Thread-safe, returns at once."""
        self._look_again = True
        self._wake.set()

    def on_report(self, report: Report) -> None:
        """Take a host's report, one at a time. Thread-safe, returns at once."""
        self._reports.append(report)
        if self._coming and isinstance(report, Loaded):
            self._coming -= 1
            if self._coming:
                return  # to be taken with the others, soon
        self._wake.set()

    def code_has_come(self) -> None:
        """A strategy was imported, or failed to be. Thread-safe, returns at once."""
        self._wake.set()

    @property
    def has_settled(self) -> bool:
        """True once everything that was there at the start has been loaded, or failed to."""
        return self._has_settled

    @property
    def has_reports(self) -> bool:
        """True while a host has reported what no pass has taken yet."""
        return bool(self._reports)

    @property
    def is_retrying(self) -> bool:
        """True while a load that failed waits to be tried again."""
        return bool(self._retries_s)

    def has_work(self) -> bool:
        """True where a pass would do something before its time: it was hinted at, something is reported, or a load is
        to be tried again."""
        if self._reports or self._look_again or self._come or self._observer.has_new_code:
            return True
        return bool(self._retries_s) and min(self._retries_s.values()) <= self._clock.monotonic()

    def confirm_removal(self, removal_digest: str) -> None:
        """Let the held removal of exactly this set happen, at the next pass."""
        self._observer.absence.confirm(removal_digest)
        self.hint()

    def accept(self, commit: str) -> str:
        """Have exactly this commit applied, which is held, at the next pass. Why not, empty where it will be."""
        if not isinstance(self._observer, Follower):
            return "files on disk are the source: no commit is held"
        fault = self._observer.accept(commit)
        self.hint()
        return fault

    def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            self._pass_surviving()
            if not self.settled.is_set() and self.fleet.observed and self._has_arrived():
                self._has_settled = True
                self.settled.set()
            if not self._stopping:
                self._rest(self._until_next_s())

    def _rest(self, most_s: float) -> None:
        """Until there is something to do; while many load, what they report is left to gather."""
        if self._is_gathering:
            self._clock.wait(self._wake, min(most_s, _TOGETHER_S))
        elif not self._reports:
            self._clock.wait(self._wake, most_s)

    @property
    def _is_gathering(self) -> bool:
        return self._gathers_until_s > float("-inf")

    def _end_gathering(self) -> None:
        """Where all have come, or it has taken too long."""
        if self._is_gathering and (not self._is_moving() or self._clock.monotonic() >= self._gathers_until_s):
            self._gathers_until_s = float("-inf")
            self._coming = 0
            self._wake.set()  # the next pass looks at them: nobody who waits for them to be loaded waits for that, too

    def converge(self, deadline_s: float) -> bool:
        """Pass after pass until nothing is left to do, instead of the loop; False where that took too long."""
        give_up_s = self._clock.monotonic() + deadline_s
        while True:
            self._wake.clear()
            actions = self.run_pass()
            if not (actions or self._come or self.fleet.removal.waiting) and self._has_arrived():
                return True
            if self._stopping:
                return False
            remaining_s = give_up_s - self._clock.monotonic()
            if remaining_s <= 0:
                return False
            self._rest(min(self._until_next_s(), remaining_s))

    def _has_arrived(self) -> bool:
        """True where nothing is on its way and nothing has been reported that no pass has taken."""
        return not self._is_moving() and not self._reports and not self._observer.is_loading_code

    def _is_moving(self) -> bool:
        return any(view.phase in (Phase.LOADING, Phase.UNLOADING) for view in self._host.views().values())

    def _pass_surviving(self) -> None:
        """The boundary that keeps the loop alive: a pass that fails is told, and tried again by the timer."""
        try:
            self.run_pass()
            self.fault = ""
            self._failed_passes = 0
        except Exception as error:
            self._failed_passes += 1
            self._look_again = self._plan_everything = True
            self.fault = f"{type(error).__name__}: {error}"
            self.version += 1
            self._chronicle.pass_failed(self.fault)
            log.exception("a reconcile pass failed")

    def _until_next_s(self) -> float:
        now_s = self._clock.monotonic()
        due_s = [self._looked_at_s + self._options.interval_s, *self._retries_s.values()]
        if self._failed_passes:
            due_s.append(now_s + min(2.0 ** (self._failed_passes - 1), self._options.interval_s))
        if self._observer.is_in_doubt:
            due_s.append(self._looked_at_s + SETTLING_S)
        return max(0.0, min(due_s) - now_s)

    def run_pass(self) -> tuple[Action, ...]:
        """One turn: take reports, look at the source where that is due, plan, act. Returns what was done."""
        if not self._is_gathering:
            self._touched |= self._come
            self._come = set()
        self._take_reports()
        now_s = self._clock.monotonic()
        in_doubt = self._observer.is_in_doubt and now_s - self._looked_at_s >= SETTLING_S
        has_new_code = self._observer.has_new_code
        if self._look_again or has_new_code or in_doubt or now_s - self._looked_at_s >= self._options.interval_s:
            self._look_again = False
            self._looked_at_s = now_s
            self._plan_everything = True
            self._observe()
        actions = self._plan(now_s)
        self._chronicle.acting(actions)
        for action in actions:
            self._perform(action)
        self._load([action.row for action in actions if isinstance(action, Load)])
        self._end_gathering()
        touched = frozenset(self._touched - self._come)
        self._touched.clear()
        if touched:
            self.touched(touched)
        self.passed()
        return actions

    def _observe(self) -> None:
        before = self.fleet
        self._touched.update(self._observer.observe())
        if self.fleet is not before:
            self.version += 1

    # Act: rows → running instances.

    def _plan(self, now_s: float) -> tuple[Action, ...]:
        """What is to be done: of everything after a look at the source, else of what was heard of or is due again.

        Nothing else can need anything then: whatever changes in a host without being asked is reported.
        """
        rows, views = self._rows_in_force(), self._host.views()
        due = [i for i, due_s in self._retries_s.items() if due_s <= now_s]
        for instance_id in due:
            del self._retries_s[instance_id]
        self._touched.update(due)
        if not self._plan_everything:
            some_rows, some_views = _only(self._touched, rows), _only(self._touched, views)
            planned = plan(some_rows, some_views, self._can_load, now_s, self._may_rise)
        elif self._touched or rows is not self._at_rest[0] or views is not self._at_rest[1]:
            planned = plan(rows, views, self._can_load, now_s, self._may_rise)
        else:
            planned = ()  # as it was when the last plan came to nothing
        actions = self._rollout.admit(planned, views)
        self._plan_everything = len(actions) < len(planned)  # some wait for their turn
        self._at_rest = ({}, {}) if planned else (rows, views)
        return actions

    def _rows_in_force(self) -> Mapping[str, Row]:
        """The same object for as long as nothing changed."""
        rows, lowered, found = self._in_force
        fleet = self.fleet
        if rows is not fleet.rows or lowered is not fleet.lowered:
            found = fleet.in_force()
            self._in_force = (fleet.rows, fleet.lowered, found)
        return found

    def _can_load(self, row: Row) -> bool:
        return self._observer.definition(row) is not None

    def _may_rise(self, row: Row) -> bool:
        """Only what its file says by now, and says well, raises again what was lowered without being written down."""
        fleet, attempt = self.fleet, self.fleet.attempt_of(row)
        says_too_often = attempt is not None and attempt.sync is Sync.SYNCED
        return says_too_often and not fleet.source_error and not fleet.not_whole and row.id not in fleet.removal.waiting

    def _perform(self, action: Action) -> None:
        match action:
            case Load():
                return  # all of them at once, after whatever lowers or ends anything
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

    def _load(self, rows: Sequence[Row]) -> None:
        specs = [LoadSpec(row, found) for row in rows if (found := self._observer.definition(row)) is not None]
        for spec in specs:
            self._touched.discard(spec.row.id)  # to be looked at when it has arrived
            self._retries_s.pop(spec.row.id, None)
        if len(specs) >= _MANY:
            self._coming, self._gathers_until_s = len(specs), self._clock.monotonic() + _GATHERING_S
        self._host.load_all(specs)
        self.version += len(specs)

    # Record: reports → history.

    def _take_reports(self) -> None:
        while self._reports:
            report = self._reports.popleft()
            self._touched.add(report.id)
            if isinstance(report, Loaded) and self._is_gathering:
                self._come.add(report.id)
            if isinstance(report, LoadFailed):
                self._retries_s[report.id] = self._clock.monotonic() + report.retry_in_s
            if isinstance(report, Quarantined) and report.was_active:
                self._halt(report)
            self._chronicle.reported(report)
            self.version += 1

    def _halt(self, report: Quarantined) -> None:
        """A pause ends with the process, a halt does not: so that a restart cannot let it trade again."""
        try:
            self._halts.add("instance", report.id, False, f"quarantined while active: {report.error}", "engine")
        except StoreError as error:
            log.error("a quarantine's halt could not be stored", extra={"instance": report.id, "error": str(error)})


def _only(ids: Collection[str], mapping: Mapping[str, T]) -> dict[str, T]:
    return {i: mapping[i] for i in ids if i in mapping}

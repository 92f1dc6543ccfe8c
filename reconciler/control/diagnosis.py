"""The diagnosis: how an instance is doing, derived from what is applied, attempted and running. Pure.

But for transitions and the lookout, which remember since when conditions are as they are.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reconciler.clock import Clock, iso
from reconciler.control.fleet import Fleet
from reconciler.documents.wording import some
from reconciler.records.mode import Mode
from reconciler.records.plan import Phase, Running
from reconciler.records.record import Row
from reconciler.records.status import Condition, ConditionType, Health, Obstacle, Sync, TradingCaveat, TradingReason
from reconciler.runtime.protocol import RuntimeFacts
from reconciler.strategy.importing import CODE_LOADING, Importing

Finding = tuple[bool, str, str]
"""A condition without its time: status, reason, message."""
Findings = tuple[Finding, Finding, Finding, Finding]
"""Of each condition, in the order of `_CONDITIONS`."""
_CONDITIONS: Final[tuple[ConditionType, ...]] = ("Accepted", "Loaded", "Ready", "Trading")


@dataclass(frozen=True, slots=True)
class FleetConditions:
    """What the whole fleet depends on. `no_beat`: why no beat has fired for three heartbeats, so that nothing ticks.

    `awaited` are the exec-mcp servers that have not answered since the start and are waited for, `unheard` those that
    are waited for no more. `held_back` are the instances whose orders were refused again and again, `limited` the
    accounts whose new orders wait, and `unasked` the servers that are not asked for data, for it was too often.
    """

    no_beat: str = ""
    awaited: frozenset[str] = frozenset()
    unheard: frozenset[str] = frozenset()
    held_back: frozenset[str] = frozenset()
    limited: frozenset[str] = frozenset()
    unasked: frozenset[str] = frozenset()

    def is_like(self, other: FleetConditions) -> bool:
        """True where nothing is judged otherwise than in those."""
        mine = (self.awaited, self.unheard, self.held_back, self.limited, self.unasked)
        others = (other.awaited, other.unheard, other.held_back, other.limited, other.unasked)
        return bool(self.no_beat) is bool(other.no_beat) and mine == others


CALM = FleetConditions()


@dataclass(frozen=True, slots=True)
class Case:
    """What sync and health are judged by: cheap to put together for a whole fleet."""

    row: Row
    fleet: Fleet
    view: Running | None
    can_load: bool
    is_exposed: bool = False
    """True with an open real order or a real position."""
    around: FleetConditions = CALM
    server: str = ""
    """The exec-mcp server that reaches its account; empty where none does."""
    importing: Importing | None = None
    """Why the newest code of its strategy is not at hand; None where it is."""

    @property
    def is_shown(self) -> bool:
        """Live rows, and removed ones for as long as they run, or leave something behind at an exchange."""
        return self.row.is_live or self.view is not None or self.is_exposed

    @property
    def wanted(self) -> bool:
        return self.row.is_live and self.row.mode is not Mode.OFF

    @property
    def paused(self) -> bool:
        return self.view is not None and self.view.paused

    @property
    def effective_mode(self) -> Mode:
        """What is in force now; nothing that is not loaded is above off."""
        if self.view is None or self.view.phase is Phase.FAILED:
            return Mode.OFF
        return self.view.mode

    @property
    def is_braked(self) -> bool:
        """True where some of its orders, or its server's data, are held back: asking more would be refused again."""
        around, account_id = self.around, self.row.record.identity.account_id
        return self.row.id in around.held_back or account_id in around.limited or self.server in around.unasked

    @property
    def is_current(self) -> bool:
        """True where what runs is what the row wants, or neither is there."""
        if self.view is None:
            return not self.wanted
        is_made_from_it = self.wanted and self.view.phase is Phase.RUNNING and self.view.is_made_from(self.row)
        return is_made_from_it and self.view.mode is self.row.mode


def sync(case: Case) -> Sync:
    """The file's own verdict first, then whether the fleet has caught up with the row."""
    removal = case.fleet.removal
    if case.row.id in removal.held or case.row.id in removal.protected:
        return Sync.HELD
    attempt = case.fleet.attempt_of(case.row)
    if attempt is not None and attempt.sync is not Sync.SYNCED:
        return attempt.sync
    if _is_lowered_by_held(case):
        return Sync.HELD
    if case.row.id in removal.waiting or not case.is_current:
        return Sync.OUT_OF_SYNC
    return Sync.SYNCED


def _is_lowered_by_held(case: Case) -> bool:
    """True where the file that is applied says more than is in force, and nothing is wrong with it."""
    attempt = case.fleet.attempt_of(case.row)
    is_well = attempt is None or attempt.sync is Sync.SYNCED
    is_lowered = case.row.mode_override is not None or case.row.id in case.fleet.lowered
    return case.fleet.followed is not None and is_lowered and is_well


def health(case: Case) -> Health:
    """The first that is true, in the order in which `Health` names them."""
    view = case.view
    if view is not None and view.phase is Phase.STUCK:
        return Health.STUCK
    if case.paused:
        return Health.PAUSED
    if view is not None and (view.failing or view.phase is Phase.FAILED):
        return Health.DEGRADED
    if case.wanted and (case.around.no_beat or case.server in case.around.unheard):
        return Health.DEGRADED
    if case.wanted and case.is_braked:
        return Health.DEGRADED
    if case.wanted and not case.can_load and view is None:
        is_coming = case.importing is not None and case.importing.reason == CODE_LOADING
        return Health.PROGRESSING if is_coming else Health.DEGRADED
    if not case.is_current and (view is not None or case.wanted):
        return Health.PROGRESSING
    if case.wanted and case.server in case.around.awaited:
        return Health.PROGRESSING
    return Health.HEALTHY if case.wanted else Health.OFF


def accepted(case: Case) -> Finding:
    removal = case.fleet.removal
    if not case.row.is_live:
        return False, "Removed", f"its file was removed at {case.row.removed_at}"
    if case.row.id in removal.protected:
        return False, "Protected", "its file is missing; it runs on: protect is true"
    if case.row.id in removal.held:
        confirm = f"reconciler prune --confirm {removal.held_digest}"
        return False, "PruneHeld", f"its file is missing, and {removal.held_why}; to remove what is missing: {confirm}"
    if case.row.id in removal.waiting and case.fleet.not_whole:
        return False, "FileMissing", f"its file is missing; whether it was removed is not known: {case.fleet.not_whole}"
    if case.row.id in removal.waiting:
        return False, "FileMissing", "its file is missing; it is looked for once more before it is unloaded"
    attempt = case.fleet.attempt_of(case.row)
    if _is_lowered_by_held(case):
        lowered = f"{case.fleet.lowered.get(case.row.id, case.row.mode)} instead of {case.row.record.mode}"
        told = f"a commit that was held lowered it, {lowered}, until another commit is applied: reconciler source"
        return False, "SourceHeld", told
    if attempt is None or attempt.sync is Sync.SYNCED:
        return True, "Applied", f"generation {case.row.generation} is applied"
    first = str(attempt.problems[0]) if attempt.problems else attempt.message
    return False, str(attempt.sync), f"{first}; generation {case.row.generation} stays applied"


def loaded(case: Case, facts: RuntimeFacts | None) -> Finding:
    view = case.view
    if view is None:
        if not case.wanted:
            return False, "Off", "mode is off"
        if not case.can_load and case.importing is not None:
            return False, case.importing.reason, case.importing.message
        if not case.can_load:
            return False, "CodeMissing", "the strategy's code that this record was validated against is not at hand"
        return False, "Waiting", "about to be loaded"
    match view.phase:
        case Phase.FAILED if _is_quarantined(facts):
            return False, "Quarantined", "" if facts is None else facts.last_error
        case Phase.FAILED:
            return False, "InitFailed", "" if facts is None else facts.last_error
        case Phase.LOADING:
            return False, "Loading", "init is running"
        case Phase.UNLOADING:
            return False, "Unloading", "waiting for the last hook to end"
        case Phase.RUNNING | Phase.STUCK:
            if not view.is_made_from(case.row):
                return True, "Outdated", f"runs generation {view.row.generation} of {case.row.generation}"
            if case.importing is not None:
                goes_on = f"generation {case.row.generation} runs on by the code it was loaded with"
                return True, case.importing.reason, f"{goes_on}: {case.importing.message}"
            if view.mode is not case.row.mode:
                lowered = f"mode in force is {view.mode}, the record says {case.row.mode}"
                return True, "Outdated", f"{lowered}: it was lowered, and that could not be written down"
            return True, "Loaded", f"generation {case.row.generation}"


def _is_quarantined(facts: RuntimeFacts | None) -> bool:
    return facts is not None and facts.pause is not None and facts.pause.by == "engine"


def ready(case: Case, facts: RuntimeFacts | None) -> Finding:
    view = case.view
    if view is not None and view.phase is Phase.FAILED and _is_quarantined(facts):
        assert facts is not None
        assert facts.pause is not None
        return False, "Quarantined", f"not loaded: {facts.pause.reason}"
    if view is None or facts is None or view.phase in (Phase.LOADING, Phase.UNLOADING, Phase.FAILED):
        return False, "NotLoaded", "it is not loaded"
    if view.phase is Phase.STUCK:
        at = f"; it is at {facts.stuck_at}" if facts.stuck_at else ""
        return False, "Stuck", f"{facts.stuck_hook} has outlived its deadline{at}"
    if facts.pause is not None:
        reason = "Quarantined" if facts.pause.by == "engine" else "Paused"
        return False, reason, f"paused by the {facts.pause.by}: {facts.pause.reason}"
    if case.around.no_beat:
        return False, "NoBeat", f"nothing ticks: {case.around.no_beat}"
    if case.server in case.around.awaited:
        return False, "Waiting", f"exec-mcp server {case.server!r} has not answered yet: it is waited for at most 30 s"
    if case.server in case.around.unheard:
        return False, "ExecDown", f"exec-mcp server {case.server!r} has not answered since the start; it ticks without"
    if facts.failing:
        return False, "TickFailed", facts.last_error
    if facts.missed_lately is not None:
        missed, due = facts.missed_lately
        return True, "TicksMissed", f"it misses most of its ticks: {missed} of the last {due}"
    if facts.render_error:
        return True, "RenderFailed", f"it ticks, but what it shows is old: render failed: {facts.render_error}"
    return True, "Ticking", ""


_CLOSED_BY_MODE: Final = {mode: Obstacle(TradingReason.MODE, f"mode in force is {mode}") for mode in Mode}


def obstacles(case: Case, facts: RuntimeFacts | None, outside: Sequence[Obstacle]) -> tuple[Obstacle, ...]:
    """Everything that closes its gate. `outside` is what does so beyond mode and pause.

    Of what does not trade anyway only what is about its own orders is of interest: a lost server would be told by all.
    """
    found: list[Obstacle] = []
    if case.effective_mode is not Mode.ACTIVE:
        found.append(_CLOSED_BY_MODE[case.effective_mode])
        outside = [one for one in outside if one.reason in (TradingReason.HALTED, TradingReason.UNKNOWN_ORDER)]
    if facts is not None and facts.pause is not None:
        found.append(Obstacle(TradingReason.PAUSED, f"paused by the {facts.pause.by}: {facts.pause.reason}"))
    return (*found, *outside)


def caveats(
    case: Case,
    denials: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    held_back: Sequence[Obstacle],
) -> list[Obstacle]:
    """What keeps some of its orders back; and what the exchange says otherwise than the ledger: of its own orders;
    where it trades, of its account."""
    account_id = case.row.record.identity.account_id
    own = [one for one in denials if one["instance_id"] == case.row.id]
    found = [Obstacle(TradingCaveat.ORDER_MISSING, f"its exchange denies {_denied(own)}")] if own else []
    if case.effective_mode is Mode.ACTIVE:
        found += held_back
        found += [
            Obstacle(TradingCaveat.POSITIONS_DIFFER, f"account {account_id} does not add up: {one['difference']}")
            for one in differences
            if one["account_id"] == account_id and one["difference"]
        ]
    return found


def _denied(denials: Sequence[Mapping[str, Any]]) -> str:
    """The orders that the exchange denies, and the way out."""
    ids = [str(one["client_order_id"]) for one in denials]
    way_out = f"look there, and say what became of {'it' if len(ids) == 1 else 'each'}: reconciler orders resolve"
    if len(ids) == 1:
        return f"{ids[0]}, which it took: {denials[0]['message']}; {way_out} {ids[0]} --as … --reason …"
    return f"{len(ids)} orders, which it took: {some(ids, 3)}; {way_out}"


def trading(closed_by: Sequence[Obstacle], caveats: Sequence[Obstacle], unseen: str = "") -> Finding:
    """The first obstacle is the reason, the message names them all: a pause must not hide an order in doubt.

    `caveats` do not close the gate, but all is not well where there are any. `unseen` is what could not be told of an
    open gate, whatever else is the case.
    """
    if closed_by:
        first, *others = closed_by
        return False, first.reason, "; ".join((first.message, *map(str, (*others, *caveats))))
    more = f"; {unseen}" if unseen else ""
    if caveats:
        return True, caveats[0].reason, f"orders may leave, but {'; '.join(one.message for one in caveats)}{more}"
    return True, "Open", f"orders may leave{more}"


log = logging.getLogger(__name__)


class Transitions:
    """When each condition's status or reason was first seen as it is now. Of this process; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[str, tuple[Findings, tuple[Condition, ...]]] = {}

    def conditions(self, instance_id: str, findings: Findings) -> tuple[Condition, ...]:
        """What was found, and since when it is so (ISO 8601): now, where it was otherwise when it was looked at last.

        The same conditions for as long as the same is found.
        """
        known = self._known.get(instance_id)
        if known is not None and known[0] == findings:
            return known[1]
        with self._lock:
            _, before = self._known.get(instance_id, (None, ()))
            now = iso(self._clock.time())
            since = {(one.type, one.status, one.reason): one.last_transition_at for one in before}
            conditions = tuple(
                Condition(name, status, reason, message, since.get((name, status, reason), now))
                for name, (status, reason, message) in zip(_CONDITIONS, findings, strict=True)
            )
            self._known[instance_id] = (findings, conditions)
            return conditions

    def forget_but(self, ids: Container[str]) -> None:
        """Keep those of `ids` only."""
        with self._lock:
            for instance_id in [one for one in self._known if one not in ids]:
                del self._known[instance_id]


class Lookout:
    """Calls `look` every `interval_s`, on a thread of its own: whether beats fire or not, and off the event loop."""

    def __init__(self, clock: Clock, interval_s: float, look: Callable[[], None]) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._look = look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        """True from `start` until it is stopped, unless its thread ended by itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Look no more. Returns once a look under way has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait(self._stopping, self._interval_s):
            self._look_surviving()

    def _look_surviving(self) -> None:
        """The boundary that keeps it looking: only times of transitions depend on it, so a failure is logged."""
        try:
            self._look()
        except Exception:
            log.exception("what changed could not be looked at")

"""The status board: what pages, metrics and the command line may know. Reads the parts, changes none of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from reconciler import __version__
from reconciler.clock import Clock, from_iso, iso
from reconciler.control.controller import Controller
from reconciler.control.diagnosis import (
    CALM,
    Case,
    FleetConditions,
    Transitions,
    accepted,
    caveats,
    health,
    loaded,
    obstacles,
    ready,
    sync,
    trading,
)
from reconciler.control.fleet import Fleet
from reconciler.control.heartbeat import Heartbeat
from reconciler.control.roll import Called, Entry, Roll
from reconciler.errors import Problem
from reconciler.orders.market import Quote
from reconciler.ports import AccountView, EngineStatus, FleetSummary, InstanceFilter, StrategySummary, TradingStatus
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import origins
from reconciler.records.halt import Halt, stranger
from reconciler.records.mode import Mode
from reconciler.records.plan import Running
from reconciler.records.record import Attempt, Row
from reconciler.records.status import (
    Condition,
    Health,
    InstanceStatus,
    Obstacle,
    Sync,
    Ticks,
    TradingReason,
    not_committed,
)
from reconciler.runtime.host import Host
from reconciler.runtime.protocol import RuntimeFacts
from reconciler.store.ledger import Ledger
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.importing import Importing

_GLANCE_S = 0.25
"""How stale a page may be while nothing but ticks has happened."""
_EVERYONE = InstanceFilter()
_ILL = (Health.STUCK, Health.PAUSED, Health.DEGRADED)


@dataclass(frozen=True, slots=True)
class Parts:
    """What the board reads. The functions are asked anew each time."""

    clock: Clock
    controller: Controller
    catalogue: Catalogue
    host: Host
    heartbeat: Heartbeat
    heartbeat_s: float
    source: str
    trading: TradingStatus
    exposures: Ledger
    halts: Callable[[], tuple[Halt, ...]]
    exec_servers: Callable[[], tuple[Mapping[str, Any], ...]]
    database_error: Callable[[], str]
    watch_fault: Callable[[], str]
    accounts: Accounts
    account: Callable[[str, str], AccountView] = lambda account_id, client_id: AccountView()
    quote: Callable[[str, str], Quote | None] = lambda account_id, symbol: None
    orphans: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    doubts: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    denials: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    differences: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    limits: Callable[[], Sequence[Mapping[str, Any]]] = tuple
    unseen: Callable[[str], str] = lambda account_id: ""
    """Why rows that the ledger lost could not be seen on an account; empty where they could."""
    settings_note: Callable[[], str] = str
    unstored_halts: Callable[[], tuple[Halt, ...]] = tuple
    descriptors_note: Callable[[], str] = str
    awaited: Callable[[], frozenset[str]] = frozenset
    unheard: Callable[[], frozenset[str]] = frozenset


class _Seen(NamedTuple):
    """What the conditions of an instance were judged by when it was looked at last."""

    entry: Entry
    is_drawn: bool
    gate: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Glance:
    """What is the same for every instance of one look: asked once, whatever the number of those looked at."""

    version: int
    fleet: Fleet
    views: Mapping[str, Running]
    exposed: frozenset[str]
    around: FleetConditions
    denials: Sequence[Mapping[str, Any]]
    differences: Sequence[Mapping[str, Any]]


class StatusBoard:
    """Implements `ports.StatusReader`. Thread-safe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_at = iso(parts.clock.time())
        self._lock = threading.Lock()
        self._transitions = Transitions(parts.clock)
        self._seen: dict[str, _Seen] = {}
        self._sampled = (-1, 0, float("-inf"))
        self._roll = Roll(self._can_load, self._server_of, self._importing)
        self._problem_count: tuple[Fleet | None, int] = (None, 0)
        self._files: tuple[Fleet | None, tuple[Attempt, ...]] = (None, ())

    def revision(self) -> int:
        """Rises at once with whatever the controller does, and four times a second at most for ticks."""
        version = self._parts.controller.version
        now_s = self._parts.clock.monotonic()
        with self._lock:
            seen_version, revision, sampled_at_s = self._sampled
            if version != seen_version or now_s - sampled_at_s >= _GLANCE_S:
                revision += 1
                self._sampled = (version, revision, now_s)
            return revision

    # Instances.

    def instances(self, wanted: InstanceFilter, limit: int, offset: int) -> tuple[Sequence[InstanceStatus], int]:
        glance = self._glance()
        entries = self._called(glance).entries
        if wanted != _EVERYONE:
            entries = tuple(
                entry
                for entry in entries
                if wanted.matches(
                    entry.row,
                    entry.effective_mode,
                    entry.sync,
                    entry.health,
                    partial(self._is_real_money, entry.row),
                )
            )
        found = [
            self._status(self._case(entry.row, glance), glance, entry) for entry in entries[offset : offset + limit]
        ]
        return found, len(entries)

    def instance(self, instance_id: str) -> InstanceStatus | None:
        row = self._parts.controller.fleet.rows.get(instance_id)
        if row is None:
            return None
        glance = self._glance()
        case = self._case(row, glance)
        return self._status(case, glance) if case.is_shown else None

    def troubled(self) -> Sequence[InstanceStatus]:
        called, failing = self._called(), self._parts.host.render_failing() | self._parts.host.lagging()
        ids = {entry.row.id for entry in called.suspects if self._may_be_troubled(entry)} | failing
        rows = self._parts.controller.fleet.rows
        glance = self._glance()
        return [self._status(self._case(rows[id_], glance), glance) for id_ in sorted(ids) if id_ in rows]

    def summary(self) -> FleetSummary:
        called = self._called()
        active = [entry.row for entry in called.suspects if entry.effective_mode is Mode.ACTIVE]  # all of them are
        return FleetSummary(
            total=len(called.entries),
            by_mode=called.by_mode,
            by_sync=called.by_sync,
            by_health=called.by_health,
            real_money_active=sum(1 for row in active if self._is_real_money(row)),
            active_accounts=frozenset(row.record.identity.account_id for row in active),
        )

    def ticks(self) -> Ticks:
        return self._parts.host.ticks()

    def look_at(self, ids: Iterable[str]) -> None:
        """Note since when the conditions of these instances have been as they are."""
        rows, host, glance = self._parts.controller.fleet.rows, self._parts.host, self._glance()
        for row in (rows[i] for i in ids if i in rows):
            case, facts = self._case(row, glance), host.facts(row.id)
            self._conditions(case, facts, self._obstacles(case, facts), glance)

    def look_around(self) -> None:
        """As `look_at`, for whose conditions may have changed since it was called last. Once a beat, on one thread.

        A comparison for each instance, and for what is active the question what closes its gate; no more is done for
        those of which nothing changed.
        """
        undrawn, gate = self._parts.host.render_failing() | self._parts.host.lagging(), self._gate_judge()
        seen = {
            entry.row.id: _Seen(entry, entry.row.id not in undrawn, gate(entry)) for entry in self._called().entries
        }
        before = self._seen
        self.look_at([id_ for id_, now in seen.items() if not _is_same(now, before.get(id_))])
        self._transitions.forget_but(seen)
        self._seen = seen

    def _gate_judge(self) -> Callable[[Entry], tuple[str, ...]]:
        """Tells the reasons for which orders of an entry may not leave, or not all is well, beyond its own state."""
        parts = self._parts
        fault = "fault" if parts.database_error() else ""
        denied = {one["instance_id"] for one in parts.denials()}
        differing = {one["account_id"] for one in parts.differences()}

        def reasons(entry: Entry) -> tuple[str, ...]:
            if entry.effective_mode is not Mode.ACTIVE:
                return ()  # its mode is the reason
            instance_id, account_id = entry.row.id, entry.row.record.identity.account_id
            blocked = parts.trading.blocked(instance_id, account_id)
            return (
                fault,
                "" if blocked is None else blocked[0],
                "denied" if instance_id in denied else "",
                "differs" if account_id in differing else "",
            )

        return reasons

    def _called(self, glance: _Glance | None = None) -> Called:
        seen = self._glance() if glance is None else glance
        return self._roll.call(seen.version, seen.fleet, seen.views, seen.exposed, seen.around)

    def _glance(self) -> _Glance:
        parts = self._parts
        return _Glance(
            parts.controller.version,  # first: what is read after it is at least as new
            parts.controller.fleet,
            parts.host.views(),
            parts.exposures.exposed(),
            self._around(),
            parts.denials(),
            parts.differences(),
        )

    def _case(self, row: Row, glance: _Glance) -> Case:
        view, is_exposed = glance.views.get(row.id), row.id in glance.exposed
        can_load, server, importing = self._can_load(row), self._server_of(row), self._importing(row)
        return Case(row, glance.fleet, view, can_load, is_exposed, glance.around, server, importing)

    def _importing(self, row: Row) -> Importing | None:
        return self._parts.catalogue.importing(row.record.strategy_type)

    def _around(self) -> FleetConditions:
        parts = self._parts
        no_beat, awaited, unheard = parts.heartbeat.silence(), parts.awaited(), parts.unheard()
        found = (no_beat, awaited, unheard, parts.trading.held_back(), *parts.trading.limited())
        return FleetConditions(*found) if any(found) else CALM

    def _server_of(self, row: Row) -> str:
        account = self._parts.accounts.get(row.record.identity.account_id)
        return "" if account is None else account.server

    def _can_load(self, row: Row) -> bool:
        return self._parts.catalogue.definition(row.record.strategy_type, row.code_digest) is not None

    def _may_be_troubled(self, suspect: Entry) -> bool:
        """Of what is active and well only where its gate is closed: whole fleets are."""
        is_well = suspect.health not in _ILL and suspect.sync in (Sync.SYNCED, Sync.OUT_OF_SYNC)
        exposed = self._parts.exposures.exposed()
        return not is_well or suspect.row.id in exposed or self._is_blocked(suspect.row)

    def _is_real_money(self, row: Row) -> bool:
        return self._parts.accounts.is_real(row.record.identity.account_id)

    def _not_committed(self, row: Row) -> Obstacle | None:
        why = self._parts.controller.fleet.why_uncommitted
        return not_committed(is_real=self._is_real_money(row), is_committed=row.committed, why=why)

    def _is_blocked(self, row: Row) -> bool:
        if self._parts.database_error() or self._not_committed(row) is not None:
            return True
        return self._parts.trading.blocked(row.id, row.record.identity.account_id) is not None

    def _obstacles(self, case: Case, facts: RuntimeFacts | None) -> tuple[Obstacle, ...]:
        row = case.row
        found = self._parts.trading.obstacles(row.id, row.record.identity.account_id)
        if (uncommitted := self._not_committed(row)) is not None:
            found = (*found, uncommitted)
        if fault := self._parts.database_error():
            found = (Obstacle(TradingReason.LEDGER_DOWN, f"no order can be written down: {fault}"), *found)
        return obstacles(case, facts, found)

    def _status(self, case: Case, glance: _Glance, entry: Entry | None = None) -> InstanceStatus:
        """`entry` is what the roll says of it, where it was called by the same glance."""
        row, effective_mode = case.row, case.effective_mode
        facts = self._parts.host.facts(row.id)
        closed_by = self._obstacles(case, facts)
        return row.status(
            effective_mode=effective_mode,
            paused=case.paused,
            sync=sync(case) if entry is None else entry.sync,
            health=health(case) if entry is None else entry.health,
            observed_generation=0 if case.view is None else case.view.row.generation,
            conditions=self._conditions(case, facts, closed_by, glance),
            ticks=None if facts is None else facts.ticks,
            frozen_with_exposure=case.is_exposed
            and (case.paused or effective_mode is not Mode.ACTIVE or self._is_halted(row)),
            real_money=self._is_real_money(row),
            obstacles=closed_by,
            drawn_at=None if facts is None else facts.drawn_at,
        )

    def _caveats(self, case: Case, glance: _Glance) -> Sequence[Obstacle]:
        held_back: Sequence[Obstacle] = ()
        if case.effective_mode is Mode.ACTIVE:
            held_back = self._parts.trading.caveats(case.row.id, case.row.record.identity.account_id)
        elif not glance.denials:
            return ()
        return caveats(case, glance.denials, glance.differences, held_back)

    def _is_halted(self, row: Row) -> bool:
        account_id = row.record.identity.account_id
        return any(halt.forbids(account_id, row.id) for halt in self._parts.halts())

    def _conditions(
        self, case: Case, facts: RuntimeFacts | None, closed_by: Sequence[Obstacle], glance: _Glance
    ) -> tuple[Condition, ...]:
        may_trade = trading(
            closed_by, self._caveats(case, glance), self._parts.unseen(case.row.record.identity.account_id)
        )
        findings = (accepted(case), loaded(case, facts), ready(case, facts), may_trade)
        return self._transitions.conditions(case.row.id, findings)

    def widgets(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        facts = self._parts.host.facts(instance_id)
        return () if facts is None else facts.widgets

    def logs(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        facts = self._parts.host.facts(instance_id)
        return () if facts is None else [line.to_json() for line in facts.logs]

    def origins(self, instance_id: str) -> Mapping[str, str]:
        fleet = self._parts.controller.fleet
        row = fleet.rows.get(instance_id)
        evaluation = None if row is None else fleet.evaluation_of(row)
        return {} if evaluation is None else origins(evaluation)

    # Everything else.

    def account(self, account_id: str, client_id: str) -> AccountView:
        return self._parts.account(account_id, client_id)

    def quote(self, account_id: str, symbol: str) -> Quote | None:
        return self._parts.quote(account_id, symbol)

    def orphans(self) -> Sequence[Mapping[str, Any]]:
        return self._parts.orphans()

    def doubts(self) -> Sequence[Mapping[str, Any]]:
        return self._parts.doubts()

    def denials(self) -> Sequence[Mapping[str, Any]]:
        return self._parts.denials()

    def differences(self) -> Sequence[Mapping[str, Any]]:
        return self._parts.differences()

    def limits(self) -> Sequence[Mapping[str, Any]]:
        return self._parts.limits()

    def problems(self, instance_id: str = "") -> Sequence[Problem]:
        fleet = self._parts.controller.fleet
        if not instance_id:
            return fleet.problems()
        row = fleet.rows.get(instance_id)
        attempt = None if row is None else fleet.attempt_of(row)
        return () if attempt is None else attempt.problems

    def without_instance(self) -> Sequence[Attempt]:
        fleet = self._parts.controller.fleet
        if self._files[0] is not fleet:
            self._files = (fleet, fleet.without_instance())
        return self._files[1]

    def strategies(self) -> Sequence[StrategySummary]:
        users: dict[str, list[str]] = {}
        for row in self._parts.controller.fleet.rows.values():
            if row.is_live:
                users.setdefault(row.record.strategy_type, []).append(row.id)
        return [
            self._strategy(strategy_type, tuple(sorted(users.get(strategy_type, ()))))
            for strategy_type in self._parts.catalogue.types()
        ]

    def _strategy(self, strategy_type: str, instances: tuple[str, ...]) -> StrategySummary:
        facts = self._parts.catalogue.facts(strategy_type)
        assert facts is not None
        definition = self._parts.catalogue.definition(strategy_type, facts.code_digest)
        return StrategySummary(
            strategy_type=strategy_type,
            description="" if definition is None else definition.description,
            path=facts.path,
            code_digest=facts.code_digest,
            tick_minutes=None if definition is None else definition.tick_minutes,
            cadence_steps=None if definition is None else definition.cadence_steps,
            config_schema=facts.config_schema,
            instances=instances,
            problems=facts.problems,
        )

    def engine(self) -> EngineStatus:
        parts, fleet = self._parts, self._parts.controller.fleet
        return EngineStatus(
            version=__version__,
            started_at=self._started_at,
            source=parts.source,
            revision=fleet.revision,
            clean=fleet.clean,
            head=None if fleet.head is None else fleet.head.to_json(),
            is_held=fleet.followed is not None and fleet.followed.held is not None,
            unreachable_s=_unreachable_s(fleet, parts.clock.time()),
            heartbeat_s=parts.heartbeat_s,
            last_beat=parts.heartbeat.last_beat,
            heartbeat_age_s=parts.heartbeat.age_s(),
            beats_lost=parts.heartbeat.lost,
            clock_behind_s=parts.heartbeat.behind_s,
            no_beat=parts.heartbeat.silence(),
            descriptors_note=parts.descriptors_note(),
            heartbeat_ended=parts.heartbeat.ended(),
            observed=fleet.observed,
            source_error=fleet.source_error or parts.controller.fault,
            source_notes=self._source_notes(fleet),
            source_blocked_s=0.0 if fleet.blocked_since_s is None else parts.clock.monotonic() - fleet.blocked_since_s,
            git_note=fleet.git_note,
            settings_note=parts.settings_note(),
            database_error=parts.database_error(),
            prune_held=fleet.removal.held,
            prune_digest=fleet.removal.held_digest,
            halts=tuple(self._halt(halt) for halt in parts.halts()),
            exec_servers=parts.exec_servers(),
            counts=self._counts(),
        )

    def _source_notes(self, fleet: Fleet) -> tuple[str, ...]:
        """That nothing can be committed is a note where money asks for commits; that nothing is there, always."""
        needs_git = fleet.revision is not None or self._parts.accounts.any_is_real
        told = (
            _doubt(fleet.not_whole),
            fleet.git_problem,
            fleet.git_note if needs_git else "",
            "" if fleet.followed is None else fleet.followed.note,
            self._parts.watch_fault(),
        )
        return tuple(filter(None, told))

    def _halt(self, halt: Halt) -> Mapping[str, Any]:
        """With a note where it covers nothing: what was meant trades on."""
        rows, declared = self._parts.controller.fleet.rows, self._parts.accounts.declared
        used = (row.record.identity.account_id for row in rows.values())
        note = stranger(halt.scope, halt.id, rows, declared if halt.id in declared else used)
        stored = not any(halt is one for one in self._parts.unstored_halts())
        found = (one for one in self._parts.trading.cancellations() if one.halt is halt)
        cancels = next((one.to_json() for one in found), None)
        told = {"declared": halt.is_declared, "stored": stored, "note": note, "cancelling": cancels}
        return {**halt.to_json(), **told}

    def _counts(self) -> Mapping[str, int]:
        called, fleet = self._called(), self._parts.controller.fleet
        if self._problem_count[0] is not fleet:
            self._problem_count = (fleet, len(fleet.problems()))
        return {
            **{str(one): called.by_health.get(one, 0) for one in Health},
            "total": len(called.entries),
            "problems": self._problem_count[1],
            "active": called.by_mode.get(Mode.ACTIVE, 0),
        }


def _is_same(now: _Seen, before: _Seen | None) -> bool:
    """An entry that was judged anew is another, though it reads the same: not all that counts stands in it."""
    return before is not None and now.entry is before.entry and now[1:] == before[1:]


def _unreachable_s(fleet: Fleet, now_s: float) -> float:
    since = None if fleet.followed is None else fleet.followed.unreachable_since
    return 0.0 if since is None else max(0.0, now_s - from_iso(since))


def _doubt(not_whole: str) -> str:
    return f"{not_whole}: until that is over, modes may be lowered and nothing else is applied" if not_whole else ""

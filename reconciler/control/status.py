"""The status board: what pages, metrics and the command line may know. Reads the parts, changes none of them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reconciler import __version__
from reconciler.clock import Clock, iso
from reconciler.control.controller import Controller
from reconciler.control.diagnosis import Case, Finding, accepted, health, loaded, ready, sync, trading
from reconciler.control.heartbeat import Heartbeat
from reconciler.errors import Problem
from reconciler.ports import EngineStatus, InstanceFilter, StrategySummary, TradingStatus
from reconciler.records.accounts import Accounts
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.plan import Running
from reconciler.records.record import Row
from reconciler.records.status import Condition, ConditionType, Health, InstanceStatus, Ticks, TradingReason
from reconciler.runtime.host import Host, RuntimeFacts
from reconciler.strategy.catalogue import Catalogue

_GLANCE_S = 0.25
"""How stale a page may be while nothing but ticks has happened."""


class Exposures(Protocol):
    def exposed(self) -> frozenset[str]:
        """Ids of instances with an open real order or a real position."""
        ...


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
    exposures: Exposures
    halts: Callable[[], tuple[Halt, ...]]
    exec_servers: Callable[[], tuple[Mapping[str, Any], ...]]
    database_error: Callable[[], str]
    watch_fault: Callable[[], str]
    accounts: Accounts


class StatusBoard:
    """Implements `ports.StatusReader`. Thread-safe."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._started_at = iso(parts.clock.time())
        self._lock = threading.Lock()
        self._transitions: dict[tuple[str, str], tuple[bool, str, str]] = {}
        self._sampled = (-1, 0, float("-inf"))
        self._counted: tuple[int, Mapping[str, int]] = (-1, {})
        self._order: tuple[Mapping[str, Row] | None, tuple[str, ...]] = (None, ())

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
        cases = [case for case in self._cases() if _matches(case, wanted)]
        return [self._status(case) for case in cases[offset : offset + limit]], len(cases)

    def instance(self, instance_id: str) -> InstanceStatus | None:
        row = self._parts.controller.fleet.rows.get(instance_id)
        if row is None:
            return None
        case = self._case(row, self._parts.host.views(), self._parts.exposures.exposed())
        return self._status(case) if case.is_shown else None

    def look_at(self, ids: Iterable[str]) -> None:
        """Note since when the conditions of these instances have been as they are."""
        rows, host = self._parts.controller.fleet.rows, self._parts.host
        views = host.views()
        for row in (rows[i] for i in ids if i in rows):
            self._conditions(self._case(row, views, frozenset()), host.facts(row.id))

    def _cases(self) -> list[Case]:
        rows = self._parts.controller.fleet.rows
        if self._order[0] is not rows:
            self._order = (rows, tuple(sorted(rows)))
        views, exposed = self._parts.host.views(), self._parts.exposures.exposed()
        cases = (self._case(row, views, exposed) for row in map(rows.__getitem__, self._order[1]))
        return [case for case in cases if case.is_shown]

    def _case(self, row: Row, views: Mapping[str, Running], exposed: frozenset[str]) -> Case:
        definition = self._parts.catalogue.definition(row.record.strategy_type, row.code_digest)
        fleet, view = self._parts.controller.fleet, views.get(row.id)
        return Case(row, fleet, view, definition is not None, row.id in exposed)

    def _blocked(self, row: Row) -> tuple[str, str] | None:
        account_id = row.record.identity.account_id
        account = self._parts.accounts.get(account_id)
        if account is not None and account.real_money and not row.committed:
            return TradingReason.NOT_COMMITTED, "real money needs the file and its strategy's code to be committed"
        return self._parts.trading.blocked(row.id, account_id)

    def _status(self, case: Case) -> InstanceStatus:
        row, identity = case.row, case.row.record.identity
        facts = self._parts.host.facts(row.id)
        effective_mode = case.effective_mode
        is_frozen = case.paused or effective_mode is not Mode.ACTIVE or self._is_halted(row)
        return InstanceStatus(
            id=row.id,
            strategy_type=identity.strategy_type,
            account_id=identity.account_id,
            client_id=identity.client_id,
            market=identity.market,
            mode=row.mode,
            effective_mode=effective_mode,
            paused=case.paused,
            sync=sync(case),
            health=health(case),
            generation=row.generation,
            observed_generation=0 if case.view is None else case.view.row.generation,
            revision=row.revision,
            committed=row.committed,
            path=row.path,
            config=row.record.config,
            effective_config=row.record.effective_config,
            labels=row.record.labels,
            description=row.record.description,
            conditions=self._conditions(case, facts),
            ticks=Ticks() if facts is None else facts.ticks,
            frozen_with_exposure=is_frozen and case.is_exposed,
        )

    def _is_halted(self, row: Row) -> bool:
        account_id = row.record.identity.account_id
        return any(halt.forbids(account_id, row.id) for halt in self._parts.halts())

    def _conditions(self, case: Case, facts: RuntimeFacts | None) -> tuple[Condition, ...]:
        return (
            self._condition(case.row.id, "Accepted", accepted(case)),
            self._condition(case.row.id, "Loaded", loaded(case, facts)),
            self._condition(case.row.id, "Ready", ready(case, facts)),
            self._condition(case.row.id, "Trading", trading(case, facts, self._blocked(case.row))),
        )

    def _condition(self, instance_id: str, name: ConditionType, finding: Finding) -> Condition:
        """The finding with the time since when it has been so, as far as this process has looked."""
        status, reason, message = finding
        with self._lock:
            known = self._transitions.get((instance_id, name))
            if known is None or known[:2] != (status, reason):
                known = (status, reason, iso(self._parts.clock.time()))
                self._transitions[instance_id, name] = known
        return Condition(name, status, reason, message, known[2])

    def widgets(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        facts = self._parts.host.facts(instance_id)
        return () if facts is None else facts.widgets

    def logs(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        facts = self._parts.host.facts(instance_id)
        return () if facts is None else [line.to_json() for line in facts.logs]

    # Everything else.

    def problems(self) -> Sequence[Problem]:
        return self._parts.controller.fleet.problems()

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
            heartbeat_s=parts.heartbeat_s,
            last_beat=parts.heartbeat.last_beat,
            heartbeat_age_s=parts.heartbeat.age_s(),
            beats_lost=parts.heartbeat.lost,
            clock_behind_s=parts.heartbeat.behind_s,
            source_error=fleet.source_error or parts.controller.fault,
            source_notes=tuple(filter(None, (_doubt(fleet.not_whole), fleet.git_problem, parts.watch_fault()))),
            database_error=parts.database_error(),
            prune_held=fleet.removal.held,
            prune_digest=fleet.removal.held_digest,
            halts=tuple(halt.to_json() for halt in parts.halts()),
            exec_servers=parts.exec_servers(),
            counts=self._counts(),
        )

    def _counts(self) -> Mapping[str, int]:
        revision = self.revision()
        if self._counted[0] != revision:
            cases = self._cases()
            counts: Counter[str] = Counter({str(h): 0 for h in Health})
            counts.update(str(health(case)) for case in cases)
            counts["total"] = len(cases)
            counts["problems"] = len(self.problems())
            counts["active"] = sum(1 for case in cases if case.effective_mode is Mode.ACTIVE)
            self._counted = (revision, dict(counts))
        return self._counted[1]


def _doubt(not_whole: str) -> str:
    return f"{not_whole}: until that is over, modes may be lowered and nothing else is applied" if not_whole else ""


def _matches(case: Case, wanted: InstanceFilter) -> bool:
    """Cheap tests first: health and sync are only worked out for what passed the others."""
    record = case.row.record
    if wanted.mode and wanted.mode != case.row.mode:
        return False
    if wanted.strategy_type and wanted.strategy_type != record.strategy_type:
        return False
    if wanted.label:
        key, has_value, value = wanted.label.partition("=")
        if key not in record.labels or (has_value and record.labels[key] != value):
            return False
    if wanted.q:
        haystack = " ".join((record.id, record.identity.market, record.strategy_type, record.description)).casefold()
        if wanted.q.casefold() not in haystack:
            return False
    if wanted.sync and wanted.sync != sync(case):
        return False
    return not wanted.health or wanted.health == health(case)

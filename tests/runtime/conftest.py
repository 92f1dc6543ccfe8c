"""A host on a fake clock with real threads, and fakes at its seams."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from reconciler.clock import Clock, FakeClock
from reconciler.exec_mcp.bridge import Claims
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.order import Order, OrderChanges, OrderRequest, OrderState, Outcome
from reconciler.ports import GateState
from reconciler.records.cadence import steps
from reconciler.records.mode import Mode
from reconciler.records.plan import Phase, Running
from reconciler.records.record import Identity, InstanceRecord, Row, digest
from reconciler.runtime.host import ThreadHost
from reconciler.runtime.performer import Performer, Resolve, no_secrets
from reconciler.runtime.process import AtWork, Surroundings
from reconciler.runtime.protocol import BeatReport, HostOptions, Loaded, LoadSpec, Report, RuntimeFacts, World
from reconciler.strategy.base import Strategy
from reconciler.strategy.definition import Definition

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
BEAT = 1_000


def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until `condition` is true, a minute at most: by the wall clock, and a busy machine is no fault."""
    pause = threading.Event()
    for _ in range(60_000):
        if condition():
            return
        pause.wait(0.001)
    raise AssertionError(f"waited in vain for {what}")


def row(
    instance_id: str = "one", *, mode: Mode = Mode.OBSERVE, config: Mapping[str, Any] | None = None, **changes: Any
) -> Row:
    """A row as it would be applied; `code` names a version of the strategy."""
    config = {} if config is None else config
    code = changes.pop("code", "v1")
    record = InstanceRecord(
        id=instance_id,
        identity=Identity("probe", "main", "desk-a", "BTC/USD"),
        mode=mode,
        config=config,
        effective_config=config,
        labels={"team": "majors"},
    )
    return replace(
        Row(
            record=record,
            path=f"instances/{instance_id}.yaml",
            generation=1,
            values_digest="",
            config_digest=digest(config),
            file_digest="",
            code_digest=code,
            revision="abc",
            committed=True,
            applied_at="2026-01-31T12:00:00.000Z",
        ),
        **changes,
    )


def define(cls: type[Strategy]) -> Definition:
    tick_minutes = getattr(cls, "TICK_MINUTES", 0.1)
    return Definition(
        strategy_type="probe",
        path="strategies/probe.py",
        code_digest="v1",
        cls=cls,
        description="",
        tick_minutes=tick_minutes,
        cadence_steps=steps(tick_minutes),
        tick_on_load=cls.TICK_ON_LOAD,
        config_schema={"type": "object"},
    )


class FakeGateway:
    """Keeps what it was asked, and looks at the gate at its claim as the real one must."""

    def __init__(self) -> None:
        self.placed: list[Order] = []
        self.sent: list[Order] = []
        self.asked: list[tuple[str, bool]] = []
        self.news: dict[str, OrderChanges] = {}
        self._claims = Claims()
        self.before_last_look: Callable[[], object] = lambda: None
        self.while_handing_over: Callable[[], object] = lambda: None

    def place(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
        self.before_last_look()
        instance_id = gate.provenance(beat).instance_id
        self._claims.enter(request, instance_id)
        try:
            open_ = gate.mode is Mode.ACTIVE and not gate.paused
            order = Order(
                client_order_id=f"c{len(self.placed)}",
                provenance=gate.provenance(beat),
                request=request,
                outcome=Outcome.ACCEPTED if open_ else Outcome.REJECTED,
                created_at=NOON,
                updated_at=NOON,
                state=OrderState.OPEN if open_ else None,
            )
            self.placed.append(order)
            if open_:
                self.while_handing_over()
                self.sent.append(order)
        finally:
            self._claims.leave(request)
        return order

    def written(self, instance_id: str = "") -> None:
        self._claims.wait(instance_id)

    def cancel(self, gate: GateState, client_order_id: str) -> Order:
        return next(order for order in self.sent if order.client_order_id == client_order_id)

    def open(self, instance_id: str, *, shadow: bool) -> Sequence[Order]:
        self.asked.append((instance_id, shadow))
        return ()

    def recent(self, instance_id: str, limit: int, *, shadow: bool) -> Sequence[Order]:
        self.asked.append((instance_id, shadow))
        return ()

    def position(self, instance_id: str, symbol: str, *, shadow: bool) -> Position:
        self.asked.append((instance_id, shadow))
        return Position(symbol, Decimal(0))

    def listen(self, instance_id: str) -> OrderChanges:
        self.news[instance_id] = news = OrderChanges()
        return news


class FakeMarket:
    """Answers at once, and keeps the beats it was asked for."""

    def __init__(self) -> None:
        self.beats: list[int] = []
        self.error: Exception | None = None

    def quote(self, account_id: str, symbol: str, beat: int) -> Quote:
        self.beats.append(beat)
        if self.error is not None:
            raise self.error
        return Quote(symbol, Decimal(99), Decimal(101), Decimal(100), NOON)

    def candles(self, account_id: str, symbol: str, timeframe: str, limit: int, beat: int) -> Sequence[Candle]:
        return ()

    def rules(self, account_id: str, symbol: str) -> InstrumentRules:
        return InstrumentRules(min_quantity=Decimal("0.1"))

    def positions(self, account_id: str, client_id: str, beat: int) -> Sequence[Position]:
        return ()

    def balances(self, account_id: str, client_id: str, beat: int) -> Sequence[Balance]:
        return (Balance(f"{account_id}/{client_id}", Decimal(1), Decimal(1)),)


@dataclass
class Stage:
    """A host under test and everything around it."""

    clock: FakeClock
    gateway: FakeGateway
    market: FakeMarket
    reports: list[Report]
    host: ThreadHost
    next_beat: int = BEAT
    gates: list[threading.Event] = field(default_factory=list)

    row = staticmethod(row)
    until = staticmethod(until)

    def gate(self) -> threading.Event:
        """An event that a strategy may block on; set at the end of the test whatever happens."""
        event = threading.Event()
        self.gates.append(event)
        return event

    def load(self, cls: type[Strategy], wanted: Row | None = None) -> None:
        """Ask for it, and wait until its first hooks are over."""
        wanted = row() if wanted is None else wanted
        self.ask(cls, wanted)
        until(lambda: self.phase(wanted.id) in (Phase.RUNNING, Phase.FAILED), "the load")
        self.settle(wanted.id)

    def load_again(self, cls: type[Strategy], wanted: Row) -> None:
        """Reload, and wait until the successor runs."""
        loaded = len(self.told(Loaded))
        self.ask(cls, wanted)
        until(lambda: len(self.told(Loaded)) > loaded, "the successor")
        self.settle(wanted.id)

    def ask(self, cls: type[Strategy], wanted: Row) -> None:
        self.host.load(LoadSpec(wanted, define(cls)))

    def view(self, instance_id: str = "one") -> Running | None:
        return self.host.views().get(instance_id)

    def phase(self, instance_id: str = "one") -> Phase | None:
        view = self.view(instance_id)
        return None if view is None else view.phase

    def settle(self, instance_id: str = "one") -> None:
        """Wait until no worker is at that instance."""
        slot = self.host._roster.slot(instance_id)
        assert slot is not None
        until(lambda: not slot.claimed and not slot.undrawn, "the worker to be done")

    def tick(self, instance_id: str = "one") -> None:
        """One beat, and wait until its tick is over."""
        self.beat()
        self.settle(instance_id)

    def beat(self) -> BeatReport:
        self.next_beat += 1
        return self.host.beat(self.next_beat - 1)

    def advance(self, duration_s: float) -> None:
        self.clock.advance(duration_s)

    def watch(self, condition: Callable[[], object]) -> None:
        """Let time pass, a watchdog's glance at a time, until `condition` is true."""

        def glanced() -> bool:
            if condition():
                return True
            self.clock.advance(0.25)
            return False

        until(glanced)

    def told(self, kind: type[Any]) -> list[Any]:
        return [report for report in self.reports if isinstance(report, kind)]

    def facts(self, instance_id: str = "one") -> RuntimeFacts:
        facts = self.host.facts(instance_id)
        assert facts is not None
        return facts


MakeStage = Callable[..., Stage]
MakeRow = Callable[..., Row]
Define = Callable[[type[Strategy]], Definition]
Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def make_stage() -> Iterator[MakeStage]:
    stages: list[Stage] = []

    def make(
        options: HostOptions | None = None,
        resolve: Resolve = no_secrets,
        hear: Callable[[Report], object] = lambda report: None,
        clock: Clock | None = None,
        awaited: Callable[[], Callable[[str], bool] | None] = lambda: None,
        at_work: AtWork | None = None,
        surroundings: Surroundings | None = None,
        seed: str = "",
    ) -> Stage:
        fake_clock, gateway, market = FakeClock(), FakeGateway(), FakeMarket()
        reports: list[Report] = []

        def report(report: Report) -> None:
            reports.append(report)
            hear(report)

        world = World(clock or fake_clock, market, 6.0, at_work or AtWork(), seed=seed, surroundings=surroundings)
        perform = partial(Performer, resolve=resolve)
        host = ThreadHost(world, gateway, options or HostOptions(), report, perform, awaited)
        host.start()
        stages.append(Stage(fake_clock, gateway, market, reports, host))
        return stages[-1]

    yield make
    for stage in stages:
        for gate in stage.gates:
            gate.set()
        stage.host.stop(0.0)


@pytest.fixture
def stage(make_stage: MakeStage) -> Stage:
    return make_stage()


@pytest.fixture(name="make_row")
def _make_row() -> MakeRow:
    return row


@pytest.fixture(name="define")
def _define() -> Define:
    return define


@pytest.fixture(name="until")
def _until() -> Until:
    return until

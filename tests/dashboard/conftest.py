"""A fleet that needs no engine: a fake status reader, a fake database reader, and clients for the application."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, cast

import httpx
import pytest

from reconciler.clock import FakeClock, iso
from reconciler.dashboard.guard import DashboardOptions
from reconciler.dashboard.routes import create_app
from reconciler.errors import Problem
from reconciler.orders.holding import Holding
from reconciler.orders.market import Quote
from reconciler.ports import AccountView, EngineStatus, FleetSummary, InstanceFilter, StrategySummary
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Identity, InstanceRecord, Row
from reconciler.records.status import Condition, Health, InstanceStatus, Sync, Ticks
from reconciler.store.reader import Reader

NOW_S = 1_767_225_600.0
REVISION = "4f2c9d1e8b7a60513f2c9d1e8b7a60513f2c9d1e"
ACCOUNTS = Accounts({"main": DeclaredAccount("main", "kraken", real_money=True)}, any_on="paper")

Rows = list[dict[str, Any]]
Connect = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


def an_engine(**changes: Any) -> EngineStatus:
    engine = EngineStatus(
        version="0.1.0",
        started_at=iso(NOW_S - 3_600),
        source="worktree",
        revision=REVISION,
        clean=True,
        heartbeat_s=6.0,
        last_beat=294_537_600,
        heartbeat_age_s=1.5,
        beats_lost=0,
        clock_behind_s=0.0,
        source_error="",
        source_notes=(),
        database_error="",
        prune_held=(),
        prune_digest="",
        halts=(),
        exec_servers=({"name": "paper", "connected": True, "since": iso(NOW_S - 60), "tools": [], "last_error": ""},),
        counts={"Healthy": 1, "total": 1, "problems": 0, "active": 0},
    )
    return replace(engine, **changes)


def a_condition(type: Any, status: bool, reason: str, message: str = "") -> Condition:
    return Condition(type, status, reason, message, iso(NOW_S - 600))


def an_instance(id: str = "btc-dca", **changes: Any) -> InstanceStatus:
    instance = InstanceStatus(
        id=id,
        strategy_type="dca",
        account_id="sandbox",
        client_id="desk-a",
        market="BTC/USD",
        mode=Mode.OBSERVE,
        effective_mode=Mode.OBSERVE,
        paused=False,
        sync=Sync.SYNCED,
        health=Health.HEALTHY,
        generation=3,
        observed_generation=3,
        revision=REVISION,
        committed=True,
        path=f"instances/{id}.yaml",
        config={"notional": "25"},
        effective_config={"notional": "25", "ceiling": None},
        labels={"team": "majors"},
        description="Buys a little every minute",
        conditions=(
            a_condition("Accepted", True, "Applied"),
            a_condition("Loaded", True, "Loaded"),
            a_condition("Ready", True, "Ticking"),
            a_condition("Trading", False, "Mode", "mode is observe"),
        ),
        ticks=Ticks(12, 0, 0, iso(NOW_S - 6), 0.004, iso(NOW_S + 54), iso(NOW_S - 6), 60.0),
    )
    return replace(instance, **changes)


def a_strategy(**changes: Any) -> StrategySummary:
    strategy = StrategySummary(
        strategy_type="dca",
        description="Buys a fixed notional at its cadence.",
        path="strategies/dca.py",
        code_digest="0123456789abcdef",
        tick_minutes=1.0,
        cadence_steps=10,
        config_schema={
            "type": "object",
            "required": ["notional"],
            "properties": {"notional": {"type": "string", "description": "Spent each time"}},
        },
        instances=("btc-dca",),
        problems=(),
    )
    return replace(strategy, **changes)


def an_order(**changes: Any) -> dict[str, Any]:
    return {
        "instance_id": "btc-dca",
        "client_order_id": "k3j9x2a7b0001",
        "outcome": "accepted",
        "state": "filled",
        "side": "buy",
        "type": "limit",
        "quantity": "0.00042",
        "limit_price": "60000.10",
        "symbol": "BTC/USD",
        "account_id": "main",
        "client_id": "desk-a",
        "mode": "active",
        "generation": 3,
        "beat": 294_537_590,
        "revision": REVISION,
        "reason": "",
        "filled_quantity": "0.00042",
        "average_price": "59999.90",
        "fee": "0.065",
        "fee_currency": None,
        "exchange_order_id": "X-77",
        "created_at": iso(NOW_S - 60),
        "updated_at": iso(NOW_S - 59),
        "rejected_by": None,
        "shadow": False,
        "repeats": 1,
        "stop_price": None,
        "time_in_force": "gtc",
        "reduce_only": False,
        "quote_bid": "59999.5",
        "quote_ask": "60000.5",
        "quote_at": None,
        "config_digest": "c0ffee",
        "code_digest": "0123456789abcdef",
        "was_unknown": False,
        "money": None,
        "fills": [],
        **changes,
    }


def an_event(**changes: Any) -> dict[str, Any]:
    return {
        "id": 1,
        "instance_id": "btc-dca",
        "type": "Normal",
        "reason": "Loaded",
        "message": "generation 3 is loaded",
        "count": 2,
        "first_at": iso(NOW_S - 900),
        "last_at": iso(NOW_S - 600),
        **changes,
    }


def a_halt(scope: str, id: str = "", **more: Any) -> dict[str, Any]:
    """A halt as the engine's status has it."""
    halt = {"scope": scope, "id": id, "full": False, "reason": "odd fills", "by": "uid 7", "at": iso(NOW_S - 60)}
    return {**halt, "declared": False, "note": "", **more}


def a_generation(**changes: Any) -> dict[str, Any]:
    return {
        "generation": 3,
        "kind": "changed",
        "summary": "config.notional: 20 → 25",
        "at": iso(NOW_S - 900),
        "revision": REVISION,
        "committed": True,
        "mode": "observe",
        "code_digest": "0123456789abcdef",
        "values": {"id": "btc-dca", "strategy_type": "dca", "limits": {"max_order_notional": "500"}},
        "change": None,
        **changes,
    }


def a_change(commit: str) -> dict[str, Any]:
    return {
        "commit": commit,
        "author": "Ada",
        "author_email": "ada@example.com",
        "committer": "Forge",
        "committed_at": iso(NOW_S - 1000),
        "subject": "Widen the ladder (#7)",
        "merge_commit": None,
        "pull_request": "#7",
        "signed_by": {"principal": "ada@example.com", "fingerprint": "SHA256:abc", "kind": "ssh"},
        "claimed_approvals": ["Grace"],
    }


def a_tombstone(id: str, removed_at: str) -> Row:
    record = InstanceRecord(id, Identity("dca", "main", "desk-a", "BTC/USD"), Mode.OFF, {}, {})
    return Row(record, f"instances/{id}.yaml", 4, "", "", "", "", None, False, removed_at, removed_at=removed_at)


A_PROBLEM = Problem(
    "instances/eth-grid.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "write 5", "schema-type"
)


@dataclass
class FakeStatus:
    """A `StatusReader` over plain lists, which notes from which threads it was asked what."""

    fleet: list[InstanceStatus] = field(default_factory=lambda: [an_instance()])
    engine_now: EngineStatus = field(default_factory=an_engine)
    found: list[Problem] = field(default_factory=list)
    files: list[Attempt] = field(default_factory=list)
    places: Mapping[str, str] = field(default_factory=dict)
    definitions: list[StrategySummary] = field(default_factory=lambda: [a_strategy()])
    drawn: list[Mapping[str, Any]] = field(default_factory=list)
    lines: list[Mapping[str, Any]] = field(default_factory=list)
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    account_now: AccountView = field(default_factory=AccountView)
    strays: list[Mapping[str, Any]] = field(default_factory=list)
    doubted: list[Mapping[str, Any]] = field(default_factory=list)
    denied: list[Mapping[str, Any]] = field(default_factory=list)
    differing: list[Mapping[str, Any]] = field(default_factory=list)
    bounds: list[Mapping[str, Any]] = field(default_factory=list)
    revision_now: int = 1
    asked: list[tuple[str, int]] = field(default_factory=list)

    def _note(self, what: str) -> None:
        self.asked.append((what, threading.get_ident()))

    def revision(self) -> int:
        self._note("revision")
        return self.revision_now

    def engine(self) -> EngineStatus:
        self._note("engine")
        return self.engine_now

    def instances(self, wanted: InstanceFilter, limit: int, offset: int) -> tuple[Sequence[InstanceStatus], int]:
        self._note("instances")
        matching = [one for one in self.fleet if _matches(one, wanted)]
        return matching[offset : offset + limit], len(matching)

    def instance(self, instance_id: str) -> InstanceStatus | None:
        self._note("instance")
        return next((one for one in self.fleet if one.id == instance_id), None)

    def troubled(self) -> Sequence[InstanceStatus]:
        self._note("troubled")
        return self.fleet

    def summary(self) -> FleetSummary:
        return FleetSummary(
            total=len(self.fleet),
            by_mode=Counter(one.effective_mode for one in self.fleet),
            by_sync=Counter(one.sync for one in self.fleet),
            by_health=Counter(one.health for one in self.fleet),
            real_money_active=sum(one.effective_mode is Mode.ACTIVE and one.account_id == "main" for one in self.fleet),
        )

    def ticks(self) -> Ticks:
        return Ticks(
            sum(one.ticks.count for one in self.fleet),
            sum(one.ticks.errors for one in self.fleet),
            sum(one.ticks.missed for one in self.fleet),
        )

    def widgets(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        self._note("widgets")
        return self.drawn

    def logs(self, instance_id: str) -> Sequence[Mapping[str, Any]]:
        self._note("logs")
        return self.lines

    def origins(self, instance_id: str) -> Mapping[str, str]:
        self._note("origins")
        return self.places

    def account(self, account_id: str, client_id: str) -> AccountView:
        self._note("account")
        return self.account_now

    def quote(self, account_id: str, symbol: str) -> Quote | None:
        self._note("quote")
        return self.quotes.get(symbol)

    def orphans(self) -> Sequence[Mapping[str, Any]]:
        self._note("orphans")
        return self.strays

    def doubts(self) -> Sequence[Mapping[str, Any]]:
        self._note("doubts")
        return self.doubted

    def denials(self) -> Sequence[Mapping[str, Any]]:
        self._note("denials")
        return self.denied

    def differences(self) -> Sequence[Mapping[str, Any]]:
        self._note("differences")
        return self.differing

    def limits(self) -> Sequence[Mapping[str, Any]]:
        self._note("limits")
        return self.bounds

    def problems(self, instance_id: str = "") -> Sequence[Problem]:
        self._note("problems")
        return [problem for problem in self.found if not instance_id or instance_id in problem.path]

    def without_instance(self) -> Sequence[Attempt]:
        self._note("without_instance")
        return self.files

    def strategies(self) -> Sequence[StrategySummary]:
        self._note("strategies")
        return self.definitions


def _matches(one: InstanceStatus, wanted: InstanceFilter) -> bool:
    key, _, value = wanted.label.partition("=")
    return (
        wanted.q in f"{one.id} {one.market} {one.strategy_type} {one.description}"
        and (not key or (key in one.labels and value in ("", one.labels[key])))
        and wanted.mode in ("", one.mode)
        and wanted.health in ("", one.health)
        and wanted.sync in ("", one.sync)
        and wanted.strategy_type in ("", one.strategy_type)
        and wanted.account in ("", one.account_id)
        and wanted.money in ("", "real" if one.account_id == "main" else "paper")
        and wanted.effective_mode in ("", one.effective_mode)
    )


@dataclass
class FakeReader:
    """Answers as `Reader` does, over plain lists, newest first, which notes its calls and threads."""

    order_rows: Rows = field(default_factory=lambda: [an_order()])
    event_rows: Rows = field(default_factory=lambda: [an_event()])
    generation_rows: Rows = field(default_factory=lambda: [a_generation()])
    tombstones: dict[str, Row] = field(default_factory=dict)
    known_commits: frozenset[str] = frozenset()
    followed: dict[str, Any] | None = None
    tried: dict[str, list[Attempt]] = field(default_factory=dict)
    books: tuple[list[Holding], list[Holding]] = ([], [])
    """What is held by its own fills, and in the shadow book."""
    asked: list[tuple[str, int]] = field(default_factory=list)

    def row(self, instance_id: str) -> Row | None:
        self.asked.append(("row", threading.get_ident()))
        return self.tombstones.get(instance_id)

    def attempts_of(self, instance_id: str) -> list[Attempt]:
        return self.tried.get(instance_id, [])

    def orders(
        self,
        instance_id: str = "",
        outcome: str = "",
        state: str = "",
        shadow: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        is_open: bool | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[Rows, int]:
        wanted = {"instance_id": instance_id, "outcome": outcome, "state": state}
        rows = [
            row
            for row in self.order_rows
            if shadow in (None, row["shadow"])
            and (since is None or datetime.fromisoformat(row["created_at"]) >= since)
            and (until is None or datetime.fromisoformat(row["created_at"]) < until)
            and is_open in (None, row["state"] in ("open", "partially_filled"))
        ]
        return self._page("orders", rows, wanted, limit, offset)

    def order(self, client_order_id: str) -> dict[str, Any] | None:
        self.asked.append(("order", threading.get_ident()))
        return next((row for row in self.order_rows if row["client_order_id"] == client_order_id), None)

    def holdings(self, instance_id: str, shadow: bool) -> list[Holding]:
        self.asked.append(("holdings", threading.get_ident()))
        return self.books[shadow]

    def changes(self, revisions: Iterable[str | None]) -> dict[str, dict[str, Any]]:
        self.asked.append(("changes", threading.get_ident()))
        return {one: a_change(one) for one in revisions if one in self.known_commits}

    def source(self) -> dict[str, Any] | None:
        self.asked.append(("source", threading.get_ident()))
        return self.followed

    def generation(self, instance_id: str, generation: int) -> dict[str, Any] | None:
        self.asked.append(("generation", threading.get_ident()))
        return next((row for row in self.generation_rows if row["generation"] == generation), None)

    def events(self, instance_id: str = "", type: str = "", limit: int = 100, offset: int = 0) -> tuple[Rows, int]:
        return self._page("events", self.event_rows, {"instance_id": instance_id, "type": type}, limit, offset)

    def history(self, instance_id: str, limit: int = 100, offset: int = 0) -> tuple[Rows, int]:
        return self._page("history", self.generation_rows, {}, limit, offset)

    def _page(self, what: str, rows: Rows, wanted: dict[str, str], limit: int, offset: int) -> tuple[Rows, int]:
        self.asked.append((what, threading.get_ident()))
        found = [row for row in rows if all(not value or row[key] == value for key, value in wanted.items())]
        return found[offset : offset + limit], len(found)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def status() -> FakeStatus:
    return FakeStatus()


@pytest.fixture
def reader() -> FakeReader:
    return FakeReader()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_S)


@pytest.fixture
def connect(status: FakeStatus, reader: FakeReader, clock: FakeClock) -> Connect:
    """`async with connect() as client`: a client of the application over the fakes."""

    @asynccontextmanager
    async def connected(
        options: DashboardOptions | None = None, *, base_url: str = "http://127.0.0.1:8080", crashes: bool = False
    ) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(status, cast(Reader, reader), clock, options or DashboardOptions(accounts=ACCOUNTS))
        transport = httpx.ASGITransport(app, raise_app_exceptions=not crashes)
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
            yield client

    return connected

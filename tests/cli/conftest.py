"""A fleet on disk, its database as an engine would have left it, and an engine's control socket to talk to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from reconciler.cli import main
from reconciler.clock import FakeClock, iso, utc
from reconciler.control.operator import CommandResult, PruneState
from reconciler.control.socket import PeerProtocol, bind_control_socket, create_control_app
from reconciler.orders.news import Correction, Shares, Verdict
from reconciler.orders.order import Order, OrderNews, OrderRequest, OrderState, OrderType, Outcome, Provenance, Side
from reconciler.records.accounts import Accounts
from reconciler.records.admission import Arrival, admit
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.halt import Halt
from reconciler.records.mode import Mode
from reconciler.records.status import Health, InstanceStatus, Sync, Ticks
from reconciler.serving import serving
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store import Store
from reconciler.strategy.catalogue import Catalogue

START_S = 1_700_000_000.0

STRATEGY = '''\
from reconciler.strategy import Strategy


class Drift(Strategy):
    """Does nothing, at a steady pace."""

    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {
        "type": "object",
        "required": ["levels"],
        "properties": {
            "levels": {"type": "integer", "minimum": 1, "description": "How many levels."},
            "pace": {"type": "string", "enum": ["slow", "fast"], "default": "slow", "description": "How fast."},
            "key": {"type": "string", "writeOnly": True, "description": "What opens the door."},
        },
    }

    def on_tick(self):
        pass
'''

INSTANCE = """\
id: {id}
strategy_type: drift
account: {{account_id: main, client_id: desk-a}}
market: BTC/USD
mode: {mode}
config:
  levels: {levels}
"""


@dataclass(frozen=True, slots=True)
class Fleet:
    """A folder with `instances/` and `strategies/`, and the command line at work in it."""

    root: Path
    clock: FakeClock = field(default_factory=lambda: FakeClock(START_S))

    @property
    def database(self) -> Path:
        return self.root / ".reconciler" / "reconciler.db"

    @property
    def control_socket(self) -> Path:
        return self.root / ".reconciler" / "control.sock"

    def write(self, id_: str, *, mode: str = "observe", levels: object = 5) -> Path:
        path = self.root / "instances" / f"{id_}.yaml"
        path.write_text(INSTANCE.format(id=id_, mode=mode, levels=levels), encoding="utf-8")
        return path

    def store(self) -> Store:
        return Store.open(self.database, self.clock)

    def apply(self, *missing: str) -> None:
        """Bring the database up to date with the files, as a pass of an engine does that knew these were `missing`."""
        snapshot = Worktree(self.root, self.clock, WorktreeOptions()).read()
        catalogue = Catalogue()
        catalogue.refresh(snapshot.strategies)
        files = evaluate_all(
            snapshot.instances, snapshot.templates, catalogue.facts, Accounts(), catalogue.types(), EvaluationCache()
        )
        with self.store() as store:
            arrival = Arrival(iso(self.clock.time()), None, settled=frozenset(missing))
            admitted = admit(files, store.desired.rows(), store.desired.attempts(), arrival)
            store.desired.apply(admitted.changes, admitted.attempts)

    def run(self, *arguments: str) -> Result:
        """`reconciler --root ROOT …`"""
        return CliRunner().invoke(main, ["--root", str(self.root), *arguments], prog_name="reconciler")


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "instances").mkdir()
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "drift.py").write_text(STRATEGY, encoding="utf-8")
    return Fleet(tmp_path)


@dataclass(slots=True)
class FakeEngine:
    """What stands behind the control socket: it notes commands, and shows `items` as its instances."""

    items: list[Mapping[str, Any]] = field(default_factory=list)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    failed: tuple[tuple[str, str], ...] = ()
    held: PruneState = field(default_factory=PruneState)
    halts: list[Mapping[str, Any]] = field(default_factory=list)
    engine_says: dict[str, Any] = field(default_factory=dict)
    orphans: list[Mapping[str, Any]] = field(default_factory=list)
    problems: list[Mapping[str, Any]] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)

    def pause(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        return self._called(ids or ("all",), "pause", ids, reason)

    def resume(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        return self._called(ids or ("all",), "resume", ids, reason)

    def halt(self, wanted: Halt, uid: int) -> CommandResult:
        return self._called((wanted.id or "all",), "halt", wanted)

    def drill(self, account: str, takes: bool, reason: str, uid: int) -> CommandResult:
        return self._called((account,), "drill", account, takes, reason)

    def cancel(self, client_order_id: str, reason: str, uid: int) -> CommandResult:
        return self._called((client_order_id,), "cancel", client_order_id, reason)

    def unhalt(self, scope: str, id: str, reason: str, uid: int) -> CommandResult:
        return self._called((id or "all",), "unhalt", scope, id, reason)

    def resolve(self, client_order_id: str, verdict: Verdict, uid: int) -> CommandResult:
        return self._called((client_order_id,), "resolve", client_order_id, verdict)

    def correct(self, instance_id: str, correction: Correction, uid: int) -> CommandResult:
        return self._called((instance_id,), "correct", instance_id, correction)

    def mark(self, instance_id: str, price: Decimal, reason: str, uid: int) -> CommandResult:
        return self._called((instance_id,), "mark", instance_id, price, reason)

    def lift_limit(self, scope: str, reason: str, uid: int) -> CommandResult:
        return self._called((scope,), "lift_limit", scope, reason)

    def settle(self, account: str, shares: Shares, uid: int) -> CommandResult:
        return self._called((account,), "settle", account, shares)

    def accept_tools(self, server: str, reason: str, uid: int) -> CommandResult:
        return self._called((server,), "accept_tools", server, reason)

    def note_placing(self, account: str, order: str, reason: str, uid: int) -> CommandResult:
        return self._called((account,), "note_placing", account, order, reason)

    def prune(self) -> PruneState:
        return self.held

    def confirm_prune(self, digest: str, reason: str, uid: int) -> CommandResult:
        return self._called(self.held.held, "confirm_prune", digest, reason)

    def accept_commit(self, commit: str, reason: str, uid: int) -> CommandResult:
        return self._called((commit,), "accept_commit", commit, reason)

    def forget_beats(self, reason: str, uid: int) -> CommandResult:
        return self._called(("beats go on",), "forget_beats", reason)

    def full_pass(self) -> None:
        self._called((), "full_pass")

    def _called(self, done: Sequence[str], *call: Any) -> CommandResult:
        self.calls.append(call)
        lost = {id_ for id_, _ in self.failed}
        return CommandResult(tuple(id_ for id_ in done if id_ not in lost), self.failed)

    async def list_instances(self, request: Request) -> JSONResponse:
        limit, offset = int(request.query_params["limit"]), int(request.query_params["offset"])
        self.asked = dict(request.query_params)
        return JSONResponse({"items": self.items[offset : offset + limit], "total": len(self.items)})

    async def show_engine(self, request: Request) -> JSONResponse:
        return JSONResponse({**self.engine_says, "halts": self.halts})

    async def list_problems(self, request: Request) -> JSONResponse:
        return JSONResponse({"items": self.problems, "total": len(self.problems)})

    async def list_orphans(self, request: Request) -> JSONResponse:
        return JSONResponse({"items": self.orphans, "total": len(self.orphans)})

    async def show_instance(self, request: Request) -> JSONResponse:
        for item in self.items:
            if item["id"] == request.path_params["id"]:
                return JSONResponse(item)
        return JSONResponse({"error": {"code": "not_found", "message": "no such instance"}}, status_code=404)


@pytest.fixture
def engine(fleet: Fleet) -> Iterator[FakeEngine]:
    """A fake engine that listens on the fleet's control socket."""
    fake = FakeEngine()
    app = create_control_app(
        fake,
        [
            Route("/api/v1/instances", fake.list_instances),
            Route("/api/v1/instances/{id}", fake.show_instance),
            Route("/api/v1/engine", fake.show_engine),
            Route("/api/v1/orders/orphans", fake.list_orphans),
            Route("/api/v1/problems", fake.list_problems),
        ],
    )
    fleet.control_socket.parent.mkdir(exist_ok=True)
    listener = bind_control_socket(fleet.control_socket)
    listener.listen()
    stopping = asyncio.Event()
    loops: Queue[asyncio.AbstractEventLoop] = Queue()

    async def serve() -> None:
        async with serving(app, listener, "control", http=PeerProtocol, ws="none"):
            loops.put(asyncio.get_running_loop())
            await stopping.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="fake engine")
    thread.start()
    loop = loops.get(timeout=60)
    yield fake
    loop.call_soon_threadsafe(stopping.set)
    thread.join(10)
    assert not thread.is_alive()


def live_item(id_: str) -> dict[str, object]:
    return InstanceStatus(
        id=id_,
        strategy_type="drift",
        account_id="main",
        client_id="desk-a",
        market="BTC/USD",
        mode=Mode.ACTIVE,
        effective_mode=Mode.OBSERVE,
        paused=True,
        sync=Sync.OUT_OF_SYNC,
        health=Health.PAUSED,
        generation=2,
        observed_generation=1,
        revision=None,
        committed=False,
        path=f"instances/{id_}.yaml",
        config={},
        effective_config={},
        labels={},
        description="",
        conditions=(),
        ticks=Ticks(count=7, errors=1),
    ).to_json()


def an_order(client_order_id: str, outcome: Outcome, at_s: float) -> Order:
    return Order(
        client_order_id=client_order_id,
        provenance=Provenance("a", "main", "desk-a", "BTC/USD", Mode.ACTIVE, 1, "c", "d", None, 5),
        request=OrderRequest(Side.BUY, OrderType.LIMIT, Decimal("0.10"), limit_price=Decimal("60000")),
        outcome=outcome,
        created_at=utc(at_s),
        updated_at=utc(at_s),
    )


@pytest.fixture
def trading(fleet: Fleet) -> Fleet:
    """`a` bought 0.1 at 60,000 for a fee of 1; `b` never traded."""
    fleet.write("a")
    fleet.write("b", mode="off")
    fleet.apply()
    with fleet.store() as store:
        store.ledger.append(an_order("x1", Outcome.PENDING, START_S))
        store.ledger.settle(
            "x1",
            OrderNews(
                outcome=Outcome.ACCEPTED,
                state=OrderState.FILLED,
                filled_quantity=Decimal("0.1"),
                average_price=Decimal(60_000),
                fee=Decimal(1),
            ),
        )
    return fleet

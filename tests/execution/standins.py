"""What stands in for the rest of the engine: a main loop in a thread of its own, gates, scripted servers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeVar

from reconciler.assembly import order_side
from reconciler.clock import Clock, FakeClock, iso
from reconciler.errors import CapabilityUnavailable, ExecUnavailable
from reconciler.exec_mcp.bridge import Bridge, Handover, InlineBridge, LoopBridge
from reconciler.exec_mcp.market_data import MarketData
from reconciler.exec_mcp.refusals import RateLimits
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.execution.gateway import Gateway
from reconciler.orders.order import Order, OrderRequest, OrderType, Provenance, Side
from reconciler.records.accounts import Accounts, DeclaredAccount
from reconciler.records.mode import Mode
from reconciler.records.record import Limits
from reconciler.store.database import ReadPool, open_writable
from reconciler.store.halt_requests import NoRequests
from reconciler.store.store import Store
from reconciler.store.writer import InlineWriter

T = TypeVar("T")

TOOLS = (
    "place_order",
    "cancel_order",
    "get_order",
    "list_orders",
    "get_positions",
    "get_balances",
    "get_quote",
    "get_candles",
    "get_rules",
)
QUOTE = {"bid": "99", "ask": "101", "as_of": iso(FakeClock().time())}


class Carrier(Protocol):
    """What carries an engine's order side: a loop that runs beside the test, or the test's own thread alone."""

    ident: int | None
    """The loop's thread, None where there is none beside the test's own."""

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T: ...

    def bridge(self) -> Bridge: ...

    def store(self, path: Path, clock: Clock) -> Store:
        """The store at `path`."""
        ...

    def elsewhere(self) -> Executor:
        """Where a test steps in that may wait for the writer."""
        ...

    def close(self) -> None: ...


class AtOnce(Executor):
    """Whatever is submitted has been done on return."""

    def submit(self, work: Callable[..., T], /, *args: Any, **named: Any) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(work(*args, **named))
        return done


class Inline:
    """Everything on the test's own thread: coroutines, and a writer that commits on submit."""

    def __init__(self) -> None:
        self.ident: int | None = None
        self._bridge = InlineBridge()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        return self._bridge.call(lambda: work)

    def bridge(self) -> Bridge:
        return InlineBridge()

    def store(self, path: Path, clock: Clock) -> Store:
        held = ExitStack()
        writer = InlineWriter(open_writable(path, 1.0))
        held.callback(writer.close)
        reads = ReadPool(path)
        held.callback(reads.close)
        return Store(writer, reads, clock, held, NoRequests())

    def elsewhere(self) -> Executor:
        return AtOnce()

    def close(self) -> None:
        """There is nothing beside the test."""


class MainLoop:
    """An event loop that runs beside the test, so that the test's own thread is a worker thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.ident = self._thread.ident

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60.0) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout_s)

    def store(self, path: Path, clock: Clock) -> Store:
        return Store.open(path, clock)

    def elsewhere(self) -> Executor:
        return ThreadPoolExecutor(1, "elsewhere")

    def bridge(self) -> Bridge:
        async def make() -> Bridge:
            return LoopBridge()

        return self.run(make())

    def close(self) -> None:
        """As `asyncio.run` ends one: what was asked for and never begun is cancelled, and ends."""

        async def cancelled() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(cancelled())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Watching:
    """Implements `bridge.Look`: lets everything leave, and tells when the call is out of hand."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self.wait = self._over.wait

    def passes(self) -> bool:
        return True

    def over(self) -> None:
        self._over.set()


@dataclass
class StandInGate:
    """A gate a test can turn at will."""

    instance_id: str = "btc-grid-1"
    account_id: str = "main"
    client_id: str = "desk-a"
    symbol: str = "BTC/USD"
    mode: Mode = Mode.ACTIVE
    paused: bool = False
    limits: Limits = field(default_factory=Limits)
    committed: bool = True

    def provenance(self, beat: int) -> Provenance:
        return Provenance(
            instance_id=self.instance_id,
            account_id=self.account_id,
            client_id=self.client_id,
            symbol=self.symbol,
            mode=self.mode,
            generation=3,
            config_digest="c0ffee",
            code_digest="c0de",
            revision="abc",
            beat=beat,
        )


_ANSWERS: dict[str, dict[str, Any]] = {
    "get_quote": QUOTE,
    "place_order": {"status": "open", "order_id": "x-1"},
    "list_orders": {"orders": []},
    "get_positions": {"positions": []},
    "get_rules": {},
}
"""What a server answers where no test says otherwise."""

Answer = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class ScriptedServer:
    """A server that answers as a test tells it to, and remembers what it was asked."""

    def __init__(self, name: str = "paper", timeout_s: float = 5.0, clock: FakeClock | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.script: dict[str, Answer] = {}
        self.name = name
        self.timeout_s = self.starting_s = timeout_s
        self.murmur = ()
        self.limits = RateLimits(clock or FakeClock())
        self.on_connected: Callable[[], None] | None = None
        self.status = ServerStatus(name, True, iso(0), TOOLS, "")

    def accept(self) -> None:
        """Nothing ever changes."""

    def went_down(self, error: str = "gone") -> None:
        self.status = replace(self.status, connected=False, last_error=error)

    def returned(self, *tools: str) -> None:
        """A new connection, whose server has these tools; without any, all of them."""
        made = self.status.connections + 1
        self.status = ServerStatus(self.name, True, iso(0), tools or TOOLS, "", connections=made)

    def lost_tool(self, tool: str) -> None:
        self.status = replace(self.status, tools=tuple(t for t in TOOLS if t != tool))

    def asked(self, tool: str) -> list[dict[str, Any]]:
        return [arguments for called, arguments in self.calls if called == tool]

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        handover: Handover | None = None,
    ) -> dict[str, Any]:
        handover = handover or Handover()
        try:
            if not self.status.connected:
                raise ExecUnavailable(self.status.last_error)
            if tool not in self.status.tools:
                raise CapabilityUnavailable(tool, self.name)
            if not handover.claim():
                raise ExecUnavailable("given up")
            self.calls.append((tool, dict(arguments)))
            handover.finish()
            if tool in self.script:
                return await self.script[tool](arguments)
            return dict(_ANSWERS[tool])
        finally:
            handover.finish()

    def answers(self, tool: str, answer: dict[str, Any]) -> None:
        async def give(_: Mapping[str, Any]) -> dict[str, Any]:
            return answer

        self.script[tool] = give

    def fails(self, tool: str, error: Exception) -> None:
        async def give(_: Mapping[str, Any]) -> dict[str, Any]:
            raise error

        self.script[tool] = give


ACCOUNTS = Accounts(
    {"real": DeclaredAccount("real", "paper", real_money=True), "main": DeclaredAccount("main", "paper", False)}, None
)


@dataclass
class Desk:
    """A gateway on a real store, with a scripted server behind it."""

    gateway: Gateway
    store: Store
    server: ScriptedServer
    main_loop: MainLoop
    clock: FakeClock
    bridge: Bridge
    servers: Servers
    market: MarketData

    def buy(self, gate: StandInGate, quantity: str = "1", limit: str | None = None, side: Side = Side.BUY) -> Order:
        return self.gateway.place(gate, request(quantity, limit, side), beat=7)

    def follow_up(self, beat: int = 8) -> None:
        self.main_loop.run(self.gateway.follow_up(beat))

    def restarted(self) -> Gateway:
        """A gateway that begins with what the ledger holds, as after a restart."""
        return order_side(self.clock, self.store, self.servers, self.bridge).gateway


def request(quantity: str = "1", limit: str | None = None, side: Side = Side.BUY) -> OrderRequest:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return OrderRequest(side, kind, Decimal(quantity), None if limit is None else Decimal(limit))


def events(desk: Desk) -> list[tuple[str, str]]:
    """What was told of instances and accounts, newest first: (reason, message)."""
    desk.store.flush()
    found = desk.store.ledger._reads.query("SELECT reason, message FROM events ORDER BY last_at DESC, id DESC")
    return [(item["reason"], item["message"]) for item in found]

"""One life of the engine's order side: real store, gateway and gates, with seams where a test may step in.

A crash leaves what kill -9 leaves: the files of the database as they are, and nothing that ran goes on.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_all
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from reconciler.assembly import order_side
from reconciler.clock import FakeClock, iso
from reconciler.errors import ExecUnavailable, ExecUnknown, StoreError
from reconciler.exec_mcp.bridge import GRACE_S, Bridge, Handover, wait
from reconciler.exec_mcp.refusals import RateLimits
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.orders.holding import Holding
from reconciler.orders.order import Order
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.record import Row
from reconciler.runtime.gate_state import Gate
from reconciler.store.ledger import Ledger, LedgerListener
from reconciler.store.store import Store
from reconciler.store.writer import GroupWriter, InlineWriter
from tests.execution.standins import ACCOUNTS, TOOLS, Carrier

T = TypeVar("T")
_PATIENT_S = 5.0


class Crashed(BaseException):
    """The process is gone: nothing that ran in it goes on."""


class World(Protocol):
    """What steps in at the seams. `way` is what becomes of the order that leaves next."""

    way: str
    extras: Sequence[str]
    """Tools that not all servers have."""
    violation: AssertionError | None

    def booked(self, order: Order, hear: Callable[[], None]) -> None:
        """Something became of an order, and is committed; the engine hears of it by `hear`, to be called once."""
        ...

    def hook(self, point: str) -> None:
        """On the way of an order. Raises Crashed where the engine dies there."""
        ...

    async def carried(self, engine: Engine, tool: str, arguments: Mapping[str, Any], handover: Handover) -> Any: ...


class Link:
    """The connection of one engine to the exchange: what it carries, and how badly, the world decides."""

    def __init__(self, engine: Engine, clock: FakeClock) -> None:
        self._engine = engine
        self.limits = RateLimits(clock)
        self.name = "paper"
        self.timeout_s = self.starting_s = _PATIENT_S
        self.murmur = ()
        self.on_connected: Callable[[], None] | None = None
        tools = (*TOOLS, *engine.world.extras)
        self.status = ServerStatus("paper", True, iso(0), tools, "", connections=1)

    def accept(self) -> None:
        """Nothing ever changes."""

    def lose(self) -> None:
        self.status = replace(self.status, connected=False, last_error="gone")

    def restore(self) -> None:
        """A new connection, where there is none."""
        if not self.status.connected:
            made = self.status.connections + 1
            self.status = replace(self.status, connected=True, last_error="", connections=made)

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        handover: Handover | None = None,
    ) -> dict[str, Any]:
        handover = handover or Handover()
        engine = self._engine
        try:
            engine.require_alive()
            if not self.status.connected:
                raise ExecUnavailable("gone")
            connection = self.status.connections
            answer = await engine.world.carried(engine, tool, arguments, handover)
            engine.require_alive()
            if (self.status.connected, self.status.connections) != (True, connection):
                raise ExecUnknown("the connection was lost while it was asked")
            return cast("dict[str, Any]", answer)
        finally:
            handover.finish()

    def impatient(self) -> None:
        """Whoever waits for an answer from now on gives up at once."""
        self.timeout_s = -GRACE_S

    def patient(self) -> None:
        self.timeout_s = _PATIENT_S


class WatchedLedger:
    """The ledger, told of by the world: between the commit of an intent and the last look something may happen."""

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine = engine
        self._ledger = store.ledger
        self.refuses_next = False

    def append(self, order: Order) -> None:
        self._engine.require_alive()
        self._ledger.append(order)
        self._engine.world.hook("committed")

    def appending(self, order: Order) -> Future[Any]:
        """Told of on a thread of nobody's: whoever steps in may wait for the writer."""
        self._engine.require_alive()
        told: Future[Any] = Future()

        def between(intent: Future[Any]) -> None:
            try:
                intent.result()
                self._engine.world.hook("committed")
                self._engine.is_committed = True
                if self._engine.world.way == "slow":
                    self._engine.link.impatient()
            except BaseException as error:  # noqa: BLE001 - it is the placing's, whatever it is
                told.set_exception(error)
            else:
                told.set_result(None)

        intent = self._ledger.appending(order)
        intent.add_done_callback(lambda done: self._engine.elsewhere.submit(between, done))
        return told

    def settling(self, client_order_id: str, *more: Any) -> Future[Any]:
        self._engine.require_alive()
        if self.refuses_next:
            self.refuses_next = False
            refused: Future[Any] = Future()
            refused.set_exception(StoreError("the disk is full"))
            return refused
        return self._ledger.settling(client_order_id, *more)

    @property
    def listener(self) -> Any:
        """Who is told what was committed."""
        return self._ledger.listener

    @listener.setter
    def listener(self, listener: Any) -> None:
        self._ledger.listener = cast(LedgerListener, _Heard(self._engine.world, listener))

    def __getattr__(self, name: str) -> Any:
        self._engine.require_alive()
        return getattr(self._ledger, name)


class _Heard:
    """Who hears of commits, and the world a moment before."""

    def __init__(self, world: World, listener: LedgerListener) -> None:
        self._world = world
        self._listener = listener

    def changed(self, before: Order | None, after: Order, holding: Holding | None) -> None:
        self._world.booked(after, lambda: self._listener.changed(before, after, holding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


class WatchedBridge:
    """Before the loop has the order, and so before the last look, something may happen on the loop itself."""

    def __init__(self, engine: Engine, bridge: Bridge) -> None:
        self.engine = engine
        self.close, self.result, self.within = bridge.close, bridge.result, bridge.within
        self.claims = bridge.claims
        self._bridge = bridge
        self._running: set[Future[Any]] = set()

    def call(self, work: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        return wait(self.start(work), timeout_s)

    def settle(self) -> None:
        """Wait until nothing runs that was started here."""
        wait_for_all(tuple(self._running), 10)

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        started = self._started(work)
        self._running.add(started)
        started.add_done_callback(self._running.discard)
        return started

    def _started(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        engine = self.engine
        if not engine.is_committed:
            return self._bridge.start(work)
        engine.is_committed = False

        async def watched() -> T:
            engine.world.hook("handing over")
            return await work()

        return self._bridge.start(watched)


class Engine:
    """From a start to its end. `rows` are what the records say."""

    def __init__(
        self,
        path: Path,
        world: World,
        rows: Mapping[str, Row],
        main_loop: Carrier,
        clock: FakeClock,
        accounts: Accounts = ACCOUNTS,
    ) -> None:
        self.path = path
        self.world = world
        self.main_loop = main_loop
        self.is_dead = False
        self.is_committed = False
        """True from when an intent was committed until something is handed to the loop: that is the order."""
        self.elsewhere = main_loop.elsewhere()
        self.store = main_loop.store(path, clock)
        # What a killed process leaves is in the files whether the disk has it or not, and waiting for the disk is slow.
        writer = self.store._writer
        assert isinstance(writer, (GroupWriter, InlineWriter))
        (writer._db if isinstance(writer, GroupWriter) else writer.db).execute("PRAGMA synchronous = OFF")
        self.ledger = WatchedLedger(self, self.store)
        self.link = Link(self, clock)
        self.servers = Servers({"paper": self.link}, accounts)
        self.bridge = WatchedBridge(self, main_loop.bridge())
        self.store.ledger = cast(Ledger, self.ledger)
        self.gateway = order_side(clock, self.store, self.servers, self.bridge).gateway
        self._watch_reads()
        self.gates = {id_: self._gate(row) for id_, row in rows.items()}

    def _watch_reads(self) -> None:
        """The last look is taken on the loop, and whoever closes something waits for it: it must not read the disk."""
        reads, loop_thread = self.store.ledger._reads, self.main_loop.ident
        query = reads.query

        def watched(*more: Any) -> Any:
            if threading.get_ident() == loop_thread and self.bridge.claims.writing():  # inline, there is no such thread
                self.world.violation = AssertionError("the loop read the disk at a last look")
            return query(*more)

        reads.query = watched  # type: ignore[method-assign, assignment]

    def require_alive(self) -> None:
        if self.is_dead:
            raise Crashed

    def follow_up(self, beat: int) -> None:
        self.main_loop.run(self.gateway.follow_up(beat))
        self.settle()

    def connected(self) -> None:
        """What a connection sets off."""
        told = self.link.on_connected
        assert told is not None

        async def tell() -> None:
            told()

        self.main_loop.run(tell())
        self.settle()

    def settle(self) -> None:
        """Wait until nothing runs in the background."""

        async def rest() -> None:
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)

        self.bridge.settle()
        self.main_loop.run(rest())

    def crash(self, path: Path) -> None:
        """End as kill -9 ends it. `path` becomes the database as it was left."""
        self.is_dead = True
        self.settle()
        # On the writer's thread: the files are as they are at one moment, whatever it is at.
        wait_for_all([self.store._writer.submit(lambda db: self._leave(path))], 10)
        self._let_go()

    def _leave(self, path: Path) -> None:
        for suffix in ("", "-wal"):
            left = self.path.with_name(self.path.name + suffix)
            if left.exists():
                shutil.copyfile(left, path.with_name(path.name + suffix))

    def stop(self) -> None:
        self.settle()
        self._let_go()

    def _let_go(self) -> None:
        self.bridge.close()
        self.gateway.close()
        self.store.close()
        self.elsewhere.shutdown()

    def _gate(self, row: Row) -> Gate:
        gate = Gate(row)
        gate.open(row, Mode.ACTIVE)
        return gate

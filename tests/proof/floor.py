"""A trading floor to prove things on: host, gateway, store and paper exchange, real ones, wired as the engine does.

Only the clock is a fake: beats come as fast as everybody is done with the one before.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reconciler.assembly import Assembly, Driver, assembled
from reconciler.clock import FakeClock, SystemClock
from reconciler.control.observer import Source
from reconciler.exec_mcp.bridge import InlineBridge, LoopBridge
from reconciler.exec_mcp.options import embedded
from reconciler.exec_mcp.paper_venue import PaperMarket, PaperVenue
from reconciler.exec_mcp.servers import PaperSite, Servers, open_servers
from reconciler.inline import Still
from reconciler.paper.account import PaperOptions
from reconciler.paper.feed import FeedOptions
from reconciler.paper.mcp_server import open_exchange
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.plan import Phase
from reconciler.records.record import Identity, InstanceRecord, Limits, Row, digest
from reconciler.records.snapshot import Snapshot
from reconciler.runtime.host import Host, InlineHost, ThreadHost
from reconciler.runtime.protocol import LoadSpec
from reconciler.settings.loading import load as settings
from reconciler.store.reader import Reader
from reconciler.store.store import Store
from reconciler.strategy.definition import Definition
from reconciler.strategy.module_loading import load
from reconciler.validation.config_schema import defaults
from tests.execution.standins import MainLoop

HEARTBEAT_S = 6.0
CLIENT = "desk-a"
NOTICE_S = 20.0


@dataclass(frozen=True)
class Deployment:
    """An instance, as its file would say."""

    id: str
    strategy: Definition
    config: Mapping[str, Any]
    market: str
    account: str = "main"
    mode: Mode = Mode.ACTIVE
    limits: Limits = field(default_factory=Limits)

    def row(self) -> Row:
        record = InstanceRecord(
            id=self.id,
            identity=Identity(self.strategy.strategy_type, self.account, CLIENT, self.market),
            mode=self.mode,
            config=self.config,
            effective_config=defaults(self.config, self.strategy.config_schema),
            limits=self.limits,
        )
        return Row(
            record=record,
            path=f"instances/{self.id}.yaml",
            generation=1,
            values_digest="",
            config_digest=digest(self.config),
            file_digest="",
            code_digest=self.strategy.code_digest,
            revision="abc",
            committed=True,
            applied_at="2026-01-31T12:00:00.000Z",
        )


@dataclass
class Floor:
    """Everything at work, as `assembled` wires it. Beats are given by hand."""

    engine: Assembly
    clock: FakeClock
    run: Callable[[Coroutine[Any, Any, Any]], Any]
    """What is done on the loop, to its end."""
    reader: Reader | None = None
    dispatched: int = 0

    @property
    def store(self) -> Store:
        return self.engine.store

    @property
    def host(self) -> Host:
        return self.engine.host

    def load(self, deployments: Sequence[Deployment]) -> None:
        for deployment in deployments:
            self.host.load(LoadSpec(deployment.row(), deployment.strategy))
        running = Counter({Phase.RUNNING: len(deployments)})
        wait_until(
            lambda: Counter(view.phase for view in self.host.views().values()) == running, "everything to be loaded"
        )

    def beat(self) -> None:
        """Six seconds pass; whoever is due ticks, then orders are followed up."""
        self.clock.advance(HEARTBEAT_S)
        beat = int(self.clock.time() // HEARTBEAT_S)
        report = self.host.beat(beat)
        assert not report.missed, report
        self.dispatched += report.dispatched
        wait_until(lambda: self.host.ticks().count >= self.dispatched, "all ticks to end")
        self.run(self.engine.gateway.follow_up(beat))

    def ask(self, tool: str, account: str, **arguments: Any) -> dict[str, Any]:
        """What the exchange says."""
        subject = {"account_id": account, "client_id": CLIENT, **arguments}
        answer: dict[str, Any] = self.run(self.engine.servers.reaching(account).call(tool, subject))
        return answer


NOTHING = Still(Snapshot((), (), (), None, None, clean=False, whole=False))
"""Whoever is deployed is told to the host: no file says so."""


@contextmanager
def trading_floor(
    folder: Path,
    options: PaperOptions,
    source: Source = NOTHING,
    driver: Callable[[], Driver] | None = None,
    *,
    clock: FakeClock | None = None,
    feed: FeedOptions | None = None,
) -> Iterator[Floor]:
    """A floor whose state lives in `folder`, on threads and a loop, orders travelling over real MCP.

    Without a `clock` of the test's own it is noon, and the market is open. `driver` is asked for on the loop.
    """
    clock, loop, told = clock or FakeClock(), MainLoop(), settings(folder, {})
    stop = asyncio.Event()
    ready: list[Assembly] = []

    async def live(store: Store) -> None:
        site = PaperSite(HEARTBEAT_S, options, feed or FeedOptions(), journals=folder)
        async with open_servers([embedded()], told.accounts, clock, site) as servers:
            made = Driver(LoopBridge(), ThreadHost) if driver is None else driver()
            ready.append(assembled(told, clock, store, servers, source, made, adopt=source is not NOTHING))
            await stop.wait()
            ready[0].close()

    with Store.open(folder / "reconciler.db", clock) as store:
        living = asyncio.run_coroutine_threadsafe(live(store), loop.loop)
        wait_until(lambda: ready or living.done(), "the servers to be opened")
        (engine,) = ready
        engine.host.start()
        with closing(Reader.open(folder / "reconciler.db")) as reader:
            try:
                wait_until(
                    lambda: (
                        all(status.connected for status in engine.servers.statuses())
                        and not engine.gateway.is_comparing()
                    ),
                    "the exchange to be connected and compared",
                )
                yield Floor(engine, clock, loop.run, reader)
            finally:
                engine.host.stop(NOTICE_S)
                loop.loop.call_soon_threadsafe(stop.set)
                living.result(NOTICE_S)
                loop.close()


@contextmanager
def inline_floor(folder: Path, options: PaperOptions) -> Iterator[Floor]:
    """The same on the calling thread, the exchange called as a function: as fast as it can be."""
    clock, bridge = FakeClock(), InlineBridge()
    with (
        Store.in_memory(clock) as store,
        open_exchange(clock, step_s=HEARTBEAT_S, options=options, journal=folder / "paper.journal") as exchange,
    ):
        venue = PaperVenue(exchange, clock)
        servers = Servers({"paper": venue}, Accounts())
        driver = Driver(bridge, InlineHost, draws=False, market=partial(PaperMarket, exchange, clock))
        engine = assembled(settings(folder, {}), clock, store, servers, NOTHING, driver)

        async def connect() -> None:
            venue.connect()

        bridge.call(connect)
        yield Floor(engine, clock, lambda work: bridge.call(lambda: work))
        engine.host.stop(NOTICE_S)
        engine.close()


def definition(source: Path) -> Definition:
    """The strategy in that file."""
    loaded = load(source.stem, source.read_bytes(), str(source), "v1")
    assert isinstance(loaded, Definition), loaded
    return loaded


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition, a while at most, in real time."""
    clock, never = SystemClock(), threading.Event()
    give_up_s = clock.monotonic() + NOTICE_S
    while not condition():
        assert clock.monotonic() < give_up_s, f"expected {what} within {NOTICE_S:g} s"
        clock.wait(never, 0.0005)

"""A trading floor to prove things on: host, gateway, store and paper exchange, real ones, wired as the engine does.

Only the clock is a fake: beats come as fast as everybody is done with the one before. Orders travel over real MCP.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.clock import FakeClock, SystemClock
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.exec_mcp.market_data import MarketData
from reconciler.exec_mcp.options import embedded
from reconciler.exec_mcp.servers import PaperSite, Servers, open_servers
from reconciler.execution.gateway import Gateway
from reconciler.paper.terms import PaperOptions
from reconciler.records.accounts import Accounts
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Limits, Row, digest
from reconciler.runtime.host import ThreadHost
from reconciler.runtime.performer import no_secrets
from reconciler.runtime.protocol import HostOptions, LoadSpec, Report
from reconciler.runtime.slot import World
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
    """Everything at work. Beats are given by hand."""

    clock: FakeClock
    store: Store
    reader: Reader
    servers: Servers
    gateway: Gateway
    host: ThreadHost
    loop: MainLoop
    reports: list[Report]
    dispatched: int = 0

    def load(self, deployments: Sequence[Deployment]) -> None:
        for deployment in deployments:
            self.host.load(LoadSpec(deployment.row(), deployment.strategy))
        wait_until(lambda: len(self.reports) == len(deployments), "everything to be loaded")

    def beat(self) -> None:
        """Six seconds pass; whoever is due ticks, then orders are followed up."""
        self.clock.advance(HEARTBEAT_S)
        beat = int(self.clock.time() // HEARTBEAT_S)
        report = self.host.beat(beat)
        assert not report.missed, report
        self.dispatched += report.dispatched
        wait_until(lambda: self.host.ticks().count >= self.dispatched, "all ticks to end")
        self.loop.run(self.gateway.follow_up(beat))

    def ask(self, tool: str, account: str, **arguments: Any) -> dict[str, Any]:
        """What the exchange says."""
        subject = {"account_id": account, "client_id": CLIENT, **arguments}
        return self.loop.run(self.servers.reaching(account).call(tool, subject))


@contextmanager
def trading_floor(folder: Path, options: PaperOptions) -> Iterator[Floor]:
    """A floor whose state lives in `folder`. It is noon, and the market is open."""
    clock, loop, reports = FakeClock(), MainLoop(), list[Report]()
    stop = asyncio.Event()
    ready: list[tuple[Servers, Gateway, MarketData]] = []

    async def live(store: Store) -> None:
        site = PaperSite(HEARTBEAT_S, options, journals=folder)
        async with open_servers([embedded()], Accounts(), clock, site) as servers:
            bridge = LoopBridge()
            market = MarketData(servers, bridge)
            gateway = Gateway(store, servers, market, bridge, clock)
            ready.append((servers, gateway, market))
            await stop.wait()
            bridge.close()
            gateway.close()

    with Store.open(folder / "reconciler.db", clock) as store:
        living = asyncio.run_coroutine_threadsafe(live(store), loop.loop)
        wait_until(lambda: ready or living.done(), "the servers to be opened")
        servers, gateway, market = ready[0]
        gateway.recover()
        host = ThreadHost(World(clock, gateway, market, HEARTBEAT_S), HostOptions(), reports.append, no_secrets)
        host.start()
        reader = Reader.open(folder / "reconciler.db")
        try:
            wait_until(
                lambda: all(status.connected for status in servers.statuses()) and not gateway.is_comparing(),
                "the exchange to be connected and compared",
            )
            yield Floor(clock, store, reader, servers, gateway, host, loop, reports)
        finally:
            host.stop(NOTICE_S)
            loop.loop.call_soon_threadsafe(stop.set)
            living.result(NOTICE_S)
            loop.close()
            reader.close()


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

"""Orders through the gateway, against the SDK's own client calling `place_order` at the same paper exchange.

Ours writes each order down, on the disk, before it leaves and once it is answered, and asks the gate twice; the peer
does nothing but call. Both talk real MCP over HTTP on loopback with one exchange, which runs in a process of its own
as exchanges do. Both place from as many strategies at a time, each its next order once the last is answered, and take
turns in one run. The goal is for an exchange that answers at once; how it is at one as far away as most are, stands
beside it. And a burst: a thousand instances that are due at the same beat, as at each full hour, through the whole
engine, each placing one order there; the peer places as many, 64 at a time. And what limits above the instance cost:
the same orders with every limit of an account and a throttle reckoned for each, and without any, in turns.
`python -m tests.bench.orders`

Where the processor's time of an order goes, step by step, `python -m tests.bench.way` tells. The loop had most of it
once, two thirds of that the SDK's session, its tasks, streams and HTTP messages: calls whose answers are plain take a
short way past it. Half of the writer's went into reading half a megabyte of the log again for each commit. Tried, and
of no use: waiting for more writes to share a commit, from 50 µs to a millisecond, and taking in those that come while
its jobs run (what comes while the files are looked at goes along); other switch intervals, from 20 µs to 5 ms; an
event loop in C, which cannot try a host's addresses side by side. With four at a time it is the way of each that
counts: an order goes to another thread four times, waits for two commits, one after the other, and all that Python
does for it on three threads shares one interpreter with what it does for the others. What is left is the two commits
with their rows, books and some twenty pages of the log, which the bare client does without.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any

from reconciler.app import SWITCH_S
from reconciler.assembly import Assembly, Driver, assembled, order_side
from reconciler.clock import SystemClock
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.exec_mcp.options import ServerOptions, embedded
from reconciler.exec_mcp.servers import PaperSite, Servers, open_servers
from reconciler.orders.order import OrderRequest, OrderType, Outcome, Side
from reconciler.records.accounts import Accounts, Ceilings, DeclaredAccount, Scope, Throttle, Turnover
from reconciler.records.plan import Phase
from reconciler.runtime.host import ThreadHost
from reconciler.runtime.protocol import LoadSpec
from reconciler.settings.loading import load as settings
from reconciler.store.store import Store
from tests.bench.result import Result
from tests.execution.standins import MainLoop, StandInGate
from tests.proof.floor import NOTHING, Deployment, definition, wait_until

AT_ONCE = 4
ORDERS = 50
ROUNDS = 5
GOAL = 0.8
FAR_S = 0.05
"""How long an exchange takes that is not on the same machine."""
BOUNDED_GOAL, BOUNDED_ROUNDS = 0.95, 11
BURST, BURST_ROUNDS, BURST_AT_ONCE = 1_000, 3, 64
EAGER = """
from reconciler.strategy import Strategy


class Eager(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object", "properties": {}}

    def on_tick(self):
        self.context.orders.place("buy", "0.01")
"""
WIDE = Decimal(10**9)
BOUNDED = Accounts(
    {
        "main": DeclaredAccount(
            "main",
            "paper",
            real_money=False,
            currency="USD",
            ceilings=Ceilings(WIDE, WIDE, WIDE, 10**6, {"EUR/USD": WIDE}, Turnover(WIDE, 5)),
            throttle=Throttle(10**6, 5),
        )
    },
    None,
    above=(Scope("all", "", "USD", Ceilings(max_daily_loss=WIDE, max_gross_notional=WIDE)),),
)
"""Every limit that an account can have, and a fleet, and none that these orders reach."""
ANY = Accounts()
BUY = OrderRequest(Side.BUY, OrderType.MARKET, Decimal("0.01"))


@contextmanager
def exchange(folder: Path, takes_s: float = 0.0) -> Iterator[str]:
    """A paper exchange in a process of its own, that takes so long over each order; its URL."""
    command = [sys.executable, "-m", "reconciler", "paper", "--port", "0", "--state", str(folder / "journal")]
    if takes_s:
        command += ["--fault", f"slow,tool=place_order,seconds={takes_s}"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as served:
        try:
            assert served.stdout is not None
            yield next(found[0] for line in served.stdout if (found := re.findall(r'http://[^"]+', line)))
        finally:
            served.terminate()


class Ours:
    """A gateway on a real store, connected."""

    def __init__(self, folder: Path, url: str, accounts: Accounts = ANY) -> None:
        self.loop = MainLoop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._living = asyncio.run_coroutine_threadsafe(self._live(folder, url, accounts), self.loop.loop)
        self._ready.wait(30)
        self._gates = [StandInGate(instance_id=f"buyer-{n}", symbol="EUR/USD") for n in range(AT_ONCE)]

    def options(self, url: str) -> ServerOptions:
        return replace(embedded(), kind="http", url=url)

    async def _live(self, folder: Path, url: str, accounts: Accounts) -> None:
        clock = SystemClock()
        options = self.options(url)
        with Store.open(folder / "reconciler.db", clock) as self.store:
            async with open_servers([options], accounts, clock, PaperSite(6.0)) as servers:
                bridge = LoopBridge()
                self.gateway = order_side(clock, self.store, servers, bridge).gateway
                await self._connected(servers)
                await self.gateway.follow_up(1)  # what is held is valued once a beat
                self._ready.set()
                await self._stop.wait()
                bridge.close()
                self.gateway.close()

    async def _connected(self, servers: Servers) -> None:
        while not servers.statuses()[0].connected or self.gateway.is_comparing():
            await asyncio.sleep(0.01)

    def round_s(self) -> float:
        """Seconds until every buyer has placed its orders."""

        def place(gate: StandInGate) -> None:
            for _ in range(ORDERS):
                order = self.gateway.place(gate, BUY, 1)
                assert order.outcome is Outcome.ACCEPTED, order

        began_s = perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as workers:
            list(workers.map(place, self._gates))
        return perf_counter() - began_s

    def close(self) -> None:
        self.loop.loop.call_soon_threadsafe(self._stop.set)
        self._living.result(30)
        self.loop.close()


class Crowd:
    """A whole engine, of which every instance buys at every beat."""

    def __init__(self, folder: Path, url: str) -> None:
        (folder / "eager.py").write_text(EAGER)
        self._loop = MainLoop()
        self._stop = asyncio.Event()
        self._made: list[Assembly] = []
        self._living = asyncio.run_coroutine_threadsafe(self._live(folder, url), self._loop.loop)
        wait_until(lambda: self._made or self._living.done(), "the servers to be opened")
        (self._engine,) = self._made
        self._engine.host.start()
        strategy = definition(folder / "eager.py")
        for n in range(BURST):
            self._engine.host.load(LoadSpec(Deployment(f"eager-{n}", strategy, {}, "EUR/USD").row(), strategy))
        views = self._engine.host.views
        wait_until(lambda: sum(view.phase is Phase.RUNNING for view in views().values()) == BURST, "all to be loaded")
        is_connected = self._engine.servers.statuses
        wait_until(lambda: is_connected()[0].connected and not self._engine.gateway.is_comparing(), "the exchange")
        self._beat = 1

    async def _live(self, folder: Path, url: str) -> None:
        clock, options = SystemClock(), replace(embedded(), kind="http", url=url)
        with Store.open(folder / "reconciler.db", clock) as store:
            async with open_servers([options], Accounts(), clock, PaperSite(6.0)) as servers:
                driver = Driver(LoopBridge(), ThreadHost)
                self._made.append(assembled(settings(folder, {}), clock, store, servers, NOTHING, driver))
                await self._stop.wait()
                self._made[0].close()

    def round_s(self) -> float:
        """Seconds from the beat until every order that it brought is settled; none was refused."""
        host, before = self._engine.host, self._engine.host.ticks()
        began_s = perf_counter()
        self._beat += 1
        assert host.beat(self._beat).dispatched == BURST
        while host.ticks().count < before.count + BURST:
            sleep(0.02)
        took_s = perf_counter() - began_s
        assert host.ticks().errors == before.errors
        for n in range(BURST):
            (order,) = self._engine.gateway.recent(f"eager-{n}", 1, shadow=False)
            assert (order.outcome, order.provenance.beat) == (Outcome.ACCEPTED, self._beat), order
        return took_s

    def close(self) -> None:
        self._engine.host.stop(20.0)
        self._loop.loop.call_soon_threadsafe(self._stop.set)
        self._living.result(30)
        self._loop.close()


class Bare:
    """The SDK's client and nothing else, as its documentation shows it."""

    def __init__(self, url: str, at_once: int = AT_ONCE, orders: int = AT_ONCE * ORDERS) -> None:
        self._url = url
        self._at_once = at_once
        self._orders = orders
        self._numbers = count()

    async def _buyer(self, client: Any, left: Iterator[int]) -> None:
        for _ in left:
            arguments = {
                "account_id": "main",
                "client_id": "desk-b",
                "client_order_id": f"bare{next(self._numbers)}",
                "symbol": "EUR/USD",
                "side": "buy",
                "type": "market",
                "quantity": "0.01",
            }
            answer = await client.call_tool("place_order", arguments)
            assert answer.structured_content["status"] == "filled", answer

    async def _round_s(self) -> float:
        from mcp.client.client import Client

        async with Client(self._url) as client:
            await client.list_tools()
            began_s = perf_counter()
            left = iter(range(self._orders))
            await asyncio.gather(*(self._buyer(client, left) for _ in range(self._at_once)))
            return perf_counter() - began_s

    def round_s(self) -> float:
        return asyncio.run(self._round_s())


def measure() -> list[Result]:
    sys.setswitchinterval(SWITCH_S)  # as the engine does
    near = f"market orders of {AT_ONCE} instances at a time, each twice on the disk, one exchange in its own process"
    far = f"the same, with an exchange that takes {FAR_S * 1000:.0f} ms over each"
    bounded = "every limit of an account, two of the fleet and a throttle, none reached, beside none at all; in turns"
    all_at_once = (
        f"{BURST} active instances, each an order in one beat, the same exchange; the bare client {BURST_AT_ONCE} at a"
        " time; none refused"
    )
    return [
        _measured("orders through MCP", 0.0, near),
        _measured("orders through MCP, from afar", FAR_S, far),
        _bounded("orders under limits above the instance", bounded),
        _burst("a burst of orders, from afar", all_at_once),
    ]


def _measured(work: str, takes_s: float, note: str) -> Result:
    with tempfile.TemporaryDirectory() as folder, exchange(Path(folder), takes_s) as url:
        ours, bare = Ours(Path(folder), url), Bare(url)
        times = [both(ours.round_s, bare.round_s) for _ in range(ROUNDS)]
        ours.close()
    return result(work, AT_ONCE * ORDERS, times, note)


def _bounded(work: str, note: str) -> Result:
    with tempfile.TemporaryDirectory() as folder, exchange(Path(folder)) as url:
        for name in ("bounded", "free"):
            (Path(folder) / name).mkdir()
        bounded, free = Ours(Path(folder) / "bounded", url, BOUNDED), Ours(Path(folder) / "free", url)
        times = [both(bounded.round_s, free.round_s) for _ in range(BOUNDED_ROUNDS)]
        bounded.close()
        free.close()
    return result(work, AT_ONCE * ORDERS, times, note, "the same without limits", BOUNDED_GOAL)


def _burst(work: str, note: str) -> Result:
    with tempfile.TemporaryDirectory() as folder, exchange(Path(folder), FAR_S) as url:
        ours, bare = Crowd(Path(folder), url), Bare(url, BURST_AT_ONCE, BURST)
        times = [both(ours.round_s, bare.round_s) for _ in range(BURST_ROUNDS)]
        ours.close()
    return result(work, BURST, times, note)


def both(*rounds: Callable[[], float]) -> tuple[float, ...]:
    """Of each, the seconds that it took, and then those of the processor, in this process."""
    took_s: list[float] = []
    used_s: list[float] = []
    for round_s in rounds:
        began_s = process_time()
        took_s.append(round_s())
        used_s.append(process_time() - began_s)
    return (*took_s, *used_s)


def result(
    work: str,
    orders: int,
    times: Sequence[tuple[float, ...]],
    note: str,
    peer: str = "the bare SDK client",
    goal: float = GOAL,
) -> Result:
    ours_s, peer_s, ours_used_s, peer_used_s = (median(column) for column in zip(*times, strict=True))
    ours_rate, peer_rate = orders / ours_s, orders / peer_s
    ours_ms, peer_ms = 1000 * ours_used_s / orders, 1000 * peer_used_s / orders
    note = f"{note}; {ours_ms:.1f} ms of the processor an order, {peer} {peer_ms:.1f}"
    return Result(
        work=work,
        to_reach=f"≥ {goal} × {peer}",
        figure=f"{ours_rate:.0f} a second",
        peer=f"{peer} {peer_rate:.0f} a second",
        ratio=ours_rate / peer_rate,
        ok=ours_rate >= goal * peer_rate,
        note=note,
    )


if __name__ == "__main__":
    print(*measure(), sep="\n")

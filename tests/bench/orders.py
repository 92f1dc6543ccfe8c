"""Orders through the gateway, against the SDK's own client calling `place_order` at the same paper exchange.

Ours writes each order down, on the disk, before it leaves and once it is answered, and asks the gate twice; the peer
does nothing but call. Both talk real MCP over HTTP on loopback with one exchange, which runs in a process of its own as
exchanges do. Both place from as many strategies at a time, each its next order once the last is answered, and take
turns in one run. The goal is for an exchange that answers at once; how it is at one as far away as most are, stands
beside it. `python -m tests.bench.orders`
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from reconciler.app import SWITCH_S
from reconciler.assembly import order_side
from reconciler.clock import SystemClock
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.exec_mcp.options import embedded
from reconciler.exec_mcp.servers import PaperSite, Servers, open_servers
from reconciler.orders.order import OrderRequest, OrderType, Outcome, Side
from reconciler.records.accounts import Accounts
from reconciler.store.store import Store
from tests.bench.result import Result
from tests.execution.standins import MainLoop, StandInGate

AT_ONCE = 4
ORDERS = 50
ROUNDS = 5
GOAL = 0.8
FAR_S = 0.05
"""How long an exchange takes that is not on the same machine."""
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

    def __init__(self, folder: Path, url: str) -> None:
        self._loop = MainLoop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._living = asyncio.run_coroutine_threadsafe(self._live(folder, url), self._loop.loop)
        self._ready.wait(30)
        self._gates = [StandInGate(instance_id=f"buyer-{n}", symbol="EUR/USD") for n in range(AT_ONCE)]

    async def _live(self, folder: Path, url: str) -> None:
        clock = SystemClock()
        options = replace(embedded(), kind="http", url=url)
        with Store.open(folder / "reconciler.db", clock) as store:
            async with open_servers([options], Accounts(), clock, PaperSite(6.0)) as servers:
                bridge = LoopBridge()
                self._gateway = order_side(clock, store, servers, bridge).gateway
                await self._connected(servers)
                self._ready.set()
                await self._stop.wait()
                bridge.close()
                self._gateway.close()

    async def _connected(self, servers: Servers) -> None:
        while not servers.statuses()[0].connected or self._gateway.is_comparing():
            await asyncio.sleep(0.01)

    def round_s(self) -> float:
        """Seconds until every buyer has placed its orders."""

        def place(gate: StandInGate) -> None:
            for _ in range(ORDERS):
                order = self._gateway.place(gate, BUY, 1)
                assert order.outcome is Outcome.ACCEPTED, order

        began_s = perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as workers:
            list(workers.map(place, self._gates))
        return perf_counter() - began_s

    def close(self) -> None:
        self._loop.loop.call_soon_threadsafe(self._stop.set)
        self._living.result(30)
        self._loop.close()


class Bare:
    """The SDK's client and nothing else, as its documentation shows it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = count()

    async def _buyer(self, client: Any) -> None:
        for _ in range(ORDERS):
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
            await asyncio.gather(*(self._buyer(client) for _ in range(AT_ONCE)))
            return perf_counter() - began_s

    def round_s(self) -> float:
        return asyncio.run(self._round_s())


def measure() -> list[Result]:
    sys.setswitchinterval(SWITCH_S)  # as the engine does
    near = f"market orders of {AT_ONCE} instances at a time, each twice on the disk, one exchange in its own process"
    far = f"the same, with an exchange that takes {FAR_S * 1000:.0f} ms over each"
    return [_measured("orders through MCP", 0.0, near), _measured("orders through MCP, from afar", FAR_S, far)]


def _measured(work: str, takes_s: float, note: str) -> Result:
    with tempfile.TemporaryDirectory() as folder, exchange(Path(folder), takes_s) as url:
        ours, bare = Ours(Path(folder), url), Bare(url)
        times = [(ours.round_s(), bare.round_s()) for _ in range(ROUNDS)]
        ours.close()
    ours_rate, bare_rate = (AT_ONCE * ORDERS / median(column) for column in zip(*times, strict=True))
    return Result(
        work=work,
        to_reach=f"≥ {GOAL} × the bare SDK client",
        figure=f"{ours_rate:.0f} a second",
        peer=f"bare SDK client {bare_rate:.0f} a second",
        ratio=ours_rate / bare_rate,
        ok=ours_rate >= GOAL * bare_rate,
        note=note,
    )


if __name__ == "__main__":
    print(*measure(), sep="\n")

"""A halt that cancels a thousand resting orders on ten accounts, against the SDK's own client calling `cancel_order`.

Ours goes from the halt until the ledger has none open any more: each cancel is looked at, sent, read, and its end
written down. The peer does nothing but call, with as many under way at once. Both talk real MCP over HTTP on loopback
with one exchange in a process of its own, go from account to account, and take turns in one run. Each order takes a
call of its own: where a server has `cancel_all`, and nothing else is in its reach, a whole account takes one.
`python -m tests.bench cancels`
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

from reconciler.app import SWITCH_S
from reconciler.exec_mcp.options import ServerOptions, embedded
from reconciler.exec_mcp.written import read
from reconciler.execution.withdrawal import AT_ONCE
from reconciler.orders.order import OrderRequest, OrderType, Outcome, Side
from reconciler.records.halt import Cancelling
from tests.bench.orders import Ours, both, exchange, result
from tests.bench.result import Result
from tests.execution.standins import StandInGate

ORDERS, ACCOUNTS, ROUNDS, PLACERS = 1_000, 10, 3, 16
FAR_BELOW = Decimal("0.5")
REST = OrderRequest(Side.BUY, OrderType.LIMIT, Decimal("0.01"), FAR_BELOW)
ONE_BY_ONE = read({"tools": {"cancel_all": None, "cancel_all_after": None}})


class Halted(Ours):
    """A gateway on which each of a thousand instances has an order resting."""

    def options(self, url: str) -> ServerOptions:
        return replace(embedded(), kind="http", url=url, words=ONE_BY_ONE)

    def place(self) -> None:
        gates = [StandInGate(f"resting-{n}", f"account-{n % ACCOUNTS}", symbol="EUR/USD") for n in range(ORDERS)]
        with ThreadPoolExecutor(PLACERS) as workers:
            for order in workers.map(lambda gate: self.gateway.place(gate, REST, 1), gates):
                assert order.outcome is Outcome.ACCEPTED, order

    def round_s(self) -> float:
        """Seconds from the halt until none is open."""
        began_s = perf_counter()
        self.store.halts.add("all", "", True, "a bench", "uid 0", Cancelling.ALL)
        self.loop.run(self.gateway.withdraw())
        took_s = perf_counter() - began_s
        assert self.store.ledger.open_real() == []
        self.store.halts.lift("all", "", "uid 0", "measured")
        return took_s


class Bare:
    """The SDK's client and nothing else."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = count()
        self._resting: list[dict[str, str]] = []

    async def _each(self, client: Any, tool: str, left: Iterator[dict[str, str]], status: str) -> None:
        for arguments in left:
            answer = await client.call_tool(tool, arguments)
            assert answer.structured_content["status"] == status, answer

    async def _all(self, tool: str, asked: list[dict[str, str]], status: str) -> float:
        from mcp.client.client import Client

        async with Client(self._url) as client:
            await client.list_tools()
            began_s = perf_counter()
            left = iter(asked)
            await asyncio.gather(*(self._each(client, tool, left, status) for _ in range(AT_ONCE)))
            return perf_counter() - began_s

    def place(self) -> None:
        numbers = [next(self._numbers) for _ in range(ORDERS)]
        self._resting = [
            {
                "account_id": f"account-{n % ACCOUNTS}",
                "client_id": "desk-b",
                "client_order_id": f"bare{n}",
                "symbol": "EUR/USD",
            }
            for n in numbers
        ]
        more = {"side": "buy", "type": "limit", "quantity": "0.01", "limit_price": str(FAR_BELOW)}
        asyncio.run(self._all("place_order", [{**one, **more} for one in self._resting], "open"))

    def round_s(self) -> float:
        return asyncio.run(self._all("cancel_order", self._resting, "cancelled"))


def measure() -> Result:
    sys.setswitchinterval(SWITCH_S)  # as the engine does
    times = []
    with tempfile.TemporaryDirectory() as folder, exchange(Path(folder)) as url:
        ours, bare = Halted(Path(folder), url), Bare(url)
        for _ in range(ROUNDS):
            ours.place()
            bare.place()
            times.append(both(ours.round_s, bare.round_s))
        ours.close()
    note = f"{ORDERS} resting orders on {ACCOUNTS} accounts, {AT_ONCE} at a time, a call each, until the ledger has it"
    return result("a halt that cancels", ORDERS, times, note)


if __name__ == "__main__":
    print(measure())

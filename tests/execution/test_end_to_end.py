"""The gateway, the ledger, real MCP and the paper exchange together: every digit the same at both ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from reconciler.assembly import order_side
from reconciler.clock import FakeClock
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.exec_mcp.options import embedded
from reconciler.exec_mcp.servers import PaperSite, open_servers
from reconciler.exec_mcp.venue import Venue
from reconciler.execution.gateway import Gateway
from reconciler.orders.order import Order, OrderState, Outcome, Side
from reconciler.records.accounts import Accounts
from reconciler.store.store import Store
from tests.execution.standins import StandInGate, request


@dataclass
class Engine:
    """As much of an engine as orders need."""

    gateway: Gateway
    exchange: Venue
    store: Store

    async def place(self, quantity: str, limit: str | None = None, side: Side = Side.BUY) -> Order:
        gate = StandInGate(symbol="EUR/USD")
        return await asyncio.to_thread(self.gateway.place, gate, request(quantity, limit, side), 1)


@asynccontextmanager
async def engine(folder: Path, clock: FakeClock) -> AsyncIterator[Engine]:
    store = Store.open(folder / "reconciler.db", clock)
    async with open_servers([embedded()], Accounts(), clock, PaperSite(6.0, journals=folder)) as servers:
        exchange, bridge = servers.reaching("main"), LoopBridge()
        gateway = order_side(clock, store, servers, bridge).gateway
        async with asyncio.timeout(10):
            while not exchange.status.connected or gateway.is_comparing():
                await asyncio.sleep(0.005)
        yield Engine(gateway, exchange, store)
        bridge.close()
        gateway.close()
    store.close()


def test_ledger_fills_and_balances_agree_to_the_last_digit(tmp_path: Path) -> None:
    async def run() -> None:
        clock = FakeClock()
        async with engine(tmp_path, clock) as running:
            await running.place("0.123456789012")
            clock.advance(60)
            await running.place("7.7", "1.2")
            clock.advance(60)
            await running.place("3.000000000001", side=Side.SELL)

            ledger = running.store.ledger
            recent = ledger.recent("btc-grid-1", 10, False)
            assert [o.state for o in recent] == [OrderState.FILLED] * 3
            fills = [(o.side, f) for o in recent for f in ledger.fills(o.client_order_id)]
            spent = sum(
                (f.quantity * (f.price or 0) * (1 if side is Side.BUY else -1) + (f.fee or 0) for side, f in fills),
                Decimal(0),
            )
            answer = await running.exchange.call("get_balances", {"account_id": "main", "client_id": "desk-a"})
            balances = {item["asset"]: Decimal(item["total"]) for item in answer["balances"]}
            assert balances["USD"] == Decimal(100_000) - spent
            held = ledger.position("btc-grid-1", "EUR/USD", False).quantity
            assert held == Decimal("4.823456789011")
            assert balances["EUR"] == Decimal(100_000) + held

    asyncio.run(run())


def test_a_restart_sends_nothing_again_and_finds_its_orders_where_they_were(tmp_path: Path) -> None:
    async def run() -> None:
        clock = FakeClock()
        async with engine(tmp_path, clock) as before:
            resting = await before.place("5", "1.05")
            assert (resting.outcome, resting.state) == (Outcome.ACCEPTED, OrderState.OPEN)
        clock.advance(2 * 765 * 6)  # the whole of the example, there and back
        async with engine(tmp_path, clock) as after:
            await after.gateway.follow_up(0)
            filled = after.store.ledger.get(resting.client_order_id)
            assert filled is not None
            assert (filled.state, filled.average_price) == (OrderState.FILLED, Decimal("1.05"))
            listed = await after.exchange.call(
                "list_orders", {"account_id": "main", "client_id": "desk-a", "status": "all"}
            )
            assert [item["client_order_id"] for item in listed["orders"]] == [resting.client_order_id]

    asyncio.run(run())

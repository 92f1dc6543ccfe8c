"""The gateway, the ledger and the real paper exchange on its bad days: calls dropped, slow, and the server down."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from reconciler.assembly import order_side
from reconciler.clock import FakeClock
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.exec_mcp.options import embedded
from reconciler.exec_mcp.server import ExecServer
from reconciler.exec_mcp.servers import PaperSite, open_servers
from reconciler.execution.gateway import Gateway
from reconciler.orders.order import Order, OrderState, Outcome
from reconciler.paper.faults import Fault, FaultRule
from reconciler.records.accounts import Accounts
from reconciler.store.store import Store
from tests.execution.standins import StandInGate, request

GATE = StandInGate(symbol="EUR/USD")


@dataclass
class Engine:
    """As much of an engine as orders need."""

    gateway: Gateway
    exchange: ExecServer
    store: Store
    clock: FakeClock

    async def place(self, quantity: str = "1", limit: str | None = None) -> Order:
        return await asyncio.to_thread(self.gateway.place, GATE, request(quantity, limit), 1)

    def known(self, order: Order) -> Order:
        found = self.store.ledger.get(order.client_order_id)
        assert found is not None
        return found

    async def listed(self) -> list[str]:
        """The client_order_ids of all that the exchange ever took."""
        who = {"account_id": "main", "client_id": "desk-a", "status": "all"}
        answer = await self.exchange.call("list_orders", who)
        return [item["client_order_id"] for item in answer["orders"]]

    async def beats_until(self, condition: Callable[[], object]) -> None:
        for _ in range(60):
            if condition():
                return
            self.clock.advance(6)
            await self.gateway.follow_up(1)
        raise AssertionError("six minutes of beats were not enough")


async def until(condition: Callable[[], object], clock: FakeClock) -> None:
    """Time goes on meanwhile: whoever waits to connect again may have begun to only now."""
    async with asyncio.timeout(60):  # by the wall clock: a busy machine is no fault
        while not condition():
            clock.advance(0.02)
            await asyncio.sleep(0.002)


@asynccontextmanager
async def engine(folder: Path, *faults: FaultRule) -> AsyncIterator[Engine]:
    clock = FakeClock()
    store = Store.open(folder / "reconciler.db", clock)
    options = replace(embedded(), timeout_s=1.0, reconnect_min_s=0.01, reconnect_max_s=0.01)
    async with open_servers([options], Accounts(), clock, PaperSite(6.0, journals=folder, faults=faults)) as servers:
        exchange, bridge = servers.reaching("main"), LoopBridge()
        gateway = order_side(clock, store, servers, bridge).gateway
        await until(lambda: exchange.status.connected and not gateway.is_comparing(), clock)
        assert isinstance(exchange, ExecServer)
        yield Engine(gateway, exchange, store, clock)
        bridge.close()
        gateway.close()
    store.close()


def test_an_order_that_was_taken_but_never_answered_is_found_and_sent_once(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, FaultRule(Fault.DROP, "place_order", times=1)) as running:
            order = await running.place()
            assert order.outcome is Outcome.UNKNOWN
            await until(lambda: running.known(order).outcome is Outcome.ACCEPTED, running.clock)
            assert running.known(order).state is OrderState.FILLED
            assert len(running.store.ledger.fills(order.client_order_id)) == 1
            connected = lambda: running.exchange.status.connected and not running.gateway.is_comparing()  # noqa: E731
            await until(connected, running.clock)
            again = await running.place()
            assert again.outcome is Outcome.ACCEPTED, again.reason
            assert len(await running.listed()) == 2

    asyncio.run(run())


def test_an_order_that_the_exchange_takes_after_all_was_given_up_is_recorded_and_halts(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path, FaultRule(Fault.SLOW, "place_order", seconds=600, times=1)) as running:
            order = await running.place()
            await running.beats_until(lambda: running.known(order).outcome is Outcome.REJECTED)
            assert await running.listed() == []

            running.clock.advance(600)
            async with asyncio.timeout(10):
                while not await running.listed():
                    await asyncio.sleep(0.002)
            await running.beats_until(lambda: running.known(order).outcome is Outcome.ACCEPTED)
            late = running.known(order)
            assert (late.outcome, late.state, late.filled_quantity) == (Outcome.ACCEPTED, OrderState.FILLED, Decimal(1))
            assert [halt.id for halt in running.store.halts.active()] == [GATE.instance_id]
            assert (await running.place()).reason.startswith("Halted: ")
            assert await running.listed() == [order.client_order_id]

    asyncio.run(run())


def test_what_filled_during_an_outage_is_known_before_the_next_order_leaves(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path) as running:
            resting = await running.place("5", "1.05")
            assert resting.state is OrderState.OPEN
            running.exchange.connection._lose("the line was cut")
            assert (await running.place()).reason.startswith("ExecDown: ")
            running.clock.advance(2 * 765 * 6)  # the whole of the example, there and back
            await until(lambda: running.gateway.blocked(GATE.instance_id, "main") is None, running.clock)
            assert running.known(resting).state is OrderState.FILLED
            assert running.gateway.position(GATE.instance_id, "EUR/USD", shadow=False).quantity == Decimal(5)
            assert running.gateway.orphans() == ()
            assert [one.difference for one in running.gateway.comparisons()] == [""]

    asyncio.run(run())


def test_an_order_placed_by_hand_on_the_same_account_is_an_orphan(tmp_path: Path) -> None:
    async def run() -> None:
        async with engine(tmp_path) as running:
            await running.place("1", "1.05")
            by_hand = {
                "account_id": "main",
                "client_id": "desk-a",
                "client_order_id": "byhand1",
                "symbol": "EUR/USD",
                "side": "buy",
                "type": "limit",
                "quantity": "2",
                "limit_price": "0.9",
            }
            await running.exchange.call("place_order", by_hand)
            await running.beats_until(running.gateway.orphans)
            (orphan,) = running.gateway.orphans()
            assert (orphan.client_order_id, orphan.side, orphan.quantity) == ("byhand1", "buy", "2")
            assert (await running.place("1", "1.05")).outcome is Outcome.ACCEPTED

    asyncio.run(run())

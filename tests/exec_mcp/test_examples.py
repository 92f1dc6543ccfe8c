"""The mappings that are shown to people, taken literally, against servers of the shape that they are for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult

from reconciler.clock import SystemClock
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.exec_mcp.server import ExecServer
from reconciler.orders.order import OrderState
from reconciler.paper.mcp_server import serve_mcp
from reconciler.settings import load
from tests.exec_mcp.stubs.book import Book, quiet, told
from tests.exec_mcp.stubs.ccxt import CcxtShaped
from tests.full_mapping import FULL_MAPPING

PAGE = Path(__file__).parents[2] / "docs" / "exec-mcp.md"
ORDER = {
    "account_id": "main",
    "client_id": "desk",
    "client_order_id": "abc",
    "symbol": "BTC/USD",
    "side": "buy",
    "type": "limit",
    "quantity": "0.1",
    "limit_price": "50",
}
ASKED = {key: ORDER[key] for key in ("account_id", "client_id", "client_order_id", "symbol")}


class Designed:
    """A server in the shape of `FULL_MAPPING`: ccxt's words, and the contract's where the mapping names no others."""

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}

    def server(self) -> MCPServer[Any]:
        server = quiet("designed")
        for tool in (self.createOrder, self.fetchOrder, self.fetchOpenOrders, self.fetchTicker):
            server.add_tool(tool)
        return server

    async def createOrder(
        self,
        accountName: str,
        symbol: str,
        side: str,
        type: str,
        amount: float,
        params: dict[str, Any],
        timeInForce: str,
        limit_price: str | None = None,
    ) -> dict[str, Any]:
        id_ = params["clientOrderId"]
        self.orders[id_] = {"id": "x-1", "status": "open", "symbol": symbol, "account": accountName, "error": []}
        return self.orders[id_]

    async def fetchOrder(self, accountName: str, client_order_id: str) -> dict[str, Any]:
        return self.orders.get(client_order_id, {"error": "no such thing"})

    async def fetchOpenOrders(self, accountName: str, status: str, symbol: str | None = None) -> dict[str, Any]:
        return {"orders": list(self.orders.values()), "error": {}}

    async def fetchTicker(self, symbol: str) -> CallToolResult:
        return told('{"bid": 99.5, "ask": 100.5}')


@asynccontextmanager
async def example(folder: Path, text: str, served: MCPServer[Any]) -> AsyncIterator[ExecServer]:
    (folder / "reconciler.yaml").write_text(text, encoding="utf-8")
    options: ServerOptions
    (options,) = load(folder, {}).server_options({"KRAKEN_TOKEN": "Bearer abc"})
    async with serve_mcp(served) as url:
        server = ExecServer(replace(options, url=url), SystemClock())
        task = asyncio.create_task(server.run())
        async with asyncio.timeout(10):
            while not server.status.connected:
                await asyncio.sleep(0.005)
        yield server
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_the_example_of_the_page_trades_on_a_server_built_on_ccxt(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]

    async def run() -> None:
        book = Book()
        async with example(tmp_path, text, CcxtShaped(book).server()) as server:
            assert server.status.mismatches == ()
            assert not any(server.status.missing.values())
            placed = answers.order(await server.call("place_order", ORDER))
            assert (placed.state, placed.order_id) == (OrderState.OPEN, "x-1")
            assert book.orders["abc"]["params"] == {"clientOrderId": "abc"}
            assert answers.order(await server.call("get_order", ASKED)).state is OrderState.OPEN
            listed = answers.listed(await server.call("list_orders", {**ASKED, "status": "open"}))
            assert [(one.client_order_id, one.order_id, one.status) for one in listed] == [("abc", "x-1", "open")]
            assert (await server.call("get_quote", ASKED))["as_of"].startswith("2026-01-01T")
            assert len(answers.balances(await server.call("get_balances", ASKED))) == 2
            await server.call("cancel_order", ASKED)
            assert answers.order(await server.call("get_order", ASKED)).state is OrderState.CANCELLED
            with pytest.raises(OrderNotFound):
                await server.call("get_order", {**ASKED, "client_order_id": "other"})

    asyncio.run(run())


def test_the_example_of_the_design_trades_on_a_server_of_that_shape(tmp_path: Path) -> None:
    async def run() -> None:
        stub = Designed()
        async with example(tmp_path, FULL_MAPPING, stub.server()) as server:
            placed = answers.order(await server.call("place_order", ORDER))
            assert (placed.state, placed.order_id) == (OrderState.OPEN, "x-1")
            stub.orders["abc"]["status"] = "canceled"
            looked_up = answers.order(await server.call("get_order", ASKED))
            assert (looked_up.state, looked_up.order_id) == (OrderState.CANCELLED, "x-1")
            (listed,) = answers.listed(await server.call("list_orders", {**ASKED, "status": "open"}))
            assert (listed.order_id, listed.status) == ("x-1", "cancelled")
            assert (await server.call("get_quote", ASKED))["bid"] == 99.5
            with pytest.raises(OrderNotFound):
                await server.call("get_order", {**ASKED, "client_order_id": "other"})

    asyncio.run(run())

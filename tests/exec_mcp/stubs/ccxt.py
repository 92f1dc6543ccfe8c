"""A server in the shape of those built on ccxt: camel case, JSON numbers, answers as text. Run it for stdio."""

from __future__ import annotations

import json
from typing import Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult

from tests.exec_mcp.stubs.book import OPENED_MS, Book, quiet, told

Params = dict[str, Any] | None


def _spelled(order: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": order["exchange_id"],
        "clientOrderId": order["client_order_id"],
        "symbol": order["symbol"],
        "type": order["type"],
        "side": order["side"],
        "amount": order["amount"],
        "price": order["price"],
        "filled": 0,
        "average": None,
        "status": "canceled" if order["cancelled"] else "open",
        "fee": {"currency": "USDT", "cost": 0.1},
    }


class CcxtShaped:
    """createOrder(accountName, symbol, type, side, amount, price, params) and the rest."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def server(self) -> MCPServer[Any]:
        server = quiet("ccxt")
        for tool in (
            self.createOrder,
            self.cancelOrder,
            self.fetchOrder,
            self.fetchOpenOrders,
            self.fetchBalance,
            self.fetchTicker,
            self.fetchOHLCV,
        ):
            server.add_tool(tool)
        return server

    async def createOrder(
        self,
        accountName: str,
        symbol: str,
        type: Literal["market", "limit"],
        side: Literal["buy", "sell"],
        amount: float,
        price: float | None = None,
        params: Params = None,
    ) -> CallToolResult:
        here = f"Error creating order for account '{accountName}': "
        if self.book.fault == "refuse":
            return told(f"{here}ccxt InsufficientFunds: balance too low", failed=True)
        ours = str((params or {}).get("clientOrderId"))
        order = await self.book.take(
            ours,
            {
                "client_order_id": ours,
                "account": accountName,
                "symbol": symbol,
                "type": type,
                "side": side,
                "amount": amount,
                "price": price,
                "params": params,
            },
        )
        if self.book.fault == "timeout":
            return told(f"{here}ccxt RequestTimeout: request timed out (10000 ms)", failed=True)
        return told(json.dumps({**_spelled(order), "status": None}, indent=2))

    async def cancelOrder(self, accountName: str, id: str, symbol: str, params: Params = None) -> CallToolResult:
        order = self.book.by_exchange_id(id)
        if order is None:
            return told(f"Error canceling order for account '{accountName}': OrderNotFound", failed=True)
        order["cancelled"] = True
        return told(json.dumps(_spelled(order)))

    async def fetchOrder(self, accountName: str, id: str, symbol: str, params: Params = None) -> CallToolResult:
        order = self.book.orders.get(str((params or {}).get("clientOrderId")))
        if order is None:
            return told(f"Error fetching order for account '{accountName}': kraken Order does not exist", failed=True)
        return told(json.dumps(_spelled(order)))

    async def fetchOpenOrders(
        self,
        accountName: str,
        symbol: str | None = None,
        since: float | None = None,
        limit: float | None = None,
        params: Params = None,
    ) -> CallToolResult:
        return told(json.dumps([_spelled(order) for order in self.book.orders.values() if not order["cancelled"]]))

    async def fetchBalance(self, accountName: str) -> CallToolResult:
        text = '{"info": {}, "free": {"BTC": 0.4, "USDT": 100.10}, "used": {"BTC": 0.1, "USDT": 0}, '
        return told(text + '"total": {"BTC": 0.5, "USDT": 1234567.12345678901}}')

    async def fetchTicker(self, exchangeId: str, symbol: str) -> CallToolResult:
        ticker = {"symbol": symbol, "timestamp": OPENED_MS, "bid": 99.5, "ask": 100.5, "last": 100}
        return told(json.dumps(ticker))

    async def fetchOHLCV(
        self,
        exchangeId: str,
        symbol: str,
        timeframe: str = "1h",
        since: float | None = None,
        limit: float | None = None,
    ) -> CallToolResult:
        return told(json.dumps([[OPENED_MS + 60_000 * minute, 1, 2.5, 0.5, 1.5, 10] for minute in range(3)]))


if __name__ == "__main__":
    CcxtShaped(Book()).server().run()

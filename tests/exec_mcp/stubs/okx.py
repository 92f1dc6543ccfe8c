"""A server in the shape of OKX's: its own names, decimal strings, two layers of success. Run it for stdio."""

from __future__ import annotations

import json
from typing import Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult

from tests.exec_mcp.stubs.book import OPENED_MS, Book, quiet, told


def _done(tool: str, data: Any) -> CallToolResult:
    payload = {"tool": tool, "ok": True, "data": {"endpoint": "POST /", "requestTime": "now", "data": data}}
    return told(json.dumps(payload), structured=payload)


def _failed(tool: str, kind: str, message: str, code: str = "") -> CallToolResult:
    payload = {"tool": tool, "error": True, "type": kind, "message": message, **({"code": code} if code else {})}
    return told(json.dumps(payload), structured=payload, failed=True)


def _spelled(order: dict[str, Any]) -> dict[str, Any]:
    return {
        "ordId": order["exchange_id"],
        "clOrdId": order["client_order_id"],
        "instId": order["instId"],
        "side": order["side"],
        "ordType": order["ordType"],
        "sz": order["sz"],
        "px": order["px"] or "",
        "state": "canceled" if order["cancelled"] else "live",
        "accFillSz": "0",
        "avgPx": "",
        "fee": "0",
    }


class OkxShaped:
    """spot_place_order(instId, tdMode, side, ordType, sz, px, clOrdId) and the rest."""

    def __init__(self, book: Book) -> None:
        self.book = book

    def server(self) -> MCPServer[Any]:
        server = quiet("okx")
        for tool in (
            self.spot_place_order,
            self.spot_cancel_order,
            self.spot_get_order,
            self.spot_get_orders,
            self.account_get_balance,
            self.market_get_ticker,
            self.market_get_candles,
            self.market_get_instruments,
        ):
            server.add_tool(tool)
        return server

    async def spot_place_order(
        self,
        instId: str,
        tdMode: Literal["cash", "cross", "isolated"],
        side: Literal["buy", "sell"],
        ordType: Literal["market", "limit", "post_only", "fok", "ioc"],
        sz: str,
        tgtCcy: Literal["base_ccy", "quote_ccy"] | None = None,
        px: str | None = None,
        clOrdId: str | None = None,
    ) -> CallToolResult:
        if self.book.fault == "refuse":
            return _done("spot_place_order", [{"ordId": "", "sCode": "51008", "sMsg": "Insufficient balance"}])
        ours = str(clOrdId)
        order = await self.book.take(
            ours,
            {
                "client_order_id": ours,
                "instId": instId,
                "tdMode": tdMode,
                "side": side,
                "ordType": ordType,
                "sz": sz,
                "tgtCcy": tgtCcy,
                "px": px,
            },
        )
        if self.book.fault == "timeout":
            return _failed("spot_place_order", "NetworkError", "Failed to call OKX endpoint")
        return _done("spot_place_order", [{"ordId": order["exchange_id"], "clOrdId": ours, "sCode": "0", "sMsg": ""}])

    async def spot_cancel_order(
        self, instId: str, ordId: str | None = None, clOrdId: str | None = None
    ) -> CallToolResult:
        order = self.book.orders[str(clOrdId)]
        order["cancelled"] = True
        return _done("spot_cancel_order", [{"ordId": order["exchange_id"], "clOrdId": clOrdId, "sCode": "0"}])

    async def spot_get_order(self, instId: str, ordId: str | None = None, clOrdId: str | None = None) -> CallToolResult:
        order = self.book.orders.get(str(clOrdId))
        if order is None:
            return _failed("spot_get_order", "OkxApiError", "Order does not exist", "51603")
        return _done("spot_get_order", [_spelled(order)])

    async def spot_get_orders(
        self, status: Literal["open", "history", "archive"] = "open", instId: str | None = None
    ) -> CallToolResult:
        return _done("spot_get_orders", [_spelled(o) for o in self.book.orders.values() if not o["cancelled"]])

    async def account_get_balance(self, ccy: str | None = None) -> CallToolResult:
        details = [{"ccy": "USDT", "cashBal": "1234567.123456789012345678", "availBal": "1000.10"}]
        return _done("account_get_balance", [{"details": details}])

    async def market_get_ticker(self, instId: str) -> CallToolResult:
        ticker = {"instId": instId, "bidPx": "99.5", "askPx": "100.5", "last": "100", "ts": str(OPENED_MS)}
        return _done("market_get_ticker", [ticker])

    async def market_get_instruments(self, instType: str, instId: str | None = None) -> CallToolResult:
        steps = {"tickSz": "0.1", "lotSz": "0.00000001", "minSz": "0.00001", "ctVal": ""}
        return _done("market_get_instruments", [{"instId": instId, "instType": instType, **steps}])

    async def market_get_candles(
        self,
        instId: str,
        bar: Literal["1m", "3m", "5m", "15m", "30m", "1H", "2H", "4H", "6H", "12H", "1D"] = "1m",
        limit: float = 100,
    ) -> CallToolResult:
        candles = [
            [str(OPENED_MS + 60_000 * minute), "1", "2.5", "0.5", "1.5", "10", "10", "10", "0" if minute == 2 else "1"]
            for minute in (2, 1, 0)
        ]
        return _done("market_get_candles", candles)


if __name__ == "__main__":
    OkxShaped(Book()).server().run()

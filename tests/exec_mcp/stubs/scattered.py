"""A server in which everything is elsewhere: a tool for each type of order, ids of its own form, a second call that
confirms, orders in two places, one list of all prices."""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer

from tests.exec_mcp.stubs.book import Book, quiet

MAPPING: dict[str, Any] = {
    "bind": {"account_id": None, "client_id": None},
    "tools": {
        "place_order": {
            "by": "type",
            "args": {
                "client_order_id": {"to": "cloid", "form": "hex128"},
                "symbol": "coin",
                "quantity": {"to": "size", "as": "number"},
                "stop_price": None,
                "time_in_force": None,
                "reduce_only": None,
            },
            "result": {"order_id": "$.oid", "client_order_id": "$.cloid", "status": "$.state", "side": "$.way"},
            "states": {"resting": "open", "done": "filled", "gone": "cancelled"},
            "confirm": {"name": "confirm_order", "args": {"confirmation_id": "$.ask.id"}},
            "limit": {"name": "limit_order", "args": {"limit_price": {"to": "px", "as": "number"}}},
            "market": {"name": "market_order"},
        },
        "cancel_order": {
            "name": "withdraw",
            "args": {"client_order_id": {"to": "cloid", "form": "hex128"}, "symbol": None},
        },
        "get_order": [
            {
                "name": "resting_orders",
                "args": {"client_order_id": None},
                "items": "$.orders",
                "result": {"order_id": "$.oid", "client_order_id": "$.cloid", "status": "$.state"},
            },
            {
                "name": "past_orders",
                "args": {"client_order_id": None},
                "items": "$.orders",
                "lists_finished": True,
                "result": {"order_id": "$.oid", "client_order_id": "$.cloid", "status": "$.state"},
            },
        ],
        "list_orders": {
            "name": "resting_orders",
            "args": {"status": None, "symbol": None},
            "pick": {"symbol": "$.coin"},
            "items": "$.orders",
            "result": {"order_id": "$.oid", "client_order_id": "$.cloid", "status": "$.state"},
        },
        "get_quote": {
            "name": "prices",
            "args": {"symbol": None},
            "items": "$.all",
            "pick": {"symbol": "$.coin"},
            "enums": {"symbol": {"BTC/USD": "BTC"}},
            "result": {"last": None, "as_of": None},
        },
        "get_positions": None,
        "get_balances": None,
        "get_candles": None,
    },
}


class Scattered:
    """`fault` of the book is that of the confirming call, `staging` that of the first one."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.staging = ""
        self.staged: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []

    def server(self) -> MCPServer[Any]:
        server = quiet("scattered")
        for tool in (
            self.limit_order, self.market_order, self.confirm_order, self.withdraw, self.resting_orders,
            self.past_orders, self.prices,
        ):  # fmt: skip
            server.add_tool(tool)
        return server

    async def limit_order(self, cloid: str, coin: str, side: str, size: float, px: float) -> dict[str, Any]:
        return self._stage(cloid, coin=coin, side=side, size=size, px=px)

    async def market_order(self, cloid: str, coin: str, side: str, size: float) -> dict[str, Any]:
        return self._stage(cloid, coin=coin, side=side, size=size)

    def _stage(self, cloid: str, **order: Any) -> dict[str, Any]:
        if self.staging == "refuse":
            return {"error": "insufficient balance"}
        if self.staging == "no question":
            self.book.orders[cloid] = {**order, "exchange_id": "x-1", "cancelled": False}
            return {"note": "done at once"}
        self.staged[f"c-{len(self.staged) + 1}"] = {"cloid": cloid, **order}
        return {"ask": {"id": f"c-{len(self.staged)}"}, "status": "confirmation_required"}

    async def confirm_order(self, confirmation_id: str) -> dict[str, Any]:
        order = self.staged.pop(confirmation_id)
        if self.book.fault == "refuse":
            return {"error": "insufficient balance"}
        await self.book.take(order["cloid"], order)
        return self._told(order["cloid"])

    async def withdraw(self, cloid: str) -> dict[str, Any]:
        self.book.orders[cloid]["cancelled"] = True
        return {"error": ""}

    async def resting_orders(self) -> dict[str, Any]:
        self.asked.append("resting")
        return {
            "orders": [self._told(id) for id, one in self.book.orders.items() if "px" in one and not one["cancelled"]]
        }

    async def past_orders(self) -> dict[str, Any]:
        self.asked.append("past")
        if self.book.fault == "timeout":
            return {"error": "timed out"}
        return {
            "orders": [self._told(id) for id, one in self.book.orders.items() if "px" not in one or one["cancelled"]]
        }

    async def prices(self) -> dict[str, Any]:
        return {
            "all": [
                {"coin": coin, "bid": bid, "ask": bid + 1}
                for coin, bid in (("ETH", 9), ("BTC", 99), ("X", 1), ("X", 2))
            ]
        }

    def _told(self, cloid: str) -> dict[str, Any]:
        order = self.book.orders[cloid]
        state = "gone" if order["cancelled"] else "resting" if "px" in order else "done"
        return {
            "oid": order["exchange_id"],
            "cloid": cloid,
            "coin": order["coin"],
            "way": order["side"],
            "state": state,
        }

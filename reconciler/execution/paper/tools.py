"""The paper exchange's MCP tools: the exec-mcp contract over `PaperExchange`. Decimals as strings, times ISO, UTC.

Imports the SDK: import this lazily.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from typing_extensions import TypedDict

from reconciler.clock import iso
from reconciler.execution.paper.account import PaperOrder
from reconciler.execution.paper.exchange import PaperExchange, Refused
from reconciler.records.market import Candle
from reconciler.records.order import decimal_text


class FillAnswer(TypedDict):
    fill_id: str
    quantity: str
    price: str
    fee: str
    at: str


class OrderAnswer(TypedDict):
    """`status` is open, partially_filled, filled, cancelled or expired."""

    order_id: str
    client_order_id: str
    symbol: str
    side: str
    type: str
    quantity: str
    limit_price: str | None
    status: str
    filled_quantity: str
    average_price: str | None
    fee: str
    fills: list[FillAnswer]
    created_at: str
    updated_at: str


class OrdersAnswer(TypedDict):
    orders: list[OrderAnswer]


class PositionAnswer(TypedDict):
    symbol: str
    quantity: str
    average_price: str | None


class PositionsAnswer(TypedDict):
    positions: list[PositionAnswer]


class BalanceAnswer(TypedDict):
    asset: str
    total: str
    available: str


class BalancesAnswer(TypedDict):
    balances: list[BalanceAnswer]


class QuoteAnswer(TypedDict):
    symbol: str
    bid: str
    ask: str
    last: str
    as_of: str


class CandleAnswer(TypedDict):
    opened_at: str
    open: str
    high: str
    low: str
    close: str
    volume: str


class CandlesAnswer(TypedDict):
    candles: list[CandleAnswer]


@contextmanager
def _refusals() -> Iterator[None]:
    """What the exchange refuses is a tool error with its reason."""
    try:
        yield
    except Refused as refused:
        raise ToolError(str(refused)) from None


class PaperTools:
    """One method per tool; their names, arguments and answers are the contract.

    Orders are placed and cancelled without waiting for anything: a client that hangs up cannot
    interrupt one half way.
    """

    def __init__(self, exchange: PaperExchange) -> None:
        self._exchange = exchange

    async def place_order(
        self,
        account_id: str,
        client_id: str,
        client_order_id: str,
        symbol: str,
        side: str,
        type: str,
        quantity: str,
        limit_price: str | None = None,
        stop_price: str | None = None,
        time_in_force: str = "gtc",
        reduce_only: bool = False,
    ) -> OrderAnswer:
        """Place a market or limit order. The same client_order_id again gives the same order."""
        with _refusals():
            order = self._exchange.place_order(
                account_id, client_id, client_order_id, symbol, side, type, quantity,
                limit_price, stop_price, time_in_force, reduce_only,
            )  # fmt: skip
        return _order(order)

    async def cancel_order(self, account_id: str, client_id: str, client_order_id: str, symbol: str) -> OrderAnswer:
        """Cancel an open order; one that is already final stays what it is."""
        with _refusals():
            return _order(self._exchange.cancel_order(account_id, client_id, client_order_id, symbol))

    async def get_order(self, account_id: str, client_id: str, client_order_id: str) -> OrderAnswer:
        """An order and its fills."""
        with _refusals():
            return _order(self._exchange.get_order(account_id, client_id, client_order_id))

    async def list_orders(
        self, account_id: str, client_id: str, status: str = "open", symbol: str | None = None
    ) -> OrdersAnswer:
        """This client's orders. `status` is open, closed or all."""
        with _refusals():
            orders = self._exchange.list_orders(account_id, client_id, status, symbol)
        return {"orders": [_order(order) for order in orders]}

    async def get_positions(self, account_id: str, client_id: str) -> PositionsAnswer:
        """What trading added up to, per symbol, for the whole account."""
        return {
            "positions": [
                {
                    "symbol": position.symbol,
                    "quantity": decimal_text(position.quantity),
                    "average_price": None if position.average_price is None else decimal_text(position.average_price),
                }
                for position in self._exchange.get_positions(account_id)
            ]
        }

    async def get_balances(self, account_id: str, client_id: str) -> BalancesAnswer:
        """What the whole account holds; `available` is not set aside for open orders."""
        return {
            "balances": [
                {
                    "asset": balance.asset,
                    "total": decimal_text(balance.total),
                    "available": decimal_text(balance.available),
                }
                for balance in self._exchange.get_balances(account_id)
            ]
        }

    async def get_quote(self, symbol: str, account_id: str = "", client_id: str = "") -> QuoteAnswer:
        """The best bid and ask."""
        with _refusals():
            quote = self._exchange.get_quote(symbol)
        return {
            "symbol": symbol,
            "bid": decimal_text(quote.bid),
            "ask": decimal_text(quote.ask),
            "last": decimal_text(quote.last),
            "as_of": iso(quote.as_of.timestamp()),
        }

    async def get_candles(
        self, symbol: str, timeframe: str, limit: int = 100, account_id: str = "", client_id: str = ""
    ) -> CandlesAnswer:
        """The last closed candles, oldest first. Timeframes: 1m 5m 15m 30m 1h 4h 1d."""
        with _refusals():
            # On a thread: the first look at a long stretch of history takes a while.
            candles = await asyncio.to_thread(self._exchange.get_candles, symbol, timeframe, limit)
        return {"candles": [_candle(candle) for candle in candles]}


def mcp_server(exchange: PaperExchange) -> MCPServer[Any]:
    """The MCP server of `exchange`. Leaves the process's logging as it is, which the SDK would set up."""
    root, guard = logging.getLogger(), logging.NullHandler()
    root.addHandler(guard)
    try:
        server: MCPServer[Any] = MCPServer("paper-exchange", instructions="An exchange with made-up money.")
    finally:
        root.removeHandler(guard)
    tools = PaperTools(exchange)
    for tool in (
        tools.place_order,
        tools.cancel_order,
        tools.get_order,
        tools.list_orders,
        tools.get_positions,
        tools.get_balances,
        tools.get_quote,
        tools.get_candles,
    ):
        server.add_tool(tool)
    return server


def _order(order: PaperOrder) -> OrderAnswer:
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side.value,
        "type": order.type.value,
        "quantity": decimal_text(order.quantity),
        "limit_price": None if order.limit_price is None else decimal_text(order.limit_price),
        "status": order.state.value,
        "filled_quantity": decimal_text(order.filled_quantity),
        "average_price": None if order.average_price is None else decimal_text(order.average_price),
        "fee": decimal_text(order.fee),
        "fills": [
            {
                "fill_id": fill.fill_id,
                "quantity": decimal_text(fill.quantity),
                "price": decimal_text(fill.price),
                "fee": decimal_text(fill.fee),
                "at": iso(fill.at.timestamp()),
            }
            for fill in order.fills
        ],
        "created_at": iso(order.created_at.timestamp()),
        "updated_at": iso(order.updated_at.timestamp()),
    }


def _candle(candle: Candle) -> CandleAnswer:
    return {
        "opened_at": iso(candle.opened_at.timestamp()),
        "open": decimal_text(candle.open),
        "high": decimal_text(candle.high),
        "low": decimal_text(candle.low),
        "close": decimal_text(candle.close),
        "volume": decimal_text(candle.volume),
    }

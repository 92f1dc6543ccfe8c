"""The paper exchange's MCP tools: the exec-mcp contract over `PaperExchange`; and the faults that may beset them.

Imports the SDK: import this lazily.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, TextContent
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict

from reconciler.paper.exchange import PaperExchange
from reconciler.paper.faults import ANY_TOOL, FaultOnDemand, FaultRule, Faults
from reconciler.paper.paper_answers import (
    ArmedAnswer,
    BalancesAnswer,
    CancelledAnswer,
    CandlesAnswer,
    OrderAnswer,
    OrdersAnswer,
    PositionsAnswer,
    QuoteAnswer,
    RulesAnswer,
    balance_answer,
    candle_answer,
    order_answer,
    position_answer,
    quote_answer,
    rules_answer,
)
from reconciler.paper.paper_order import OrderRefused, read_ticket

_NONSENSE: tuple[Any, ...] = (
    {},
    {"status": "sideways", "order_id": 7},
    {"status": None, "filled_quantity": "lots", "fills": "none", "orders": {"0": None}},
    {"bid": "NaN", "ask": "-1", "last": [], "as_of": "yesterday"},
    {"orders": [7], "positions": "flat", "balances": [None], "candles": [{"open": {}}]},
    None,
)
"""Structured content that fits no tool; None: not even that, and a text that breaks off."""


class FaultsAnswer(TypedDict):
    """The faults that may still strike."""

    faults: list[dict[str, Any]]


class FaultTools:
    """The tools that set faults. Only `down` strikes them, too."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def set_fault(
        self,
        kind: str,
        tool: str = ANY_TOOL,
        probability: float = 1.0,
        seconds: float = 1.0,
        times: int | None = None,
    ) -> FaultsAnswer:
        """Let calls go wrong, for tests. `kind` is slow, drop, error, garbage or down; `tool` a name, or * for any.

        `seconds` is how long it is slow or down, `times` how often it strikes; without it, until cleared.
        """
        rule = {"kind": kind, "tool": tool, "probability": probability, "seconds": seconds, "times": times}
        try:
            self._faults.add(FaultRule.read(rule))
        except ValueError as error:
            raise ToolError(str(error)) from None
        return self._answer()

    async def clear_faults(self) -> FaultsAnswer:
        """From now on all goes well."""
        self._faults.clear()
        return self._answer()

    def _answer(self) -> FaultsAnswer:
        return {"faults": [rule.to_json() for rule in self._faults.rules]}


_CONTROLS = (FaultTools.set_fault.__name__, FaultTools.clear_faults.__name__)


class FaultyServer(MCPServer[Any]):
    """An `MCPServer` whose calls go wrong as `faults` say."""

    def __init__(self, name: str, faults: Faults, about: str) -> None:
        super().__init__(name, instructions=about)
        self._faults = faults

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        async def done() -> CallToolResult | InputRequiredResult:
            return await super(FaultyServer, self).call_tool(name, arguments, context)

        if name in _CONTROLS:
            return await done()
        try:
            return await self._faults.around(name, done, _garbage)
        except FaultOnDemand as fault:
            raise ToolError(f"rejected: {fault}") from None


class Outage:
    """In front of an ASGI app: while the server is down, no request gets through."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._faults.is_down():
            await PlainTextResponse("down: a fault on demand", 503)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _garbage(number: int) -> CallToolResult:
    """An answer that makes no sense, another for every `number`."""
    nonsense = _NONSENSE[number % len(_NONSENSE)]
    text = '{"order_id": "pap' if nonsense is None else json.dumps(nonsense)
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=nonsense)


_ABOUT = "An exchange with made-up money. Decimals are text, times are UTC, symbols are BASE/QUOTE."


@contextmanager
def _refusals(said: str = "") -> Iterator[None]:
    """What the exchange refuses is a tool error with its reason; so is what it cannot record, for then nothing was.

    `said` goes before the reason: of an order, whoever placed it must hear that it was refused, not that a tool broke.
    """
    try:
        yield
    except OrderRefused as refused:
        raise ToolError(f"{said}{refused}") from None
    except OSError as error:
        raise ToolError(f"{said}nothing was done, for it cannot be recorded: {error.strerror or error}") from error


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
        """Place an order. The same client_order_id again gives the same order.

        `side` is buy or sell; `type` market, limit, stop or stop_limit; `time_in_force` gtc, ioc, fok or day.
        """
        with _refusals("rejected: "):
            ticket = read_ticket(
                account_id, client_id, client_order_id, symbol, side, type, quantity,
                limit_price, stop_price, time_in_force, reduce_only,
            )  # fmt: skip
            return order_answer(self._exchange.place_order(ticket))

    async def cancel_order(self, account_id: str, client_id: str, client_order_id: str, symbol: str) -> OrderAnswer:
        """Cancel an open order; one that is already final stays what it is."""
        with _refusals():
            return order_answer(self._exchange.cancel_order(account_id, client_id, client_order_id, symbol))

    async def cancel_all(self, account_id: str, client_id: str, symbol: str | None = None) -> CancelledAnswer:
        """Cancel all that is open of this client, of one symbol or of all."""
        with _refusals():
            cancelled = self._exchange.cancel_all(account_id, client_id, symbol)
        return {"cancelled": [order.ticket.client_order_id for order in cancelled]}

    async def cancel_all_after(self, account_id: str, seconds: int) -> ArmedAnswer:
        """Unless it is called again before, all that is open of the account is cancelled then; 0 disarms."""
        with _refusals():
            self._exchange.cancel_all_after(account_id, seconds)
        return {"account_id": account_id, "seconds": seconds}

    async def get_order(self, account_id: str, client_id: str, client_order_id: str) -> OrderAnswer:
        """An order and its fills, open or closed."""
        with _refusals():
            return order_answer(self._exchange.get_order(account_id, client_id, client_order_id))

    async def list_orders(
        self, account_id: str, client_id: str, status: str = "open", symbol: str | None = None
    ) -> OrdersAnswer:
        """This client's orders, oldest first. `status` is open, closed or all."""
        with _refusals():
            orders = self._exchange.list_orders(account_id, client_id, status, symbol)
        return {"orders": [order_answer(order) for order in orders]}

    async def get_positions(self, account_id: str, client_id: str) -> PositionsAnswer:
        """What trading added up to, per symbol, for the whole account."""
        with _refusals():
            return {"positions": [position_answer(p) for p in self._exchange.get_positions(account_id)]}

    async def get_balances(self, account_id: str, client_id: str) -> BalancesAnswer:
        """What the whole account holds; `available` is not set aside for open orders."""
        with _refusals():
            return {"balances": [balance_answer(b) for b in self._exchange.get_balances(account_id)]}

    async def get_quote(self, symbol: str, account_id: str = "", client_id: str = "") -> QuoteAnswer:
        """The best bid and ask."""
        with _refusals():
            return quote_answer(self._exchange.get_quote(symbol))

    async def get_candles(
        self, symbol: str, timeframe: str, limit: int = 100, account_id: str = "", client_id: str = ""
    ) -> CandlesAnswer:
        """The last closed candles, oldest first. Timeframes: 1m 5m 15m 30m 1h 4h 1d."""
        with _refusals():
            # On a thread: the first look at a long stretch of history takes a while.
            candles = await asyncio.to_thread(self._exchange.get_candles, symbol, timeframe, limit)
        return {"candles": [candle_answer(candle) for candle in candles]}

    async def get_rules(self, symbol: str, account_id: str = "", client_id: str = "") -> RulesAnswer:
        """Steps and minimums of price and quantity that the market has."""
        with _refusals():
            return rules_answer(self._exchange.get_rules(symbol))


def mcp_server(exchange: PaperExchange, faults: Faults, *, fault_tools: bool = False) -> MCPServer[Any]:
    """The MCP server of `exchange`, beset by `faults`; with `fault_tools`, clients may set them.

    Leaves the process's logging as it is, which the SDK would set up.
    """
    root, guard = logging.getLogger(), logging.NullHandler()
    root.addHandler(guard)
    try:
        server = FaultyServer("paper-exchange", faults, _ABOUT)
    finally:
        root.removeHandler(guard)
    tools = PaperTools(exchange)
    for tool in (
        tools.place_order,
        tools.cancel_order,
        tools.cancel_all,
        tools.cancel_all_after,
        tools.get_order,
        tools.list_orders,
        tools.get_positions,
        tools.get_balances,
        tools.get_quote,
        tools.get_candles,
        tools.get_rules,
    ):
        server.add_tool(tool)
    if fault_tools:
        control = FaultTools(faults)
        server.add_tool(control.set_fault)
        server.add_tool(control.clear_faults)
    return server

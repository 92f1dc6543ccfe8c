"""Every ready-made mapping, against a server of that shape, written with the official SDK, over real MCP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp.server.mcpserver import MCPServer

from reconciler.clock import FakeClock, SystemClock, utc
from reconciler.errors import CapabilityUnavailable, ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.options import ServerOptions, names, ready
from reconciler.exec_mcp.reply import OrderNotFound, Reply, answered
from reconciler.exec_mcp.request import Unsayable
from reconciler.exec_mcp.server import ExecServer
from reconciler.exec_mcp.written import merged, read
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position
from reconciler.orders.order import OrderState
from reconciler.paper.mcp_server import serve_mcp
from tests.exec_mcp.stubs.alpaca import AlpacaShaped
from tests.exec_mcp.stubs.book import OPENED_MS, Book, told
from tests.exec_mcp.stubs.ccxt import CcxtShaped
from tests.exec_mcp.stubs.ccxt import _spelled as ccxt_spelled
from tests.exec_mcp.stubs.okx import OkxShaped

ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True)
class Shape:
    """One ready-made mapping and what it is tried on. `placed` is what the server must have got for `order`."""

    mapping: str
    server: Callable[[Book], MCPServer[Any]]
    symbol: str
    placed: dict[str, Any]
    refusal: str
    own: dict[str, Any]
    balances: tuple[Balance, ...]

    def options(self, **transport: Any) -> ServerOptions:
        words = read(merged(ready(self.mapping), self.own))
        return ServerOptions(self.mapping, words=words, accounts=("main",), reconnect_min_s=0.02, **transport)

    def order(self, **more: Any) -> dict[str, Any]:
        return {
            **self.named(),
            "side": "buy",
            "type": "limit",
            "quantity": "0.012345678",
            "limit_price": "60000.1",
            **more,
        }

    def named(self) -> dict[str, Any]:
        return {"account_id": "main", "client_id": "desk", "client_order_id": "abc123", "symbol": self.symbol}


EXCHANGE = {"const": {"exchangeId": "kraken"}}
SHAPES = (
    Shape(
        "ccxt",
        lambda book: CcxtShaped(book).server(),
        "BTC/USDT",
        {"account": "main", "symbol": "BTC/USDT", "type": "limit", "side": "buy", "amount": 0.012345678,
         "price": 60000.1, "params": {"clientOrderId": "abc123"}},
        "InsufficientFunds",
        {"tools": {"get_quote": EXCHANGE, "get_candles": EXCHANGE}},
        (Balance("BTC", Decimal("0.5"), Decimal("0.4")),
         Balance("USDT", Decimal("1234567.12345678901"), Decimal("100.10"))),
    ),
    Shape(
        "alpaca",
        lambda book: AlpacaShaped(book).server(),
        "BTC/USD",
        {"symbol": "BTC/USD", "side": "buy", "qty": "0.012345678", "type": "limit", "time_in_force": "gtc",
         "limit_price": "60000.1"},
        "API rejected the order: insufficient balance for USD",
        {"tools": {"get_positions": {"enums": {"symbol": {"BTC/USD": "BTCUSD"}}}}},
        (Balance("USD", Decimal("1234.56"), Decimal("1000.10")),),
    ),
    Shape(
        "okx",
        lambda book: OkxShaped(book).server(),
        "BTC-USDT",
        {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "limit", "sz": "0.012345678",
         "tgtCcy": "base_ccy", "px": "60000.1"},
        "^Insufficient balance$",
        {},
        (Balance("USDT", Decimal("1234567.123456789012345678"), Decimal("1000.10")),),
    ),
)  # fmt: skip
WHO = {"account_id": "main", "client_id": "desk"}

shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.mapping)


@asynccontextmanager
async def connected(options: ServerOptions) -> AsyncIterator[ExecServer]:
    server = ExecServer(options, SystemClock())
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(20):
            while not server.status.connected:
                await asyncio.sleep(0.005)
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def on(shape: Shape, test: Callable[[ExecServer, Book], Awaitable[None]], timeout_s: float = 5.0) -> None:
    async def run() -> None:
        book = Book()
        async with (
            serve_mcp(shape.server(book)) as url,
            connected(shape.options(kind="http", url=url, timeout_s=timeout_s)) as server,
        ):
            await test(server, book)
            book.release.set()

    asyncio.run(run())


def test_every_ready_made_mapping_is_tried_here_or_on_what_a_server_answered() -> None:
    recorded = {path.stem for path in (ROOT / "tests/exec_mcp/recorded").glob("*.json")}
    assert {shape.mapping for shape in SHAPES} | recorded == set(names())


@shapes
def test_nothing_is_amiss_but_what_the_server_cannot_do(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        said = [line for line in server.status.mismatches if "status may be" not in line]
        assert said == []
        assert {"place_order", "cancel_order", "get_order", "list_orders"} <= set(server.status.tools)

    on(shape, test)


@shapes
def test_an_order_is_placed_looked_up_listed_and_cancelled(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        placed = answers.order(await server.call("place_order", shape.order()))
        assert (placed.order_id, placed.state) == ("x-1", OrderState.OPEN)
        got = {key: value for key, value in book.orders["abc123"].items() if key in shape.placed}
        assert got == shape.placed
        found = answers.order(await server.call("get_order", shape.named()))
        assert (found.order_id, found.state, found.filled_quantity) == ("x-1", OrderState.OPEN, Decimal(0))
        listed = await server.call("list_orders", {**WHO, "status": "open", "symbol": shape.symbol})
        assert [answers.order(item).order_id for item in listed["orders"]] == ["x-1"]
        assert [item["client_order_id"] for item in listed["orders"]] == ["abc123"]
        await server.call("cancel_order", shape.named())
        assert answers.order(await server.call("get_order", shape.named())).state is OrderState.CANCELLED

    on(shape, test)


@shapes
def test_a_refused_order_is_rejected_with_the_servers_reason(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        book.fault = "refuse"
        with pytest.raises(ExecRejected, match=shape.refusal):
            await server.call("place_order", shape.order())
        assert book.orders == {}

    on(shape, test)


@shapes
def test_an_order_that_is_not_answered_in_time_is_unknown_and_found_afterwards(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        book.fault = "hang"
        with pytest.raises(ExecUnknown, match=r"within 0\.4 s"):
            await server.call("place_order", shape.order(), timeout_s=0.4)
        assert answers.order(await server.call("get_order", shape.named())).state is OrderState.OPEN

    on(shape, test)


@shapes
def test_a_server_that_says_that_it_does_not_know_is_believed(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        book.fault = "timeout"
        with pytest.raises(ExecUnknown):
            await server.call("place_order", shape.order())
        assert list(book.orders) == ["abc123"]

    on(shape, test)


@shapes
def test_an_order_that_is_not_there_is_told_from_other_failures(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        with pytest.raises(OrderNotFound):
            await server.call("get_order", shape.named())

    on(shape, test)


@shapes
def test_an_order_that_the_server_has_no_words_for_is_not_sent(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        with pytest.raises(Unsayable, match=r"no word for (type|time_in_force)"):
            await server.call("place_order", shape.order(type="stop", stop_price="1"))
        with pytest.raises(ExecUnavailable):
            await server.call("place_order", shape.order(time_in_force="day"))
        assert book.orders == {}

    on(shape, test)


@shapes
def test_quotes_and_closed_candles_are_read(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        server._clock = FakeClock(OPENED_MS / 1000 + 150)  # the third candle's minute has thirty seconds to go
        quote = answers.quote(await server.call("get_quote", {**WHO, "symbol": shape.symbol}), shape.symbol)
        assert (quote.bid, quote.ask, quote.last) == (Decimal("99.5"), Decimal("100.5"), Decimal(100))
        assert quote.as_of.replace(microsecond=0) == utc(OPENED_MS / 1000)
        asked = {**WHO, "symbol": shape.symbol, "timeframe": "1m", "limit": 3}
        assert answers.candles(await server.call("get_candles", asked)) == tuple(
            Candle(utc(OPENED_MS / 1000 + 60 * minute), *map(Decimal, ("1", "2.5", "0.5", "1.5", "10")))
            for minute in range(2)
        )

    on(shape, test)


@shapes
def test_balances_and_positions_are_read_to_the_digit(shape: Shape) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        assert answers.balances(await server.call("get_balances", WHO)) == shape.balances
        if shape.mapping == "alpaca":
            found = answers.positions(await server.call("get_positions", WHO))
            assert found == (Position("BTC/USD", Decimal("0.5"), Decimal("60000.5")),)
        else:
            with pytest.raises(CapabilityUnavailable, match="'get_positions'"):
                await server.call("get_positions", WHO)

    on(shape, test)


@pytest.mark.parametrize(
    ("shape", "steps"),
    [(SHAPES[1], ("0.01", "0.000000001", "0.000016")), (SHAPES[2], ("0.1", "0.00000001", "0.00001"))],
    ids=("alpaca", "okx"),
)
def test_what_a_market_lets_through_is_read(shape: Shape, steps: tuple[str, str, str]) -> None:
    async def test(server: ExecServer, book: Book) -> None:
        told = answers.rules(await server.call("get_rules", {**WHO, "symbol": shape.symbol}))
        assert told == InstrumentRules(*map(Decimal, steps))

    on(shape, test)


@shapes
def test_the_same_works_over_stdin_and_stdout(shape: Shape) -> None:
    command = (sys.executable, "-m", f"tests.exec_mcp.stubs.{shape.mapping}")
    options = shape.options(kind="stdio", command=command, env={"PYTHONPATH": str(ROOT)}, timeout_s=20)

    async def run() -> None:
        async with connected(options) as server:
            assert answers.order(await server.call("place_order", shape.order())).order_id == "x-1"
            await server.call("cancel_order", shape.named())
            assert answers.order(await server.call("get_order", shape.named())).state is OrderState.CANCELLED

    asyncio.run(run())


def test_an_amount_that_would_not_survive_as_a_json_number_is_refused_rather_than_rounded() -> None:
    async def test(server: ExecServer, book: Book) -> None:
        with pytest.raises(Unsayable, match=r"quantity: 1234567\.12345678901 has too many digits"):
            await server.call("place_order", SHAPES[0].order(quantity="1234567.12345678901"))
        assert book.orders == {}

    on(SHAPES[0], test)


def test_without_the_symbol_an_order_cannot_be_looked_up_where_the_server_asks_for_it() -> None:
    async def test(server: ExecServer, book: Book) -> None:
        with pytest.raises(Unsayable, match="get_order: the server asks for symbol, which is not known"):
            await server.call("get_order", {**WHO, "client_order_id": "abc123"})

    on(SHAPES[0], test)


class KeepsHistory(CcxtShaped):
    """Of an exchange that looks nothing up by our id, fills market orders at once, and has ccxt's fetchOrders."""

    def server(self) -> MCPServer[Any]:
        server = super().server()
        server.add_tool(self.fetchOrders)
        return server

    async def fetchOrder(self, accountName: str, id: str, symbol: str, params: dict[str, Any] | None = None) -> Any:
        return told(f"Error fetching order for account '{accountName}': kraken Invalid order id", failed=True)

    async def fetchOpenOrders(
        self,
        accountName: str,
        symbol: str | None = None,
        since: float | None = None,
        limit: float | None = None,
        params: dict[str, Any] | None = None,
    ) -> Any:
        return told(json.dumps([ccxt_spelled(o) for o in self.book.orders.values() if o["type"] != "market"]))

    async def fetchOrders(self, accountName: str, symbol: str | None = None) -> Any:
        orders = [ccxt_spelled(order) for order in self.book.orders.values()]
        return told(json.dumps([{**o, "status": "closed", "filled": o["amount"], "average": 100} for o in orders]))


def advised() -> dict[str, Any]:
    """What the head of the mapping advises, as it stands there."""
    text = (ROOT / "reconciler/exec_mcp/mappings/ccxt.yaml").read_text(encoding="utf-8")
    lines = [line.removeprefix("#") for line in text.splitlines() if line.startswith("#     ")]
    block = "\n".join(lines[next(i for i, line in enumerate(lines) if "fetchOrders" in line) - 1 :])
    found = yaml.safe_load(block)
    assert list(found["tools"]) == ["get_order"]
    return dict(found["tools"])


def keeping(tools: dict[str, Any]) -> Shape:
    own = {"tools": {"get_quote": EXCHANGE, "get_candles": EXCHANGE, **tools}}
    return replace(SHAPES[0], server=lambda book: KeepsHistory(book).server(), own=own)


def test_the_advice_of_the_ccxt_mapping_finds_an_order_that_filled_at_once_and_tells_one_that_is_not_there() -> None:
    async def test(server: ExecServer, book: Book) -> None:
        assert server.status.mismatches == ()
        book.fault = "timeout"
        market = {key: value for key, value in SHAPES[0].order(type="market").items() if key != "limit_price"}
        with pytest.raises(ExecUnknown):
            await server.call("place_order", market)
        found = answers.order(await server.call("get_order", SHAPES[0].named()))
        assert (found.state, found.filled_quantity) == (OrderState.FILLED, Decimal("0.012345678"))
        with pytest.raises(OrderNotFound):
            await server.call("get_order", {**SHAPES[0].named(), "client_order_id": "never"})

    on(keeping(advised()), test)


def test_a_list_of_open_orders_proves_nothing_of_one_that_it_lacks() -> None:
    async def test(server: ExecServer, book: Book) -> None:
        book.fault = "timeout"
        market = {key: value for key, value in SHAPES[0].order(type="market").items() if key != "limit_price"}
        with pytest.raises(ExecUnknown):
            await server.call("place_order", market)
        with pytest.raises(answers.Unreadable, match="fetchOpenOrders lists no order abc123, which may be over"):
            await server.call("get_order", SHAPES[0].named())

    words = {"name": "fetchOpenOrders", "args": {"client_order_id": None}, "items": "$"}
    on(keeping({"get_order": words}), test)


@pytest.mark.parametrize(
    "said",
    ["kraken Invalid order id", "Account 'main' not found", "order book of BTC/USDT not found", "Unknown order type",
     "kraken {\"error\":[\"EGeneral:Internal error\"]}"],
)  # fmt: skip
def test_what_does_not_say_that_there_is_no_such_order_is_no_proof_of_it(said: str) -> None:
    words = read(ready("ccxt")).tool("get_order")
    assert words is not None
    failed = Reply(True, None, f"Error fetching order for account 'main': {said}")
    with pytest.raises(ExecRejected) as caught:
        answered("get_order", words, SHAPES[0].named(), failed, utc(0))
    assert type(caught.value) is ExecRejected


@pytest.mark.parametrize(
    "said",
    ["binance {\"code\":-2013,\"msg\":\"Order does not exist.\"}", "OrderNotFound: abc123", "okx order not found",
     "kraken {\"error\":[\"EOrder:Unknown order\"]}", "bybit Order not exists or too late to cancel"],
)  # fmt: skip
def test_what_exchanges_behind_ccxt_say_of_an_order_that_is_not_there_is_heard(said: str) -> None:
    words = read(ready("ccxt")).tool("get_order")
    assert words is not None
    failed = Reply(True, None, f"Error fetching order for account 'main': {said}")
    with pytest.raises(OrderNotFound):
        answered("get_order", words, SHAPES[0].named(), failed, utc(0))


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ('binance {"code":-2010,"msg":"Account has insufficient balance for requested action."}', ExecRejected),
        ("API credentials not set. Please use setExchangeCredentials tool first.", ExecRejected),
        ("Cannot read properties of undefined (reading 'id')", ExecUnknown),
        ("kraken POST https://api.kraken.com 502 Bad Gateway", ExecUnknown),
    ],
)
def test_a_failure_of_ccxt_is_a_refusal_only_where_it_says_so(said: str, heard: type[Exception]) -> None:
    words = read(ready("ccxt")).tool("place_order")
    assert words is not None
    failed = Reply(True, None, f"Error creating order for account 'main': {said}")
    with pytest.raises(heard):
        answered("place_order", words, SHAPES[0].order(), failed, utc(0))


def test_a_page_that_is_not_there_is_no_proof_that_an_order_is_not() -> None:
    words = read(ready("alpaca")).tool("get_order")
    assert words is not None
    with pytest.raises(ExecRejected) as caught:
        answered("get_order", words, SHAPES[1].named(), Reply(True, None, "HTTP error 404: Not Found"), utc(0))
    assert type(caught.value) is ExecRejected

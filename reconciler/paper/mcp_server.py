"""The paper exchange with its memory; and serving it, or any MCP server, over streamable HTTP on loopback, on a socket
of our own.

The memory is a file that grows by one line of JSON with every change. A line is an order as it became, with the fills
that are new in it. Lines in their order are all there is to remember; money and positions follow. A line is handed to
the operating system before the change is answered, so killing the process at any moment loses nothing that was
answered, and leaves at most one torn line.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.clock import Clock
from reconciler.orders.filling import Liquidity
from reconciler.orders.order import OrderRequest, OrderState, OrderType, Side, TimeInForce, decimal_text, to_decimal
from reconciler.paper.account import PaperOptions
from reconciler.paper.csv_feed import EXAMPLE, CsvFeed
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.faults import FaultRule, Faults
from reconciler.paper.feed import FeedOptions, Prices, SyntheticFeed
from reconciler.paper.paper_order import ORDER_ID, PaperFill, PaperOrder, Ticket
from reconciler.serving import listen, serving

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer


class Journal:
    """The file at `path`, made where it is missing, and ours alone as long as it is open.

    Raises OSError, BlockingIOError where another exchange has it; reading raises ValueError where it is no journal.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise BlockingIOError(f"{path}: another paper exchange uses it; stop that one, or name another") from None
        self._end = 0

    def changes(self) -> Iterator[PaperOrder]:
        """Every change ever recorded, in its order, each order with all its fills up to then. Read it once, whole."""
        fills: dict[tuple[str, str], tuple[PaperFill, ...]] = {}
        with open(os.dup(self._file), "rb") as lines:
            lines.seek(0)
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return  # torn by a kill: what it says was never answered
                try:
                    order = _order(json.loads(line))
                except (ValueError, LookupError, TypeError, ArithmeticError) as error:
                    raise ValueError(
                        f"{self._path}:{number}: expected an order of the paper exchange: {f'{error!r}':.200}; "
                        "name another file, or move this one away to begin anew"
                    ) from error
                fills[order.key] = (*fills.get(order.key, ()), *order.fills)
                self._end += len(line)
                yield replace(order, fills=fills[order.key])
                if order.state.is_final:
                    del fills[order.key]

    def record(self, order: PaperOrder, new_fills: Sequence[PaperFill]) -> None:
        """Remember that `order` became what it is, by `new_fills` among others. Raises OSError: then it did not.

        Every line is written where the last whole one ends, over what a failure or a kill may have left there.
        """
        line = _line(order, new_fills)
        written = 0
        while written < len(line):
            written += os.pwrite(self._file, line[written:], self._end + written)
        self._end += len(line)

    def close(self) -> None:
        os.close(self._file)


def _line(order: PaperOrder, new_fills: Sequence[PaperFill]) -> bytes:
    ticket, request = order.ticket, order.request
    values = {
        "order_id": order.order_id,
        "client_order_id": ticket.client_order_id,
        "account_id": ticket.account_id,
        "client_id": ticket.client_id,
        "symbol": ticket.symbol,
        "side": request.side,
        "type": request.type,
        "quantity": decimal_text(request.quantity),
        "limit_price": None if request.limit_price is None else decimal_text(request.limit_price),
        "stop_price": None if request.stop_price is None else decimal_text(request.stop_price),
        "time_in_force": request.time_in_force,
        "reduce_only": request.reduce_only,
        "state": order.state,
        "is_triggered": order.is_triggered,
        "seen": None if order.seen is None else decimal_text(order.seen),
        "reason": order.reason,
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
        "new_fills": [
            {
                "fill_id": fill.fill_id,
                "quantity": decimal_text(fill.quantity),
                "price": decimal_text(fill.price),
                "fee": decimal_text(fill.fee),
                "fee_currency": fill.fee_currency,
                "liquidity": fill.liquidity,
                "at": fill.at.isoformat(),
            }
            for fill in new_fills
        ],
    }
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _order(values: dict[str, Any]) -> PaperOrder:
    """The order of one line, with none but its new fills."""
    limit_price, stop_price = values["limit_price"], values["stop_price"]
    request = OrderRequest(
        side=Side(values["side"]),
        type=OrderType(values["type"]),
        quantity=_above_zero(values["quantity"]),
        limit_price=None if limit_price is None else _above_zero(limit_price),
        stop_price=None if stop_price is None else _above_zero(stop_price),
        time_in_force=TimeInForce(values["time_in_force"]),
        reduce_only=values["reduce_only"],
    )
    return PaperOrder(
        order_id=_order_id(values["order_id"]),
        ticket=Ticket(values["account_id"], values["client_id"], values["client_order_id"], values["symbol"], request),
        state=OrderState(values["state"]),
        created_at=datetime.fromisoformat(values["created_at"]),
        updated_at=datetime.fromisoformat(values["updated_at"]),
        is_triggered=values["is_triggered"],
        seen=None if values.get("seen") is None else _above_zero(values["seen"]),
        reason=values["reason"],
        fills=tuple(
            PaperFill(
                fill_id=fill["fill_id"],
                quantity=_above_zero(fill["quantity"]),
                price=_above_zero(fill["price"]),
                fee=to_decimal(fill["fee"], "fee"),
                liquidity=Liquidity(fill["liquidity"]),
                at=datetime.fromisoformat(fill["at"]),
                fee_currency=fill.get("fee_currency"),
            )
            for fill in values["new_fills"]
        ),
    )


def _order_id(text: str) -> str:
    if not ORDER_ID.fullmatch(text):
        raise ValueError(f"order_id: expected paper-1 or the like, was {text!r}")
    return text


def _above_zero(text: str) -> Decimal:
    number = to_decimal(text)
    if number <= 0:
        raise ValueError(f"expected more than zero, was {text!r}")
    return number


_PATH = "/mcp"


@contextmanager
def open_exchange(
    clock: Clock,
    *,
    step_s: float = 6.0,
    options: PaperOptions | None = None,
    journal: Path | None = None,
    feed: FeedOptions | None = None,
) -> Iterator[PaperExchange]:
    """The exchange itself. Prices hold for `step_s`. With `journal`, its state outlives the process.

    Raises OSError where the prices or the journal cannot be had, ValueError where a file is not one.
    """
    feed, options = feed or FeedOptions(), options or PaperOptions()
    replay = CsvFeed.read(feed.prices or EXAMPLE, step_s, speed=feed.speed, begin_s=feed.begin_s)
    prices = Prices([replay, SyntheticFeed(feed.seed, step_s)], step_s, options.markets)
    if journal is None:
        yield PaperExchange(prices, clock, options)
        return
    with contextlib.closing(Journal(journal)) as memory:
        exchange = PaperExchange(prices, clock, options, memory.record)
        exchange.restore(memory.changes())
        yield exchange


@asynccontextmanager
async def serve_paper(
    clock: Clock,
    *,
    step_s: float = 6.0,
    options: PaperOptions | None = None,
    journal: Path | None = None,
    port: int = 0,
    feed: FeedOptions | None = None,
    faults: Faults | None = None,
    fault_tools: bool = False,
) -> AsyncIterator[str]:
    """The paper exchange as an exec-mcp server on loopback; yields its URL.

    As `open_exchange`; `port` 0 takes a free one. `faults` beset it, and with `fault_tools` clients may set more.
    Raises OSError where the port cannot be had, too.
    """
    from reconciler.paper.tools import Outage, mcp_server

    faults = faults or Faults(clock)
    with open_exchange(clock, step_s=step_s, options=options, journal=journal, feed=feed) as exchange:
        app = _app(mcp_server(exchange, faults, fault_tools=fault_tools))
        async with faults.ending(), serve_app(Outage(app, faults), port) as address:
            yield address + _PATH


@asynccontextmanager
async def serve_mcp(server: MCPServer[Any], port: int = 0) -> AsyncIterator[str]:
    """Any `MCPServer` on loopback, with the SDK's checks of Host and Origin on; yields its URL. Raises OSError."""
    async with serve_app(_app(server), port) as address:
        yield address + _PATH


@asynccontextmanager
async def serve_app(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Any ASGI application on loopback; yields `http://127.0.0.1:PORT`. Raises OSError."""
    listener = listen("127.0.0.1", port)
    async with serving(app, listener, "paper exchange", lifespan="on"):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def _app(server: MCPServer[Any]) -> Any:
    return server.streamable_http_app(streamable_http_path=_PATH, json_response=True, host="127.0.0.1")


@dataclass(frozen=True, slots=True)
class StandaloneOptions:
    """How it is served: `port` 0 takes a free one; with `fault_tools`, clients may set faults."""

    step_s: float
    options: PaperOptions = field(default_factory=PaperOptions)
    feed: FeedOptions = field(default_factory=FeedOptions)
    journal: Path | None = None
    port: int = 0
    faults: tuple[FaultRule, ...] = ()
    fault_tools: bool = False


async def serve_http(wanted: StandaloneOptions, clock: Clock, ready: Callable[[str], None]) -> None:
    """Serve until told to stop; `ready` is told the URL. Raises OSError, ValueError as `serve_paper` does."""
    stopping = _stopping()
    async with serve_paper(
        clock,
        step_s=wanted.step_s,
        options=wanted.options,
        journal=wanted.journal,
        port=wanted.port,
        feed=wanted.feed,
        faults=Faults(clock, wanted.faults, wanted.feed.seed),
        fault_tools=wanted.fault_tools,
    ) as url:
        ready(url)
        await stopping.wait()


async def serve_stdio(wanted: StandaloneOptions, clock: Clock, ready: Callable[[], None]) -> None:
    """Serve whoever started this process, until its input ends or it is told to stop. Raises OSError, ValueError."""
    from reconciler.paper.tools import mcp_server

    stopping = _stopping()
    faults = Faults(clock, wanted.faults, wanted.feed.seed)
    with open_exchange(
        clock, step_s=wanted.step_s, options=wanted.options, journal=wanted.journal, feed=wanted.feed
    ) as exchange:
        server = mcp_server(exchange, faults, fault_tools=wanted.fault_tools)
        async with faults.ending():
            ready()
            served = asyncio.create_task(server.run_stdio_async(), name="paper exchange")
            told = asyncio.create_task(stopping.wait(), name="stop")
            await asyncio.wait((served, told), return_when=asyncio.FIRST_COMPLETED)
            if served.done():
                told.cancel()
                served.result()
                return
    # A thread of the SDK is waiting for input that may never come, and Python would wait for that thread. All
    # that happened is with the operating system already.
    sys.stdout.flush()
    os._exit(0)


def _stopping() -> asyncio.Event:
    """Set when the process is told to stop."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping

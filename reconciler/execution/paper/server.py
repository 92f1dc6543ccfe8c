"""Serving the paper exchange, or any MCP server, over streamable HTTP on loopback, on a socket of our own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.clock import Clock
from reconciler.execution.paper.exchange import PaperExchange
from reconciler.execution.paper.faults import Faults
from reconciler.execution.paper.feed import Prices
from reconciler.execution.paper.journal import Journal
from reconciler.execution.paper.options import FeedOptions, PaperOptions
from reconciler.execution.paper.replay import EXAMPLE, CsvFeed
from reconciler.execution.paper.synthetic import SyntheticFeed
from reconciler.serving import listen, serving

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

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
    from reconciler.execution.paper.faulty import Outage
    from reconciler.execution.paper.tools import mcp_server

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

"""Serving an MCP server over streamable HTTP on loopback, on a socket of our own. Knows nothing of exchanges."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.clock import Clock
from reconciler.execution.paper.exchange import PaperExchange, PaperOptions
from reconciler.execution.paper.feed import Prices
from reconciler.execution.paper.journal import Journal
from reconciler.execution.paper.replay import EXAMPLE, CsvFeed
from reconciler.execution.paper.synthetic import SyntheticFeed
from reconciler.serving import listen, serving

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

_PATH = "/mcp"


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Where prices come from: `prices` is a CSV file to replay, None for the example rates.

    Prices of the pairs that the file lacks are made up, and follow from `seed`.
    """

    prices: Path | None = None
    seed: str = "paper"


@asynccontextmanager
async def serve_paper(
    clock: Clock,
    *,
    step_s: float = 6.0,
    options: PaperOptions | None = None,
    journal: Path | None = None,
    port: int = 0,
    feed: FeedOptions | None = None,
) -> AsyncIterator[str]:
    """The paper exchange as an exec-mcp server on loopback; yields its URL.

    Prices hold for `step_s`. With `journal`, its state outlives the process. `port` 0 takes a free one.
    Raises OSError where the port, the prices or the journal cannot be had, ValueError where a file is not one.
    """
    from reconciler.execution.paper.tools import mcp_server

    feed = feed or FeedOptions()
    prices = Prices([CsvFeed.read(feed.prices or EXAMPLE, step_s), SyntheticFeed(feed.seed, step_s)], step_s)
    with contextlib.ExitStack() as stack:
        if journal is None:
            exchange = PaperExchange(prices, clock, options)
        else:
            memory = stack.enter_context(contextlib.closing(Journal(journal)))
            exchange = PaperExchange(prices, clock, options, memory.record)
            exchange.restore(memory.orders)
        async with serve_mcp(mcp_server(exchange), port) as url:
            yield url


@asynccontextmanager
async def serve_mcp(server: MCPServer[Any], port: int = 0) -> AsyncIterator[str]:
    """Any `MCPServer` on loopback, with the SDK's checks of Host and Origin on; yields its URL. Raises OSError."""
    app = server.streamable_http_app(streamable_http_path=_PATH, json_response=True, host="127.0.0.1")
    async with serve_app(app, port) as address:
        yield address + _PATH


@asynccontextmanager
async def serve_app(app: Any, port: int = 0) -> AsyncIterator[str]:
    """Any ASGI application on loopback; yields `http://127.0.0.1:PORT`. Raises OSError."""
    listener = listen("127.0.0.1", port)
    async with serving(app, listener, "paper exchange", lifespan="on"):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"

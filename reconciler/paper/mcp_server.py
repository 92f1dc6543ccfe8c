"""Serving the paper exchange, or any MCP server, over streamable HTTP on loopback, on a socket of our own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.clock import Clock
from reconciler.paper.csv_feed import EXAMPLE, CsvFeed
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.faults import FaultRule, Faults
from reconciler.paper.feed import Prices, SyntheticFeed
from reconciler.paper.journal import Journal
from reconciler.paper.terms import FeedOptions, PaperOptions
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
    from reconciler.paper.faulty import Outage
    from reconciler.paper.tools import mcp_server

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

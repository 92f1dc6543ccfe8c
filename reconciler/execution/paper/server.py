"""Serving an MCP server over streamable HTTP on loopback, on a socket of our own. Knows nothing of exchanges."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.clock import Clock
from reconciler.execution.paper.exchange import PaperExchange, PaperOptions
from reconciler.execution.paper.feed import Prices
from reconciler.execution.paper.journal import Journal
from reconciler.execution.paper.replay import EXAMPLE, CsvFeed
from reconciler.execution.paper.synthetic import SyntheticFeed

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

_PATH = "/mcp"
_STOP_S = 1
"""How long open connections may take to end."""


@asynccontextmanager
async def serve_paper(
    clock: Clock,
    *,
    step_s: float = 6.0,
    options: PaperOptions | None = None,
    journal: Path | None = None,
    port: int = 0,
    seed: str = "paper",
) -> AsyncIterator[str]:
    """The paper exchange as an exec-mcp server on loopback; yields its URL.

    Prices hold for `step_s`: the example rates for the pairs they have, made-up ones that follow from `seed`
    for all others. With `journal`, its state outlives the process. `port` 0 takes a free one.
    Raises OSError where the port or the journal cannot be had, ValueError where the journal is not one.
    """
    from reconciler.execution.paper.tools import mcp_server

    prices = Prices([CsvFeed.read(EXAMPLE, step_s), SyntheticFeed(seed, step_s)], step_s)
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
    import uvicorn

    class Quiet(uvicorn.Server):
        """Leaves the process's signals to the process."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=_STOP_S)
    http = Quiet(config)
    with _listening(port) as listener:
        serving = asyncio.create_task(http.serve(sockets=[listener]), name="paper exchange")
        try:
            # The socket listens already: whoever connects now is served as soon as the server runs.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            http.should_exit = True
            await serving


def _listening(port: int) -> socket.socket:
    # IPPROTO_TCP said aloud: asyncio turns off Nagle's delay only for sockets that name their protocol.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener

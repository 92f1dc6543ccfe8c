"""Serving an ASGI app with uvicorn, on a socket of our own. Leaves the process's signals to the process.

uvicorn is imported where it is used: the command line must start without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

STOP_S = 1
"""How long open connections may take to end."""


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens; `port` 0 takes a free one. Raises OSError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # IPPROTO_TCP said aloud: asyncio turns off Nagle's delay only for sockets that name their protocol.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


@contextlib.asynccontextmanager
async def serving(app: Any, listener: socket.socket, name: str, **config: Any) -> AsyncIterator[None]:
    """Serve `app` on `listener` while the context lasts. `config` goes to `uvicorn.Config`."""
    import uvicorn

    class Quiet(uvicorn.Server):
        """Two servers that each caught SIGTERM would raise it again in the middle of the engine's own stop."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    defaults: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "lifespan": "off",
        "timeout_graceful_shutdown": STOP_S,
    }
    server = Quiet(uvicorn.Config(app, **{**defaults, **config}))
    with listener:
        task = asyncio.create_task(server.serve(sockets=[listener]), name=name)
        try:
            # The socket listens already: whoever connects now is served as soon as the server runs.
            yield
        finally:
            server.should_exit = True
            await task

"""Serving an ASGI app with uvicorn, on a socket of our own, to so many at once and no more.

Leaves the process's signals to the process. uvicorn is imported where it is used: the command line must start
without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler.ending import in_children, let_go

if TYPE_CHECKING:
    from reconciler.connections import Connections

log = logging.getLogger(__name__)

STOP_S = 1
"""How long open connections may take to end."""
MOST = 256
"""How many connections there may be where nobody says otherwise, and how many more whose answers stream."""

_REFUSED_ACCEPT = "socket.accept()"
"""How asyncio's message begins."""
_TOLD_AGAIN_S = 60.0
_AT_ONCE = 64
"""How many connections the loop takes before it looks at those it has."""
_QUEUE = 1024
"""How many may wait to be taken."""


Spared = Callable[[], contextlib.AbstractContextManager[None]]
"""While inside, descriptors come from a reserve."""

_rescues: dict[int, Callable[[], None]] = {}
"""How a connection is taken all the same, by the number of its listener: of those that have a reserve."""


def tell_refused_accepts_once(refused: Callable[[], object]) -> None:
    """Have the running loop call `refused` where it cannot take a connection, and log that once a minute.

    Where the listener has a reserve, the connection is taken from that.

    asyncio tries again every second, and would log a traceback each time, for each listener.
    """
    loop = asyncio.get_running_loop()
    told = False

    def forget() -> None:
        nonlocal told
        told = False

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        nonlocal told
        if not str(context.get("message", "")).startswith(_REFUSED_ACCEPT):
            loop.default_exception_handler(context)
            return
        refused()
        listener = context.get("socket")
        if listener is not None and (rescue := _rescues.get(listener.fileno())) is not None:
            rescue()
        if not told:
            told = True
            loop.call_later(_TOLD_AGAIN_S, forget)
            log.error("a connection could not be taken", extra={"error": str(context.get("exception"))})

    loop.set_exception_handler(handle)


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
async def serving(
    app: Any,
    listener: socket.socket,
    name: str,
    *,
    connections: Connections | None = None,
    http: Callable[..., Any] | None = None,
    spared: Spared | None = None,
    **config: Any,
) -> AsyncIterator[None]:
    """Serve `app` on `listener` while the context lasts. `config` goes to `uvicorn.Config`.

    `connections` are those it may have, `MOST` of each kind where nobody says otherwise; `http` is a `BoundedProtocol`.
    With `spared`, connections are taken where no descriptor is left, too.
    """
    import uvicorn

    from reconciler.connections import BoundedProtocol, Connections

    class Quiet(uvicorn.Server):
        """Two servers that each caught SIGTERM would raise it again in the middle of the engine's own stop."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            listener.listen(_QUEUE)  # asyncio takes as many at once as may wait, unless it is told apart

    if connections is None:
        connections = Connections(MOST, MOST)
    defaults: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "lifespan": "off",
        "timeout_graceful_shutdown": STOP_S,
        "ws": "none",
        "backlog": _AT_ONCE,
        "http": partial(http or BoundedProtocol, connections=connections),
    }
    server = Quiet(uvicorn.Config(app, **{**defaults, **config}))
    with listener, _rescuing(server, listener, spared), in_children(lambda: let_go([listener.fileno()])):
        task = asyncio.create_task(server.serve(sockets=[listener]), name=name)
        try:
            # The socket listens already: whoever connects now is served as soon as the server runs.
            yield
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def _rescuing(server: Any, listener: socket.socket, spared: Spared | None) -> Iterator[None]:
    """While the context lasts, asyncio's failures to take a connection of this listener are made good."""
    if spared is None:
        yield
        return
    loop, number = asyncio.get_running_loop(), listener.fileno()
    taken: set[asyncio.Task[Any]] = set()

    def protocol() -> Any:
        config, state = server.config, server.lifespan.state
        return config.http_protocol_class(config=config, server_state=server.server_state, app_state=state, _loop=loop)

    def rescue() -> None:
        with contextlib.suppress(OSError), spared():  # nobody waits any more, or the reserve is used up as well
            connection, _ = listener.accept()
            connection.setblocking(False)
            task = loop.create_task(loop.connect_accepted_socket(protocol, connection))
            taken.add(task)
            task.add_done_callback(taken.discard)

    _rescues[number] = rescue
    try:
        yield
    finally:
        del _rescues[number]

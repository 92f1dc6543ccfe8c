"""HTTP connections that end: how many there may be at once, and how long each may say nothing. Knows no application.

Whoever may connect may also say nothing, for ever, as often as there are descriptors. So there is a most for each
listener; over it the connection that has been idle for longest is closed, and the newest is served. Answers that
stream last as long as their readers like, and are counted apart.

uvicorn is imported with this module: the command line must start without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import resource
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True, slots=True)
class Patience:
    """How long each may take.

    `idle_s`: to say nothing between requests, and before the first. `request_s`: for a request to arrive, from the
    first byte of its head to the last of its body. `stalled_s`: for a reader to take nothing of an answer that waits.
    """

    idle_s: float = 15.0
    request_s: float = 10.0
    stalled_s: float = 15.0


DRAINED_BYTES = 64 * 1024 * 1024
"""So much of a body that nobody wants is taken, and for no longer than a request may take."""
STREAM = b"text/event-stream"


class _Does(Enum):
    """What a connection is at. The earlier, the sooner it is closed for another's sake."""

    NOTHING = 0
    SENDS = 1
    STALLS = 2
    IS_ANSWERED = 3


class Connections:
    """Those of one listener, at most `most` of them, and `most_streams` more whose answers stream.

    Belongs to the event loop.
    """

    def __init__(self, most: int, most_streams: int, patience: Patience | None = None) -> None:
        self._most = most
        self._most_streams = most_streams
        patience = patience or Patience()
        self._patience_s = {
            _Does.NOTHING: patience.idle_s,
            _Does.SENDS: patience.request_s,
            _Does.STALLS: patience.stalled_s,
        }
        self._open: dict[BoundedProtocol, _Does] = {}
        """In the order in which they came to do what they do."""
        self._streams: dict[BoundedProtocol, None] = {}

    def __len__(self) -> int:
        return len(self._open) + len(self._streams)

    def note(self, one: BoundedProtocol, does: _Does) -> float | None:
        """It does something else from now on, for so many seconds at most. One too many is closed: never this one."""
        if one in self._streams:
            return self._patience_s[does] if does is _Does.STALLS else None
        self._open.pop(one, None)
        self._open[one] = does
        while len(self._open) > self._most:
            self._close(self._least_missed())
        return self._patience_s.get(does)

    def streams(self, one: BoundedProtocol) -> None:
        """Its answer streams: it is counted with those of its kind until it ends."""
        self._open.pop(one, None)
        self._streams[one] = None
        while len(self._streams) > self._most_streams:
            self._close(next(iter(self._streams)))

    def forget(self, one: BoundedProtocol) -> None:
        self._open.pop(one, None)
        self._streams.pop(one, None)

    def _least_missed(self) -> BoundedProtocol:
        """Of those before the newest: idle or half-sent ones first, then those that read nothing, the oldest first."""
        older = islice(self._open, len(self._open) - 1)
        return min(older, key=lambda one: max(self._open[one].value, _Does.SENDS.value))

    def _close(self, one: BoundedProtocol) -> None:
        self.forget(one)  # at once: the transport tells that it is lost only later
        one.end()


class BoundedProtocol(H11Protocol):
    """HTTP on one connection that is one of `connections`, and is given so long and no longer for what it does."""

    def __init__(self, *more: Any, connections: Connections, **named: Any) -> None:
        super().__init__(*more, **named)
        self._among = connections
        self._does: _Does | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._ended = False
        self._serve = self.app
        self.app = self._watched
        self.logger = _Errors(self.logger)  # type: ignore[assignment]

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._among.forget(self)
        self._stop()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # ours takes its place
        self._look()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._look()

    def end(self) -> None:
        """Close it now, whatever of its answer has not left."""
        self._stop()
        self.transport.abort()

    def _unsupported_upgrade_warning(self) -> None:
        """Who asks for a WebSocket is answered as if he had not; what others ask for is no matter for the log."""

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, in the one error shape."""
        body = json.dumps({"error": {"code": "bad_request", "message": "expected an HTTP request"}}).encode()
        head = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]
        start = h11.Response(status_code=400, headers=head, reason=b"Bad Request")
        for event in (start, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    async def _watched(self, scope: Any, receive: Any, send: Any) -> None:
        async def told(message: Any) -> None:
            if message["type"] == "http.response.start" and _is_stream(message):
                self._among.streams(self)
            elif message["type"] == "http.response.body" and not message.get("more_body") and self.cycle.more_body:
                await send({**message, "more_body": True})
                await self._drain(receive)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        await self._serve(scope, receive, told)

    async def _drain(self, receive: Any) -> None:
        """Take what is left of a request that was answered before its end: who still writes hears nothing yet."""
        left = DRAINED_BYTES
        while self.cycle.more_body and left > 0:
            message = await receive()
            if message["type"] != "http.request":
                return
            left -= len(message["body"])

    def _look(self) -> None:
        """See what it does by now; where that is something else, the time for that begins."""
        if self._ended or (does := self._doing()) is self._does:
            return
        self._forget_time()
        self._does = does
        if (patience_s := self._among.note(self, does)) is not None:
            self._patience = self.loop.call_later(patience_s, self.end)

    def _doing(self) -> _Does:
        if self.transport.is_closing():
            return _Does.STALLS  # until the rest of its answer has been read
        if self.cycle is not None and not self.cycle.response_complete:
            if self.flow.write_paused:
                return _Does.STALLS
            return _Does.SENDS if self.cycle.more_body else _Does.IS_ANSWERED
        if self.conn.their_state is h11.SEND_BODY or self.conn.trailing_data[0]:
            return _Does.SENDS
        return _Does.NOTHING

    def _stop(self) -> None:
        self._ended = True
        self._forget_time()

    def _forget_time(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None


class _Errors(logging.LoggerAdapter[logging.Logger]):
    """What goes wrong with us. Of what others send there is no warning: they may send it as often as they like."""

    level = logging.WARNING

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__(logger, {})

    def warning(self, msg: object, *more: Any, **named: Any) -> None:
        """Unheard."""


def _is_stream(start: Any) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(STREAM) for name, value in start["headers"])


RESERVED = 64
"""For the control socket, files and the database, whoever has taken all the others."""
MOST = 65_536
"""More are not asked for: what leaks them is to be told before memory is gone."""

log = logging.getLogger(__name__)


class Descriptors:
    """The soft limit is raised to the hard one, but for a reserve. Once none is left, who has `spared` gets of that.

    Whatever used them up, a strategy or a server, finds the reserve closed but for those moments. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = MOST if hard == resource.RLIM_INFINITY else max(soft, min(hard, MOST))
        self._hard = hard
        self._all = most
        self._spared = 0
        self.limit = max(most - RESERVED, most // 2)
        """How many there are before the reserve."""
        self.fault = ""
        """That they are used up, empty where they are not."""
        self._set(self.limit)

    def look(self) -> None:
        """See whether there are some left. Cheap."""
        try:
            number = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EMFILE:
                return
            number = self.limit
        else:
            os.close(number)
        if number >= self.limit and not self.fault:
            self.fault = f"all {self.limit} file descriptors are used up, but for {self._all - self.limit} in reserve"
            log.error("file descriptors are used up", extra={"limit": self.limit, "reserve": self._all - self.limit})
        elif number < self.limit and self.fault:
            self.fault = ""
            log.warning("there are file descriptors again")

    @contextlib.contextmanager
    def spared(self) -> Iterator[None]:
        """While inside, descriptors come from the reserve where no others are left: be brief."""
        if not self.fault:
            yield
            return
        with self._lock:
            self._spared += 1
            self._set(self._all)
        try:
            yield
        finally:
            with self._lock:
                self._spared -= 1
                if not self._spared:
                    self._set(self.limit)

    def _set(self, soft: int) -> None:
        with contextlib.suppress(OSError, ValueError):  # a container may forbid it: then it stays as it was
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard))

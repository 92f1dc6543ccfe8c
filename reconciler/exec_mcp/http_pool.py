"""HTTP/1.1 to one server: connections that are kept, each with one request at a time. Imports the HTTP library: lazily.

A request is claimed when its connection is there and nothing is left to wait for; one that may not leave gives its
connection back as it was. It is written whole, in one piece, and is out of hand once the socket has taken all of it.
Knows nothing of MCP, redirects or retries: what failed is told, and whoever asked knows what that means.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any, Final, cast

import h11
import httpx2

_MOST: Final = 100
"""So many connections at a time: whoever comes later waits for one, as long as it may."""
_IDLE_S: Final = 4.0
"""A connection that was idle for longer is not used again: many servers close one after five seconds."""
_HEADERS_BYTES: Final = 100 * 1024
_READ_BYTES: Final = 65_536


LATIN: Final = "iso-8859-1"
"""Every header can be read in it. Not told, the library tries three encodings on all headers, each time it is asked for
one."""


class Unclaimed(Exception):
    """The request must not be written."""


class HttpPool(httpx2.AsyncBaseTransport):
    """Lives on the loop. A request's extensions may hold `claim`, asked once before it is written, and `written`."""

    def __init__(self) -> None:
        self._idle: deque[tuple[_Line, float]] = deque()
        self._room = asyncio.Semaphore(_MOST)
        self._is_closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises Unclaimed where it was not claimed; httpx2.TransportError as the HTTP library's own transport does."""
        timeouts: dict[str, float | None] = request.extensions.get("timeout", {})
        body = await request.aread()
        async with _within(timeouts.get("pool"), httpx2.PoolTimeout):
            await self._room.acquire()
        line: _Line | None = None
        try:
            line = self._kept() or await self._connected(request.url, timeouts.get("connect"))
            claim: Callable[[], bool] | None = request.extensions.get("claim")
            if claim is not None and not claim():
                self._keep(line)
                line = None
                raise Unclaimed
            await line.write(request, body, timeouts.get("write"))
            if (written := request.extensions.get("written")) is not None:
                written()
            head = await line.head(timeouts.get("read"))
        except BaseException:
            if line is not None:
                line.close()
            self._room.release()
            raise
        response = httpx2.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=_Body(self, line, timeouts.get("read")),
            extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason},
        )
        response.headers.encoding = LATIN
        return response

    async def aclose(self) -> None:
        self._is_closed = True
        while self._idle:
            self._idle.popleft()[0].close()

    def over(self, line: _Line) -> None:
        """What was answered on `line` was read, or will not be."""
        if line.is_reusable():
            self._keep(line)
        else:
            line.close()
        self._room.release()

    def _keep(self, line: _Line) -> None:
        if self._is_closed:
            line.close()
        else:
            self._idle.append((line, asyncio.get_running_loop().time()))

    def _kept(self) -> _Line | None:
        """The connection that was used last, of those that are still there."""
        now_s = asyncio.get_running_loop().time()
        while self._idle and now_s - self._idle[0][1] > _IDLE_S:
            self._idle.popleft()[0].close()
        while self._idle:
            line = self._idle.pop()[0]
            if not line.is_lost:
                return line
            line.close()
        return None

    async def _connected(self, url: httpx2.URL, timeout_s: float | None) -> _Line:
        loop, is_tls = asyncio.get_running_loop(), url.scheme == "https"
        context = self._tls if is_tls else None
        port = url.port or (443 if is_tls else 80)
        async with _within(timeout_s, httpx2.ConnectTimeout):
            try:
                _, line = await loop.create_connection(
                    _Line, url.host, port, ssl=context, server_hostname=url.host if is_tls else None,
                    happy_eyeballs_delay=0.25,
                )  # fmt: skip
            except TimeoutError:
                raise
            except (OSError, ssl.SSLError) as error:
                raise httpx2.ConnectError(str(error) or type(error).__name__) from error
        return line

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        context = httpx2.create_ssl_context()
        context.set_alpn_protocols(["http/1.1"])
        return context


class _Line(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEADERS_BYTES)
        self._transport: asyncio.Transport | None = None
        self._arrived: deque[bytes] = deque()
        self._stirred: asyncio.Future[None] | None = None
        self._is_full = False
        self.is_lost = False
        self._why: Exception | None = None

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # told of as soon as the socket does not take all

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        self._stir()

    def eof_received(self) -> bool:
        self.is_lost = True
        self._stir()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.is_lost, self._why = True, self._why or error
        self._stir()

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self._stir()

    # What is done with it

    async def write(self, request: httpx2.Request, body: bytes, timeout_s: float | None) -> None:
        """Write the whole request; on return it is out of hand."""
        assert self._transport is not None
        try:
            started = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            pieces = [self._http.send(started)]
            if body:
                pieces.append(self._http.send(h11.Data(data=body)))
            pieces.append(self._http.send(h11.EndOfMessage()))
        except h11.LocalProtocolError as error:
            raise httpx2.LocalProtocolError(str(error)) from error
        self._transport.write(b"".join(piece for piece in pieces if piece))
        if self._is_full:
            async with _within(timeout_s, httpx2.WriteTimeout):
                while self._is_full and not self.is_lost:
                    await self._stir_awaited()

    async def head(self, timeout_s: float | None) -> h11.Response:
        """What the answer begins with."""
        while True:
            event = await self._event(timeout_s)
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise httpx2.RemoteProtocolError("the server hung up before it answered")

    async def data(self, timeout_s: float | None) -> AsyncIterator[bytes]:
        """What it holds, a piece at a time."""
        while isinstance(event := await self._event(timeout_s), h11.Data):
            yield bytes(event.data)

    def is_reusable(self) -> bool:
        """True where a whole request was answered wholly; then it is ready for the next."""
        if self.is_lost or self._arrived or not self._http.our_state is self._http.their_state is h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def close(self) -> None:
        self.is_lost = True
        if self._transport is not None:
            self._transport.abort() if self._is_full else self._transport.close()

    async def _event(self, timeout_s: float | None) -> Any:
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise httpx2.RemoteProtocolError(self._told(error)) from error
            if event is not h11.NEED_DATA:
                return event
            if not self._arrived and not self.is_lost:
                async with _within(timeout_s, httpx2.ReadTimeout):
                    while not self._arrived and not self.is_lost:
                        await self._stir_awaited()
            if self._arrived:
                self._http.receive_data(self._arrived.popleft())
            elif self._why is not None:
                raise httpx2.ReadError(str(self._why)) from self._why
            else:
                self._http.receive_data(b"")

    def _told(self, error: h11.RemoteProtocolError) -> str:
        is_silent = self.is_lost and self._http.their_state is h11.ERROR and not self._http.trailing_data[0]
        return "Server disconnected without sending a response." if is_silent else str(error)

    async def _stir_awaited(self) -> None:
        self._stirred = asyncio.get_running_loop().create_future()
        try:
            await self._stirred
        finally:
            self._stirred = None

    def _stir(self) -> None:
        if self._stirred is not None and not self._stirred.done():
            self._stirred.set_result(None)


class _Body(httpx2.AsyncByteStream):
    """What an answer holds, read as it comes."""

    def __init__(self, pool: HttpPool, line: _Line, timeout_s: float | None) -> None:
        self._pool = pool
        self._line: _Line | None = line
        self._timeout_s = timeout_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert self._line is not None
        async for piece in self._line.data(self._timeout_s):
            yield piece
        self._over()

    async def aclose(self) -> None:
        self._over()

    def _over(self) -> None:
        if self._line is not None:
            line, self._line = self._line, None
            self._pool.over(line)


@asynccontextmanager
async def _within(timeout_s: float | None, error: type[httpx2.TimeoutException]) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise error(f"not within {timeout_s} s") from None

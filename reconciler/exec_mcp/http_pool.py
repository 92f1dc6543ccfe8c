"""HTTP/1.1 to one server: connections that are kept, each with one request at a time. Imports the HTTP library: lazily.

A request is claimed when its connection is there and nothing is left to wait for; one that may not leave gives its
connection back as it was. It is written whole, in one piece, and is out of hand once the socket has taken all of it.
Knows nothing of MCP, redirects or retries: what failed is told, and whoever asked knows what that means.

A request that stands ready as bytes is posted as it is, and an answer like most, JSON of a told length, is cut out of
what came. Any other answer is read as the library would have it, from its beginning.
"""

from __future__ import annotations

import asyncio
import re
import select
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
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


_LONGEST_BYTES: Final = 1024 * 1024
"""Of a plain answer."""
_HEAD_END: Final = b"\r\n\r\n"
_PLAIN_HEAD: Final = re.compile(rb"HTTP/1\.1 200 [\t -~]*(?:\r\n[0-9A-Za-z_-]+:[\t -~]*)*\r\n\r\n")
_TELLING: Final = re.compile(
    rb"(?i)\r\n(content-length|content-type|content-encoding|transfer-encoding|connection|set-cookie|upgrade|trailer):"
    rb"[\t ]*([^\r]*)"
)
_JSON: Final = b"application/json"
_NOT_PLAIN: Final = -1


class Unclaimed(Exception):
    """The request must not be written."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A POST that stands ready to be written: its head, up to the empty line, and its body."""

    url: httpx2.URL
    head: bytes
    body: bytes
    claim: Callable[[], bool]
    written: Callable[[], object]


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
        return self._response(head, line, timeouts.get("read"))

    def _response(self, head: h11.Response, line: _Line, timeout_s: float | None) -> httpx2.Response:
        response = httpx2.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=_Body(self, line, timeout_s),
            extensions={"http_version": b"HTTP/" + head.http_version, "reason_phrase": head.reason},
        )
        response.headers.encoding = LATIN
        return response

    async def post(self, parcel: Parcel, connect_s: float, write_s: float) -> bytes | httpx2.Response:
        """The body of an answer that is plain: status 200, JSON, all of it there. Any other, as the library has it.

        Raises as `handle_async_request` does. A connection may be waited for, and made, for so long; an answer for as
        long as whoever asks waits.
        """
        if self._room.locked():
            async with _within(connect_s, httpx2.PoolTimeout):
                await self._room.acquire()
        else:
            await self._room.acquire()
        line: _Line | None = None
        try:
            line = self._kept() or await self._connected(parcel.url, connect_s)
            if not parcel.claim():
                self._keep(line)
                line = None
                raise Unclaimed
            await line.pass_on(parcel.head + parcel.body, write_s)
            parcel.written()
            if (body := await line.plain()) is None:
                return self._response(await line.unusual(parcel), line, None)
        except BaseException:
            if line is not None:
                line.close()
            self._room.release()
            raise
        self._keep(line)
        self._room.release()
        return body

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
            if line.is_quiet():
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
        self._readable = select.poll()
        self._awaits_plain = False
        self._needed = 0
        """So long is the plain answer that is awaited; 0 where that is not known yet."""
        self.is_lost = False
        self._why: Exception | None = None

    # What the loop tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=0)  # told of as soon as the socket does not take all
        self._readable.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        self._arrived.append(data)
        if not (self._awaits_plain and self._is_incomplete()):
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
        try:
            started = h11.Request(method=request.method, target=request.url.raw_path, headers=request.headers.raw)
            pieces = [self._http.send(started)]
            if body:
                pieces.append(self._http.send(h11.Data(data=body)))
            pieces.append(self._http.send(h11.EndOfMessage()))
        except h11.LocalProtocolError as error:
            raise httpx2.LocalProtocolError(str(error)) from error
        await self.pass_on(b"".join(piece for piece in pieces if piece), timeout_s)

    async def pass_on(self, data: bytes, timeout_s: float | None) -> None:
        """Write bytes; on return they are out of hand."""
        assert self._transport is not None
        self._transport.write(data)
        if self._is_full:
            async with _within(timeout_s, httpx2.WriteTimeout):
                while self._is_full and not self.is_lost:
                    await self._stir_awaited()

    async def plain(self) -> bytes | None:
        """The body of a plain answer. None where it is anything else: nothing of it was taken then."""
        self._awaits_plain, self._needed = True, 0
        try:
            while self._is_incomplete():
                await self._stir_awaited()
        finally:
            self._awaits_plain = False
        data = b"".join(self._arrived)
        if self.is_lost or len(data) != self._needed:
            return None
        self._arrived.clear()
        return data[data.index(_HEAD_END) + len(_HEAD_END) :]

    def _is_incomplete(self) -> bool:
        """True while what came may become a plain answer, and is none yet."""
        if self.is_lost or self._needed < 0:
            return False
        if not self._needed and self._arrived:
            data = self._arrived[0] if len(self._arrived) == 1 else b"".join(self._arrived)
            end = data.find(_HEAD_END) + len(_HEAD_END)
            if end >= len(_HEAD_END):
                length = _plain_length(data[:end])
                self._needed = _NOT_PLAIN if length is None else end + length
            elif len(data) > _HEADERS_BYTES:
                self._needed = _NOT_PLAIN
        return not self._needed or sum(map(len, self._arrived)) < self._needed

    async def unusual(self, parcel: Parcel) -> h11.Response:
        """What the answer to it begins with, where that is not plain."""
        url, size = parcel.url, str(len(parcel.body))
        # It was written already: only told to whoever reads what comes.
        self._http.send(
            h11.Request(method="POST", target=url.raw_path, headers=[("Host", url.host), ("Content-Length", size)])
        )
        self._http.send(h11.Data(data=parcel.body))
        self._http.send(h11.EndOfMessage())
        return await self.head(None)

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

    def is_quiet(self) -> bool:
        """True where the server has neither hung up nor said anything meanwhile, which the loop may not know yet."""
        return not self.is_lost and not self._arrived and not self._readable.poll(0)

    def is_reusable(self) -> bool:
        """True where a whole request was answered wholly, and nothing came behind that; it is ready for the next."""
        if self.is_lost or self._arrived or self._http.trailing_data[0]:
            return False
        if not self._http.our_state is self._http.their_state is h11.DONE:
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


def _plain_length(head: bytes) -> int | None:
    """How long the body is that follows; None where that is not plain."""
    if _PLAIN_HEAD.fullmatch(head) is None:
        return None
    told = _TELLING.findall(head)
    said = {name.lower(): value.strip() for name, value in told}
    kind, length = said.pop(b"content-type", b"").lower(), said.pop(b"content-length", b"")
    if len(said) + 2 != len(told) or said.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    is_plain = said.keys() <= {b"connection"} and kind.partition(b";")[0].rstrip() == _JSON and length.isdigit()
    return int(length) if is_plain and len(length) < len(str(_LONGEST_BYTES)) else None


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

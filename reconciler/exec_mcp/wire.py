"""The last step before the network, wrapped round the SDK's transports. Imports the SDK: import this lazily.

A call is claimed when nothing is left to wait for, neither a connection nor room in a pipe, and is handed over once
it was written; one that was given up before is not written any more, and none is written twice. It also keeps the
failure of one HTTP request to that one request; left to itself, one refused connection ends every call under way on
the same client.

A server that is a child of ours is spoken to over its standard input and output, a JSON-RPC message a line, by a
transport of our own and not the SDK's, which takes a line in of whatever length, and lets the standard error of a
server run into ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Any, Final

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.inbound import MCP_PROTOCOL_VERSION_HEADER, encode_header_value
from mcp.shared.message import SessionMessage
from mcp_types.version import KNOWN_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from reconciler.exec_mcp.bridge import CURRENT, Handover, flat
from reconciler.exec_mcp.http_pool import HttpPool, Parcel, Unclaimed
from reconciler.exec_mcp.options import ServerOptions, resolved
from reconciler.exec_mcp.reception import Lines, Unread, error, id_of, message, received, reply_to
from reconciler.exec_mcp.reply import Reply

_READ_S = 300.0
"""A server may hold an event stream open this long; calls have their own, shorter, time-out."""
_WRITE_S = 1.0
"""How long the writing of a call may take: whoever closes something waits for it. What was cut off, no server can
act on."""
_FIRST_ID: Final = 1_000_000_000
"""The ids of calls that take the short way: above all that the SDK counts for its own."""
_OF_THE_LOOK: Final = frozenset({b"content-length", b"mcp-method", b"mcp-name"})
"""What a request has for itself alone, of the headers."""
_encoded = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_WITHHELD: Final = "a call that was given up or sent before is not sent"
_TOO_MANY = 429
_NOT_ACTED_ON = frozenset({401, 403, 404, 405, 413, 415, 421, 426})
"""The HTTP statuses that say that a call was turned away. To MCP, 404 means that the session is gone.

Of every other failure nobody knows where on the way it happened: 408, 409 and 499 may come after the call was carried
out, and 400 and 422 are whatever a gateway makes of them. So is 429, which a server may only hand on.
"""


def open_transport(
    options: ServerOptions, heard: Callable[[str], None]
) -> tuple[AbstractAsyncContextManager[Any], ShortWay | None]:
    """The transport that `options` describe, with `Wire` behind it or `Outbox` in front of it; and the short way to it.

    `heard` is told each line that a server on standard input and output writes to its standard error.
    """
    if options.kind == "stdio":
        return _piped(child(options.command, resolved(options.env), heard)), None
    pool = HttpPool()
    # Connecting gives up before the call does: then it is still certain that nothing was sent.
    timeouts = httpx2.Timeout(options.timeout_s * 0.8, read=_READ_S)
    headers = {**resolved(options.headers), "accept-encoding": "identity"}
    short = ShortWay(pool, options.timeout_s * 0.8)
    client = _Client(headers=headers, timeout=timeouts, transport=Wire(pool, short))
    short.cookies = client.cookies
    return _http(options.url, client), short


@asynccontextmanager
async def _http(url: str, client: _Client) -> AsyncIterator[Any]:
    # The size of an event is counted in `reception`.
    async with client, streamable_http_client(url, http_client=client, max_sse_event_size=None) as streams:
        yield streams


class _Client(httpx2.AsyncClient):
    """Puts a message together from what never changes, instead of merging that anew for each."""

    _urls: dict[str, httpx2.URL]
    _own: dict[str, str]

    def build_request(
        self, method: str, url: httpx2.URL | str, *, json: Any = None, headers: Any = None, **more: Any
    ) -> httpx2.Request:
        if more or json is None or not isinstance(url, str) or not isinstance(headers, dict) or len(self.cookies.jar):
            return super().build_request(method, url, json=json, headers=headers, **more)
        if "_urls" not in vars(self):
            self._urls, self._own = {}, dict(self.headers.items())
        if (known := self._urls.get(url)) is None:
            known = self._urls[url] = self._merge_url(url)
        given = {name.lower(): value for name, value in headers.items()}
        timeouts = {"timeout": self.timeout.as_dict()}
        return httpx2.Request(method, known, json=json, headers={**self._own, **given}, extensions=timeouts)


@asynccontextmanager
async def _piped(transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    async with transport as (read, write):
        yield read, Unsent(write)


class Unsent:
    """The write stream of a server on standard input, in which each call claims itself when it is written."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send(self, item: Any) -> None:
        call = CURRENT.get()
        if call is not None and getattr(item.message, "method", "") == "tools/call":
            item = replace(item, message=_Claimed(item.message, call))
        await self._inner.send(item)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Unsent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class _Claimed:
    """The message of a call. The SDK asks for its text when the pipe has taken all before it, and writes it at once."""

    def __init__(self, message: Any, call: Handover) -> None:
        self._message = message
        self._call = call

    def model_dump_json(self, **options: Any) -> str:
        if not self._call.claim():
            self._call.on_withheld()
            return _cancelled(self._message.id)
        asyncio.get_running_loop().call_soon(self._call.finish)
        text: str = self._message.model_dump_json(**options)
        return text


def _cancelled(request_id: Any) -> str:
    """What is written instead of a call that was given up: that of a request it never saw, a server ignores."""
    params = {"requestId": request_id, "reason": "given up before it was sent"}
    return json.dumps({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


class Wire(httpx2.AsyncBaseTransport):
    """HTTP for MCP calls: each is sent once, and its failures become answers of its own."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, short: ShortWay | None = None) -> None:
        self._inner = inner
        self._short = short

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call, sent = CURRENT.get(), await _message(request)
        if call is None or sent.get("method") != "tools/call":
            response = await received(request, await self._inner.handle_async_request(request), sent.get("id"))
            if self._short is not None and sent.get("method") == "tools/list":
                self._short.learn(request, sent, response)
            return response
        arrived, call.arrived = call.arrived, None
        if arrived is None and not call.is_open:
            return httpx2.Response(502, text=_WITHHELD, request=request)
        timeouts = {**request.extensions.get("timeout", {}), "write": _WRITE_S}
        request.extensions = {**request.extensions, "timeout": timeouts, "claim": call.claim, "written": call.finish}
        try:
            arrived = arrived or await self._inner.handle_async_request(request)
            response = await received(request, arrived, sent.get("id"))
        except Unclaimed:
            return httpx2.Response(502, text=_WITHHELD, request=request)
        except httpx2.TransportError as error:
            note(error, call)
            return httpx2.Response(502, text=str(error), request=request)
        finally:
            call.finish()
        if response.status_code in _NOT_ACTED_ON:
            call.not_delivered = f"the server answered HTTP {response.status_code}"
        elif response.status_code == _TOO_MANY:
            call.limited = response.headers.get("retry-after", "")
            call.trouble = f"the server answered HTTP {_TOO_MANY}"
        elif response.status_code >= 300:
            call.trouble = f"the server answered HTTP {response.status_code}"
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class ShortWay:
    """Calls of tools written to the network as the SDK would, without its session, its tasks and its streams between.

    It learns from the SDK's own look at the tools what a request has to be like. An answer that is not plain is left to
    the SDK, which reads it as if it had asked itself: redirects, failures, events. Who answers in events is asked by
    the SDK from then on: what else may stand in such a stream, it sees to.
    """

    def __init__(self, pool: HttpPool, connect_s: float) -> None:
        self._pool = pool
        self._connect_s = connect_s
        self._url: httpx2.URL | None = None
        self._head = b""
        self._version = ""
        self._meta: Any = None
        self._ids = count(_FIRST_ID)
        self.cookies = httpx2.Cookies()
        """What the server has set: a request that has to bring some takes the SDK's way."""

    def learn(self, request: httpx2.Request, message: Mapping[str, Any], response: httpx2.Response) -> None:
        """How the SDK asked what tools there are, and how that was answered."""
        if response.status_code != 200:
            return
        self._version = request.headers.get(MCP_PROTOCOL_VERSION_HEADER, "")
        is_json = response.headers.get("content-type", "").lower().startswith("application/json")
        self._url = request.url if is_json and self._version in KNOWN_PROTOCOL_VERSIONS else None
        self._meta = message.get("params", {}).get("_meta")
        kept = [header for header in request.headers.raw if header[0].lower() not in _OF_THE_LOOK]
        self._head = b"".join(
            [b"POST ", request.url.raw_path, b" HTTP/1.1\r\n", *(b"%s: %s\r\n" % header for header in kept)]
        )

    @property
    def is_open(self) -> bool:
        return self._url is not None and not len(self.cookies.jar)

    @property
    def _is_modern(self) -> bool:
        return self._version in MODERN_PROTOCOL_VERSIONS

    async def call(self, tool: str, arguments: Mapping[str, Any], call: Handover) -> Reply | None:
        """What the tool answers; None where `call` holds an answer that the SDK has to read.

        Raises MCPError where it is an error, httpx2.TransportError and Unclaimed where there is none, ValidationError
        where it is no tool result. Where nobody waits any more, the server is to be told of `call.request_id`, if any.
        """
        assert self._url is not None
        id_ = next(self._ids)
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        head = self._head
        if self._meta:
            params["_meta"] = self._meta
        if self._is_modern:  # it sees that nobody waits any more by its answer being hung up on
            head += b"mcp-method: tools/call\r\nmcp-name: %s\r\n" % encode_header_value(tool).encode("ascii")
        else:
            call.request_id = id_
        body = _encoded({"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}).encode()
        head += b"content-length: %d\r\n\r\n" % len(body)
        try:
            parcel = Parcel(self._url, head, body, call.claim, call.finish)
            answer = await self._pool.post(parcel, self._connect_s, _WRITE_S)
        except httpx2.TransportError as error:
            note(error, call)
            raise
        finally:
            call.finish()
        if isinstance(answer, httpx2.Response):
            kind = answer.headers.get("content-type", "").lower()
            if answer.status_code != 200 or not kind.startswith("application/json"):
                if kind.startswith("text/event-stream"):
                    self._url = None
                call.arrived = answer
                return None
            answer = await self._read(answer, id_, call)
        if (reply := reply_to(id_, answer, self._version)) is None:
            call.arrived = httpx2.Response(200, headers={"content-type": "application/json"}, content=answer)
        return reply

    async def _read(self, answer: httpx2.Response, id_: int, call: Handover) -> bytes:
        """What it holds: it comes in chunks, say, or packed, or is very long."""
        assert self._url is not None
        answer.request = httpx2.Request("POST", self._url)
        self.cookies.extract_cookies(answer)
        try:
            return (await received(answer.request, answer, id_)).content
        except httpx2.TransportError as error:
            note(error, call)
            raise


def note(error: httpx2.TransportError, call: Handover) -> None:
    """What it says of a call that there is no answer to it."""
    if isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)):
        call.not_delivered = flat(error)
    else:
        call.trouble = flat(error)


async def _message(request: httpx2.Request) -> Mapping[str, Any]:
    """What it carries: a tool's call, say, or a notice that may follow it (a cancellation); empty where nothing."""
    if request.method != "POST":
        return {}
    message = json.loads(await request.aread())  # a redirected request comes unread
    return message if isinstance(message, dict) else {}


_PIECE_BYTES: Final = 65_536
_LONGEST_BYTES: Final = 4_096
"""What is kept of a line of standard error."""
_GRACE_STEPS: Final = 200
_STEP_S: Final = 0.01
"""A server has two seconds to end by itself once its input is closed, and two more once it is told to."""

Received = MemoryObjectSendStream[SessionMessage | Exception]
Sent = MemoryObjectReceiveStream[SessionMessage]


@asynccontextmanager
async def child(
    command: Sequence[str], environment: Mapping[str, str], heard: Callable[[str], None]
) -> AsyncIterator[tuple[Any, Any]]:
    """The streams to and from a new process, which is gone at the end. `heard` gets the lines of its standard error.

    Its environment is what is safe to inherit, and `environment`. Raises OSError where it cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**get_default_environment(), **environment},
        start_new_session=True,  # so that what it starts itself can be ended with it
    )
    received, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, sent = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = (
        asyncio.create_task(_read(process, received)),
        asyncio.create_task(_write(process, sent, received)),
        asyncio.create_task(_listen(process, heard)),
    )
    try:
        yield read, write
    finally:
        with anyio.CancelScope(shield=True):  # whoever is cancelled here leaves no process behind
            if tasks[0].done() and await _has_ended(process):
                heard(f"(it has ended by itself, with exit code {process.returncode})")
            read.close()
            write.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_STEPS * _STEP_S):
                    await asyncio.wait({tasks[1]})  # what was taken for sending is written
            await _end(process)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            received.close()
            sent.close()


async def _read(process: asyncio.subprocess.Process, received: Received) -> None:
    assert process.stdout is not None
    lines, is_heard = Lines(), True
    async with received:
        while piece := await process.stdout.read(_PIECE_BYTES):
            for line, is_whole in lines.fed(piece):
                if not is_heard or not line.strip():
                    continue
                try:
                    await received.send(_of_line(line, is_whole=is_whole))
                except Unread:
                    continue  # no answer to anything: what programs print where they should not
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    is_heard = False  # nobody listens any more; a server that cannot write cannot end


def _of_line(line: bytes, *, is_whole: bool) -> SessionMessage:
    """The message of a line, or the error that stands for it. Raises Unread where it answers nobody."""
    try:
        if not is_whole:
            raise Unread("answered a line that is too long to be read")
        return SessionMessage(message(line))
    except Unread as unread:
        if (id_ := id_of(line, line)) is None:
            raise
        return SessionMessage(message(error(id_, str(unread))))


async def _write(process: asyncio.subprocess.Process, sent: Sent, received: Received) -> None:
    """One message after the other: the next is written once the pipe has taken the one before, all of it."""
    assert process.stdin is not None
    process.stdin.transport.set_write_buffer_limits(0)
    try:
        async with sent:
            async for item in sent:
                line = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                process.stdin.write(line.encode() + b"\n")
                await process.stdin.drain()
    except OSError:
        received.close()  # nobody would answer any more


async def _listen(process: asyncio.subprocess.Process, heard: Callable[[str], None]) -> None:
    assert process.stderr is not None
    line = b""
    while piece := await process.stderr.read(_PIECE_BYTES):
        *ended, rest = (line + piece).split(b"\n")
        for one in ended:
            heard(one[:_LONGEST_BYTES].decode(errors="replace"))
        line = rest[:_LONGEST_BYTES]
    heard(line.decode(errors="replace"))


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close its input; then tell it, and all that it started, to end; then end it."""
    assert process.stdin is not None
    process.stdin.close()
    for told in (None, signal.SIGTERM, signal.SIGKILL):
        if told is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, told)
        if await _has_ended(process):
            break
    with contextlib.suppress(PermissionError):
        process._transport.close()  # type: ignore[attr-defined]  # a pipe may be held by what it started


async def _has_ended(process: asyncio.subprocess.Process) -> bool:
    """Whether it ends within its grace. Not `wait`, which also waits for whoever else holds its pipes."""
    for _ in range(_GRACE_STEPS):
        if process.returncode is not None:
            return True
        await asyncio.sleep(_STEP_S)
    return False

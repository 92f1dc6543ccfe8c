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
from types import TracebackType
from typing import Any, Final

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from reconciler.exec_mcp.bridge import CURRENT, Handover, flat
from reconciler.exec_mcp.http_pool import HttpPool, Unclaimed
from reconciler.exec_mcp.options import ServerOptions, resolved
from reconciler.exec_mcp.reception import Lines, Unread, error, id_of, message, received

_READ_S = 300.0
"""A server may hold an event stream open this long; calls have their own, shorter, time-out."""
_WRITE_S = 1.0
"""How long the writing of a call may take: whoever closes something waits for it. What was cut off, no server can
act on."""
_TOO_MANY = 429
_NOT_ACTED_ON = frozenset({401, 403, 404, 405, 413, 415, 421, 426})
"""The HTTP statuses that say that a call was turned away. To MCP, 404 means that the session is gone.

Of every other failure nobody knows where on the way it happened: 408, 409 and 499 may come after the call was carried
out, and 400 and 422 are whatever a gateway makes of them. So is 429, which a server may only hand on.
"""


def open_transport(options: ServerOptions, heard: Callable[[str], None]) -> AbstractAsyncContextManager[Any]:
    """The transport that `options` describe, with `Wire` behind it or `Outbox` in front of it.

    `heard` is told each line that a server on standard input and output writes to its standard error.
    """
    if options.kind == "stdio":
        return _piped(child(options.command, resolved(options.env), heard))
    return _http(options.url, resolved(options.headers), options.timeout_s)


@asynccontextmanager
async def _http(url: str, headers: Mapping[str, str], timeout_s: float) -> AsyncIterator[Any]:
    client = _Client(
        headers={**headers, "accept-encoding": "identity"},
        # Connecting gives up before the call does: then it is still certain that nothing was sent.
        timeout=httpx2.Timeout(timeout_s * 0.8, read=_READ_S),
        transport=Wire(HttpPool()),
    )
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

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call, message = CURRENT.get(), await _message(request)
        if call is None or message.get("method") != "tools/call":
            return await received(request, await self._inner.handle_async_request(request), message.get("id"))
        if not call.is_open:
            return _withheld(request)
        timeouts = {**request.extensions.get("timeout", {}), "write": _WRITE_S}
        request.extensions = {**request.extensions, "timeout": timeouts, "claim": call.claim, "written": call.finish}
        try:
            response = await received(request, await self._inner.handle_async_request(request), message.get("id"))
        except Unclaimed:
            return _withheld(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            call.not_delivered = flat(error)
            return httpx2.Response(503, text=str(error), request=request)
        except httpx2.TransportError as error:
            call.trouble = flat(error)
            return httpx2.Response(502, text=str(error), request=request)
        finally:
            call.finish()
        if response.status_code in _NOT_ACTED_ON:
            call.not_delivered = f"the server answered HTTP {response.status_code}"
        elif response.status_code == _TOO_MANY:
            call.limited = response.headers.get("retry-after", "")
            call.trouble = f"the server answered HTTP {_TOO_MANY}"
        elif response.status_code >= 400:
            call.trouble = f"the server answered HTTP {response.status_code}"
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


def _withheld(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(502, text="a call that was given up or sent before is not sent", request=request)


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

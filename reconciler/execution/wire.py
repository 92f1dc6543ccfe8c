"""The last step before the network, wrapped round the SDK's transports. Imports the SDK: import this lazily.

It answers what the SDK does not tell: when a call was handed over, whether it can have reached the
server, and that no call is ever sent twice. It also keeps the failure of one HTTP request to that one
request; left to itself, one refused connection ends every call under way on the same client.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any

import httpx2
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from reconciler.execution.handover import CURRENT
from reconciler.execution.options import ServerOptions, resolved

_READ_S = 300.0
"""A server may hold an event stream open this long; calls have their own, shorter, time-out."""


def open_transport(options: ServerOptions) -> AbstractAsyncContextManager[Any]:
    """The SDK transport that `options` describe, with `Outbox` in front of it."""
    if options.kind == "stdio":
        command, *arguments = options.command
        parameters = StdioServerParameters(command=command, args=arguments, env=resolved(options.env) or None)
        # The process's own standard error: what stands in its place for a while may be no file, as a child needs one.
        return _outboxed(stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr))
    return _http(options.url, resolved(options.headers), options.timeout_s)


@asynccontextmanager
async def _http(url: str, headers: Mapping[str, str], timeout_s: float) -> AsyncIterator[Any]:
    client = httpx2.AsyncClient(
        headers=dict(headers),
        # Connecting gives up before the call does: then it is still certain that nothing was sent.
        timeout=httpx2.Timeout(timeout_s * 0.8, read=_READ_S),
        transport=Wire(httpx2.AsyncHTTPTransport()),
    )
    async with client, _outboxed(streamable_http_client(url, http_client=client)) as streams:
        yield streams


@asynccontextmanager
async def _outboxed(transport: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
    async with transport as (read, write):
        yield read, Outbox(write)


class Outbox:
    """A write stream that tells the call under way when it was handed to the transport."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def send(self, item: Any) -> None:
        await self._inner.send(item)
        if (call := CURRENT.get()) is not None:
            call.finish()

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Outbox:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


class Wire(httpx2.AsyncBaseTransport):
    """HTTP for MCP calls: each is sent once, and its failures become answers of its own."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        call = CURRENT.get()
        if call is None or not await _carries_call(request):
            return await self._inner.handle_async_request(request)
        if not call.post():
            return httpx2.Response(502, text="a call is never sent twice", request=request)
        try:
            response = await self._inner.handle_async_request(request)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                await response.aread()
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            call.not_delivered = f"{type(error).__name__}: {error}"
            return httpx2.Response(503, text=str(error), request=request)
        except httpx2.TransportError as error:
            call.trouble = f"{type(error).__name__}: {error}"
            return httpx2.Response(502, text=str(error), request=request)
        if 400 <= response.status_code < 500:
            call.not_delivered = f"the server answered HTTP {response.status_code}"
        elif response.status_code >= 500:
            call.trouble = f"the server answered HTTP {response.status_code}"
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _carries_call(request: httpx2.Request) -> bool:
    """True for the request of a tool call, False for the notices that may follow it (a cancellation)."""
    if request.method != "POST":
        return False
    message = json.loads(await request.aread())  # a redirected request comes unread
    return isinstance(message, dict) and message.get("method") == "tools/call"

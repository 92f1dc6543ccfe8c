"""Handing over, on real transports: a call is in the transport's hands when it was written, not before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from mcp.server.mcpserver import MCPServer

from reconciler.clock import SystemClock
from reconciler.errors import ExecError, ExecUnavailable
from reconciler.exec_mcp import wire
from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.connection import Connection
from reconciler.exec_mcp.options import ServerOptions
from reconciler.paper.mcp_server import serve_mcp
from tests.execution.standins import Watching

DEADLINE_S = 60.0


async def until(condition: Any) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(options: ServerOptions) -> AsyncIterator[Connection]:
    server = Connection(options, SystemClock())
    task = asyncio.create_task(server.run())
    try:
        await until(lambda: server.status.connected)
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Counting:
    """A server with one tool, which counts how often it is called."""

    def __init__(self) -> None:
        self.placed = 0
        self.mcp: MCPServer[Any] = MCPServer("exchange", log_level="ERROR")
        self.mcp.add_tool(self.place_order)

    async def place_order(self) -> dict[str, Any]:
        self.placed += 1
        return {"status": "open"}


class Router:
    """Stands before a server; `freeze` cuts what is open and lets nobody connect, `thaw` does again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._crowd: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port: int = self._listening.getsockname()[1]
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Router:
        self._server = await asyncio.start_server(self._relay, sock=self._listening.dup(), backlog=1)
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._crowd:
            one.close()
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()
        self._listening.close()

    async def freeze(self) -> None:
        """The queue of those who want in is full, and nobody is let in."""
        assert self._server is not None
        self._server.close()
        self._listening.listen(0)
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", self.port))
            self._crowd.append(one)

    async def thaw(self) -> None:
        for one in self._crowd:
            one.close()
        self._server = await asyncio.start_server(self._relay, sock=self._listening.dup(), backlog=100)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, back]
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_pass(reader, back), _pass(upstream, writer))


async def _pass(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()


@asynccontextmanager
async def behind_a_router() -> AsyncIterator[tuple[Connection, Counting, Router]]:
    exchange = Counting()
    async with serve_mcp(exchange.mcp) as url:
        port = urlsplit(url).port or 0
        async with Router(port) as router:
            options = ServerOptions("x", "http", url=url.replace(str(port), str(router.port)), timeout_s=8.0)
            async with running(options) as server:
                yield server, exchange, router


def test_while_the_connection_is_being_made_a_call_is_not_handed_over_and_can_be_given_up() -> None:
    async def run() -> None:
        async with behind_a_router() as (server, exchange, router):
            await router.freeze()
            look = Watching()
            handover = Handover(look)
            call = asyncio.create_task(server.ask("place_order", {}, 8.0, handover))
            assert not await asyncio.to_thread(look.wait, 0.2)
            assert handover.abandon()
            await router.thaw()
            with pytest.raises(ExecUnavailable, match="given up before it was sent"):
                await call
            assert (exchange.placed, handover.is_possibly_sent) == (0, False)
            assert server.status.connected, "it is there again: only this call was too late"

    asyncio.run(run())


def test_a_call_whose_connection_comes_in_time_is_sent_once_it_is_there() -> None:
    async def run() -> None:
        async with behind_a_router() as (server, exchange, router):
            await router.freeze()
            look = Watching()
            handover = Handover(look)
            call = asyncio.create_task(server.ask("place_order", {}, 8.0, handover))
            assert not await asyncio.to_thread(look.wait, 0.1)
            await router.thaw()
            assert await asyncio.to_thread(look.wait, DEADLINE_S)
            assert not handover.abandon()
            assert (await call).structured == {"status": "open"}
            assert (exchange.placed, handover.is_possibly_sent) == (1, True)

    asyncio.run(run())


def test_a_call_that_timed_out_while_the_connection_was_made_is_never_sent() -> None:
    async def run() -> None:
        async with behind_a_router() as (server, exchange, router):
            await router.freeze()
            look = Watching()
            handover = Handover(look)
            with pytest.raises(ExecError):
                await server.ask("place_order", {}, 0.2, handover)
            assert look.wait(0)
            await router.thaw()
            second = Handover()
            assert (await server.ask("place_order", {}, 8.0, second)).structured == {"status": "open"}
            assert exchange.placed == 1
            assert not handover.is_possibly_sent

    asyncio.run(run())


DEAF = """
import json, os, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
log = open(folder / "heard", "w", buffering=1)
for line in iter(sys.stdin.readline, ""):
    message = json.loads(line)
    method, id = message.get("method"), message.get("id")
    log.write(f"{method} {message.get('params', {}).get('name', '')}\\n")
    if method == "initialize":
        version = message["params"]["protocolVersion"]
        info = {"name": "deaf", "version": "1"}
        result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    elif method == "tools/list":
        result = {"tools": [{"name": "place_order", "inputSchema": {"type": "object"}}]}
    elif method == "tools/call":
        result = {"content": [], "structuredContent": {"status": "open"}}
        if message["params"]["name"] == "stop_listening":
            (folder / "deaf").touch()
            while (folder / "deaf").exists():
                time.sleep(0.005)
    elif id is not None:
        error = {"code": -32601, "message": "no such method"}
        print(json.dumps({"jsonrpc": "2.0", "id": id, "error": error}), flush=True)
        continue
    else:
        continue
    print(json.dumps({"jsonrpc": "2.0", "id": id, "result": result}), flush=True)
"""
"""A server on standard input that hears nothing for as long as a file says so."""


@asynccontextmanager
async def beside_the_deaf(folder: Path) -> AsyncIterator[Connection]:
    script = folder / "deaf.py"
    script.write_text(DEAF)
    options = ServerOptions("x", "stdio", command=(sys.executable, str(script), str(folder)), timeout_s=DEADLINE_S)
    async with running(options) as server:
        try:
            yield server
        finally:
            (folder / "deaf").unlink(missing_ok=True)


def heard(folder: Path, tool: str) -> int:
    return (folder / "heard").read_text().split("\n").count(f"tools/call {tool}")


def test_while_the_pipe_is_full_a_call_is_not_handed_over_and_can_be_given_up(tmp_path: Path) -> None:
    async def run() -> None:
        async with beside_the_deaf(tmp_path) as server:
            calls = [asyncio.create_task(server.ask("stop_listening", {}, DEADLINE_S, Handover()))]
            await until((tmp_path / "deaf").exists)
            padding = {"padding": "x" * 100_000}
            calls += [asyncio.create_task(server.ask("fill", padding, DEADLINE_S, Handover())) for _ in range(4)]
            look = Watching()
            handover = Handover(look)
            late = asyncio.create_task(server.ask("place_order", {}, DEADLINE_S, handover))
            assert not await asyncio.to_thread(look.wait, 0.2)
            assert handover.abandon()
            (tmp_path / "deaf").unlink()
            await asyncio.gather(*calls)
            after = await server.ask("place_order", {}, DEADLINE_S, Handover())
            assert after.structured == {"status": "open"}
            assert heard(tmp_path, "place_order") == 1, "the one that was not given up"
            assert not handover.is_possibly_sent
            late.cancel()

    asyncio.run(run())


def test_a_call_that_is_in_the_pipe_was_handed_over(tmp_path: Path) -> None:
    async def run() -> None:
        async with beside_the_deaf(tmp_path) as server:
            first = asyncio.create_task(server.ask("stop_listening", {}, DEADLINE_S, Handover()))
            await until((tmp_path / "deaf").exists)
            look = Watching()
            handover = Handover(look)
            call = asyncio.create_task(server.ask("place_order", {}, DEADLINE_S, handover))
            assert await asyncio.to_thread(look.wait, DEADLINE_S)
            assert not handover.abandon()
            assert heard(tmp_path, "place_order") == 0
            (tmp_path / "deaf").unlink()
            assert (await call).structured == {"status": "open"}
            await first

    asyncio.run(run())


def test_a_message_is_put_together_as_the_library_would_put_it() -> None:
    """Headers of the settings, those of a message, which count more, and cookies that a server set."""

    async def run() -> None:
        ours, theirs = (
            kind(headers={"Authorization": "Bearer x", "Accept": "*/*"}, timeout=httpx2.Timeout(4.0, read=300.0))
            for kind in (wire._Client, httpx2.AsyncClient)
        )
        async with ours, theirs:
            for given in ({"accept": "application/json"}, {"Mcp-Session-Id": "7", "content-type": "application/json"}):
                asked: dict[str, Any] = {"json": {"a": [1, "é"]}, "headers": given}
                one, other = (c.build_request("POST", "http://x.test/mcp?a=b", **asked) for c in (ours, theirs))
                assert sorted(one.headers.multi_items()) == sorted(other.headers.multi_items())
                assert (one.url, one.content, one.extensions) == (other.url, other.content, other.extensions)
            ours.cookies.set("seat", "3")
            kept = ours.build_request("POST", "http://x.test/mcp", json={}, headers={})
            assert kept.headers["cookie"] == "seat=3"

    asyncio.run(run())


def test_a_call_that_may_not_leave_when_the_pipe_would_take_it_is_told_so_at_once(tmp_path: Path) -> None:
    """The server never hears of it, and would never answer; nor does the connection suffer."""

    class Shut(Watching):
        def passes(self) -> bool:
            return False

    async def run() -> None:
        async with beside_the_deaf(tmp_path) as server, asyncio.timeout(DEADLINE_S):
            with pytest.raises(ExecUnavailable, match="given up before it was sent"):
                await server.ask("place_order", {}, 3_600.0, Handover(Shut()))
            assert (await server.ask("place_order", {}, DEADLINE_S, Handover())).structured == {"status": "open"}
            assert heard(tmp_path, "place_order") == 1

    asyncio.run(run())

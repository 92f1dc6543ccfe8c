"""The connection to an exec-mcp server, against real MCP servers on loopback: once or not at all, and which."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent

from reconciler.clock import SystemClock, utc
from reconciler.errors import ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.connection import Connection
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.reply import OrderNotFound, answered
from reconciler.exec_mcp.words import ToolWords
from reconciler.paper.mcp_server import serve_app, serve_mcp
from tests.execution.standins import Watching


class Exchange:
    """A server of tools that answer in every way there is, and count how often they were reached."""

    def __init__(self) -> None:
        self.placed = 0
        self.release = asyncio.Event()
        quiet = logging.NullHandler()
        logging.getLogger().addHandler(quiet)
        self.mcp: MCPServer[Any] = MCPServer("exchange")
        logging.getLogger().removeHandler(quiet)
        for tool in (self.place_order, self.slow, self.text, self.answer, self.refuse, self.crash, self.huff, self.err):
            self.mcp.add_tool(tool)

    async def place_order(self) -> dict[str, Any]:
        self.placed += 1
        return {"status": "open"}

    async def slow(self) -> dict[str, Any]:
        self.placed += 1
        await self.release.wait()
        return {}

    async def text(self, text: str) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=text)])

    async def answer(self, answer: Any) -> CallToolResult:
        return CallToolResult(content=[], structured_content=answer)

    async def refuse(self) -> dict[str, Any]:
        raise ToolError("insufficient balance")

    async def crash(self) -> dict[str, Any]:
        raise RuntimeError("a secret of the server's")

    async def err(self, code: int, said: str) -> dict[str, Any]:
        self.placed += 1
        raise MCPError(code, said)

    async def huff(self) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text="go away")], is_error=True)


@asynccontextmanager
async def connected(url: str, timeout_s: float = 5.0, **more: Any) -> AsyncIterator[Connection]:
    options = ServerOptions("x", "http", url=url, timeout_s=timeout_s, reconnect_min_s=0.02, **more)
    async with running(Connection(options, SystemClock())) as server:
        yield server


@asynccontextmanager
async def running(server: Connection) -> AsyncIterator[Connection]:
    task = asyncio.create_task(server.run())
    try:
        await until(lambda: server.status.connected)
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def asked(
    server: Connection, tool: str, arguments: dict[str, Any], handover: Handover | None = None
) -> dict[str, Any]:
    """What the server's own `tool` answers, read as that of a server which speaks the contract."""
    reply = await server.ask(tool, arguments, server.options.timeout_s, handover or Handover())
    return answered("get_order", ToolWords(tool), {}, reply, utc(0))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def on_exchange(test: Callable[[Connection, Exchange], Awaitable[None]], timeout_s: float = 5.0) -> None:
    async def run() -> None:
        exchange = Exchange()
        async with serve_mcp(exchange.mcp) as url, connected(url, timeout_s) as server:
            await test(server, exchange)

    asyncio.run(run())


def test_an_answer_is_read_from_structured_content_or_from_json_text() -> None:
    async def test(server: Connection, exchange: Exchange) -> None:
        assert await asked(server, "place_order", {}) == {"status": "open"}
        assert await asked(server, "answer", {"answer": {"a": "0.1"}}) == {"a": "0.1"}
        read = await asked(server, "text", {"text": '{"price": 0.30000000000000001}'})
        assert str(read["price"]) == "0.30000000000000001"  # exactly as sent: never a binary float
        with pytest.raises(ExecUnknown, match="neither structured content nor JSON: 'gibberish'"):
            await asked(server, "text", {"text": "gibberish"})

    on_exchange(test)


def test_every_kind_of_failure_is_a_failure() -> None:
    async def test(server: Connection, exchange: Exchange) -> None:
        with pytest.raises(ExecRejected, match=r"^insufficient balance$"):
            await asked(server, "refuse", {})
        with pytest.raises(ExecRejected, match=r"^go away$"):
            await asked(server, "huff", {})
        with pytest.raises(ExecRejected, match=r"^no funds$"):
            await asked(server, "answer", {"answer": {"error": "no funds"}})
        with pytest.raises(ExecRejected, match=r"^too late$"):
            await asked(server, "answer", {"answer": {"success": False, "message": "too late"}})
        with pytest.raises(ExecUnknown, match="crash crashed on the server"):
            await asked(server, "crash", {})
        assert await asked(server, "answer", {"answer": {"error": None, "success": True}}) == {
            "error": None,
            "success": True,
        }
        assert server.status.connected

    on_exchange(test)


@pytest.mark.parametrize("code", [-32603, -32000, -1, 400])
def test_an_error_of_json_rpc_is_the_failure_of_that_call_and_the_connection_lives_on(code: int) -> None:
    async def test(server: Connection, exchange: Exchange) -> None:
        with pytest.raises(ExecRejected, match=r"^symbol not found$"):
            await asked(server, "err", {"code": code, "said": "symbol not found"})
        with pytest.raises(OrderNotFound):
            await asked(server, "err", {"code": code, "said": "order not found"})
        reply = await server.ask("err", {"code": code, "said": "insufficient balance"}, 5.0, Handover())
        with pytest.raises(ExecUnknown, match="does not say that the order was refused: insufficient balance"):
            answered("place_order", ToolWords("err"), {}, reply, utc(0))
        assert server.status.connections == 1
        assert server.status.connected

    on_exchange(test)


def test_a_call_that_is_not_answered_in_time_is_unknown_and_was_sent_once() -> None:
    async def test(server: Connection, exchange: Exchange) -> None:
        handover = Handover()
        with pytest.raises(ExecUnknown, match=r"within 0\.2 s"):
            await asked(server, "slow", {}, handover=handover)
        assert (exchange.placed, handover.is_possibly_sent) == (1, True)
        assert await asked(server, "place_order", {}) == {"status": "open"}  # the connection lives on
        exchange.release.set()

    on_exchange(test, timeout_s=0.2)


def test_a_call_is_handed_over_long_before_it_is_answered() -> None:
    async def test(server: Connection, exchange: Exchange) -> None:
        look = Watching()
        handover = Handover(look)
        call = asyncio.create_task(asked(server, "slow", {}, handover=handover))
        assert await asyncio.to_thread(look.wait, 5)
        assert not call.done()
        exchange.release.set()
        assert await call == {}

    on_exchange(test)


def test_a_call_abandoned_before_it_was_claimed_is_never_sent() -> None:
    async def test(server: Connection, exchange: Exchange) -> None:
        handover = Handover()
        assert handover.abandon()
        with pytest.raises(ExecUnavailable, match="given up"):
            await asked(server, "place_order", {}, handover=handover)
        assert exchange.placed == 0

    on_exchange(test)


def test_a_server_that_is_gone_certainly_got_nothing_and_one_that_returns_is_found_again() -> None:
    async def run() -> None:
        exchange = Exchange()
        async with contextlib.AsyncExitStack() as first:
            url = await first.enter_async_context(serve_mcp(exchange.mcp))
            async with connected(url) as server:
                await first.aclose()
                with pytest.raises(ExecUnavailable, match="ConnectError"):
                    await asked(server, "place_order", {})
                with pytest.raises(ExecUnavailable, match="not connected: ConnectError"):
                    await asked(server, "place_order", {})
                again = Exchange()
                async with serve_mcp(again.mcp, urlsplit(url).port or 0):
                    await until(lambda: server.status.connected)
                    assert await asked(server, "place_order", {}) == {"status": "open"}
                assert (exchange.placed, again.placed) == (0, 1)

    asyncio.run(run())


class Cutter:
    """A relay that passes requests on, and hangs up instead of passing back the answer once `cutting` is set."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cutting = False

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, back = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pass(reader, back), self._pass(upstream, writer, cut=True))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, cut: bool = False) -> None:
        while data := await source.read(65536):
            if cut and self.cutting:
                break
            sink.write(data)
            await sink.drain()
        sink.close()


@pytest.mark.parametrize("answers_with", ["json", "events"])
def test_a_connection_that_is_cut_leaves_the_call_unknown_sent_once_and_is_made_anew(answers_with: str) -> None:
    async def run() -> None:
        exchange = Exchange()
        app = exchange.mcp.streamable_http_app(json_response=answers_with == "json")
        async with serve_app(app) as address:
            cutter = Cutter(urlsplit(address).port or 0)
            relay = await asyncio.start_server(cutter, "127.0.0.1", 0)
            async with relay, connected(f"http://127.0.0.1:{relay.sockets[0].getsockname()[1]}/mcp") as server:
                cutter.cutting = True
                with pytest.raises(ExecUnknown, match="the connection to 'x' failed while it was asked"):
                    await asked(server, "place_order", {})
                assert exchange.placed == 1
                assert not server.status.connected
                cutter.cutting = False
                await until(lambda: server.status.connected)
                assert await asked(server, "place_order", {}) == {"status": "open"}
                assert exchange.placed == 2

    asyncio.run(run())


def old_fashioned(app: Any) -> Any:
    """`app` as a server of the handshake era: it does not know how to be discovered."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"mcp-method", b"server/discover") in scope["headers"]:
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return serve


def test_a_server_of_the_handshake_era_works_and_its_restart_loses_the_session_not_the_order() -> None:
    async def run() -> None:
        exchange, again = Exchange(), Exchange()
        async with contextlib.AsyncExitStack() as first:
            address = await first.enter_async_context(serve_app(old_fashioned(exchange.mcp.streamable_http_app())))
            async with connected(address + "/mcp", timeout_s=0.3) as server:
                assert await asked(server, "place_order", {}) == {"status": "open"}
                with pytest.raises(ExecUnknown):
                    await asked(server, "slow", {})
                exchange.release.set()
                assert await asked(server, "place_order", {}) == {"status": "open"}  # the cancel notice got through
                await first.aclose()
                app = old_fashioned(again.mcp.streamable_http_app())
                async with serve_app(app, urlsplit(address).port or 0):
                    with pytest.raises(ExecUnavailable, match="HTTP 404"):
                        await asked(server, "place_order", {})
                    await until(lambda: server.status.connected)
                    assert await asked(server, "place_order", {}) == {"status": "open"}
        assert (exchange.placed, again.placed) == (3, 1)

    asyncio.run(run())


def answering(status: int, app: Any) -> Any:
    """`app` behind a gateway that has every tool call acted on, and then answers with `status` all the same."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        async def swallow(_: Any) -> None:
            pass

        if scope["type"] == "http" and (b"mcp-method", b"tools/call") in scope["headers"]:
            await app(scope, receive, swallow)
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return
        await app(scope, receive, send)

    return serve


@pytest.mark.parametrize("status", [401, 403, 404, 405, 413, 415, 421, 426])
def test_a_status_that_says_that_a_call_was_not_acted_on_is_certain_and_no_word_of_the_exchanges(status: int) -> None:
    async def run() -> None:
        app = answering(status, Exchange().mcp.streamable_http_app(json_response=True))
        async with serve_app(app) as address, connected(address + "/mcp") as server:
            with pytest.raises(ExecUnavailable, match=f"the server answered HTTP {status}"):
                await asked(server, "place_order", {})

    asyncio.run(run())


@pytest.mark.parametrize(
    "status", [400, 402, 406, 408, 409, 410, 422, 423, 425, 429, 431, 451, 499, 500, 502, 503, 504]
)
def test_every_other_failure_of_http_leaves_it_open_whether_the_server_acted(status: int) -> None:
    async def run() -> None:
        exchange = Exchange()
        app = answering(status, exchange.mcp.streamable_http_app(json_response=True))
        async with serve_app(app) as address, connected(address + "/mcp") as server:
            with pytest.raises(ExecUnknown, match=f"the server answered HTTP {status}"):
                await asked(server, "place_order", {})
        assert exchange.placed == 1

    asyncio.run(run())


def hushing(app: Any, headers: list[tuple[bytes, bytes]]) -> Any:
    """`app` behind a gateway that asks every tool call to come back later."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"mcp-method", b"tools/call") in scope["headers"]:
            await send({"type": "http.response.start", "status": 429, "headers": headers})
            await send({"type": "http.response.body", "body": b"slow down"})
            return
        await app(scope, receive, send)

    return serve


@pytest.mark.parametrize("header", ["60", ""])
def test_a_429_is_heard_and_costs_no_connection(header: str) -> None:
    async def run() -> None:
        headers = [(b"retry-after", header.encode())] if header else []
        app = hushing(Exchange().mcp.streamable_http_app(json_response=True), headers)
        async with serve_app(app) as address, connected(address + "/mcp") as server:
            made = server.status.connections
            handover = Handover()
            with pytest.raises(ExecUnknown, match="was asked too often: the server answered HTTP 429"):
                await server.ask("place_order", {}, 5.0, handover)
            assert (handover.limited, handover.is_possibly_sent) == (header, True)
            assert (server.status.connected, server.status.connections) == (True, made)

    asyncio.run(run())


def redirecting(app: Any) -> Any:
    """`app` behind a gateway that acts on every tool call and then points back at the same address."""

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        async def swallow(_: Any) -> None:
            pass

        if scope["type"] == "http" and (b"mcp-method", b"tools/call") in scope["headers"]:
            await app(scope, receive, swallow)
            await send({"type": "http.response.start", "status": 307, "headers": [(b"location", b"/mcp")]})
            await send({"type": "http.response.body", "body": b""})
            return
        await app(scope, receive, send)

    return serve


def test_a_call_that_is_redirected_is_not_sent_a_second_time() -> None:
    async def run() -> None:
        exchange = Exchange()
        app = redirecting(exchange.mcp.streamable_http_app(json_response=True))
        async with serve_app(app) as address, connected(address + "/mcp") as server:
            with pytest.raises(ExecUnknown):
                await asked(server, "place_order", {})
            assert exchange.placed == 1

    asyncio.run(run())


def test_a_silent_connection_is_probed_so_that_a_dead_server_is_noticed() -> None:
    async def run() -> None:
        async with contextlib.AsyncExitStack() as first:
            url = await first.enter_async_context(serve_mcp(Exchange().mcp))
            async with connected(url, probe_after_s=0.02) as server:
                await first.aclose()
                await until(lambda: not server.status.connected)
                assert "ConnectError" in server.status.last_error

    asyncio.run(run())


def test_a_connection_told_to_stop_while_it_fails_does_stop() -> None:
    class Swallowing(Connection):
        """Its transport fails just when it is cancelled, and the failure takes the cancellation's place."""

        async def _live(self) -> bool:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return False

    async def run() -> None:
        task = asyncio.create_task(Swallowing(ServerOptions("x", "http"), SystemClock()).run())
        await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=1)
        assert done == {task}
        assert task.cancelled()

    asyncio.run(run())


def test_calls_that_fail_do_not_take_others_with_them() -> None:
    async def test(server: Connection, exchange: Exchange) -> None:
        waiting = [asyncio.create_task(asked(server, "slow", {})) for _ in range(5)]
        await until(lambda: exchange.placed == 5)
        for tool in ("refuse", "crash", "huff"):
            with pytest.raises((ExecRejected, ExecUnknown)):
                await asked(server, tool, {})
        exchange.release.set()
        assert await asyncio.gather(*waiting) == [{}] * 5

    on_exchange(test)


STDIO = """
import os
from mcp.server.mcpserver import MCPServer
server = MCPServer("stdio", log_level="ERROR")
@server.tool()
def place_order(quantity: str) -> dict[str, str]:
    if quantity == "0":
        os._exit(1)
    return {"quantity": quantity, "token": os.environ["TOKEN"]}
server.run()
"""


def test_a_server_on_stdin_and_stdout_is_started_called_and_started_again_when_it_dies(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(STDIO)
    options = ServerOptions(
        "s", "stdio", command=(sys.executable, str(script)), env={"TOKEN": "t"}, timeout_s=20, reconnect_min_s=0.01
    )

    async def run() -> None:
        async with running(Connection(options, SystemClock())) as server:
            assert await asked(server, "place_order", {"quantity": "1.10"}) == {"quantity": "1.10", "token": "t"}
            with pytest.raises(ExecUnknown):
                await asked(server, "place_order", {"quantity": "0"})
            await until(lambda: server.status.connected)
            assert (await asked(server, "place_order", {"quantity": "2"}))["quantity"] == "2"

    asyncio.run(run())


def test_nothing_secret_is_shown() -> None:
    shown = repr(ServerOptions("x", "http", headers={"Authorization": "Bearer hush"}, env={"KEY": "hush"}))
    assert "hush" not in shown


SECRET = "Bearer s3cr3t-of-ours"


def test_a_secret_that_a_server_says_back_is_in_no_message() -> None:
    class Echo:
        """A server that says back what it was given, as a refusal and as the trouble of a whole request."""

        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and (b"mcp-method", b"tools/call") in scope["headers"]:
                token = dict(scope["headers"])[b"authorization"].decode()
                body = f'{{"jsonrpc": "2.0", "id": 1, "error": {{"code": -32602, "message": "bad name: {token}"}}}}'
                headers = [(b"content-type", b"application/json")]
                await send({"type": "http.response.start", "status": 400, "headers": headers})
                await send({"type": "http.response.body", "body": body.encode()})
                return
            await self.app(scope, receive, send)

    async def run() -> None:
        exchange = Exchange()
        async with serve_app(Echo(exchange.mcp.streamable_http_app(json_response=True))) as address:
            headers = {"Authorization": lambda: SECRET}
            async with connected(address + "/mcp", headers=headers) as server:
                with pytest.raises(ExecRejected) as caught:
                    await asked(server, "place_order", {})
                assert str(caught.value) == "'x' refused the call: bad name: \u2022\u2022\u2022"
                server.fail(f"no {SECRET}, no s3cr3t-of-ours")
                assert server.status.last_error == "no \u2022\u2022\u2022, no \u2022\u2022\u2022"
                assert server.scrubbed(["Bearer", "s3cr3t-of-ours", "s3c"]) == ["Bearer", "\u2022\u2022\u2022", "s3c"]

    asyncio.run(run())


def test_a_secret_with_a_line_break_never_reaches_the_transport(caplog: pytest.LogCaptureFixture) -> None:
    """The transport itself says in its error what it cannot send."""

    async def run() -> None:
        exchange = Exchange()
        async with serve_mcp(exchange.mcp) as url:
            options = ServerOptions("x", "http", url=url, headers={"Authorization": lambda: f"{SECRET}\n"})
            server = Connection(options, SystemClock())
            task = asyncio.create_task(server.run())
            await until(lambda: server.status.last_error not in ("", "not connected yet"))
            assert "s3cr3t" not in server.status.last_error
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert "s3cr3t" not in caplog.text

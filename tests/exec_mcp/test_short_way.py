"""Tools called the short way: what is written is what the SDK would write, and what it would read, it reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult
from pydantic import ValidationError

from reconciler.errors import ExecRejected, ExecUnknown, ReconcilerError
from reconciler.exec_mcp import reception
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.bridge import CURRENT, Handover
from reconciler.exec_mcp.connection import Connection
from reconciler.exec_mcp.reply import Reply
from reconciler.exec_mcp.wire import ShortWay
from reconciler.paper.mcp_server import serve_app
from tests.exec_mcp.test_connection import Exchange, connected, old_fashioned, until

MODERN, HANDSHAKE = "of today", "of the handshake era"
Answering = Callable[[Any], Awaitable[tuple[dict[str, Any], list[tuple[bytes, bytes]]] | None]]


class Gateway:
    """Stands before a server; keeps what it is sent, and answers calls of tools by itself where it is told to."""

    def __init__(self, exchange: Exchange, era: str = MODERN, json_response: bool = True) -> None:
        app = exchange.mcp.streamable_http_app(json_response=json_response)
        self._app = app if era == MODERN else old_fashioned(app)
        self.sent: list[tuple[list[tuple[bytes, bytes]], Any]] = []
        self.says: Callable[[Any], tuple[Any, list[tuple[bytes, bytes]]]] | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        whole = b""
        while (part := await receive())["type"] == "http.request":
            whole += part["body"]
            if not part.get("more_body"):
                break
        message = json.loads(whole)
        self.sent.append((scope["headers"], message))
        if self.says is not None and message.get("method") == "tools/call":
            answer, headers = self.says(message)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            kept = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
            await send({"type": "http.response.start", "status": 200, "headers": list(dict(kept).items())})
            await send({"type": "http.response.body", "body": body})
            return
        whole_once = iter([{"type": "http.request", "body": whole, "more_body": False}])

        async def again() -> Any:
            return next(whole_once, None) or await receive()

        await self._app(scope, again, send)

    def calls(self) -> list[Any]:
        return [message for _, message in self.sent if message.get("method") == "tools/call"]


def through(gateway: Gateway, test: Callable[[Connection], Awaitable[None]], timeout_s: float = 20.0) -> None:
    async def run() -> None:
        async with (
            serve_app(gateway) as address,
            connected(address + "/mcp", timeout_s, headers={"Authorization": lambda: "Bearer x"}) as server,
        ):
            await test(server)

    asyncio.run(run())


def is_short(message: Any) -> bool:
    return bool(message["id"] >= 1_000_000_000)


@pytest.mark.parametrize("era", [MODERN, HANDSHAKE])
def test_what_is_written_is_what_the_sdk_would_write(era: str) -> None:
    gateway = Gateway(Exchange(), era)
    arguments = {"text": "\u20ac", "a": None, "b": {"c": [1, 0.1, True, None]}, "id": 7}

    async def test(server: Connection) -> None:
        await server.ask("text", arguments, 5.0, Handover())
        assert server._session is not None
        token = CURRENT.set(Handover())
        params = CallToolRequestParams(name="text", arguments=arguments)
        await server._session.send_request(CallToolRequest(params=params), CallToolResult)
        CURRENT.reset(token)

    through(gateway, test)
    ours, theirs = ((headers, sent) for headers, sent in gateway.sent if sent.get("method") == "tools/call")
    assert [is_short(ours[1]), is_short(theirs[1])] == [True, False]
    assert [{**message, "id": 0} for message in (ours[1], theirs[1])] == [{**theirs[1], "id": 0}] * 2
    length = b"content-length"
    told = [sorted((name.lower(), value) for name, value in headers if name != length) for headers, _ in (ours, theirs)]
    assert told[0] == told[1]
    assert (b"authorization", b"Bearer x") in told[0]
    assert ((b"mcp-name", b"text") in told[0]) is (era == MODERN)


def test_a_server_of_the_handshake_era_is_told_that_nobody_waits_any_more() -> None:
    exchange = Exchange()
    gateway = Gateway(exchange, HANDSHAKE)

    async def test(server: Connection) -> None:
        with pytest.raises(ExecUnknown, match="no answer"):
            await server.ask("slow", {}, 0.1, Handover())
        (call,) = gateway.calls()
        await until(lambda: gateway.sent[-1][1]["method"] == "notifications/cancelled")
        assert gateway.sent[-1][1]["params"]["requestId"] == call["id"]
        assert is_short(call)
        assert server.status.connected

    through(gateway, test)


def test_who_answers_in_events_is_asked_by_the_sdk() -> None:
    exchange = Exchange()
    gateway = Gateway(exchange, HANDSHAKE, json_response=False)

    async def test(server: Connection) -> None:
        for _ in range(2):
            assert (await server.ask("place_order", {}, 5.0, Handover())).structured == {"status": "open"}
        assert exchange.placed == 2
        assert [is_short(call) for call in gateway.calls()] == [False, False]

    through(gateway, test)


def test_an_answer_in_events_that_nobody_expected_is_read_and_the_sdk_asks_from_then_on() -> None:
    exchange = Exchange()
    gateway = Gateway(exchange)

    def events(message: Any) -> Any:
        said = result(message["id"], structuredContent={"n": 1})
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
        body = b"".join(b"event: message\ndata: " + json.dumps(one).encode() + b"\n\n" for one in (note, said))
        return body, [(b"content-type", b"text/event-stream")]

    async def test(server: Connection) -> None:
        gateway.says = events
        for _ in range(2):
            assert (await server.ask("place_order", {}, 5.0, Handover())).structured == {"n": 1}
        assert [is_short(call) for call in gateway.calls()] == [True, False]

    through(gateway, test)


def test_who_sets_a_cookie_gets_it_back() -> None:
    exchange = Exchange()
    gateway = Gateway(exchange)

    async def test(server: Connection) -> None:
        cookie = (b"set-cookie", b"seat=3; Path=/")
        gateway.says = lambda message: (result(message["id"], structuredContent={}), [cookie])
        for _ in range(2):
            assert (await server.ask("place_order", {}, 5.0, Handover())).structured == {}
        seats = [dict(headers).get(b"cookie") for headers, sent in gateway.sent if sent.get("method") == "tools/call"]
        assert seats == [None, b"seat=3"]

    through(gateway, test)


def result(id_: Any, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id_, "result": {"content": [], "resultType": "complete", **more}}


@pytest.mark.parametrize(
    ("says", "error"),
    [
        (lambda id_: {"jsonrpc": "2.0", "id": id_, "error": {"code": -32601, "message": "no"}}, ExecRejected),
        (lambda id_: {"jsonrpc": "2.0", "id": id_, "error": {"code": -32603, "message": "no"}}, Reply),
        (lambda id_: {"jsonrpc": "2.0", "id": id_, "result": {"content": "none"}}, Unreadable),
        (lambda id_: {"jsonrpc": "2.0", "id": id_, "result": {}}, Unreadable),
        (lambda id_: [result(id_)], Unreadable),
        (lambda id_: {"id": id_, "result": {"content": []}}, Unreadable),
        (lambda id_: b"", Unreadable),
        (lambda id_: b"\xff\xfe", Unreadable),
        (lambda id_: result(id_, structuredContent="\ud800"), Unreadable),
        (lambda id_: result(id_ + 1), ExecUnknown),
        (lambda id_: result(None), Unreadable),
        (lambda id_: {"jsonrpc": "2.0", "id": None, "error": {"code": -32601, "message": "no"}}, ExecUnknown),
        (lambda id_: {"jsonrpc": "2.0", "id": id_, "method": "ping", "params": {}}, ExecUnknown),
    ],
)
def test_what_is_no_answer_to_the_call_is_what_it_was_with_the_sdk(
    says: Callable[[int], Any], error: type[object]
) -> None:
    """And that it was placed is never taken for certain, nor that it was not."""
    gateway = Gateway(Exchange())
    told: list[type[object]] = []

    async def test(server: Connection) -> None:
        gateway.says = lambda message: (says(message["id"]), [])
        for asks in range(2):
            handover = Handover()
            if asks:
                assert server._short_way is not None
                server._short_way._url = None
            try:
                reply = await server.ask("place_order", {}, 0.3, handover)
                told.append(type(reply))
                assert reply.failed
            except ReconcilerError as caught:
                told.append(type(caught))
            assert handover.is_possibly_sent
            await until(lambda: server.status.connected)
        assert [is_short(call) for call in gateway.calls()] == [True, False]

    through(gateway, test)
    assert told == [error, error]


def test_a_tool_whose_arguments_are_told_in_headers_too_is_called_by_the_sdk() -> None:
    exchange = Exchange()
    gateway = Gateway(exchange)

    async def test(server: Connection) -> None:
        server._mirrored = frozenset({"place_order"})
        await server.ask("place_order", {}, 5.0, Handover())
        await server.ask("text", {"text": "{}"}, 5.0, Handover())
        assert [is_short(call) for call in gateway.calls()] == [False, True]

    through(gateway, test)


def test_nothing_is_learnt_from_a_look_that_failed_nor_of_a_version_that_nobody_knows() -> None:
    def learnt(status: int, version: str, kind: str = "application/json") -> bool:
        short = ShortWay(None, 1.0)  # type: ignore[arg-type]
        request = httpx2.Request("POST", "http://x.test/mcp", headers={"mcp-protocol-version": version})
        short.learn(request, {"method": "tools/list"}, httpx2.Response(status, headers={"content-type": kind}))
        return short.is_open

    assert learnt(200, "2025-06-18")
    assert not learnt(500, "2025-06-18")
    assert not learnt(200, "2099-01-01")
    assert not learnt(200, "")
    assert not learnt(200, "2025-06-18", "text/event-stream")


TEXT = {"type": "text", "text": "one"}
RESULTS: tuple[dict[str, Any], ...] = (
    {"content": []},
    {"content": [TEXT, {"type": "text", "text": "two"}], "structuredContent": {"a": [1, 0.1, None]}, "isError": True},
    {"content": [TEXT], "resultType": "complete"},
    {"content": [TEXT], "resultType": "input_required"},
    {"content": [TEXT], "resultType": None},
    {"content": [{**TEXT, "annotations": None}]},
    {"content": [{"type": "image", "text": "one"}]},
    {"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}, TEXT]},
    {"content": [{"type": "text", "text": 1}]},
    {"content": [{"type": "text"}]},
    {"content": ["one"]},
    {"content": {}},
    {"content": None, "structuredContent": {}},
    {"structuredContent": {}},
    {"content": [], "structuredContent": None},
    {"content": [], "structuredContent": [1]},
    {"content": [], "isError": 1},
    {"content": [], "isError": None},
    {"content": [], "_meta": {"a": 1}},
    {"content": [], "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "x", "version": ""}}},
    {"content": [], "_meta": {"io.modelcontextprotocol/serverInfo": 5, "progressToken": [], "": None}},
    {"content": [], "_meta": None},
    {"content": [], "_meta": []},
    {"content": [], "more": 1},
    {"content": [], "resultType": "complete", "structuredContent": "text"},
)


@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28"])
def test_what_is_read_at_a_glance_is_what_the_sdk_reads(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(said: dict[str, Any]) -> Any:
        try:
            return reception.reply_to(7, json.dumps({"jsonrpc": "2.0", "id": 7, "result": said}).encode(), version)
        except ValidationError:
            return "no tool result"

    told = [*RESULTS, *({**said, "resultType": "complete"} for said in RESULTS)]
    at_a_glance = [read(said) for said in told]
    monkeypatch.setattr(reception, "_plain", lambda *_, **__: None)
    assert at_a_glance == [read(said) for said in told]
    assert sum(isinstance(one, Reply) for one in at_a_glance) > 8
    assert "no tool result" in at_a_glance

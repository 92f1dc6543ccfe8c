"""The control socket, spoken to as the command line does: HTTP over a real Unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route

from reconciler.control.chronicle import named
from reconciler.control.operator import CommandResult, PruneState
from reconciler.control.socket import (
    BODY_LIMIT_BYTES,
    PATH_LIMIT_BYTES,
    ControlSocketError,
    PeerProtocol,
    bind_control_socket,
    create_control_app,
)
from reconciler.errors import StoreError
from reconciler.orders.news import Correction, Shares, Verdict
from reconciler.records.halt import Cancelling, Halt
from reconciler.serving import serving

Call = tuple[Any, ...]
NOTHING = CommandResult()


class Recorder:
    """Commands that write down how they were called."""

    def __init__(self, result: CommandResult = NOTHING) -> None:
        self.calls: list[Call] = []
        self._result = result

    def _called(self, *call: Any) -> CommandResult:
        self.calls.append(call)
        return self._result

    def pause(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        return self._called("pause", ids, reason, uid)

    def resume(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
        return self._called("resume", ids, reason, uid)

    def halt(self, wanted: Halt, uid: int) -> CommandResult:
        return self._called("halt", wanted, uid)

    def drill(self, account: str, takes: bool, reason: str, uid: int) -> CommandResult:
        return self._called("drill", account, takes, reason, uid)

    def cancel(self, client_order_id: str, reason: str, uid: int) -> CommandResult:
        return self._called("cancel", client_order_id, reason, uid)

    def unhalt(self, scope: str, id: str, reason: str, uid: int) -> CommandResult:
        return self._called("unhalt", scope, id, reason, uid)

    def resolve(self, client_order_id: str, verdict: Verdict, uid: int) -> CommandResult:
        return self._called("resolve", client_order_id, verdict, uid)

    def correct(self, instance_id: str, correction: Correction, uid: int) -> CommandResult:
        return self._called("correct", instance_id, correction, uid)

    def mark(self, instance_id: str, price: Decimal, reason: str, uid: int) -> CommandResult:
        return self._called("mark", instance_id, price, reason, uid)

    def lift_limit(self, scope: str, reason: str, uid: int) -> CommandResult:
        return self._called("lift_limit", scope, reason, uid)

    def settle(self, account: str, shares: Shares, uid: int) -> CommandResult:
        return self._called("settle", account, shares, uid)

    def accept_tools(self, server: str, reason: str, uid: int) -> CommandResult:
        return self._called("accept_tools", server, reason, uid)

    def note_placing(self, account: str, order: str, reason: str, uid: int) -> CommandResult:
        return self._called("note_placing", account, order, reason, uid)

    def prune(self) -> PruneState:
        return PruneState("d1", ("a", "b"))

    def confirm_prune(self, digest: str, reason: str, uid: int) -> CommandResult:
        return self._called("confirm_prune", digest, reason, uid)

    def accept_commit(self, commit: str, reason: str, uid: int) -> CommandResult:
        return self._called("accept_commit", commit, reason, uid)

    def forget_beats(self, reason: str, uid: int) -> CommandResult:
        return self._called("forget_beats", reason, uid)

    def full_pass(self) -> None:
        self._called("full_pass")


class Broken(Recorder):
    """Commands of an engine whose database refuses."""

    def prune(self) -> PruneState:
        raise StoreError("the disk is full")


def talk(
    path: Path,
    commands: Recorder,
    ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]],
    read_routes: Sequence[BaseRoute] = (),
) -> httpx.Response:
    """Serve `commands` at `path` for as long as `ask` takes."""

    async def session() -> httpx.Response:
        app = create_control_app(commands, read_routes)
        listener = bind_control_socket(path)
        listener.listen()
        async with asyncio.timeout(5), serving(app, listener, "control", http=PeerProtocol):
            transport = httpx.AsyncHTTPTransport(uds=str(path))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await ask(client)

    return asyncio.run(session())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


ME = os.getuid()


@pytest.mark.parametrize(
    ("url", "body", "call"),
    [
        ("/v1/pause", {"ids": ["b", "a", "b"], "reason": " why "}, ("pause", ("b", "a"), "why", ME)),
        ("/v1/pause", {"all": True, "reason": "why"}, ("pause", None, "why", ME)),
        ("/v1/resume", {"ids": ["a"], "reason": "why"}, ("resume", ("a",), "why", ME)),
        ("/v1/beats/forget", {"reason": "why"}, ("forget_beats", "why", ME)),
        ("/v1/drill", {"account": "a", "takes": True, "reason": "why"}, ("drill", "a", True, "why", ME)),
        ("/v1/cancel", {"client_order_id": "8fl2", "reason": "why"}, ("cancel", "8fl2", "why", ME)),
        (
            "/v1/halt",
            {"scope": "all", "cancel": "all", "reason": "why"},
            ("halt", Halt("all", "", False, "why", "", "", Cancelling.ALL), ME),
        ),
        ("/v1/source/accept", {"commit": "c0ffee", "reason": "why"}, ("accept_commit", "c0ffee", "why", ME)),
        ("/v1/halt", {"scope": "all", "reason": "why"}, ("halt", Halt("all", "", False, "why", "", ""), ME)),
        (
            "/v1/halt",
            {"scope": "account", "id": "main", "full": True, "reason": "why"},
            ("halt", Halt("account", "main", True, "why", "", ""), ME),
        ),
        ("/v1/unhalt", {"scope": "instance", "id": "a", "reason": "why"}, ("unhalt", "instance", "a", "why", ME)),
        ("/v1/accept", {"server": "kraken", "reason": "why"}, ("accept_tools", "kraken", "why", ME)),
        (
            "/v1/book",
            {"id": "a", "quantity": "-0.5", "price": "100", "reason": "why"},
            ("correct", "a", Correction(Decimal("-0.5"), Decimal(100), "why", named(ME)), ME),
        ),
        (
            "/v1/book",
            {"id": "a", "quantity": "0", "price": "0", "fee": "0.1", "fee_currency": "BNB", "reason": "why"},
            ("correct", "a", Correction(Decimal(0), Decimal(0), "why", named(ME), Decimal("0.1"), "BNB"), ME),
        ),
        ("/v1/mark", {"id": "a", "price": "48000", "reason": "why"}, ("mark", "a", Decimal(48000), "why", ME)),
        ("/v1/limits/lift", {"scope": "account main", "reason": "why"}, ("lift_limit", "account main", "why", ME)),
        ("/v1/settle", {"account": "main", "reason": "why"}, ("settle", "main", Shares("why", named(ME)), ME)),
        (
            "/v1/settle",
            {
                "account": "main",
                "reason": "why",
                "assign": {"a": {"quantity": "-0.5", "price": "100"}},
                "outside": {"ETH/USD": "2"},
            },
            (
                "settle",
                "main",
                Shares(
                    "why",
                    named(ME),
                    {"a": Correction(Decimal("-0.5"), Decimal(100), "why", named(ME))},
                    {"ETH/USD": Decimal(2)},
                ),
                ME,
            ),
        ),
        (
            "/v1/placing",
            {"account": "main", "order": "a1, buy 1 X", "reason": "why"},
            ("note_placing", "main", "a1, buy 1 X", "why", ME),
        ),
        (
            "/v1/resolve",
            {"client_order_id": "x", "as": "rejected", "reason": "why"},
            ("resolve", "x", Verdict("rejected", "why", named(ME)), ME),
        ),
        (
            "/v1/resolve",
            {
                "client_order_id": "x",
                "as": "filled",
                "reason": "why",
                "filled_quantity": "0.10",
                "average_price": "101.5",
                "fee": "0",
                "exchange_order_id": "e1",
            },
            (
                "resolve",
                "x",
                Verdict("filled", "why", named(ME), Decimal("0.1"), Decimal("101.5"), Decimal(0), "e1"),
                ME,
            ),
        ),
        ("/v1/prune", {"digest": "d1"}, ("confirm_prune", "d1", "", ME)),
        ("/v1/prune", {"digest": "d1", "reason": " moved "}, ("confirm_prune", "d1", "moved", ME)),
        ("/v1/reconcile", {}, ("full_pass",)),
    ],
)
def test_a_command_arrives_with_the_uid_the_kernel_tells(
    path: Path, url: str, body: dict[str, Any], call: Call
) -> None:
    commands = Recorder()
    answer = talk(path, commands, lambda client: client.post(url, json=body, headers={"peer_uid": "4711"}))
    assert answer.status_code == 200
    assert commands.calls == [call]


def test_the_answer_says_what_was_done_and_what_failed(path: Path) -> None:
    commands = Recorder(CommandResult(("a",), (("b", "is not loaded"),)))
    answer = talk(path, commands, lambda client: client.post("/v1/pause", json={"ids": ["a", "b"], "reason": "why"}))
    assert answer.json() == {"done": ["a"], "failed": [{"id": "b", "message": "is not loaded"}]}


def test_held_removals_are_told_with_their_digest(path: Path) -> None:
    answer = talk(path, Recorder(), lambda client: client.get("/v1/prune"))
    assert answer.json() == {"digest": "d1", "held": ["a", "b"]}


@pytest.mark.parametrize(
    ("url", "body", "message"),
    [
        ("/v1/pause", {"reason": "why"}, 'expected either "ids" or "all": true'),
        ("/v1/pause", {"ids": ["a"], "all": True, "reason": "why"}, 'expected either "ids" or "all": true'),
        ("/v1/pause", {"ids": [], "reason": "why"}, "ids: expected a list of instance ids, was []"),
        ("/v1/pause", {"ids": [1], "reason": "why"}, "ids: expected a list of instance ids, was [1]"),
        ("/v1/pause", {"ids": ["a"]}, "reason: expected a text that says something, was nothing"),
        ("/v1/pause", {"ids": ["a"], "reason": "  "}, 'reason: expected a text that says something, was "  "'),
        ("/v1/halt", {"scope": "world", "reason": "why"}, 'scope: expected one of all, account, instance, was "world"'),
        ("/v1/halt", {"scope": "account", "reason": "w"}, "id: expected a text that says something, was nothing"),
        ("/v1/halt", {"scope": "all", "full": 1, "reason": "w"}, "full: expected true or false, was 1"),
        (
            "/v1/resolve",
            {"client_order_id": "x", "as": "gone", "reason": "w"},
            'as: expected one of accepted, filled, cancelled, expired, rejected, was "gone"',
        ),
        (
            "/v1/resolve",
            {"client_order_id": "x", "as": "filled", "reason": "w", "fee": 0.1},
            "fee: expected str or Decimal, was float; write it as a string, '0.1'",
        ),
        *(
            (
                "/v1/resolve",
                {"client_order_id": "x", "as": "filled", "reason": "w", "filled_quantity": amount},
                f"filled_quantity: expected at most 30 digits before and after the point, was {amount!r}",
            )
            for amount in ("1E999999999", "-1E999999999", "1E-999999999", "1" * 31, "0." + "0" * 30 + "1")
        ),
        ("/v1/halt", {"scope": "all", "reason": "x" * 501}, "reason: expected at most 500 characters, was 501"),
        ("/v1/pause", ["a"], 'expected a JSON object, was ["a"]'),
    ],
)
def test_a_malformed_command_is_refused_and_does_nothing(path: Path, url: str, body: Any, message: str) -> None:
    commands = Recorder()
    answer = talk(path, commands, lambda client: client.post(url, json=body))
    assert answer.status_code == 400
    assert answer.json() == {"error": {"code": "bad_request", "message": message}}
    assert commands.calls == []


HALF = b"\\ud800"


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/pause", b'{"ids": ["%s"], "reason": "why"}' % HALF),
        ("/v1/halt", b'{"scope": "instance", "id": "%s", "reason": "why"}' % HALF),
        ("/v1/halt", b'{"scope": "%s", "reason": "why"}' % HALF),
        ("/v1/resolve", b'{"client_order_id": "x", "as": "%s", "reason": "why"}' % HALF),
        ("/v1/pause", b'{"ids": ["a"], "reason": "why", "%s": 1}' % HALF),
        ("/v1/pause", b'["%s"]' % HALF),
    ],
)
def test_half_a_character_is_refused_in_the_one_shape(path: Path, url: str, body: bytes) -> None:
    commands = Recorder()
    answer = talk(path, commands, lambda client: client.post(url, content=body))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert commands.calls == []


def test_what_the_engine_says_may_hold_half_a_character(path: Path) -> None:
    commands = Recorder(CommandResult((), (("a", "said \ud800"),)))
    answer = talk(path, commands, lambda client: client.post("/v1/pause", json={"all": True, "reason": "why"}))
    assert answer.json()["failed"] == [{"id": "a", "message": "said \ud800"}]


@pytest.mark.parametrize("size_bytes", [BODY_LIMIT_BYTES + 1, 5 * BODY_LIMIT_BYTES])
def test_a_body_that_is_too_large_is_answered_whoever_writes_it_first(path: Path, size_bytes: int) -> None:
    def write_then_read() -> bytes:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as one:
            one.settimeout(10)
            one.connect(str(path))
            one.sendall(b"POST /v1/pause HTTP/1.1\r\nHost: x\r\nConnection: close\r\n")
            one.sendall(b"Content-Length: %d\r\n\r\n" % size_bytes)
            one.sendall(b"x" * size_bytes)
            return b"".join(iter(lambda: one.recv(65_536), b""))

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        said = await asyncio.to_thread(write_then_read)
        head, _, body = said.partition(b"\r\n\r\n")
        return httpx.Response(int(head.split()[1]), content=body)

    answer = talk(path, Recorder(), ask)
    message = f"expected a body of at most {BODY_LIMIT_BYTES} bytes"
    assert (answer.status_code, answer.json()) == (413, {"error": {"code": "content_too_large", "message": message}})


def test_a_request_that_is_cut_off_does_nothing_and_is_no_matter_for_the_log(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commands = Recorder()

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b'POST /v1/halt HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"scope"')
        await writer.drain()
        await client.get("/v1/prune")
        writer.transport.abort()
        return await client.get("/v1/prune")

    assert talk(path, commands, ask).status_code == 200
    assert (commands.calls, caplog.records) == ([], [])


def test_a_command_that_fails_in_a_way_nobody_foresaw_has_the_one_shape(path: Path) -> None:
    class Bad(Recorder):
        def pause(self, ids: Sequence[str] | None, reason: str, uid: int) -> CommandResult:
            raise AssertionError("nobody foresaw this")

    answer = talk(path, Bad(), lambda client: client.post("/v1/pause", json={"all": True, "reason": "why"}))
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b"[" * 900 + b"]" * 900])
def test_what_is_no_json_is_refused(path: Path, body: bytes) -> None:
    answer = talk(path, Recorder(), lambda client: client.post("/v1/pause", content=body))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"


def test_errors_of_routing_have_the_same_shape(path: Path) -> None:
    answer = talk(path, Recorder(), lambda client: client.get("/v1/pause"))
    assert answer.status_code == 405
    assert answer.json()["error"]["code"] == "method_not_allowed"


def test_an_engine_that_cannot_answers_with_a_sentence(path: Path) -> None:
    answer = talk(path, Broken(), lambda client: client.get("/v1/prune"))
    assert answer.status_code == 503
    assert answer.json() == {"error": {"code": "engine_error", "message": "the disk is full"}}


async def _hello(request: Request) -> JSONResponse:
    return JSONResponse({"items": []})


@pytest.mark.parametrize(
    "routes",
    [
        [Route("/api/v1/instances", _hello)],
        [Mount("/", Starlette(routes=[Route("/api/v1/instances", _hello)]))],
    ],
    ids=["routes", "a whole app"],
)
def test_read_routes_stand_beside_the_commands(path: Path, routes: list[BaseRoute]) -> None:
    answer = talk(path, Recorder(), lambda client: client.get("/api/v1/instances"), routes)
    assert answer.json() == {"items": []}


def test_only_the_owner_may_open_the_socket(path: Path) -> None:
    bind_control_socket(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_socket_of_a_dead_engine_is_replaced(path: Path) -> None:
    dead = bind_control_socket(path)
    dead.listen()
    dead.close()
    alive = bind_control_socket(path)
    alive.listen()
    with alive, socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(path))


def test_what_is_no_socket_is_never_replaced(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(ControlSocketError, match="another kind of file"):
        bind_control_socket(path)
    assert path.read_text() == "precious"


def test_a_path_too_long_for_a_socket_is_refused_with_the_mend(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * (PATH_LIMIT_BYTES - len(os.fsencode(tmp_path)) - 1))
    bind_control_socket(longest).close()
    with pytest.raises(ControlSocketError, match=r"at most 107 bytes, was 108; .*state_dir"):
        bind_control_socket(Path(f"{longest}x"))


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ControlSocketError, match="No such file or directory"):
        bind_control_socket(tmp_path / "nowhere" / "control.sock")

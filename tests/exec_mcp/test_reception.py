"""What a server sends without measure or sense: one call fails, in one way, and neither connection nor log."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import sys
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from reconciler.clock import SystemClock
from reconciler.exec_mcp import wire
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.bridge import Handover, flat
from reconciler.exec_mcp.connection import Connection
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.reception import MOST_BYTES, Lines, id_of, received
from reconciler.exec_mcp.reception import UNREADABLE as UNREADABLE_CODE
from reconciler.paper.mcp_server import serve_app

DEADLINE_S = 30.0
JSON, EVENTS = "application/json", "text/event-stream"
BLANKS = b" " * (MOST_BYTES + 1)
DEEP = "[" * 5_000 + "]" * 5_000
ABOUT = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "x", "version": "1"},
}
TOOLS = [{"name": "place_order", "inputSchema": {"type": "object"}}]


def result(id_: Any, value: str = '{"status": "open"}') -> bytes:
    told = f'{{"content": [], "structuredContent": {value}}}'
    return f'{{"jsonrpc": "2.0", "id": {json.dumps(id_)}, "result": {told}}}'.encode()


def event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"


def bomb() -> bytes:
    """16 MiB in 16 KiB."""
    packing = zlib.compressobj(wbits=31)
    return b"".join(packing.compress(BLANKS) for _ in range(4)) + packing.flush()


Way = tuple[str, str, Callable[[Any], Iterable[bytes]]]
"""The type of the content, how it is packed, and the pieces that it comes in."""

UNREADABLE: dict[str, tuple[Way, str]] = {
    "too long": ((JSON, "", lambda id_: (BLANKS, result(id_))), "answered more than 4 MiB"),
    "packed, and too long": ((JSON, "gzip", lambda _: (bomb(),)), "answered more than 4 MiB"),
    "deflated, and too long": ((JSON, "deflate", lambda _: (zlib.compress(BLANKS),)), "answered more than 4 MiB"),
    "packed as nobody asked": ((JSON, "br", lambda id_: (result(id_),)), "answered packed as br"),
    "not packed, though it says so": ((JSON, "gzip", lambda id_: (result(id_),)), "answered what is no gzip"),
    "deep": ((JSON, "", lambda id_: (result(id_, DEEP),)), "nested too deeply"),
    "a number without end": ((JSON, "", lambda id_: (result(id_, "1" * 300_000),)), "answered what is no message"),
    "cut off": ((JSON, "", lambda id_: (result(id_)[:-5],)), "answered what is no message"),
    "no text": ((JSON, "", lambda id_: (result(id_, '"\xff\xfe"').decode().encode("latin-1"),)), "no message"),
    "an event that is too long": ((EVENTS, "", lambda _: (b"data: ", BLANKS)), "answered more than 4 MiB"),
    "a packed event that is too long": ((EVENTS, "gzip", lambda _: (gzip.compress(b"data:" + BLANKS),)), "4 MiB"),
    "an event that is deep": ((EVENTS, "", lambda id_: (event(result(id_, DEEP)),)), "nested too deeply"),
    "an event that is cut off": ((EVENTS, "", lambda id_: (event(result(id_)[:-5]),)), "answered what is no message"),
}
READABLE: dict[str, Way] = {
    "plain": (JSON, "", lambda id_: (result(id_),)),
    "gzip": (JSON, "gzip", lambda id_: (gzip.compress(result(id_)),)),
    "deflate": (JSON, "deflate", lambda id_: (zlib.compress(result(id_)),)),
    "in pieces": (JSON, "", lambda id_: (result(id_)[:9], result(id_)[9:])),
    "an event": (EVENTS, "", lambda id_: (b": hello\r\n\r\n", event(result(id_)).replace(b"\n", b"\r\n"))),
    "an event in pieces": (EVENTS, "", lambda id_: (b"data: ", result(id_)[:9], result(id_)[9:] + b"\n", b"\n")),
    "a packed event": (EVENTS, "gzip", lambda id_: (gzip.compress(event(result(id_))),)),
    "more than that in events": (EVENTS, "", lambda id_: (*(b":" + BLANKS[9:] + b"\n\n",) * 2, event(result(id_)))),
}  # fmt: skip


class Exchange:
    """A server with one tool, which answers in one way to `name`, and honestly to all else."""

    def __init__(self, way: Way, name: str = "tools/call") -> None:
        self.way, self.name = way, name
        self.packings: set[bytes] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return
        self.packings.add(dict(scope["headers"]).get(b"accept-encoding", b""))
        asked = json.loads((await receive())["body"] or b"{}") if scope["method"] == "POST" else {}
        method, id_ = asked.get("method"), asked.get("id")
        if id_ is None:
            await answer(send, 202 if asked else 405, JSON, b"")
        elif method == self.name:
            kind, packing, pieces = self.way
            headers = [
                (b"content-type", kind.encode()),
                *([(b"content-encoding", packing.encode())] if packing else []),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for piece in pieces(id_):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        else:
            told = {"initialize": ABOUT, "tools/list": {"tools": TOOLS}}
            said = {"result": told[method]} if method in told else {"error": {"code": -32601, "message": "no"}}
            await answer(send, 200, JSON, json.dumps({"jsonrpc": "2.0", "id": id_, **said}).encode())


async def answer(send: Any, status: int, kind: str, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def running(options: ServerOptions) -> AsyncIterator[Connection]:
    server = Connection(options, SystemClock())
    task = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            while server.status.last_error == "not connected yet" and not server.status.connected:
                await asyncio.sleep(0.005)
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def over_http(exchange: Exchange, test: Callable[[Connection], Any]) -> None:
    async with serve_app(exchange) as address, running(http(address)) as server:
        await test(server)


def http(address: str, timeout_s: float = DEADLINE_S) -> ServerOptions:
    return ServerOptions("x", "http", url=f"{address}/mcp", timeout_s=timeout_s)


async def place(server: Connection, **arguments: Any) -> Any:
    return (await server.ask("place_order", arguments, DEADLINE_S, Handover())).structured


def quiet(caplog: pytest.LogCaptureFixture) -> bool:
    """True where nothing was logged as an error, nor with a traceback."""
    return not [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info]


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_fails_its_call_alone(name: str, caplog: pytest.LogCaptureFixture) -> None:
    way, why = UNREADABLE[name]
    exchange = Exchange(way)

    async def test(server: Connection) -> None:
        for _ in range(2):
            with pytest.raises(Unreadable, match=why):
                await place(server)
        assert server.status.connected
        exchange.way = READABLE["plain"]
        assert await place(server) == {"status": "open"}
        assert server.status.connections == 1

    asyncio.run(over_http(exchange, test))
    assert quiet(caplog)
    assert exchange.packings == {b"identity"}


@pytest.mark.parametrize("name", READABLE)
def test_what_can_be_read_is_read_however_it_comes(name: str) -> None:
    async def test(server: Connection) -> None:
        assert await place(server) == {"status": "open"}

    asyncio.run(over_http(Exchange(READABLE[name]), test))


class Endless(httpx2.AsyncByteStream):
    """An answer that goes on for as long as it is read."""

    def __init__(self) -> None:
        self.read_bytes, self.is_closed = 0, False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.read_bytes += 65_536
            yield b" " * 65_536

    async def aclose(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("kind", [JSON, EVENTS, "text/html"])
@pytest.mark.parametrize("id_", [7, None])
def test_an_answer_without_end_is_read_no_further_than_it_may_be_long(kind: str, id_: Any) -> None:
    async def run() -> bytes:
        request = httpx2.Request("POST", "http://x/mcp")
        answer = await received(request, httpx2.Response(200, headers={"content-type": kind}, stream=endless), id_)
        try:
            return await answer.aread()
        finally:
            await answer.aclose()

    endless = Endless()
    if id_ is None:
        with pytest.raises(httpx2.RemoteProtocolError, match="the server answered more than 4 MiB"):
            asyncio.run(run())
    else:
        said = asyncio.run(run()).removeprefix(b"event: message\ndata: ")
        assert json.loads(said)["error"] == {"code": UNREADABLE_CODE, "message": "answered more than 4 MiB"}
    assert endless.read_bytes <= MOST_BYTES + 65_536
    assert endless.is_closed


@pytest.mark.parametrize("name", ["too long", "deep", "an event that is too long"])
def test_a_list_of_tools_that_cannot_be_read_is_said_to_be(name: str, caplog: pytest.LogCaptureFixture) -> None:
    way, why = UNREADABLE[name]

    async def test(server: Connection) -> None:
        assert not server.status.connected
        assert server.status.last_error.startswith("its list of tools cannot be read: it answered")
        assert why in server.status.last_error

    asyncio.run(over_http(Exchange(way, "tools/list"), test))
    assert quiet(caplog)


def test_a_list_of_tools_without_end_comes_to_one() -> None:
    more: list[int] = []

    def pages(id_: Any) -> Iterable[bytes]:
        more.append(len(more))
        tools = [{"name": f"t{number}-{len(more)}", "inputSchema": {"type": "object"}} for number in range(1_500)]
        return (json.dumps({"jsonrpc": "2.0", "id": id_, "result": {"tools": tools, "nextCursor": "x"}}).encode(),)

    async def test(server: Connection) -> None:
        assert server.status.last_error == "it lists more than 2000 tools, and has not come to an end"

    asyncio.run(over_http(Exchange((JSON, "", pages), "tools/list"), test))


# Over standard input and output

PROGRAM = """
import json, sys
DEEP = "[" * 5_000 + "]" * 5_000
LONG = '"' + " " * MOST_BYTES + '"'
VALUES = {"long": LONG, "long, id last": LONG, "deep": DEEP, "deep, id last": DEEP, "broken": "{"}
print("SECRET hush-hush", file=sys.stderr)
for number in range(100):
    print("noise", number, file=sys.stderr)
print("x" * 10_000, file=sys.stderr, flush=True)
def say(id, body, last=False):
    ids = '"jsonrpc": "2.0", "id": %d' % id
    sys.stdout.write("{" + (body + ", " + ids if last else ids + ", " + body) + "}\\n")
    sys.stdout.flush()
for line in sys.stdin:
    asked = json.loads(line)
    id, method = asked.get("id"), asked["method"]
    if id is None:
        continue
    if method == "initialize":
        say(id, '"result": ABOUT')
    elif method == "tools/list":
        say(id, '"result": {"tools": TOOLS}')
    elif method == "tools/call":
        how = asked["params"]["arguments"]["how"]
        if how == "noise":
            print("a banner, where none should be\\n[[[\\n\\n" + DEEP, flush=True)
        value = VALUES.get(how, '{"status": "open"}')
        say(id, '"result": {"content": [], "structuredContent": ' + value + "}", "last" in how)
    else:
        say(id, '"error": {"code": -32601, "message": "no"}')
"""
for name, value in (("MOST_BYTES", MOST_BYTES), ("ABOUT", json.dumps(ABOUT)), ("TOOLS", json.dumps(TOOLS))):
    PROGRAM = PROGRAM.replace(name, str(value))


def test_a_child_that_writes_what_cannot_be_read_fails_its_call_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    script = tmp_path / "server.py"
    script.write_text(PROGRAM)
    options = ServerOptions(
        "x", "stdio", command=(sys.executable, str(script)), env={"KEY": lambda: "hush-hush"}, timeout_s=DEADLINE_S
    )

    async def run() -> None:
        async with running(options) as server:
            for how, why in (
                ("long", "a line that is too long"),
                ("long, id last", "a line that is too long"),
                ("deep", "nested too deeply"),
                ("deep, id last", "nested too deeply"),
                ("broken", "answered what is no message"),
            ):
                with pytest.raises(Unreadable, match=why):
                    await place(server, how=how)
            for how in ("noise", "ok"):
                assert await place(server, how=how) == {"status": "open"}
            assert (server.status.connected, server.status.connections) == (True, 1)
            last = server.murmur
            assert (len(last), last[-2], last[-1]) == (20, "noise 99", "x" * 500)

    asyncio.run(run())
    assert quiet(caplog)
    wrote = [record.__dict__ for record in caplog.records if record.message == "exec-mcp server wrote"]
    assert len(wrote) == 60  # of 102
    assert (wrote[0]["server"], wrote[0]["line"]) == ("x", "SECRET \u2022\u2022\u2022")


def test_a_server_that_is_still_starting_is_said_to_be_and_what_to_raise(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("import sys\nprint('loading', file=sys.stderr, flush=True)\nsys.stdin.read()\n")
    command = (sys.executable, "-S", "-E", str(script))
    options = ServerOptions("slow", "stdio", command=command, timeout_s=0.1, start_timeout_s=0.5)

    async def run() -> None:
        async with running(options) as server:
            assert server.status.last_error.startswith(
                "it was still starting after 0.5 s: raise exec_mcp.slow.start_timeout_s where it needs longer"
            )

    asyncio.run(run())


def test_a_server_that_ends_at_its_start_is_said_to_have_and_what_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_GRACE_STEPS", 3_000)
    command = (sys.executable, "-S", "-E", "-c", "raise SystemExit('no key')")

    async def run() -> None:
        async with running(ServerOptions("x", "stdio", command=command, timeout_s=DEADLINE_S)) as server:
            assert server.murmur == ("no key", "(it has ended by itself, with exit code 1)")
            assert server.status.last_error.endswith("; it wrote last: (it has ended by itself, with exit code 1)")

    asyncio.run(run())


def test_a_server_that_says_nothing_over_http_is_said_to_and_what_to_raise() -> None:
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await asyncio.Event().wait()

    async def run() -> None:
        async with serve_app(deaf) as address, running(http(address, 0.5)) as server:
            assert server.status.last_error == (
                "it did not answer after 0.5 s: raise exec_mcp.x.timeout_s where it needs longer"
            )

    asyncio.run(run())


# Lines and ids


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_lines_are_put_together_from_whatever_pieces_they_come_in(size: int) -> None:
    sent, lines = b"one\n\ntwo and more\r\nthree", Lines()
    found: list[tuple[bytes, bool]] = []
    for at in range(0, len(sent), size):
        found += lines.fed(sent[at : at + size])
    assert found == [(b"one", True), (b"", True), (b"two and more\r", True)]


def test_of_a_line_that_is_too_long_both_ends_are_kept() -> None:
    lines = Lines()
    found: list[tuple[bytes, bool]] = []
    for piece in (b"head", b"x" * MOST_BYTES, b"tail", b"\nnext\n"):
        found += lines.fed(piece)
    (long, is_whole), following = found
    assert (long[:4], long[-4:], len(long), is_whole) == (b"head", b"tail", 512, False)
    assert following == (b"next", True)


@pytest.mark.parametrize(
    ("head", "tail", "id_"),
    [
        (b'{"jsonrpc":"2.0","id":7,"result":[[[', b"]]]}", 7),
        (b'{"id": "a\\"b", "result": [', b"]}", 'a"b'),
        (b'{"result":{"id":9,', b'},"jsonrpc":"2.0","id":7}', 7),
        (b'{"result":[', b'],"id":7,"jsonrpc":"2.0"}\r', 7),
        (b'{"result":{"id":9,', b'"id":9}}', None),
        (b"noise", b"noise", None),
    ],
)
def test_whose_answer_it_was_is_told_by_its_ends(head: bytes, tail: bytes, id_: Any) -> None:
    assert id_of(head, tail) == id_


# What errors say


def broken(error: Exception, cause: Exception | None = None) -> Exception:
    error.__cause__ = cause
    return error


class ReadError(Exception):
    """As the HTTP library calls it."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ReadError("reset by peer"), "ReadError: reset by peer"),
        (TimeoutError(), "TimeoutError: it took too long"),
        (ReadError(), "ReadError: the connection broke before the answer was there"),
        (broken(ReadError(), OSError(104, "reset by peer")), "ReadError: [Errno 104] reset by peer"),
        (broken(ReadError(), broken(ValueError(), KeyError("x"))), "ReadError: 'x'"),
        (ExceptionGroup("several", [ExceptionGroup("more", [TimeoutError()])]), "TimeoutError: it took too long"),
        (LookupError(), "LookupError: it says no more"),
        (Unreadable("ours"), "ours"),
    ],
)
def test_an_error_says_something_of_use_whatever_it_says_itself(error: Exception, said: str) -> None:
    assert flat(error) == said

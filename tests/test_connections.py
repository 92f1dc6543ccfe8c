"""Connections that say nothing, or half of something, are bounded in number and in time, and cost nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from reconciler.connections import Connections, Patience
from reconciler.serving import listen, serving, tell_refused_accepts_once

LONG = Patience(60.0, 60.0, 60.0)
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
WITHIN_S = 60.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def answer(scope: Any, receive: Any, send: Any) -> None:
    """`/stream` streams for ever, `/much` is more than any buffer takes, all else is answered in two letters."""
    if scope["type"] != "http":
        return
    kind = b"text/event-stream" if scope["path"] == "/stream" else b"text/plain"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    if scope["path"] == "/stream":
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await receive()  # nothing but its end
    elif scope["path"] == "/much":
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * 1_000_000, "more_body": True})
    with contextlib.suppress(Exception):
        await send({"type": "http.response.body", "body": b"ok", "more_body": False})


def on_a_server(
    session: Callable[[int, Connections], Awaitable[None]],
    most: int = 100,
    streams: int = 100,
    patience: Patience = LONG,
) -> None:
    async def run() -> None:
        connections = Connections(most, streams, patience)
        listener = listen("127.0.0.1", 0)
        port: int = listener.getsockname()[1]
        async with asyncio.timeout(WITHIN_S), serving(answer, listener, "test", connections=connections):
            await session(port, connections)

    asyncio.run(run())


@contextlib.asynccontextmanager
async def connected(port: int, count: int, said: bytes = b"") -> AsyncIterator[list[Streams]]:
    """So many connections that have said this, one after the other."""
    opened: list[Streams] = []
    try:
        for _ in range(count):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.append((reader, writer))
            writer.write(said)
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def status_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes = GET) -> int:
    writer.write(request)
    return int((await reader.readline()).split()[1])


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait until the other side has closed it."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: a"])
def test_over_the_most_the_oldest_that_says_nothing_is_closed_and_the_newest_served(said: bytes) -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 8, said) as idle, connected(port, 1) as newest:
            assert await status_of(*newest[0]) == 200
            assert await is_closed(idle[0][0])
            assert await is_closed(idle[3][0])
            assert len(connections) == 5

    on_a_server(session, most=5)


def test_many_times_the_most_leave_no_more_than_the_most(caplog: pytest.LogCaptureFixture) -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 200) as idle:
            assert await is_closed(idle[100][0])
            async with connected(port, 1) as newest:
                assert await status_of(*newest[0]) == 200
            assert len(connections) <= 10

    on_a_server(session, most=10)
    assert not caplog.records


def test_one_that_is_being_answered_is_closed_for_nobody_who_says_nothing() -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 1, b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n") as reading:
            reader, _ = reading[0]
            assert b"200" in await reader.readline()
            async with connected(port, 10) as idle:
                assert await is_closed(idle[0][0])
                assert len(await reader.readexactly(8_000_000)) == 8_000_000

    on_a_server(session, most=3)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"])
def test_what_says_nothing_or_half_of_something_ends_in_time(said: bytes) -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 1, said) as opened:
            reader, _ = opened[0]
            with contextlib.suppress(ConnectionError):
                await reader.read()
            await until(lambda: len(connections) == 0)

    on_a_server(session, patience=Patience(0.05, 0.05, 60.0))


def test_a_head_that_comes_drop_by_drop_has_one_time_for_all_of_it() -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 1, b"GET / HTTP/1.1\r\n") as opened:
            reader, writer = opened[0]

            async def drip() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        writer.write(b"x: y\r\n")
                        await writer.drain()
                        await asyncio.sleep(0.01)

            dripping = asyncio.create_task(drip())
            assert await is_closed(reader)
            dripping.cancel()

    on_a_server(session, patience=Patience(60.0, 0.1, 60.0))


def test_who_writes_a_long_request_that_is_answered_at_once_hears_the_answer() -> None:
    def write_then_read(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as one:
            one.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 20000000\r\n\r\n")
            one.sendall(b"x" * 20_000_000)
            return b"".join(iter(lambda: one.recv(65_536), b""))

    async def session(port: int, connections: Connections) -> None:
        assert (await asyncio.to_thread(write_then_read, port)).startswith(b"HTTP/1.1 200")

    on_a_server(session)


def test_who_writes_only_the_head_of_what_is_answered_at_once_hears_the_answer() -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 1, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n") as opened:
            assert (await opened[0][0].readuntil(b"ok")).startswith(b"HTTP/1.1 200")

    on_a_server(session)


def test_who_reads_nothing_of_a_long_answer_is_closed_in_time() -> None:
    async def session(port: int, connections: Connections) -> None:
        with socket.create_connection(("127.0.0.1", port)) as deaf:
            deaf.sendall(b"GET /much HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: len(connections) == 1)
            await until(lambda: len(connections) == 0)

    on_a_server(session, patience=Patience(60.0, 60.0, 0.05))


def test_answers_that_stream_are_counted_apart_and_outlast_the_idle() -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 2, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n") as streams:
            for reader, _ in streams:
                await reader.readuntil(b"data: 1")
            async with connected(port, 6) as idle:
                assert await is_closed(idle[0][0])
                assert len(connections) == 2 + 3
            async with connected(port, 1, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n") as third:
                await third[0][0].readuntil(b"data: 1")
                await streams[0][0].read()  # the oldest stream makes room
                assert not streams[1][0].at_eof()

    on_a_server(session, most=3, streams=2)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n", b"nonsense\r\n\r\n"])
def test_what_is_no_http_gets_the_one_error_shape_and_no_line_in_the_log(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 1, garbage) as opened:
            head, _, body = (await opened[0][0].read()).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400")
            assert json.loads(body)["error"]["code"] == "bad_request"

    with caplog.at_level(logging.WARNING):
        on_a_server(session)
    assert not caplog.records


def test_who_asks_for_a_websocket_is_answered_as_any_reader_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    upgrade = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n"

    async def session(port: int, connections: Connections) -> None:
        async with connected(port, 1) as opened:
            assert await status_of(*opened[0], upgrade) == 200

    on_a_server(session)
    assert not caplog.records


def test_connections_that_cannot_be_taken_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    refused: list[None] = []

    async def run() -> None:
        tell_refused_accepts_once(lambda: refused.append(None))
        loop = asyncio.get_running_loop()
        for _ in range(100):
            loop.call_exception_handler(
                {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
            )
        loop.call_exception_handler({"message": "a task failed", "exception": ValueError("x")})

    asyncio.run(run())
    assert len(refused) == 100
    assert [record.getMessage() for record in caplog.records] == ["a connection could not be taken", "a task failed"]

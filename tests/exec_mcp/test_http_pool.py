"""HTTP/1.1 on kept connections, against servers that answer as a test writes it."""

from __future__ import annotations

import asyncio
import functools
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from reconciler.exec_mcp import http_pool
from reconciler.exec_mcp.http_pool import HttpPool, Parcel, Unclaimed

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@dataclass
class Site:
    """A server that gives its answers one after the other, whoever asks; None hangs up."""

    answers: list[bytes | None]
    connections: int = 0
    asked: list[bytes] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.asked.append(head + await reader.readexactly(2))
                answer = self.answers.pop(0)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def site(*answers: bytes | None) -> AsyncIterator[Site]:
    found = Site(list(answers))
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    found.url = f"http://{host}:{port}/mcp"
    async with server:
        yield found


def on(work: Callable[[Site, HttpPool], Awaitable[None]], *answers: bytes | None) -> None:
    async def run() -> None:
        async with site(*answers) as found:
            pool = HttpPool()
            async with asyncio.timeout(20):
                await work(found, pool)
            await pool.aclose()

    asyncio.run(run())


async def ask(pool: HttpPool, url: str, **extensions: object) -> httpx2.Response:
    response = await pool.handle_async_request(httpx2.Request("POST", url, content=b"{}", extensions=extensions))
    await response.aread()
    await response.aclose()
    return response


async def post(pool: HttpPool, url: str, claim: Callable[[], bool] = lambda: True) -> bytes | httpx2.Response:
    """The same, ready as bytes."""
    head = b"POST /mcp HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
    return await pool.post(Parcel(httpx2.URL(url), head, b"{}", claim, lambda: None), 5.0, 1.0)


def test_a_connection_serves_one_request_after_the_other() -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        for _ in range(3):
            assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 1
        assert found.asked[0].startswith(b"POST /mcp HTTP/1.1\r\n")
        assert found.asked[0].endswith(b"\r\n\r\n{}")

    on(work, OK, OK, OK)


def test_a_request_that_is_not_claimed_costs_no_connection() -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        await ask(pool, found.url)
        written: list[bool] = []
        for _ in range(3):
            with pytest.raises(Unclaimed):
                await ask(pool, found.url, claim=lambda: False, written=lambda: written.append(True))
        assert written == []
        await ask(pool, found.url, claim=lambda: True, written=lambda: written.append(True))
        assert written == [True]
        assert (found.connections, len(found.asked)) == (1, 2)

    on(work, OK, OK)


def test_it_is_claimed_only_once_its_connection_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        claimed: list[int] = []
        monkeypatch.setattr(http_pool, "_MOST", 1)
        pool = HttpPool()
        held = await pool.handle_async_request(httpx2.Request("POST", found.url, content=b"{}"))

        def claim() -> bool:
            claimed.append(1)
            return True

        waiting = asyncio.create_task(ask(pool, found.url, claim=claim))
        await asyncio.sleep(0)
        assert claimed == []
        await held.aread()
        await held.aclose()
        assert (await waiting).status_code == 200
        assert (claimed, found.connections) == ([1], 1)
        await pool.aclose()

    on(work, OK, OK)


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
def test_whole_answers_are_read_and_leave_the_connection_for_the_next(answer: bytes, body: bytes) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        assert (await ask(pool, found.url)).content == body
        assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 1

    on(work, answer, OK)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    ],
)
def test_a_server_that_says_it_closes_is_connected_to_anew(answer: bytes) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        for _ in range(2):
            assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 2

    on(work, answer, OK)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", httpx2.RemoteProtocolError),
        (b"no http at all\r\n\r\n", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, httpx2.RemoteProtocolError),
    ],
)
def test_what_is_no_whole_answer_is_an_error_and_the_connection_is_gone(
    answer: bytes | None, error: type[Exception]
) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        found.answers = [answer, OK] if answer is None else [answer]
        with pytest.raises(error):
            await ask(pool, found.url)
        found.answers = [OK]
        assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 2

    on(work)


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again() -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        await ask(pool, found.url)  # the only answer it had: it hangs up
        async with asyncio.timeout(10):
            while not pool._idle[0][0].is_lost:
                await asyncio.sleep(0.001)
        found.answers = [OK]
        assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 2

    on(work, OK)


def test_https_is_spoken_with_who_can_prove_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed: nobody makes a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    about = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
    subprocess.run([*made, *about, "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)

    async def run() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate, key)
        found = Site([OK, OK])
        server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=context)
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/mcp"
        async with server, asyncio.timeout(20):
            stranger = HttpPool()
            with pytest.raises(httpx2.ConnectError, match="certificate"):
                await ask(stranger, url)
            trusting = functools.partial(ssl.create_default_context, cafile=str(certificate))
            monkeypatch.setattr(httpx2, "create_ssl_context", trusting)
            pool = HttpPool()
            for _ in range(2):
                assert (await ask(pool, url)).content == b"hi"
            assert len(found.asked) == 2
            await pool.aclose()

    asyncio.run(run())


def test_nobody_there_is_told_apart_from_everything_else() -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        with pytest.raises(httpx2.ConnectError):
            await ask(pool, "http://127.0.0.1:1/mcp")

    on(work)


def test_who_gives_up_waiting_takes_the_connection_along() -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await ask(pool, found.url)
        found.answers = [OK]
        assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 2

    on(work, b"", b"")


TYPE = b"HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=utf-8\r\n"
PLAIN = TYPE + b"connection: keep-alive\r\ncontent-length: 2\r\n"


def test_the_body_of_a_plain_answer_is_cut_out_however_it_comes() -> None:
    answer = PLAIN + b"\r\nhi"

    async def read(*pieces: bytes) -> bytes | None:
        line = http_pool._Line()
        reading = asyncio.create_task(line.plain())
        for piece in pieces:
            await asyncio.sleep(0)
            assert not reading.done()
            line.data_received(piece)
        return await reading

    for cut in range(1, len(answer)):
        assert asyncio.run(read(answer[:cut], answer[cut:])) == b"hi"

    async def work(found: Site, pool: HttpPool) -> None:
        assert await post(pool, found.url) == await post(pool, found.url) == b"hi"
        assert found.connections == 1

    on(work, answer, answer)


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
        (b"HTTP/1.1 201 Made\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\nhi", 201, b"hi"),
        (TYPE + b"transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200, b"hi"),
        (b"HTTP/1.1 100 Go on\r\n\r\n" + PLAIN + b"\r\nhi", 200, b"hi"),
        (PLAIN + b"Set-Cookie: seat=3\r\n\r\nhi", 200, b"hi"),
        (PLAIN + b"Content-Encoding: gzip\r\n\r\nhi", 200, b"hi"),
        (PLAIN + b"x: one\r\n two\r\n\r\nhi", 200, b"hi"),
        (PLAIN + b"x: \xe9\r\n\r\nhi", 200, b"hi"),
        (PLAIN.replace(b"length: 2", b"length: 2000000") + b"\r\n" + b"y" * 2_000_000, 200, b"y" * 2_000_000),
    ],
)  # fmt: skip
def test_any_other_answer_is_as_the_library_has_it(answer: bytes, status: int, body: bytes) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        response = await post(pool, found.url)
        assert isinstance(response, httpx2.Response)
        raw = b"".join([piece async for piece in response.stream])  # type: ignore[union-attr]
        await response.aclose()
        assert (response.status_code, raw) == (status, body)
        assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 1

    on(work, answer, OK)


@pytest.mark.parametrize(
    "answer",
    [
        PLAIN + b"content-length: 3\r\n\r\nhi!",
        PLAIN + b"no header\r\n\r\nhi",
        PLAIN + b" : x\r\n\r\nhi",
        PLAIN + b"x\x00: y\r\n\r\nhi",
        PLAIN + b"\r\nh",
        PLAIN[:30],
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
        b"no http at all\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_whole_answer_to_what_was_posted_is_an_error_and_the_connection_is_gone(answer: bytes) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        async def read() -> None:
            response = await post(pool, found.url)
            assert isinstance(response, httpx2.Response)
            try:
                await response.aread()
            finally:
                await response.aclose()

        with pytest.raises(httpx2.RemoteProtocolError):
            await read()
        found.answers = [OK]
        assert (await ask(pool, found.url)).content == b"hi"
        assert found.connections == 2

    on(work, answer)


def test_who_gives_up_waiting_for_what_was_posted_takes_the_connection_along() -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await post(pool, found.url)
        found.answers = [PLAIN + b"\r\nhi"]
        assert await post(pool, found.url) == b"hi"
        assert found.connections == 2

    on(work, b"", b"")


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\n", PLAIN + b"\r\nho"])
def test_what_a_server_says_unasked_is_no_answer_to_what_is_posted_next(more: bytes) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        first = await post(pool, found.url)
        if isinstance(first, httpx2.Response):
            assert await first.aread() == b"hi"
            await first.aclose()
        else:
            assert first == b"hi"
            async with asyncio.timeout(10):
                while pool._idle[0][0].is_quiet():
                    await asyncio.sleep(0.001)
        assert (await post(pool, found.url)) == b"hi"
        assert found.connections == 2

    on(work, PLAIN + b"\r\nhi" + more, PLAIN + b"\r\nhi")


def test_what_is_posted_is_claimed_only_once_its_connection_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(found: Site, pool: HttpPool) -> None:
        claimed: list[int] = []
        monkeypatch.setattr(http_pool, "_MOST", 1)
        pool = HttpPool()
        held = await pool.handle_async_request(httpx2.Request("POST", found.url, content=b"{}"))

        def claim() -> bool:
            claimed.append(1)
            return len(claimed) > 1

        waiting = asyncio.create_task(post(pool, found.url, claim))
        await asyncio.sleep(0)
        assert claimed == []
        await held.aread()
        await held.aclose()
        with pytest.raises(Unclaimed):
            await waiting
        assert await post(pool, found.url, claim) == b"hi"
        assert (claimed, found.connections, len(found.asked)) == ([1, 1], 1, 2)
        await pool.aclose()

    on(work, OK, PLAIN + b"\r\nhi")

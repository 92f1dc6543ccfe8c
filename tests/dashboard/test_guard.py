"""Who may ask: hosts, tokens, cookies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.clock import FakeClock
from reconciler.dashboard.guard import COOKIE, FREE, LONGEST_DELAY_S, WAITING, DashboardOptions, host_name, session_of

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeStatus

pytestmark = pytest.mark.anyio

LOCKED = DashboardOptions(token="s3cret", allowed_hosts=())


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "localhost.", "[::1]:8080", "[::1]"])
async def test_loopback_names_are_answered(connect: Connect, host: str) -> None:
    async with connect() as client:
        assert (await client.get("/livez", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8080",
        "",
        "[::2]",
        "[::1]evil.example",
        "[::1].evil.example:80",
        "[::1]:80evil.example",
        "[::1",
        "::1",
        "localhost:80:80",
        "localhost:x",
        "evil.example@localhost",
        "localhost/evil.example",
        "localhost evil.example",
        "localhost..",
        "127.0.0.1,evil.example",
    ],
)
async def test_a_foreign_name_that_was_pointed_at_loopback_is_refused(
    connect: Connect, status: FakeStatus, host: str
) -> None:
    async with connect() as client:
        answer = await client.get("/api/v1/instances", headers={"host": host})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_host"
    assert "expected the Host to be one of localhost, 127.0.0.1, ::1" in answer.json()["error"]["message"]
    assert status.asked == []


async def test_without_a_list_of_hosts_any_is_answered(connect: Connect) -> None:
    async with connect(DashboardOptions(allowed_hosts=())) as client:
        assert (await client.get("/", headers={"host": "fleet.example"})).status_code == 200


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("a.example:80", "a.example"),
        ("[fe80::1]:80", "fe80::1"),
        ("A", "a"),
        ("[broken", ""),
        ("", ""),
        ("[::1]evil", ""),
        ("a:1:2", ""),
    ],
)
def test_the_host_is_read_without_its_port(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize("path", ["/", "/api/v1/instances", "/metrics", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": "Bearer "},
        {"authorization": "Basic s3cret"},
        {"authorization": "Bearer s3crét"},
        {"cookie": f"{COOKIE}=s3cret"},
        {"cookie": f"{COOKIE}={session_of('other')}"},
        {"cookie": "=;;=\x7f"},
    ],
)
async def test_without_the_token_nothing_is_told(
    connect: Connect, status: FakeStatus, path: str, headers: dict[str, str]
) -> None:
    async with connect(LOCKED) as client:
        answer = await client.get(path, headers=[(k.encode(), v.encode()) for k, v in headers.items()])
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert status.asked == []


async def test_the_token_opens_with_a_header(connect: Connect) -> None:
    async with connect(LOCKED) as client:
        answer = await client.get("/api/v1/instances", headers={"authorization": "bearer s3cret"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/login", "/static/dashboard.css"])
async def test_probes_and_what_a_login_needs_are_open(connect: Connect, path: str) -> None:
    async with connect(LOCKED) as client:
        assert (await client.get(path)).status_code == 200


def form(token: str) -> dict[str, Any]:
    return {"data": {"token": token}}


async def test_a_login_trades_the_token_for_a_cookie_that_does_not_hold_it(connect: Connect) -> None:
    async with connect(LOCKED) as client:
        answer = await client.post("/login", **form("s3cret"))
        assert answer.status_code == 303
        assert answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"]
        assert "s3cret" not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert "Secure" not in cookie
        assert (await client.get("/")).status_code == 200


async def test_a_cookie_over_https_stays_there(connect: Connect) -> None:
    async with connect(LOCKED, base_url="https://fleet.example") as client:
        assert "Secure" in (await client.post("/login", **form("s3cret"))).headers["set-cookie"]


async def test_a_wrong_token_gets_the_form_again_and_no_cookie(connect: Connect) -> None:
    async with connect(LOCKED) as client:
        answer = await client.post("/login", **form("guess"))
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "That is not the token." in answer.text
    assert "guess" not in answer.text


async def test_a_token_in_the_address_opens_nothing_and_the_form_puts_none_there(connect: Connect) -> None:
    async with connect(LOCKED) as client:
        answer = await client.get("/login", params={"token": "s3cret"})
        assert (answer.status_code, "set-cookie" in answer.headers) == (200, False)
        assert '<form class="filters" method="post" action="/login">' in answer.text
        assert answer.headers["referrer-policy"] == "same-origin", "else the browser says that its form comes from null"
        assert (await client.get("/", params={"token": "s3cret"})).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-origin"},
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "null", "sec-fetch-site": "same-origin"},
        {},
    ],
)
async def test_a_form_of_this_page_signs_in(connect: Connect, headers: dict[str, str]) -> None:
    async with connect(LOCKED) as client:
        assert (await client.post("/login", headers=headers, **form("s3cret"))).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:8081"},
        {"origin": "http://127.0.0.1:8080.evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "cross-site"},
        {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-site"},
    ],
)
async def test_another_sites_form_does_not(connect: Connect, headers: dict[str, str]) -> None:
    async with connect(LOCKED) as client:
        answer = await client.post("/login", headers=headers, **form("s3cret"))
    assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("content", "kind", "code"),
    [
        (b"token=" + b"x" * 1_019, FORM, 413),
        (b"token=" + b"x" * 10_000_000, FORM, 413),
        (b"token=s3cret&token=s3cret", FORM, 400),
        (b"", FORM, 400),
        (b"token=", FORM, 400),
        (b"token=%ff", FORM, 400),
        (b"token=\xff", FORM, 400),
        (b"&".join([b"a=1"] * 20), FORM, 400),
        (b'{"token": "s3cret"}', "application/json", 415),
        (b"token=s3cret", "text/plain", 415),
    ],
)
async def test_what_is_not_that_form_is_refused(connect: Connect, content: bytes, kind: str, code: int) -> None:
    async with connect(LOCKED) as client:
        answer = await client.post("/login", content=content, headers={"content-type": kind})
    assert (answer.status_code, "set-cookie" in answer.headers) == (code, False)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_nothing_but_a_login_may_be_posted(connect: Connect, status: FakeStatus, method: str) -> None:
    async with connect(LOCKED) as client:
        await client.post("/login", **form("s3cret"))
        for path in ("/", "/login/", "/api/v1/instances", "/livez"):
            assert (await client.request(method, path)).status_code == 405
        if method != "POST":
            answer = await client.request(method, "/login")
            assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, POST")
    assert status.asked == []


async def test_guesses_are_slowed_and_soon_refused_unread(connect: Connect, clock: FakeClock) -> None:
    async with connect(LOCKED) as client:

        async def guess(token: str) -> int:
            return (await client.get("/", headers={"authorization": f"Bearer {token}"})).status_code

        assert [await guess("wrong") for _ in range(FREE)] == [401] * FREE
        slow = [asyncio.create_task(guess("wrong")) for _ in range(WAITING)]
        await asyncio.sleep(0)
        while await guess("s3cret") != 429:
            await asyncio.sleep(0)
        assert not any(one.done() for one in slow), "nobody was answered while no time passed"
        while not all(one.done() for one in slow):
            clock.advance(LONGEST_DELAY_S)
            await asyncio.sleep(0.002)
        assert {one.result() for one in slow} == {401}
        assert await guess("s3cret") == 200
        assert await guess("wrong") == 401, "who was right may mistype again"


async def test_a_session_is_slowed_by_nobodys_guesses(connect: Connect, clock: FakeClock) -> None:
    async with connect(LOCKED) as client:
        await client.post("/login", **form("s3cret"))
        slow = [
            asyncio.create_task(client.get("/", headers={"authorization": "Bearer wrong"})) for _ in range(2 * WAITING)
        ]
        await asyncio.sleep(0.01)
        assert (await client.get("/")).status_code == 200
        while not all(one.done() for one in slow):
            clock.advance(LONGEST_DELAY_S)
            await asyncio.sleep(0.002)


def test_the_token_is_not_in_the_options_repr() -> None:
    assert "s3cret" not in repr(LOCKED)

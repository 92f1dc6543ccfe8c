"""Who may ask: hosts, tokens, cookies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler.dashboard.guard import COOKIE, host_name, session_of
from reconciler.dashboard.options import DashboardOptions

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeStatus

pytestmark = pytest.mark.anyio

LOCKED = DashboardOptions(token="s3cret", allowed_hosts=())


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "localhost.", "[::1]:8080", "[::1]"])
async def test_loopback_names_are_answered(connect: Connect, host: str) -> None:
    async with connect() as client:
        assert (await client.get("/livez", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "", "[::2]"])
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
    [("a.example:80", "a.example"), ("[fe80::1]:80", "fe80::1"), ("A", "a"), ("[broken", "broken"), ("", "")],
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


async def test_a_login_trades_the_token_for_a_cookie_that_does_not_hold_it(connect: Connect) -> None:
    async with connect(LOCKED) as client:
        answer = await client.get("/login", params={"token": "s3cret"})
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
        assert "Secure" in (await client.get("/login", params={"token": "s3cret"})).headers["set-cookie"]


async def test_a_wrong_token_gets_the_form_again_and_no_cookie(connect: Connect) -> None:
    async with connect(LOCKED) as client:
        answer = await client.get("/login", params={"token": "guess"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "That is not the token." in answer.text
    assert "guess" not in answer.text


def test_the_token_is_not_in_the_options_repr() -> None:
    assert "s3cret" not in repr(LOCKED)

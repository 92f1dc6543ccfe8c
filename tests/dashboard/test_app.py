"""The application as a whole: what every address has in common."""

from __future__ import annotations

import inspect
import threading
from typing import TYPE_CHECKING, cast

import httpx
import pytest
from starlette.applications import Starlette

from reconciler.clock import FakeClock, iso
from reconciler.dashboard.guard import SECURITY_HEADERS, DashboardOptions
from reconciler.dashboard.routes import api_routes, create_app
from reconciler.store.reader import Reader
from tests.dashboard.conftest import NOW_S, FakeReader

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeStatus

pytestmark = pytest.mark.anyio

PAGES = (
    "/",
    "/instances/btc-dca",
    "/strategies",
    "/strategies/dca",
    "/problems",
    "/orders",
    "/orders/k3j9x2a7b0001",
    "/events",
)
JSON = (
    "/api/v1/instances",
    "/api/v1/instances/btc-dca",
    "/api/v1/strategies",
    "/api/v1/strategies/dca",
    "/api/v1/problems",
    "/api/v1/orders",
    "/api/v1/orders/k3j9x2a7b0001",
    "/api/v1/orders/orphans",
    "/api/v1/events",
    "/api/v1/engine",
)
OTHERS = ("/metrics", "/livez", "/readyz", "/static/dashboard.css", "/static/refresh.js", "/static/icon.svg")
MISSING = ("/nothing", "/instances/nobody", "/strategies/none", "/static/nothing.css", "/api/v1/nothing", "/api/v1/")
METHODS = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_is_html(connect: Connect, path: str) -> None:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.startswith("<!doctype html>")


@pytest.mark.parametrize("path", JSON)
async def test_every_page_has_a_json_twin(connect: Connect, path: str) -> None:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json(), dict)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", [*PAGES, *JSON, *OTHERS, *MISSING, "/login", "/api/v1/stream"])
async def test_invariant_10_the_dashboard_cannot_change_anything(
    connect: Connect, status: FakeStatus, reader: FakeReader, path: str, method: str
) -> None:
    async with connect() as client:
        answer = await client.request(method, path, content=b'{"mode": "active"}')
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"
    assert status.asked == []
    assert reader.asked == []


@pytest.mark.parametrize("path", [*PAGES, *JSON, *OTHERS, *MISSING, "/?limit=0", "/api/v1/orders?limit=0"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_every_response_carries_the_security_headers(connect: Connect, path: str, method: str) -> None:
    async with connect() as client:
        answer = await client.request(method, path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers.get_list(name) == [value]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] in ("no-cache", "no-store")


@pytest.mark.parametrize("path", [*PAGES, *JSON, *OTHERS, *MISSING])
async def test_head_has_the_headers_of_get_and_no_body(connect: Connect, path: str) -> None:
    async with connect() as client:
        client.headers["accept-encoding"] = "identity"
        got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code
    assert head.headers == got.headers
    assert head.headers["content-length"] == str(len(got.content))
    assert head.content == b""


@pytest.mark.parametrize("path", MISSING)
async def test_what_is_not_there_is_a_404_in_the_shape_of_its_path(connect: Connect, path: str) -> None:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    if path.startswith("/api/"):
        assert answer.json()["error"]["code"] == "not_found"
        assert set(answer.json()) == {"error"}
        assert set(answer.json()["error"]) == {"code", "message"}
    else:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "404" in answer.text


@pytest.mark.parametrize("path", ["/problems/", "/api/v1/orders/"])
async def test_a_slash_too_many_is_no_redirect(connect: Connect, path: str) -> None:
    async with connect() as client:
        assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize("path", ["/", "/api/v1/instances"])
async def test_a_crash_is_a_500_in_the_shape_of_its_path_and_tells_no_secrets(
    connect: Connect, status: FakeStatus, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("hunter2")

    monkeypatch.setattr(status, "instances", broken)
    async with connect(crashes=True) as client:
        answer = await client.get(path)
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.headers["content-security-policy"] == SECURITY_HEADERS["content-security-policy"]
    if path.startswith("/api/"):
        assert answer.json()["error"]["code"] == "internal_server_error"


@pytest.mark.parametrize("path", [*PAGES, *JSON, "/metrics", "/livez", "/readyz"])
async def test_no_endpoint_asks_for_the_status_of_10_000_instances_on_the_event_loop(
    connect: Connect, status: FakeStatus, reader: FakeReader, path: str
) -> None:
    status.fleet = status.fleet * 10_000
    async with connect() as client:
        assert (await client.get(path)).status_code == 200
    loop_thread = threading.get_ident()
    asked = [(what, thread) for what, thread in (*status.asked, *reader.asked) if what != "revision"]
    assert asked
    assert all(thread != loop_thread for _, thread in asked)


async def test_the_json_answers_its_refusals_within_another_application_too(
    status: FakeStatus, reader: FakeReader, clock: FakeClock
) -> None:
    routes = api_routes(create_app(status, cast(Reader, reader), clock, DashboardOptions(token="t")))
    transport = httpx.ASGITransport(Starlette(routes=routes))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for path, expected in (("instances", 200), ("instances/nobody", 404), ("orders?limit=x", 400)):
            answer = await client.get(f"/api/v1/{path}")
            assert answer.status_code == expected
            assert list(answer.json()) == (["items", "total"] if expected == 200 else ["error"])
        for path in ("/", "/login", "/metrics"):
            assert (await client.get(path)).status_code == 404


async def test_a_page_already_at_hand_is_not_sent_again(connect: Connect) -> None:
    async with connect() as client:
        first = await client.get("/api/v1/instances")
        again = await client.get("/api/v1/instances", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate, br", "gzip"), ("br;q=1, GZIP;q=0.5", "gzip"), ("gzip;q=0", None), ("identity", None), ("", None)],
)
async def test_a_page_is_packed_for_whoever_takes_it_so(connect: Connect, accepted: str, encoding: str | None) -> None:
    async with connect() as client:
        plain = await client.get("/", headers={"accept-encoding": "identity"})
        answer = await client.get("/", headers={"accept-encoding": accepted})
    assert answer.headers.get("content-encoding") == encoding
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.text == plain.text
    assert (int(answer.headers["content-length"]) < len(plain.content) / 2) is (encoding == "gzip")


async def test_a_page_is_kept_by_no_browser_and_the_same_but_for_its_ages_is_a_304(
    connect: Connect, status: FakeStatus, clock: FakeClock
) -> None:
    async with connect() as client:
        first = await client.get("/instances/btc-dca")
        clock.advance(30)
        again = await client.get("/instances/btc-dca", headers={"if-none-match": first.headers["etag"]})
        clock.advance(120)  # by then its tick is late, which is no mere age
        late = await client.get("/instances/btc-dca", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, late.status_code) == (200, 304, 200)
    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-store"
    assert again.headers["reconciler-as-of"] == iso(NOW_S + 30)
    assert again.headers["reconciler-beat-at"] == iso(NOW_S + 30 - 1.5)


async def test_a_changed_list_has_another_etag(connect: Connect, status: FakeStatus) -> None:
    async with connect() as client:
        first = await client.get("/api/v1/instances")
        status.fleet, status.revision_now = [], 2
        again = await client.get("/api/v1/instances", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 200
    assert again.json() == {"items": [], "total": 0}


async def test_the_login_page_is_only_there_where_there_is_a_token(connect: Connect) -> None:
    async with connect() as client:
        assert (await client.get("/login")).status_code == 404
    async with connect(DashboardOptions(token="s3cret")) as client:
        assert (await client.get("/login")).status_code == 200


def test_the_reader_of_these_tests_is_asked_as_the_real_one_is() -> None:
    asked = {name: made for name, made in vars(FakeReader).items() if callable(made) and not name.startswith("_")}
    for name, made in asked.items():
        real = inspect.signature(getattr(Reader, name)).parameters.values()
        fake = inspect.signature(made).parameters.values()
        assert [(one.name, one.default, one.kind) for one in fake] == [
            (one.name, one.default, one.kind) for one in real
        ]

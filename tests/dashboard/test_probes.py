"""The probes, and the one judgement of the heartbeat behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.clock import FakeClock, iso

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeStatus

pytestmark = pytest.mark.anyio


async def probe(connect: Connect, path: str) -> tuple[int, Any]:
    async with connect() as client:
        answer = await client.get(path)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json()


@pytest.mark.parametrize("age_s", [0.0, 6.0, 30.0])
async def test_an_engine_that_beats_is_live(connect: Connect, status: FakeStatus, age_s: float) -> None:
    status.engine_now = replace(status.engine_now, heartbeat_age_s=age_s)
    assert await probe(connect, "/livez") == (200, {"status": "ok", "heartbeat_age_s": age_s})


@pytest.mark.parametrize(
    "why",
    ["no beat can be committed: disk full", "the clock was set back", "the clock jumped ahead", "it stands still"],
)
async def test_where_no_beat_fires_and_no_restart_would_mend_it_the_engine_is_live_and_not_ready(
    connect: Connect, status: FakeStatus, why: str
) -> None:
    status.engine_now = replace(status.engine_now, heartbeat_age_s=500.0, no_beat=why, database_error="disk full")
    assert (await probe(connect, "/livez"))[0] == 200
    status.engine_now = replace(status.engine_now, database_error="")
    error = {"code": "not_ready", "message": "heartbeat faulty; the fleet page says why"}
    assert await probe(connect, "/readyz") == (503, {"error": error})


@pytest.mark.parametrize("why", ["the heartbeat has ended", "the heartbeat hangs"])
async def test_a_heartbeat_that_only_a_restart_mends_is_not_live(
    connect: Connect, status: FakeStatus, why: str
) -> None:
    status.engine_now = replace(status.engine_now, no_beat=why, heartbeat_ended=why)
    error = {"code": "heartbeat_ended", "message": f"{why}: restart the engine"}
    assert await probe(connect, "/livez") == (503, {"error": error})
    assert (await probe(connect, "/readyz"))[0] == 503


async def test_an_engine_that_never_beat_is_live(connect: Connect, status: FakeStatus, clock: FakeClock) -> None:
    status.engine_now = replace(status.engine_now, heartbeat_age_s=None, started_at=iso(clock.time()))
    clock.advance(31)
    assert await probe(connect, "/livez") == (200, {"status": "ok", "heartbeat_age_s": 31.0})


async def test_a_probe_is_never_answered_from_a_copy(connect: Connect, status: FakeStatus) -> None:
    async with connect() as client:
        assert (await client.get("/livez")).status_code == 200
        status.engine_now = replace(status.engine_now, heartbeat_ended="the heartbeat hangs")
        assert (await client.get("/livez")).status_code == 503


async def test_an_engine_that_reads_and_writes_is_ready(connect: Connect) -> None:
    expected = {"status": "ok", "checks": {"source": "ok", "database": "ok", "heartbeat": "ok"}}
    assert await probe(connect, "/readyz") == (200, expected)


@pytest.mark.parametrize(
    ("source", "database", "message"),
    [
        ("no such directory", "", "source faulty; the fleet page says why"),
        ("", "disk full", "database faulty; the fleet page says why"),
        ("no such directory", "disk full", "source and database faulty; the fleet page says why"),
    ],
)
async def test_an_engine_that_cannot_is_not_ready_and_tells_strangers_no_detail(
    connect: Connect, status: FakeStatus, source: str, database: str, message: str
) -> None:
    status.engine_now = replace(status.engine_now, source_error=source, database_error=database)
    assert await probe(connect, "/readyz") == (503, {"error": {"code": "not_ready", "message": message}})


@pytest.mark.parametrize(("blocked_s", "code", "told"), [(59.0, 200, "ok"), (61.0, 200, "blocked"), (601.0, 503, "")])
async def test_a_source_that_is_blocked_is_told_and_after_ten_minutes_not_ready(
    connect: Connect, status: FakeStatus, blocked_s: float, code: int, told: str
) -> None:
    status.engine_now = replace(status.engine_now, source_blocked_s=blocked_s)
    answered, body = await probe(connect, "/readyz")
    assert answered == code
    if told:
        assert body["checks"]["source"] == told
    else:
        assert body["error"]["message"] == "source faulty; the fleet page says why"

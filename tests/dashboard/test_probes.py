"""The probes, and the one judgement of the heartbeat behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.clock import FakeClock

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


async def test_an_engine_that_missed_more_than_five_beats_is_not(connect: Connect, status: FakeStatus) -> None:
    status.engine_now = replace(status.engine_now, heartbeat_age_s=30.1)
    error = {"code": "heartbeat_late", "message": "no beat for 30 s, expected one every 6 s"}
    assert await probe(connect, "/livez") == (503, {"error": error})


async def test_a_faster_heart_is_judged_by_its_own_beat(connect: Connect, status: FakeStatus) -> None:
    status.engine_now = replace(status.engine_now, heartbeat_s=0.5, heartbeat_age_s=3.0)
    assert (await probe(connect, "/livez"))[0] == 503


async def test_an_engine_that_never_beat_is_live_only_while_it_is_young(
    connect: Connect, status: FakeStatus, clock: FakeClock
) -> None:
    from reconciler.clock import iso

    status.engine_now = replace(status.engine_now, heartbeat_age_s=None, started_at=iso(clock.time()))
    assert (await probe(connect, "/livez"))[0] == 200
    clock.advance(31)
    assert (await probe(connect, "/livez"))[0] == 503


async def test_a_clock_that_was_set_back_is_waited_out_alive(connect: Connect, status: FakeStatus) -> None:
    status.engine_now = replace(status.engine_now, heartbeat_age_s=500.0, clock_behind_s=60.0)
    assert (await probe(connect, "/livez"))[0] == 200


async def test_a_probe_is_never_answered_from_a_copy(connect: Connect, status: FakeStatus) -> None:
    async with connect() as client:
        assert (await client.get("/livez")).status_code == 200
        status.engine_now = replace(status.engine_now, heartbeat_age_s=31.0)
        assert (await client.get("/livez")).status_code == 503


async def test_an_engine_that_reads_and_writes_is_ready(connect: Connect) -> None:
    expected = {"status": "ok", "checks": {"source": "ok", "database": "ok"}}
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

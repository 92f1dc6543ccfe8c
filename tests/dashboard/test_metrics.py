"""The metrics: names, values, and how many of them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from reconciler.records.mode import Mode
from reconciler.records.status import Health, Ticks
from tests.dashboard.conftest import a_halt

if TYPE_CHECKING:
    from tests.dashboard.conftest import Connect, FakeStatus

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent
METRIC = re.compile(r"\breconciler_\w+")


async def scrape(connect: Connect) -> dict[str, float]:
    async with connect() as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return samples(answer.text)


def samples(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_the_engine_is_measured(connect: Connect, status: FakeStatus) -> None:
    status.engine_now = replace(
        status.engine_now,
        beats_lost=7,
        clean=False,
        source_error="gone",
        is_held=True,
        unreachable_s=90.0,
        prune_held=("a", "b"),
        halts=(a_halt("all"),),
        exec_servers=({"name": "paper", "connected": True}, {"name": "kraken", "connected": False}),
    )
    found = await scrape(connect)
    expected = {
        "reconciler_build_info{source=worktree,version=0.1.0}": 1,
        "reconciler_heartbeat_age_seconds": 1.5,
        "reconciler_heartbeat_interval_seconds": 6,
        "reconciler_beats_lost_total": 7,
        "reconciler_source_up": 0,
        "reconciler_source_held": 1,
        "reconciler_source_unreachable_seconds": 90,
        "reconciler_database_up": 1,
        "reconciler_source_clean": 0,
        "reconciler_problems": 0,
        "reconciler_prune_held": 2,
        "reconciler_halts": 1,
        "reconciler_exec_server_up{server=paper}": 1,
        "reconciler_exec_server_up{server=kraken}": 0,
    }
    assert {name: found[name] for name in expected} == expected


async def test_the_fleet_is_summed_up(connect: Connect, status: FakeStatus) -> None:
    one = status.fleet[0]
    status.fleet = [
        replace(one, id="a", account_id="main", mode=Mode.ACTIVE, effective_mode=Mode.ACTIVE, ticks=Ticks(5, 1, 2)),
        replace(one, id="b", health=Health.STUCK, ticks=Ticks(10, 0, 1)),
    ]
    found = await scrape(connect)
    expected = {
        "reconciler_instances{health=Healthy}": 1,
        "reconciler_instances{health=Stuck}": 1,
        "reconciler_instances{health=Off}": 0,
        "reconciler_instances_by_mode{mode=active}": 1,
        "reconciler_instances_by_mode{mode=observe}": 1,
        "reconciler_instances_by_sync{sync=Synced}": 2,
        "reconciler_instances_active_real_money": 1,
        "reconciler_instances_needing_attention": 1,
        "reconciler_ticks_total": 15,
        "reconciler_tick_errors_total": 1,
        "reconciler_ticks_missed_total": 3,
    }
    assert {name: found[name] for name in expected} == expected


async def test_a_large_fleet_has_no_more_series_than_a_small_one(connect: Connect, status: FakeStatus) -> None:
    small = await scrape(connect)
    status.fleet = [replace(status.fleet[0], id=f"i-{number}") for number in range(10_000)]
    assert set(await scrape(connect)) == set(small)


async def test_every_metric_is_documented_with_its_alerts_and_no_other_is(connect: Connect, status: FakeStatus) -> None:
    async with connect() as client:
        text = (await client.get("/metrics")).text
    measured = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))  # those without a series at the moment, too
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(reconciler_\w+)` \| .+ \| ([\w, ]*) ?\|$", page, re.MULTILINE)
    assert {name for name, _ in rows} == measured
    groups = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    rules = {rule["alert"]: set(METRIC.findall(rule["expr"])) for group in groups for rule in group["rules"]}
    assert set.union(*rules.values()) <= measured, "an alert on what is not measured never fires"
    told = {name: set(alerts.replace(",", " ").split()) for name, alerts in rows}
    assert told == {name: {alert for alert, used in rules.items() if name in used} for name in measured}

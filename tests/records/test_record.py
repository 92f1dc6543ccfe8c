"""The status of an instance is filled in from its row, in one place: every field of it, by the field's name."""

from __future__ import annotations

import re
from pathlib import Path

import reconciler
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row
from reconciler.records.status import Health, Sync, Ticks

HOUSE = Path(reconciler.__file__).parent
RECORD = InstanceRecord("a", Identity("dca", "main", "desk-a", "BTC/USD"), Mode.ACTIVE, {"n": 1}, {"n": 1, "m": 2})
ROW = Row(RECORD, "instances/a.yaml", 3, "v", "c", "f", "d", "4f2c", True, "2026-01-31T12:00:00.000Z")


def test_what_the_row_says_stands_in_the_status_and_nothing_runs_unless_said() -> None:
    status = ROW.status(sync=Sync.SYNCED, real_money=True, obstacles=(), frozen_with_exposure=True)
    told = status.to_json()
    assert {key: told[key] for key in ("id", "strategy_type", "market", "mode", "generation", "revision", "path")} == {
        "id": "a",
        "strategy_type": "dca",
        "market": "BTC/USD",
        "mode": "active",
        "generation": 3,
        "revision": "4f2c",
        "path": "instances/a.yaml",
    }
    assert told["account"] == {"account_id": "main", "client_id": "desk-a"}
    assert (told["config"], told["effective_config"]) == ({"n": 1}, {"n": 1, "m": 2})
    assert (told["committed"], told["real_money"], told["frozen_with_exposure"]) == (True, True, True)
    assert (status.effective_mode, status.health, status.paused) == (Mode.OFF, Health.OFF, False)
    assert (status.observed_generation, status.ticks, status.conditions, status.drawn_at) == (0, Ticks(), (), None)


def test_nobody_else_of_the_engine_fills_in_a_status() -> None:
    builds = re.compile(r"\bInstanceStatus\(")
    rooms = {
        path.relative_to(HOUSE).as_posix()
        for path in HOUSE.rglob("*.py")
        if builds.search(path.read_text(encoding="utf-8"))
    }
    assert rooms == {"records/record.py"}

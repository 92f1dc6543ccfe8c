from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Identity, InstanceRecord, Row
from reconciler.records.status import Health, Sync
from reconciler.review.applied import applied_statuses

AT = "2026-01-31T12:00:00.000Z"


@pytest.fixture
def row() -> Row:
    record = InstanceRecord("a", Identity("dca", "main", "desk-a", "BTC/USD"), Mode.ACTIVE, {}, {})
    return Row(record, "instances/a.yaml", 3, "v", "c", "f", "d", None, False, AT)


def test_with_no_engine_nothing_is_in_force(row: Row) -> None:
    (status,) = applied_statuses({"a": row}, {})
    assert (status.mode, status.effective_mode, status.health) == (Mode.ACTIVE, Mode.OFF, Health.OFF)
    assert (status.generation, status.observed_generation, status.ticks.count) == (3, 0, 0)


def test_the_mode_is_the_one_in_the_table_lowered_or_not(row: Row) -> None:
    (status,) = applied_statuses({"a": row.lowered(Mode.OBSERVE)}, {})
    assert status.mode is Mode.OBSERVE


def test_the_last_attempt_tells_the_sync(row: Row) -> None:
    invalid = Attempt("instances/a.yaml", "a", "f", None, Sync.INVALID, "wrong", (), AT)
    assert applied_statuses({"a": row}, {invalid.path: invalid})[0].sync is Sync.INVALID
    assert applied_statuses({"a": row}, {})[0].sync is Sync.OUT_OF_SYNC


def test_what_was_removed_is_left_out_and_the_rest_stands_by_id(row: Row) -> None:
    others = {id_: replace(row, record=replace(row.record, id=id_)) for id_ in ("c", "b")}
    removed = replace(row, removed_at=AT)
    assert [status.id for status in applied_statuses({**others, "a": removed}, {})] == ["b", "c"]

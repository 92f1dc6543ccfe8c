from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row
from reconciler.review.applied import Origins, Value, origins

DATA = b"""\
id: a
market: BTC/USD
mode: off
config:
  notional: "100"
  ladder: [1, 2]
  note: ""
"""
VALUES = {
    "id": "a",
    "market": "BTC/USD",
    "mode": "off",
    "config": {"notional": "100", "ladder": [1, 2], "note": ""},
}


@pytest.fixture
def row() -> Row:
    config = VALUES["config"]
    assert isinstance(config, dict)
    record = InstanceRecord(
        id="a",
        identity=Identity("dca", "main", "desk-a", "BTC/USD"),
        mode=Mode.OFF,
        config=config,
        effective_config={**config, "exit": {"after": 5}},
        values=VALUES,
    )
    blob = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    return Row(record, "instances/a.yaml", 1, "v", "c", blob, "d", None, False, "2026-01-31T12:00:00.000Z")


def test_each_value_has_its_line_and_what_the_schema_filled_in_is_default(row: Row) -> None:
    found = origins(row, DATA)
    assert found.changed == ()
    assert found.values == (
        Value("id", "a", "instances/a.yaml:1"),
        Value("market", "BTC/USD", "instances/a.yaml:2"),
        Value("mode", "off", "instances/a.yaml:3"),
        Value("config.notional", '"100"', "instances/a.yaml:5"),
        Value("config.ladder", "[1, 2]", "instances/a.yaml:6"),
        Value("config.note", '""', "instances/a.yaml:7"),
        Value("config.exit.after", "5", "default"),
    )


@pytest.mark.parametrize("data", [None, DATA + b"# edited\n"], ids=["gone", "edited"])
def test_a_file_that_is_not_what_was_applied_gives_no_lines(row: Row, data: bytes | None) -> None:
    found = origins(row, data)
    assert found.changed == ("instances/a.yaml",)
    assert found.values[0] == Value("id", "a", "instances/a.yaml")


def test_a_digest_of_sha_256_repositories_is_known_too(row: Row) -> None:
    blob = hashlib.sha256(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    assert origins(replace(row, file_digest=blob), DATA).changed == ()


TEMPLATE = b"limits:\n  max_open_orders: 10\nconfig:\n  notional: '50'\n  pace: slow\n"
TEMPLATE_PATH = "instances/_templates/majors.yaml"


@pytest.fixture
def upon(row: Row) -> Row:
    """The same row upon a template."""
    config = {**row.record.config, "pace": "slow"}
    values = {**VALUES, "config": config, "limits": {"max_open_orders": 10}}
    record = replace(row.record, config=config, effective_config=config, values=values)
    blob = hashlib.sha1(b"blob %d\0" % len(TEMPLATE) + TEMPLATE).hexdigest()
    return replace(row, record=record, template_path=TEMPLATE_PATH, template_digest=blob)


def places(found: Origins) -> dict[str, str]:
    return {value.pointer: value.origin for value in found.values}


def test_what_comes_from_the_template_has_its_line_there(upon: Row) -> None:
    found = origins(upon, DATA, TEMPLATE)
    assert found.changed == ()
    assert places(found)["config.notional"] == "instances/a.yaml:5"
    assert places(found)["config.pace"] == f"{TEMPLATE_PATH}:5"
    assert places(found)["limits.max_open_orders"] == f"{TEMPLATE_PATH}:2"


@pytest.mark.parametrize("data", [None, b"config: {}\n"], ids=["gone", "edited"])
def test_a_template_that_is_not_what_was_applied_gives_no_lines(upon: Row, data: bytes | None) -> None:
    found = origins(upon, DATA, data)
    assert found.changed == (TEMPLATE_PATH,)
    assert places(found)["config.notional"] == "instances/a.yaml:5"
    assert places(found)["config.pace"] == TEMPLATE_PATH


def test_where_the_file_has_changed_what_a_template_may_give_is_from_either(upon: Row) -> None:
    found = origins(upon, None, TEMPLATE)
    assert found.changed == ("instances/a.yaml",)
    assert places(found)["id"] == "instances/a.yaml"
    assert places(found)["config.pace"] == f"instances/a.yaml or {TEMPLATE_PATH}"

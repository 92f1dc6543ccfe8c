from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row
from reconciler.review.origin import Value, origins

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
    assert found.file_is_applied
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
    assert not found.file_is_applied
    assert found.values[0] == Value("id", "a", "instances/a.yaml")


def test_a_digest_of_sha_256_repositories_is_known_too(row: Row) -> None:
    blob = hashlib.sha256(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    assert origins(replace(row, file_digest=blob), DATA).file_is_applied

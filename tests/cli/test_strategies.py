"""`reconciler strategies`: the definitions there are, and what may stand under one's config."""

from __future__ import annotations

import json

from tests.cli.conftest import Fleet


def test_all_definitions_are_listed_and_broken_ones_are_talked_about(fleet: Fleet) -> None:
    (fleet.root / "strategies" / "bad.py").write_text("def (:\n")
    result = fleet.run("strategies")
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == ["TYPE", "bad", "drift"]
    assert rows[2][1:3] == ["1.0", "strategies/drift.py"]
    assert result.stderr.startswith("strategies/bad.py:1:5: ")


def test_one_definition_comes_with_its_config_reference(fleet: Fleet) -> None:
    output = fleet.run("strategies", "drift").stdout
    assert "Does nothing, at a steady pace." in output
    assert "drift  strategies/drift.py, ticks every 1 minutes" in output
    rows = {line.split()[0]: line for line in output.splitlines() if line}
    assert "required" in rows["levels"]
    assert "How many levels." in rows["levels"]
    assert '"slow"' in rows["pace"]
    assert "one of slow, fast" in rows["pace"]
    assert "a secret" in rows["key"]


def test_as_json_a_list_has_items_and_one_is_an_object(fleet: Fleet) -> None:
    (item,) = json.loads(fleet.run("strategies", "--format", "json").stdout)["items"]
    assert item["strategy_type"] == "drift"
    assert [field["name"] for field in item["config"]] == ["levels", "pace", "key"]
    assert json.loads(fleet.run("strategies", "drift", "--format", "json").stdout) == item


def test_an_unknown_type_is_told_what_there_is(fleet: Fleet) -> None:
    result = fleet.run("strategies", "drfit")
    assert (result.exit_code, result.stderr) == (1, "drfit: expected one of drift\n")


def test_a_broken_definition_says_where(fleet: Fleet) -> None:
    (fleet.root / "strategies" / "bad.py").write_text("def (:\n")
    result = fleet.run("strategies", "bad")
    assert result.exit_code == 1
    assert result.stderr.startswith("strategies/bad.py:1:5: ")

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
    assert (
        fleet.run("strategies", "drift").stdout
        == """\
drift  strategies/drift.py, ticks every 1 minutes

Does nothing, at a steady pace.

config:
  levels: integer, ≥ 1, required
      How many levels.
  pace: string, one of slow, fast, default "slow"
      How fast.
  key: secret
      What opens the door.
      Written as {env: NAME} or {file: PATH}.
"""
    )


def test_a_config_reference_reads_in_80_columns(fleet: Fleet) -> None:
    strategy = fleet.root / "strategies" / "drift.py"
    words = "very long words " * 9
    text = strategy.read_text(encoding="utf-8").replace("How fast.", words).replace("at a steady pace.", words)
    strategy.write_text(text.replace('"levels": {', '"levels": {"examples": [10, 20], '), encoding="utf-8")
    output = fleet.run("strategies", "drift").stdout
    assert max(map(len, output.splitlines())) <= 80
    assert "      For example 10, 20\n" in output
    assert "      very long words very" in output


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


def test_no_docstring_commands_the_terminal(fleet: Fleet) -> None:
    file = fleet.root / "strategies" / "drift.py"
    file.write_text(file.read_text().replace("Does nothing, at", "Does \\x1b[31mnothing,\\u202e at"))
    for arguments in (["strategies"], ["strategies", "drift"]):
        result = fleet.run(*arguments)
        assert result.exit_code == 0
        assert r"\x1b[31mnothing,\u202e at" in result.stdout
        assert "\x1b" not in result.stdout

"""A new instance file: what stands in it, and that it is valid wherever the schema lets it be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.documents.document import Document, parse
from reconciler.records.instance_schema import instance_schema
from reconciler.records.mode import Mode
from reconciler.review.scaffold import Draft, Wanted, instance_file
from reconciler.strategy.testing import load_strategy
from reconciler.validation.validator import compile_config_schema, compile_schema

STRATEGIES = Path(__file__).parents[2] / "strategies"
WANTED = Wanted("btc-grid-1", "grid", "main", "desk-a", "BTC/USD")


def draft(properties: dict[str, Any], required: tuple[str, ...] = (), **schema: Any) -> Draft:
    whole = {"type": "object", "properties": properties, "required": list(required), **schema}
    return instance_file(WANTED, "Does nothing.", whole)


def values(text: str) -> Any:
    document = parse(text.encode(), WANTED.path)
    assert isinstance(document, Document), document
    assert compile_schema(instance_schema()).violations(document.values) == []
    return document.values


def config_of(found: Draft) -> Any:
    return values(found.text)["config"]


def config_lines(found: Draft) -> list[str]:
    lines = found.text.split("\n")
    begin = lines.index("config:") if "config:" in lines else lines.index("config: {}")
    return lines[begin : lines.index("# What this deployment is for, in a line. (string, at most 500 characters)") - 1]


def test_it_begins_with_the_modeline_and_what_the_strategy_does() -> None:
    lines = instance_file(WANTED, "Buys\nlow.\n\nAnd more.", {"type": "object"}).text.split("\n")
    assert lines[:3] == ["# yaml-language-server: $schema=../schemas/instance.schema.json", "#", "# Buys low."]


@pytest.mark.parametrize(("folder", "up"), [("", "../"), ("majors", "../../"), ("a/b/c", "../../../../")])
def test_the_modeline_leads_from_its_folder_to_the_schema(folder: str, up: str) -> None:
    wanted = Wanted("x", "grid", folder=folder)
    assert wanted.path == "/".join(filter(None, ["instances", folder, "x.yaml"]))
    line = instance_file(wanted, "", {"type": "object"}).text.split("\n")[0]
    assert line == f"# yaml-language-server: $schema={up}schemas/instance.schema.json"


def test_identity_is_as_asked_and_the_mode_off() -> None:
    found = draft({})
    assert values(found.text) == {
        "id": "btc-grid-1",
        "strategy_type": "grid",
        "account": {"account_id": "main", "client_id": "desk-a"},
        "market": "BTC/USD",
        "mode": "off",
        "config": {},
    }
    assert (found.path, found.gaps, found.assumed) == ("instances/btc-grid-1.yaml", (), ())


def test_what_is_not_asked_for_is_an_example_and_said_to_be_one() -> None:
    found = instance_file(Wanted("x", "grid", client_id="0123", mode=Mode.OBSERVE), "", {"type": "object"})
    assert found.assumed == ("account.account_id", "market")
    written = values(found.text)
    assert (written["account"], written["market"]) == ({"account_id": "main", "client_id": "0123"}, "BTC/USD")
    assert written["mode"] == "observe"


def test_an_example_that_is_asked_for_is_not_said_to_be_one() -> None:
    assert draft({}).assumed == ()


def test_every_optional_key_of_the_file_is_there_as_a_comment_that_can_be_uncommented() -> None:
    text = draft({}).text
    assert "\n# description: Does nothing.\n" in text
    text = text.replace("Does nothing.", "Does nothing")
    optional = {"description", "labels", "template", "open_orders", "protect", "data_markets", "limits"}
    begin = text.index("# What this deployment")
    live = [line.removeprefix("# ") for line in text[begin:].split("\n") if not _is_prose(line)]
    assert values(text[:begin] + "\n".join(live)).keys() == values(text).keys() | optional


def _is_prose(line: str) -> bool:
    return line.startswith("# ") and (line.endswith((")", ".")) or ": " not in line) and not line.endswith(":")


def test_defaults_are_comments_with_what_they_mean_so_that_a_template_can_still_fill_them() -> None:
    levels = {"type": "integer", "minimum": 1, "default": 5, "description": "Rungs on each side"}
    assert config_lines(draft({"levels": levels})) == [
        "config: {}",
        "  # Rungs on each side (integer, ≥ 1)",
        "  # levels: 5",
    ]
    assert config_of(draft({"levels": levels}, ("levels",))) == {"levels": 5}


def test_required_ones_have_their_example_and_the_rest_is_a_comment() -> None:
    found = draft(
        {
            "quantity": {"type": "string", "title": "Quantity", "examples": ["0.01"]},
            "centre": {"type": "string", "examples": ["60000"]},
            "side": {"const": "buy"},
            "note": {},
        },
        ("quantity", "side"),
    )
    assert config_lines(found) == [
        "config:",
        "  # Quantity (string, required)",
        '  quantity: "0.01"',
        "",
        "  # (string)",
        '  # centre: "60000"',
        "",
        '  # ("buy", required)',
        "  side: buy",
        "",
        "  # (any)",
        "  # note:",
    ]
    assert found.gaps == ()


def test_a_required_one_of_which_nothing_is_known_is_a_gap_that_does_not_validate() -> None:
    schema = {
        "type": "object",
        "required": ["side", "exit"],
        "properties": {
            "side": {"type": "string", "enum": ["buy", "sell"]},
            "exit": {"type": "object", "required": ["after"], "properties": {"after": {"type": "integer"}}},
        },
    }
    found = instance_file(WANTED, "", schema)
    assert found.gaps == ("config.side", "config.exit.after")
    assert "  side: # fill in\n" in found.text
    assert "    after: # fill in\n" in found.text
    wrong = compile_config_schema(schema).violations(config_of(found))
    assert sorted(".".join(map(str, violation.path)) for violation in wrong) == ["exit.after", "side"]


def test_a_mapping_that_may_be_left_out_is_a_comment_as_a_whole() -> None:
    found = draft(
        {
            "exit": {
                "type": "object",
                "required": ["after"],
                "properties": {"after": {"type": "integer"}, "at": {"default": "1.5"}, "why": {"examples": ["x"]}},
            },
            "last": {"default": 1},
        },
        ("last",),
    )
    assert config_lines(found) == [
        "config:",
        "  # (mapping)",
        "  # exit:",
        "  #   # (integer, required)",
        "  #   after: # fill in",
        "  #   # (any)",
        '  #   at: "1.5"',
        "  #   # (any)",
        "  #   why: x",
        "",
        "  # (any, required)",
        "  last: 1",
    ]
    assert found.gaps == ()
    assert config_of(found) == {"last": 1}


def test_a_required_mapping_shows_what_stands_in_it() -> None:
    inner = {
        "type": "object",
        "required": ["after"],
        "properties": {"after": {"examples": [3]}, "at": {"default": "x"}},
    }
    found = draft({"exit": inner}, ("exit",))
    assert config_of(found) == {"exit": {"after": 3}}
    assert "\n    # at: x\n" in found.text
    nothing = {"type": "object", "properties": {"at": {"type": "string"}}}
    assert config_of(draft({"exit": nothing}, ("exit",))) == {"exit": {}}


def test_secrets_are_references_to_the_environment() -> None:
    properties = {"api-key": {"type": "string", "writeOnly": True}, "other": {"type": "string", "writeOnly": True}}
    found = draft(properties, ("api-key",))
    assert config_of(found) == {"api-key": {"env": "BTC_GRID_1_API_KEY"}}
    assert "  # other: {env: BTC_GRID_1_OTHER}\n" in found.text
    assert "(secret, required)" in found.text


def test_references_within_the_schema_are_followed() -> None:
    found = draft(
        {"first": {"$ref": "#/$defs/size"}, "second": {"$ref": "#/$defs/size", "default": 9, "description": "Mine"}},
        ("first", "second"),
        **{"$defs": {"size": {"type": "integer", "default": 4, "description": "Size"}}},
    )
    assert config_of(found) == {"first": 4, "second": 9}
    assert "# Mine (integer, required)" in found.text


def test_a_schema_that_leads_back_to_itself_comes_to_an_end() -> None:
    node = {"type": "object", "required": ["next"], "properties": {"next": {"$ref": "#/$defs/node"}}}
    found = draft({"next": {"$ref": "#/$defs/node"}}, ("next",), **{"$defs": {"node": node}})
    assert len(found.gaps) == 1
    assert found.gaps[0].startswith("config.next.next")


@pytest.mark.parametrize("path", sorted(STRATEGIES.glob("*.py")), ids=lambda path: path.stem)
def test_what_is_written_for_a_shipped_strategy_is_valid(path: Path) -> None:
    schema = load_strategy(path).CONFIG_SCHEMA
    found = instance_file(WANTED, "", schema)
    assert found.gaps == ()
    assert compile_config_schema(schema).violations(config_of(found)) == []


ODD = {
    "off": "off",
    "1": 1.0,
    "a: b": {"nested": [{"x": "2026-01-01"}, []], "void": None},
    "": "",
    "multi": "one\ntwo\tthree\u200b",
    "ключ": ["0.1", "yes", True],
    "#": "# no comment",
    "long": "word " * 60,
}


def test_odd_defaults_and_odd_keys_read_back_as_they_are() -> None:
    found = draft({key: {"default": value} for key, value in ODD.items()}, tuple(ODD))
    assert config_of(found) == ODD


def test_a_default_that_no_file_can_hold_is_left_to_the_engine() -> None:
    found = draft(
        {"bell": {"default": "\x07"}, "huge": {"default": 2**70}, "levels": {"default": 1}}, ("bell", "levels")
    )
    assert config_of(found) == {"levels": 1}
    assert found.gaps == ()


def test_an_example_that_no_file_can_hold_is_none() -> None:
    found = draft({"bell": {"type": "string", "examples": ["\x07"]}}, ("bell",))
    assert found.gaps == ("config.bell",)
    assert config_of(found) == {"bell": None}


def test_descriptions_can_do_no_harm() -> None:
    evil = "One\n  evil: true\n\x1b[31m\u2028x: " + "word " * 50
    found = draft({"levels": {"default": 1, "description": evil}}, ("levels",))
    assert config_of(found) == {"levels": 1}
    assert max(map(len, found.text.split("\n"))) <= 110


def test_limits_that_it_begins_with_stand_there_with_what_they_mean() -> None:
    limits = {"max_position": "2", "max_open_orders": 4}
    found = instance_file(replace(WANTED, limits=limits), "", {"type": "object"})
    assert values(found.text)["limits"] == limits
    assert "\n  # The most orders it may have open at once.\n  max_open_orders: 4\n" in found.text
    assert "# limits:" not in found.text

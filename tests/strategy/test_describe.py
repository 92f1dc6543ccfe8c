from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.strategy.describe import config_reference

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["levels"],
    "$defs": {"money": {"type": "string", "pattern": "^[0-9]+$", "description": "Money"}},
    "properties": {
        "levels": {
            "type": "integer",
            "minimum": 1,
            "maximum": 9,
            "default": 5,
            "title": "Levels",
            "description": "How many.",
        },
        "frame": {"enum": ["1m", "5m"], "default": "1m"},
        "notional": {"$ref": "#/$defs/money", "description": "To spend"},
        "exit": {"type": "object", "properties": {"after": {"type": ["integer", "null"]}}},
        "rungs": {
            "type": "array",
            "maxItems": 3,
            "uniqueItems": True,
            "items": {"type": "object", "properties": {"price": {"type": "string"}}},
        },
        "key": {"type": "string", "writeOnly": True},
    },
}


def test_every_property_is_a_row_and_nested_ones_follow_their_parent() -> None:
    names = [field.name for field in config_reference(SCHEMA)]
    assert names == ["levels", "frame", "notional", "exit", "exit.after", "rungs", "rungs[].price", "key"]


def test_a_row_says_type_default_constraints_and_meaning() -> None:
    levels, frame, notional, _, after, rungs, _, key = config_reference(SCHEMA)
    assert levels.to_json() == {
        "name": "levels",
        "type": "integer",
        "required": True,
        "default": "5",
        "constraints": ["≥ 1", "≤ 9"],
        "description": "Levels. How many.",
        "secret": False,
        "examples": [],
    }
    assert (frame.type, frame.default, frame.constraints) == ("string", '"1m"', ("one of 1m, 5m",))
    assert (notional.type, notional.description, notional.constraints) == ("string", "To spend.", ("matches ^[0-9]+$",))
    assert (after.type, after.required) == ("integer or null", False)
    assert (rungs.type, rungs.constraints) == ("list of mappings", ("at most 3 items", "all different"))
    assert (key.type, key.secret) == ("secret", True)


def test_a_key_that_only_an_alternative_knows_has_its_row_and_is_not_required() -> None:
    timed = {"properties": {"kind": {"const": "time"}, "after": {"type": "integer"}}, "required": ["kind", "after"]}
    priced = {"properties": {"kind": {"const": "price"}, "at": {"type": "string", "examples": ["9"]}}}
    both = {"allOf": [{"properties": {"size": {"type": "number"}}, "required": ["size"]}], "oneOf": [timed, priced]}
    rows = config_reference({"type": "object", **both})
    assert [(row.name, row.type, row.required) for row in rows] == [
        ("size", "number", True),
        ("kind", "string", False),
        ("after", "integer", False),
        ("at", "string", False),
    ]
    assert rows[1].constraints == ("one of time, price",)
    assert rows[3].examples == ('"9"',)


def test_what_keys_of_any_name_may_hold_has_a_row() -> None:
    weights = {"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}
    notes = {"type": "object", "patternProperties": {"^x-": {"description": "Yours."}}}
    rows = config_reference({"properties": {"weights": weights, "notes": notes}})
    assert [(row.name, row.type) for row in rows] == [
        ("weights", "mapping"),
        ("weights.*", "number"),
        ("notes", "mapping"),
    ]


def test_inside_of_a_secret_there_is_nothing_to_write() -> None:
    secret = {"type": "object", "writeOnly": True, "minProperties": 1, "properties": {"env": {"type": "string"}}}
    (row,) = config_reference({"properties": {"key": secret}})
    assert (row.type, row.constraints) == ("secret", ())


def test_a_schema_that_refers_to_itself_ends() -> None:
    tree = {"type": "object", "properties": {"child": {"$ref": "#"}}}
    assert len(config_reference(tree)) < 20


@given(st.recursive(st.none() | st.text(max_size=4) | st.integers(), lambda s: st.dictionaries(st.text(max_size=4), s)))
def test_whatever_stands_for_a_property_gets_a_row(written: object) -> None:
    assert config_reference({"properties": {"a": written}})[0].name == "a"

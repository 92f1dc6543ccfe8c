"""A rendition accepts whatever the original accepts, whole or in part, with any reader of JSON Schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.review.editor import Rendition
from reconciler.validation.config_schema import strict
from reconciler.validation.validator import check
from tests.drawing import drawn

Json = dict[str, Any]


def exported(schema: Any, in_part: bool = False) -> Json:
    rendition = Rendition(schema, "it")
    return {**rendition.reference(in_part), "$defs": rendition.definitions}


def accepts(schema: Json, value: Any) -> bool:
    Draft202012Validator.check_schema(schema)
    return bool(Draft202012Validator(schema).is_valid(value))


def objects(**properties: Any) -> Json:
    return {"type": "object", "properties": properties}


def test_an_integer_step_is_kept_and_a_decimal_one_left_to_the_validator() -> None:
    schema = exported(strict(objects(lots={"multipleOf": 5}, spacing={"multipleOf": 0.01})))
    assert accepts(schema, {"lots": 10, "spacing": 19.99})
    assert accepts(schema, {"spacing": 0.015}), "left to reconciler validate"
    assert not accepts(schema, {"lots": 11})


@pytest.mark.parametrize("pattern", [r"^a\-b$", "(?i)^ab$", r"\Aab", "^(?P<n>a)$", "a++", r"\:"])
def test_a_pattern_that_others_read_otherwise_is_left_to_the_validator(pattern: str) -> None:
    schema = exported(objects(a={"type": "string", "pattern": pattern}))
    assert "pattern" not in schema["$defs"]["it"]["properties"]["a"]


@pytest.mark.parametrize("pattern", [r"^(0\.[0-9]*[1-9])$", r"^[A-Z]{3,5}/[\w\-]+$", r"^(?:a|b)*?\d+$", r"^\$\u0041"])
def test_a_plain_pattern_is_kept(pattern: str) -> None:
    schema = exported(objects(a={"type": "string", "pattern": pattern}))
    assert schema["$defs"]["it"]["properties"]["a"]["pattern"] == pattern


def test_definitions_of_several_strategies_keep_apart() -> None:
    one = {**objects(rung={"$ref": "#/$defs/rung"}), "$defs": {"rung": {"type": "integer"}}}
    other = {**objects(rung={"$ref": "#/$defs/rung"}), "$defs": {"rung": {"type": "string"}}}
    first, second = Rendition(one, "one"), Rendition(other, "other")
    schema: Json = {
        "properties": {"one": first.reference(), "other": second.reference()},
        "$defs": {**first.definitions, **second.definitions},
    }
    assert set(schema["$defs"]) == {"one", "one.rung", "other", "other.rung"}
    assert accepts(schema, {"one": {"rung": 5}, "other": {"rung": "x"}})
    assert not accepts(schema, {"one": {"rung": "x"}})
    assert not accepts(schema, {"other": {"rung": 5}})


def test_a_reference_into_the_middle_and_one_to_itself_lead_where_they_did() -> None:
    tree = strict(
        {
            **objects(
                kids={"type": "array", "items": {"$ref": "#"}},
                size={"type": "integer"},
                most={"$ref": "#/properties/size"},
            ),
            "required": ["size"],
        }
    )
    schema = exported(tree)
    assert accepts(schema, {"size": 1, "most": 2, "kids": [{"size": 3}]})
    assert not accepts(schema, {"size": 1, "kids": [{"size": "x"}]})
    assert not accepts(schema, {"size": 1, "kids": [{"most": 1}]})
    assert not accepts(schema, {"size": 1, "most": "x"})


def test_in_part_no_key_is_missing_from_a_map_but_from_one_in_a_list_it_is() -> None:
    rung = {**objects(price={"type": "string"}), "required": ["price"]}
    schema = exported(
        strict({**objects(exit=rung, rungs={"type": "array", "items": rung, "minItems": 1}), "required": ["exit"]}),
        in_part=True,
    )
    assert accepts(schema, {})
    assert accepts(schema, {"exit": {}, "rungs": [{"price": "1"}]})
    assert not accepts(schema, {"exit": {"price": 1}})
    assert not accepts(schema, {"exit": {"prise": "1"}})
    assert not accepts(schema, {"rungs": [{}]})
    assert not accepts(schema, {"rungs": []})


def test_a_secret_takes_a_reference_and_nothing_else() -> None:
    schema = exported(strict(objects(key={"type": "string", "writeOnly": True, "description": "What opens the door"})))
    key = schema["$defs"]["it"]["properties"]["key"]
    assert key["description"] == "What opens the door.\n\na secret: {env: NAME} or {file: PATH}"
    assert accepts(schema, {"key": {"env": "NAME"}})
    assert not accepts(schema, {"key": "hunter2"})
    assert not accepts(schema, {"key": {"env": "NAME", "file": "x"}})


def test_a_description_says_what_may_stand_there() -> None:
    schema = {
        **objects(
            levels={"type": "integer", "minimum": 1, "default": 5, "title": "Levels", "description": "How many."},
            pace={"enum": ["slow", "fast"], "default": "slow"},
            price={"$ref": "#/$defs/money", "description": "Of one"},
        ),
        "required": ["price"],
        "$defs": {"money": {"type": "string", "pattern": "^[0-9]+$", "description": "Money"}},
    }
    told = {name: part["description"] for name, part in exported(schema)["$defs"]["it"]["properties"].items()}
    assert told == {
        "levels": "How many.\n\ninteger, ≥ 1, default 5",
        "pace": 'string, default "slow"',
        "price": "Of one.\n\nstring, matches ^[0-9]+$, required",
    }


def _maps(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.dictionaries(st.sampled_from("abc"), of, max_size=3)


LEAVES: st.SearchStrategy[Any] = st.sampled_from(
    [
        True,
        False,
        {"type": "integer"},
        {"type": "object"},
        {"type": "array"},
        {"multipleOf": 0.01},
        {"multipleOf": 2},
        {"pattern": r"^a\-b$"},
        {"pattern": "^a$"},
        {"const": 1},
        {"const": {"a": 1}},
        {"enum": [{"a": 1}, "a", 0.07]},
        {"maxProperties": 1},
        {"minProperties": 1},
        {"required": ["a"]},
        {"dependentRequired": {"a": ["b"]}},
        {"patternProperties": {r"^a\-b|c$": {"type": "integer"}}, "additionalProperties": False},
        {"patternProperties": {"^a$": {"type": "integer"}}, "additionalProperties": False},
    ]
)


def _composed(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    parts = st.lists(part, min_size=1, max_size=2)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "properties": _maps(part),
        "required": st.lists(st.sampled_from("ab"), unique=True),
        "additionalProperties": part,
        "propertyNames": part,
        "dependentSchemas": _maps(part),
        "not": part,
        "oneOf": parts,
        "anyOf": parts,
        "allOf": parts,
        "if": part,
        "then": part,
        "else": part,
        "items": part,
        "prefixItems": parts,
        "contains": part,
        "maxContains": st.integers(0, 1),
        "unevaluatedProperties": st.just(False),
        "unevaluatedItems": st.just(False),
    }
    return st.lists(st.sampled_from(sorted(keywords)), min_size=1, max_size=4, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({keyword: keywords[keyword] for keyword in chosen})
    )


SCHEMAS = st.recursive(LEAVES, _composed, max_leaves=8)
WITH_REFERENCES = st.recursive(LEAVES | st.just({"$ref": "#/$defs/d"}), _composed, max_leaves=8)
ROOTS = st.builds(lambda part, d: {"allOf": [part], "$defs": {"d": d}}, WITH_REFERENCES, SCHEMAS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from([None, True, 1, 2, 0.07, 19.99, "a", "a-b"]),
    lambda value: st.lists(value, max_size=3) | _maps(value),
    max_leaves=8,
)


def _readable(schema: Any) -> bool:
    """False for what no CONFIG_SCHEMA may hold: patterns beside unevaluatedProperties."""
    text = repr(schema)
    return not ("patternProperties" in text and "unevaluated" in text)


@settings(max_examples=drawn(300), deadline=None)
@given(schema=ROOTS, value=VALUES)
def test_whatever_the_original_accepts_the_rendition_accepts(schema: Json, value: Any) -> None:
    assume(_readable(schema) and not check(value, schema))
    assert accepts(exported(schema), value)


@settings(max_examples=drawn(300), deadline=None)
@given(schema=ROOTS, value=VALUES, data=st.data())
def test_whatever_is_left_of_a_map_that_the_original_accepts_is_accepted_in_part(
    schema: Json, value: Any, data: st.DataObject
) -> None:
    assume(_readable(schema) and not check(value, schema))
    assert accepts(exported(schema, in_part=True), _thinned(value, lambda: data.draw(st.booleans())))


def _thinned(value: Any, keeps: Callable[[], bool]) -> Any:
    """Some of the keys of a map and of those in it; what stands in a list stays whole, as templates leave it."""
    if not isinstance(value, dict):
        return value
    return {key: _thinned(part, keeps) for key, part in value.items() if keeps()}

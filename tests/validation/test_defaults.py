from __future__ import annotations

from typing import Any

import pytest

from reconciler.validation.config_schema import EndlessDefaults, defaults

SCHEMA: dict[str, Any] = {
    "properties": {
        "levels": {"default": 5},
        "nothing": {"default": None},
        "ladder": {"properties": {"step": {"default": "0.1"}}},
        "filled": {"default": {}, "properties": {"step": {"default": "0.2"}}},
        "orders": {"items": {"properties": {"size": {"default": 1}}}},
        "pair": {
            "prefixItems": [{"properties": {"a": {"default": 1}}}],
            "items": {"properties": {"b": {"default": 2}}},
        },
        "referred": {"$ref": "#/$defs/r"},
        "either": {"anyOf": [{"properties": {"a": {"default": 1}}}]},
    },
    "$defs": {"r": {"default": {}, "properties": {"deep": {"default": [1]}}}},
}


def test_what_is_absent_is_filled_in_and_what_is_written_stays() -> None:
    assert defaults({}, SCHEMA) == {"levels": 5, "nothing": None, "filled": {"step": "0.2"}, "referred": {"deep": [1]}}
    assert defaults({"levels": None, "nothing": 1}, SCHEMA)["levels"] is None


def test_mappings_and_lists_that_are_there_are_filled_in_too() -> None:
    found = defaults({"ladder": {}, "orders": [{}, {"size": 3}, "x"], "pair": [{}, {}, {}], "referred": {}}, SCHEMA)
    assert found["ladder"] == {"step": "0.1"}
    assert found["orders"] == [{"size": 1}, {"size": 3}, "x"]
    assert found["pair"] == [{"a": 1}, {"b": 2}, {"b": 2}]
    assert found["referred"] == {"deep": [1]}


def test_alternatives_are_not_guessed() -> None:
    assert defaults({"either": {}}, SCHEMA)["either"] == {}


def test_what_was_written_and_the_schema_are_left_alone() -> None:
    written: dict[str, Any] = {"ladder": {}}
    found = defaults(written, SCHEMA)
    found["filled"]["step"] = "changed"
    found["referred"]["deep"].append(2)
    assert written == {"ladder": {}}
    assert defaults({}, SCHEMA)["filled"] == {"step": "0.2"}
    assert defaults({}, SCHEMA)["referred"] == {"deep": [1]}


def test_a_schema_that_refers_to_itself_is_followed_as_far_as_the_values_go() -> None:
    schema = {"properties": {"next": {"$ref": "#"}, "n": {"default": 1}}}
    assert defaults({"next": {"next": {}}}, schema) == {"n": 1, "next": {"n": 1, "next": {"n": 1}}}


def test_defaults_that_never_end_are_refused() -> None:
    with pytest.raises(EndlessDefaults):
        defaults({}, {"properties": {"n": {"default": {}, "properties": {"n": {"$ref": "#/properties/n"}}}}})

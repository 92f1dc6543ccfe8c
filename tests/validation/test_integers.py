from __future__ import annotations

from typing import Any

import pytest

from reconciler.validation.config_schema import too_large, with_integers

INTEGER = {"type": "integer"}


@pytest.mark.parametrize(
    ("schema", "value", "handed_over"),
    [
        (INTEGER, 5.0, 5),
        (INTEGER, -0.0, 0),
        ({"type": ["integer", "null"]}, 5e0, 5),
        ({"type": "number"}, 5.0, 5.0),
        ({"type": ["number", "integer"]}, 5.5, 5.5),
        ({"items": INTEGER}, [1.0, 2, "x"], [1, 2, "x"]),
        ({"prefixItems": [{"type": "number"}, INTEGER]}, [1.0, 2.0], [1.0, 2]),
        ({"properties": {"a": {"properties": {"b": INTEGER}}}}, {"a": {"b": 3.0}, "c": 3.0}, {"a": {"b": 3}, "c": 3.0}),
        ({"additionalProperties": INTEGER}, {"a": 3.0}, {"a": 3}),
        ({"patternProperties": {"^n": INTEGER}}, {"n1": 3.0, "m": 3.0}, {"n1": 3, "m": 3.0}),
        ({"anyOf": [{"type": "null"}, INTEGER]}, 3.0, 3),
        ({"oneOf": [{"const": "auto"}, INTEGER]}, 3.0, 3),
        ({"allOf": [{"type": "number"}, {"$ref": "#/$defs/n"}], "$defs": {"n": INTEGER}}, 3.0, 3),
        ({"if": True, "then": INTEGER}, 3.0, 3),
        ({"enum": [1, 2]}, 2.0, 2),
        ({"const": 2}, 2.0, 2),
        ({"enum": [True, 1.0]}, 1.0, 1.0),
        (True, 1.0, 1.0),
    ],
)  # fmt: skip
def test_what_is_promised_as_an_integer_is_one(schema: Any, value: Any, handed_over: Any) -> None:
    found = with_integers(value, schema)
    assert repr(found) == repr(handed_over)


def test_what_holds_no_float_is_the_same_object() -> None:
    values = {"a": [1, "x", {"b": True}]}
    assert with_integers(values, {"additionalProperties": INTEGER}) is values


def test_what_cannot_be_kept_exactly_is_named_and_left_as_it_is() -> None:
    schema = {"properties": {"a": {"items": INTEGER}, "b": {"type": "number"}}}
    values = {"a": [1.0, 1e300], "b": 1e300}
    assert list(too_large(values, schema)) == [(("a", 1), 1e300)]
    assert with_integers(values, schema) == {"a": [1, 1e300], "b": 1e300}

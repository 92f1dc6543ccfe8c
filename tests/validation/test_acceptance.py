"""The proof behind the fast path: what it accepts, jsonschema accepts, over generated schemas and values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.records.instance_schema import instance_schema
from reconciler.validation.conformance import faults, schema_faults
from reconciler.validation.validator import acceptor, is_schema
from tests.drawing import drawn

# fmt: off
NUMBERS = st.one_of(
    st.sampled_from([0, 1, -1, 2, 3, 10, 0.0, 1.0, -1.0, 0.1, 0.01, 0.3, 19.99, 19.995, 1e16, 1e300, 5e-324,
                     2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)]),
    st.integers(-20, 20),
    st.floats(-100, 100).map(lambda number: round(number, 2)),
)
TEXTS = st.sampled_from(["", "a", "ab", "abc", "1", "1.5", "a\n", "A-b", "é", "😀", "x-note", "a]b", "0\n", "٣"])
KEYS = st.sampled_from(["a", "b", "x-note", "x-\n", "é", ""])
PATTERNS = st.sampled_from([
    "^a$", "a", "^[a-z]+$", "^[^a]$", "^(a|ab)$", "^[0-9]+(\\.[0-9]+)?$", "^.{2}$", "b?$", "^(?:a){1,2}$", "[\\].-]",
    "^a*+$", "\\d", "\\w", "^\\S+$", "(?i)A", "[[a]]", "(?=a)", "\\bA", "^a$|^b$", "a{2,}", "[-a]b",
])
# fmt: on
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
TYPES = st.sampled_from(["integer", "number", "string", "boolean", "null", "object", "array"])
SIZES = st.sampled_from([0, 1, 2, 3, 2.0])


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Schemas that use any keyword the fast path might be asked about, and a few that it must not be."""
    schemas = st.lists(inner, min_size=1, max_size=2)
    optional: dict[str, st.SearchStrategy[Any]] = {
        "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "properties": st.dictionaries(KEYS, inner, max_size=2),
        "patternProperties": st.dictionaries(
            st.sampled_from(["^x-", "^a", "a$", "^a$", ".", "\\W", "^$"]), inner, max_size=1
        ),
        "additionalProperties": inner,
        "propertyNames": inner,
        "required": st.lists(KEYS, max_size=2, unique=True),
        "items": inner,
        "prefixItems": schemas,
        "allOf": schemas,
        "anyOf": schemas,
        "oneOf": schemas,
        "not": inner,
        "if": inner,
        "then": inner,
        "contains": inner,
        "dependentRequired": st.just({"a": ["b"]}),
        "unevaluatedProperties": st.just(False),
        "format": st.just("date"),
        "uniqueItems": st.booleans(),
        "pattern": PATTERNS,
        "multipleOf": st.sampled_from([1, 2, 3, 0.1, 0.01, 2.5, 1e-8]),
        "$ref": st.sampled_from(["#/$defs/n", "#/$defs/m"]),
        "x-own": SCALARS,
        "description": TEXTS,
        "default": VALUES,
        **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), NUMBERS),
        **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), SIZES),
    }
    chosen = st.lists(st.sampled_from(sorted(optional)), min_size=1, max_size=3, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: optional[name] for name in names}))


SCHEMAS: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.booleans(), keywords(st.booleans())), keywords, max_leaves=4
)
DEFINITIONS = {"n": {"type": ["number", "string"], "maximum": 10}, "m": {"properties": {"a": {"$ref": "#/$defs/n"}}}}


def test_the_fast_path_never_accepts_what_jsonschema_refuses() -> None:
    counts = {"asked": 0, "accepted": 0}

    @settings(max_examples=drawn(600), deadline=None)
    @given(SCHEMAS, st.lists(VALUES, min_size=4, max_size=8))
    def compare(schema: Any, values: list[Any]) -> None:
        root = schema if isinstance(schema, bool) else {**schema, "$defs": DEFINITIONS}
        accepts = acceptor(root)
        for value in values:
            counts["asked"] += accepts is not None
            if accepts is not None and accepts(value):
                counts["accepted"] += 1
                assert list(faults(value, root, root)) == [], (root, value)

    compare()
    assert counts["asked"] > 500, counts
    assert counts["accepted"] > 100, counts


@settings(max_examples=drawn(400), deadline=None)
@given(st.sampled_from([0.01, 0.1, 0.05, 0.3, 2.5, 3, 1e-8, 1e10]), st.integers(-(10**7), 10**7), st.floats(-1e6, 1e6))
def test_the_fast_path_never_accepts_a_multiple_that_is_none(factor: float, times: int, other: float) -> None:
    schema = {"multipleOf": factor}
    accepts = acceptor(schema)
    assert accepts is not None
    for value in (factor * times, round(factor * times, 6), round(other, 2), other, times):
        if accepts(value):
            assert list(faults(value, schema, schema)) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"not": {"type": "string"}},
        {"oneOf": [True]},
        {"if": True, "then": False},
        {"contains": True},
        {"format": "date"},
        {"unevaluatedProperties": False},
        {"dependentRequired": {"a": ["b"]}},
        {"pattern": "(?=a)"},
        {"patternProperties": {"(a)\\1": True}},
        {"maximum": 2**53 + 1},
        {"$ref": "https://example.com/schema"},
        {"$id": "https://example.com/schema"},
        {"$schema": "http://json-schema.org/draft-07/schema#"},
        {"properties": {"a": {"items": {"not": True}}}},
        {"made-up": 1},
    ],
)
def test_a_keyword_without_proof_goes_the_slow_way(schema: dict[str, Any]) -> None:
    assert acceptor(schema) is None


def test_the_schema_of_the_instance_file_goes_the_fast_way() -> None:
    assert acceptor(instance_schema()) is not None


@settings(max_examples=drawn(300), deadline=None)
@given(
    st.one_of(
        SCHEMAS,
        st.dictionaries(
            st.sampled_from(["type", "properties", "items", "minimum", "enum", "required", "allOf", "pattern", "$ref"]),
            VALUES,
        ),
    )
)
def test_what_counts_as_a_schema_at_once_is_one_for_jsonschema_too(schema: Any) -> None:
    if is_schema(schema):
        assert list(schema_faults(schema)) == []

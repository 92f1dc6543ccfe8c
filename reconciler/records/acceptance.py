"""Acceptance: the fast way to say yes. Pure.

jsonschema-rs judges whole values in microseconds, but it is another implementation than jsonschema,
which has the last word. So it is asked only about schemas made of keywords for which a conformance test
shows that it never accepts what jsonschema refuses, and only its yes counts. Keywords under which a
stricter reading of a part could make the whole more lenient (`not`, `oneOf`, `if`) stay outside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from reconciler.records import regex
from reconciler.records.subschema import MAP, Schema, every

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# fmt: off
_ANNOTATIONS: Final = frozenset({
    "$comment", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
})
_SAFE: Final = frozenset({
    "type", "enum", "const", "$ref", "$defs", "allOf", "anyOf",
    "properties", "required", "additionalProperties", "propertyNames", "patternProperties",
    "minProperties", "maxProperties", "items", "prefixItems", "minItems", "maxItems", "uniqueItems",
    "minLength", "maxLength", "pattern",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
})
# fmt: on
_EXACT: Final = 2**53


def acceptor(schema: Schema) -> Callable[[Any], bool] | None:
    """A function that is True only for values that jsonschema accepts, too; None where there is none to be had."""
    if not all(_is_safe(part) for _, part in every(schema)):
        return None
    import jsonschema_rs

    try:
        ready = jsonschema_rs.Draft202012Validator(_plain(schema), pattern_options=regex.options(), offline=True)
    except ValueError:
        return None  # not a schema, or too much for it: jsonschema will say
    return ready.is_valid


def is_schema(schema: Schema) -> bool:
    """True where `schema` certainly is valid JSON Schema 2020-12."""
    import jsonschema_rs

    return jsonschema_rs.meta.is_valid(_plain(schema))


def _is_safe(schema: Schema) -> bool:
    return isinstance(schema, bool) or all(_is_safe_keyword(name, value) for name, value in schema.items())


def _is_safe_keyword(name: str, value: Any) -> bool:
    if name in _ANNOTATIONS or name.startswith("x-"):
        return True
    if name == "$schema":
        return bool(value == DIALECT)
    if name not in _SAFE:
        return False
    if name == "$ref":
        return isinstance(value, str) and value.startswith("#")
    return name in MAP or _is_exact(value)


def _is_exact(value: Any) -> bool:
    """True where every number in `value` is the same in both implementations, whatever type they keep it in."""
    if isinstance(value, Mapping):
        return all(map(_is_exact, value.values()))
    if isinstance(value, list):
        return all(map(_is_exact, value))
    return not isinstance(value, (int, float)) or abs(value) <= _EXACT


def _plain(schema: Any) -> Any:
    """Mappings of any kind as dicts: read-only ones are foreign to Rust."""
    if isinstance(schema, Mapping):
        return {key: _plain(value) for key, value in schema.items()}
    return [_plain(value) for value in schema] if isinstance(schema, (list, tuple)) else schema

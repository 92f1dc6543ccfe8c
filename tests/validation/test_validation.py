# ruff: noqa: E501
from __future__ import annotations

import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest

from reconciler.documents.document import Document, parse
from reconciler.validation.validator import (
    DIALECT,
    CompiledSchema,
    check,
    compile_config_schema,
    compile_schema,
    schema_problems,
)


def said(schema: Any, text: str) -> list[str]:
    """`line:column: pointer: message [hint]` of every problem of a document."""
    document = parse(text.encode(), "a.yaml")
    assert isinstance(document, Document), document
    problems = compile_schema(schema).problems(document)
    return [str(p).removeprefix("a.yaml:") + (f" [{p.hint}]" if p.hint else "") for p in problems]


def said_of(schema: Any, value: str) -> list[str]:
    """The same of one value, at `1:4: a`, which is left out."""
    found = said({"properties": {"a": schema}}, f"a: {value}\n")
    assert all(line.startswith(("1:4: a: ", "1:3: a: ")) for line in found)
    return [line[len("1:4: a: ") :] for line in found]


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({"type": "integer"}, "five", 'expected an integer, was "five"'),
        ({"type": "integer"}, "5.5", "expected an integer, was 5.5"),
        ({"type": "integer"}, "true", "expected an integer, was true"),
        ({"type": "integer"}, '"5"', 'expected an integer, was "5" [remove the quotes]'),
        ({"type": "number"}, "[1]", "expected a number, was a list"),
        ({"type": "string"}, "500", 'expected a string, was 500 [quote it: "500"]'),
        ({"type": "string"}, "0.05", 'expected a string, was 0.05 [quote it: "0.05"]'),
        ({"type": "string"}, "{b: 1}", "expected a string, was a mapping"),
        ({"type": "string"}, "", "expected a string, was null [give it a value, or remove the key]"),
        ({"type": "object"}, "", "expected a mapping, was null [write {} where it is empty]"),
        ({"type": "boolean"}, "yes", 'expected true or false, was "yes" [write true]'),
        ({"type": "boolean"}, "Off", 'expected true or false, was "Off" [write false]'),
        ({"type": "boolean"}, "0", "expected true or false, was 0"),
        ({"type": ["integer", "null"]}, "x", 'expected an integer or null, was "x"'),
        ({"enum": ["off", "observe", "active"]}, "on", 'expected one of off, observe, active, was "on"'),
        ({"enum": ["off", "observe"]}, "obsreve", 'expected one of off, observe, was "obsreve" [did you mean "observe"?]'),
        ({"enum": ["off", "observe"]}, "Off", 'expected one of off, observe, was "Off" [did you mean "off"?]'),
        ({"enum": ["1", "2"]}, "1", 'expected one of "1", "2", was 1 [quote it: "1"]'),
        ({"type": "string", "enum": ["off"]}, "false", "expected off, was false"),
        ({"enum": [1, 2]}, "true", "expected one of 1, 2, was true"),
        ({"const": "a"}, "b", 'expected a, was "b"'),
        ({"maximum": 10}, "12", "expected at most 10, was 12"),
        ({"minimum": 1}, "0", "expected at least 1, was 0"),
        ({"exclusiveMinimum": 0}, "0", "expected more than 0, was 0"),
        ({"exclusiveMaximum": 1.5}, "1.5", "expected less than 1.5, was 1.5"),
        ({"multipleOf": 0.01}, "19.995", "expected a multiple of 0.01, was 19.995"),
        ({"minLength": 1}, '""', "expected at least 1 character, was 0"),
        ({"maxItems": 2}, "[1, 2, 3]", "expected at most 2 items, was 3"),
        ({"minProperties": 1}, "{}", "expected at least 1 key, was 0"),
        ({"pattern": "^[0-9]+$", "examples": ["500"]}, "5OO", 'expected text like "500", was "5OO" [it must match ^[0-9]+$]'),
        ({"pattern": "^[0-9]+$"}, "5OO", 'expected text matching ^[0-9]+$, was "5OO"'),
        ({"format": "date"}, "31.1.2026", 'expected a date like 2026-01-31, was "31.1.2026"'),
        ({"format": "date-time"}, "2026-01-31", 'expected a time like 2026-01-31T12:00:00Z, was "2026-01-31"'),
        ({"format": "time"}, "08:30:06", 'expected a time of day with its offset, like 12:00:00Z, was "08:30:06"'),
        ({"format": "uri"}, '"::"', 'expected a URI with its scheme, like https://example.com/, was "::"'),
        ({"format": "duration"}, "P", 'expected a duration like P1DT12H, was "P"'),
        ({"not": {"type": "string"}}, "x", 'expected something else (not), was "x"'),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x", 'expected an integer or null, was "x"'),
        ({"anyOf": [{"type": "integer", "maximum": 9}, {"type": "null"}]}, "12", "expected at most 9, was 12"),
        ({"anyOf": [{"type": "integer"}, {"enum": ["auto", "max"]}]}, "atuo", 'expected an integer or one of auto, max, was "atuo"'),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "5", "expected either a number or an integer, was 5, which fits more than one"),
        ({"items": False}, "[5]", "expected at most 0 items, was 1"),
    ],
)  # fmt: skip
def test_each_way_to_be_wrong_has_words_of_its_own(schema: Any, value: str, message: str) -> None:
    assert said_of(schema, value) == [message]


def test_an_unknown_key_is_shown_at_the_key_with_the_nearest_known_one() -> None:
    schema = {"properties": {"levels": {}, "spacing": {}}, "additionalProperties": False}
    assert said(schema, "spacing: 1\nlvels: 5\n") == ['2:1: lvels: unknown key "lvels" [did you mean "levels"?]']
    assert said(schema, "spacing: 1\nwindow: 5\n") == [
        '2:1: window: unknown key "window" [known keys: levels, spacing]'
    ]


def test_a_missing_key_is_shown_at_the_key_of_the_mapping_it_is_missing_in() -> None:
    inner = {"required": ["levels", "b"], "properties": {"levels": {"description": "How many orders."}}}
    schema = {"properties": {"config": inner}, "required": ["config", "mode"]}
    assert said(schema, "x: 1\nconfig:\n  a: 1\n") == [
        '1:1: missing key "mode"',
        '2:1: config: missing key "b"',
        '2:1: config: missing key "levels" [How many orders.]',
    ]


def test_a_key_that_another_needs_is_missing() -> None:
    schema = {"dependentRequired": {"stop": ["limit"]}}
    assert said(schema, "stop: 1\n") == ['1:1: missing key "limit", which "stop" needs beside it']


def test_a_misnamed_key_is_shown_at_the_key() -> None:
    schema = {"properties": {"a": {"propertyNames": {"pattern": "^[a-z]+$"}}}}
    assert said(schema, "a: {b: 1, C: 2}\n") == ['1:11: a.C: expected another name for the key "C"']


def test_a_key_that_another_value_forbids_is_shown_at_the_key() -> None:
    assert said({"properties": {"a": {"anyOf": [False, {"type": "null"}]}}}, "a: 1\n") == [
        "1:4: a: expected null, was 1"
    ]
    schema = {"if": {"properties": {"type": {"const": "market"}}}, "then": {"properties": {"limit": False}}}
    assert said(schema, "type: market\nlimit: 5\n") == ['2:1: limit: expected no key "limit" here']


def test_a_repeated_item_is_shown_where_it_is_repeated() -> None:
    schema = {"properties": {"a": {"uniqueItems": True}}}
    assert said(schema, "a: [x, y, x]\n") == ["1:11: a[2]: expected every item once [it is item 1 already]"]


def test_of_several_forms_the_one_that_was_meant_is_explained() -> None:
    forms = [
        {"properties": {"kind": {"const": "ladder"}, "steps": {"type": "integer"}}, "required": ["kind", "steps"]},
        {"properties": {"kind": {"const": "single"}, "price": {"type": "string"}}, "required": ["kind", "price"]},
    ]
    schema = {"properties": {"a": {"oneOf": [{"type": "object", **form} for form in forms]}}}
    assert said(schema, "a: {kind: ladder, steps: x}\n") == ['1:26: a.steps: expected an integer, was "x"']
    assert said(schema, "a: {kind: single}\n") == ['1:1: a: missing key "price"']
    assert said(schema, "a: {kind: lader}\n") == ['1:11: a.kind: expected one of ladder, single, was "lader"']
    expected = "1:4: a: expected a mapping with kind and steps or a mapping with kind and price, was 5"
    assert said(schema, "a: 5\n") == [expected]


def test_every_problem_is_reported_in_order_of_line() -> None:
    schema = {
        "properties": {
            "b": {"type": "object", "properties": {"c": {"type": "integer"}}, "required": ["d"]},
            "a": {"maximum": 1, "multipleOf": 2},
            "l": {"items": {"type": "string"}},
        },
        "additionalProperties": False,
    }
    assert said(schema, "a: 3\nz: 1\nl: [x, 2]\nb:\n  c: x\n") == [
        "1:4: a: expected a multiple of 2, was 3",
        "1:4: a: expected at most 1, was 3",
        '2:1: z: unknown key "z"' + " [known keys: b, a, l]",
        '3:8: l[1]: expected a string, was 2 [quote it: "2"]',
        '4:1: b: missing key "d"',
        '5:6: b.c: expected an integer, was "x"',
    ]


@pytest.mark.parametrize("value", [19.99, 0.07, 1.1, 123456.78, 1e15, 3, -0.01])
def test_a_decimal_is_a_multiple_of_a_cent_as_it_was_written(value: float) -> None:
    assert check(value, {"multipleOf": 0.01}) == []
    assert check(value, {"multipleOf": 0.01, "not": False}) == [], "the slow way agrees"
    assert check(value, {"multipleOf": 0.01, "not": False, "$schema": DIALECT}) == [], "with any schema"


def test_the_end_of_a_pattern_is_the_end_of_the_text() -> None:
    for schema in ({"pattern": "^a$"}, {"pattern": "^a$", "not": False}, {"pattern": "^a$", "$schema": DIALECT}):
        assert check("a", schema) == []
        assert len(check("a\n", schema)) == 1
    assert check("$]", {"pattern": "^\\$[$\\]]$", "not": False}) == []


def test_a_reference_is_never_fetched() -> None:
    from referencing.exceptions import Unresolvable

    with pytest.raises(Exception, match="Unresolvable") as caught:
        check(1, {"$ref": "http://127.0.0.1:9/schema.json"})
    assert isinstance(caught.value.__cause__ or caught.value, Unresolvable)


def test_a_read_only_schema_works_like_any_other() -> None:
    schema = MappingProxyType({"type": "object", "properties": {"a": {"type": "integer"}}})
    assert compile_schema(schema).accepts({"a": 1})
    assert {v.path for v in compile_config_schema(schema).violations({"a": "x", "b": 1})} == {("a",), ("b",)}


def test_a_schema_is_compiled_once() -> None:
    schema = {"type": "object"}
    assert compile_schema(schema) is compile_schema(schema)
    assert compile_schema(schema) is not compile_config_schema(schema)


def test_a_config_may_hold_only_keys_that_its_schema_names() -> None:
    inner = {"type": "object", "properties": {"b": {}}}
    schema = {"type": "object", "properties": {"a": inner, "free": {"type": "object"}, "l": {"items": inner}}}
    compiled = compile_config_schema(schema)
    assert compiled.accepts({"a": {"b": 1}, "free": {"x": 1}, "l": [{"b": 1}]})
    paths = [v.path for v in compiled.violations({"a": {"c": 1}, "l": [{"c": 1}], "z": 1})]
    assert set(paths) == {("a", "c"), ("l", 0, "c"), ("z",)}
    assert compile_config_schema({**schema, "additionalProperties": True}).accepts({"z": 1})
    assert compile_config_schema({**schema, "allOf": [{"properties": {"z": {}}}]}).accepts({"z": 1})


def test_nothing_that_is_valid_imports_jsonschema() -> None:
    code = """
import sys
from reconciler.validation.validator import check, schema_problems
schema = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}}
assert schema_problems(schema) == [] and check({"a": 1}, schema) == []
assert not {"jsonschema", "referencing"} & set(sys.modules), "imported"
assert check({"a": "x"}, schema) and "jsonschema" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (5, "expected a mapping"),
        ({}, 'expected "type": "object" at the top, was null'),
        ({"type": "array"}, 'expected "type": "object" at the top, was "array"'),
        ({"type": "objct"}, 'type: expected one of array, boolean, integer, "null", number, object, string or a list, was "objct"'),
        ({"type": "object", "properties": 5}, "properties: expected a mapping, was 5"),
        ({"type": "object", "properties": {"a": {"minimum": "x"}}}, 'properties.a.minimum: expected a number, was "x"'),
        ({"type": "object", "properties": {"a": {"minimun": 1}}}, 'properties.a.minimun: unknown keyword, did you mean "minimum"?'),
        ({"type": "object", "properties": {"a": {"default": "x", "type": "integer"}}}, 'properties.a.default: expected an integer, was "x"'),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/n", "default": 0}}, "$defs": {"n": {"minimum": 1}}}, "properties.a.default: expected at least 1, was 0"),
        ({"type": "object", "properties": {"a": {"default": {"c": 1}, "properties": {"b": {}}}}}, 'properties.a.default: c: unknown key "c" (known keys: b)'),
        ({"type": "object", "properties": {"a": {"$ref": "http://x/y"}}}, 'properties.a["$ref"]: expected a place within this schema, like #/$defs/name, was "http://x/y"'),
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/z"}}}, 'properties.a["$ref"]: expected a place within this schema, like #/$defs/name, was "#/$defs/z"'),
        ({"type": "object", "$ref": "#"}, '["$ref"]: expected a schema, was one that refers to itself and nothing else'),
        ({"type": "object", "$id": "http://x/y"}, '["$id"]: expected a schema that stands alone, without this keyword'),
        ({"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}, "$schema: expected https://json-schema.org/draft/2020-12/schema"),
    ],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_says_where_and_why(schema: Any, message: str) -> None:
    assert schema_problems(schema) == [message]


@pytest.mark.parametrize("pattern", ["(", "[[a]]", "\\p{L}", "a**"])
def test_a_pattern_that_is_no_regular_expression_everywhere_is_a_problem_of_the_schema(pattern: str) -> None:
    (message,) = schema_problems({"type": "object", "properties": {"a": {"pattern": pattern}}})
    assert message.startswith("properties.a.pattern: expected a regular expression, was ")


def test_a_secret_in_a_default_is_refused_and_not_shown() -> None:
    (message,) = schema_problems({"type": "object", "properties": {"a": {"writeOnly": True, "default": "hunter2"}}})
    assert "hunter2" not in message
    assert message.startswith("properties.a.default: expected {env: NAME} or {file: PATH}, was a string")


def test_a_recursive_schema_and_notes_of_its_author_are_fine() -> None:
    tree = {"type": "object", "properties": {"children": {"items": {"$ref": "#"}}}, "x-unit": "USD", "title": "Tree"}
    assert schema_problems(tree) == []
    assert compile_config_schema(tree).accepts({"children": [{"children": []}]})
    assert not compile_config_schema(tree).accepts({"children": [{"kids": []}]})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"properties": {"n": {"default": "\ud800"}}}, "properties.n.default: expected text, was half a character: \\ud800"),
        ({"description": "a\udcff"}, "description: expected text, was half a character: a\\udcff"),
        ({"properties": {"a\udfff": {}}}, "properties: expected text, was half a character: a\\udfff"),
        ({"properties": {"a": {"enum": [1, "\ud800"]}}}, "properties.a.enum[1]: expected text, was half a character: \\ud800"),
    ],
)  # fmt: skip
def test_text_that_cannot_be_written_down_is_a_problem_of_the_schema(schema: Any, message: str) -> None:
    assert schema_problems({"type": "object", **schema}) == [message]


def test_a_default_that_leads_back_into_itself_is_a_problem_of_the_schema() -> None:
    (message,) = schema_problems({"n": 1, "type": "object", "properties": {"n": {"default": {}, "$ref": "#"}}})
    assert message == "properties.n.default: expected defaults that end, was one that leads to more than 32 levels"
    loop = {"default": {}, "type": "object", "properties": {"n": {"$ref": "#/properties/n"}}}
    assert len(schema_problems({"type": "object", "properties": {"n": loop}})) == 1


def test_defaults_that_multiply_are_a_problem_of_the_schema() -> None:
    level = {"a": {"default": {}, "$ref": "#/$defs/0"}, "b": {"default": {}, "$ref": "#/$defs/0"}}
    levels = {
        str(n): {"properties": {k: {**part, "$ref": f"#/$defs/{n + 1}"} for k, part in level.items()}}
        for n in range(25)
    }
    (problem,) = schema_problems({"type": "object", "$ref": "#/$defs/0", "$defs": {**levels, "25": {}}})
    assert problem.endswith("expected defaults that end, was one that leads to more than 100,000 others")


def test_a_reference_to_what_is_no_schema_is_a_problem_of_the_schema() -> None:
    (message,) = schema_problems(
        {"type": "object", "x-own": {"pattern": "("}, "properties": {"a": {"$ref": "#/x-own"}}}
    )
    assert message.startswith('properties.a["$ref"]: expected a place within this schema')


@pytest.mark.parametrize("pattern", ["(?=a)", "(?<!a)b", "(a)\\1", "(a{1000}){1000}"])
def test_a_pattern_that_cannot_be_matched_in_linear_time_is_a_problem_of_the_schema(pattern: str) -> None:
    parts: list[dict[str, Any]] = [{"pattern": pattern}, {"patternProperties": {pattern: {}}}]
    for part in parts:
        (message,) = schema_problems({"type": "object", "properties": {"a": part}})
        assert message.startswith("properties.a.pattern: expected a regular expression, was ")
        assert ": patterns are matched in linear time, which leaves no room for look-around" in message


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^(a+)+$"},
        {"propertyNames": {"pattern": "^(a+)+$"}, "not": False},
        {"patternProperties": {"^(a+)+$": False}, "required": ["b"]},
        {"patternProperties": {"^(a+)+$": {}}, "additionalProperties": False},
    ],
)
def test_no_pattern_holds_the_engine_up(schema: dict[str, Any]) -> None:
    code = (
        "import sys; from reconciler.validation.validator import check\n"
        f"text = 'a' * 40 + '!'\nassert check(text if 'pattern' in {schema!r} else {{text: 1}}, {schema!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)


def test_patterns_beside_unevaluated_properties_are_a_problem_of_the_schema() -> None:
    (message,) = schema_problems({"type": "object", "patternProperties": {"a": {}}, "unevaluatedProperties": False})
    assert message == "unevaluatedProperties: expected a schema without patternProperties to use it in"


@pytest.mark.parametrize(
    ("schema", "has_secrets"),
    [
        ({"type": "object", "properties": {"key": {"type": "string"}}}, False),
        ({"type": "object", "properties": {"key": {"type": "string", "writeOnly": False}}}, False),
        ({"type": "object", "properties": {"key": {"type": "string", "writeOnly": True}}}, True),
        ({"properties": {"keys": {"items": {"$ref": "#/$defs/key"}}}, "$defs": {"key": {"writeOnly": True}}}, True),
        ({"type": "object", "additionalProperties": {"anyOf": [{"type": "null"}, {"writeOnly": True}]}}, True),
        ({"type": "object", "properties": {"writeOnly": {"type": "boolean"}}}, False),
    ],
)
def test_a_schema_knows_whether_it_has_secrets(schema: dict[str, Any], has_secrets: bool) -> None:
    assert CompiledSchema(schema).has_secrets is has_secrets
    assert compile_config_schema(schema).has_secrets is has_secrets


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("time", ("08:30:06Z", "08:30:06z", "23:59:60Z", "08:29:60.5-15:30"), ("08:30:06", "24:00:00Z", "12:00:60Z")),
        ("date-time", ("1998-12-31t23:59:60z", "2026-01-31T12:00:00+01:00"), ("2026-02-30T12:00:00Z", "2026-01-31 12:00:00Z")),
        ("date", ("2026-02-28",), ("2026-02-29", "20260228")),
        ("duration", ("P1D", "PT36H", "P4W", "P1Y2M3DT4H5M6S"), ("P", "PT", "P1H", "P1D2W", "1D")),
        ("hostname", ("a.example", "a-b"), ("-a_b", "a..b", "a" * 64)),
        ("email", ("a.b@example.org", '"a b"@example.org', "a@[127.0.0.1]"), ("a", "a..b@example.org", "a@-b")),
        ("uri", ("http://a/b?c#d", "urn:x:y", "http://[::1]:8080/"), ("::", "//a/b", "http://a b", "http://[x]/")),
        ("uri-reference", ("../a", "#b", ""), ("\\\\a", "a b")),
        ("json-pointer", ("", "/a/~0~1"), ("a", "/~2")),
        ("relative-json-pointer", ("0#", "1/a"), ("01", "/a")),
        ("uri-template", ("http://a/{b}",), ("http://a/{b",)),
        ("uuid", ("2eb8aa08-aa98-11ea-b4aa-73b441d16380",), ("2eb8aa08aa9811eab4aa73b441d16380",)),
        ("ipv6", ("::1",), ("::1%eth0", "1::2::3")),
        ("regex", ("^a+$",), ("a(", "\\a")),
    ],
)  # fmt: skip
def test_a_format_is_what_its_standard_says(name: str, right: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    schema = {"type": "string", "format": name}
    assert [text for text in right if check(text, schema)] == []
    assert [text for text in wrong if not check(text, schema)] == []
    assert check(5, {"format": name}) == []


def test_a_format_that_nothing_checks_is_told_to_the_author() -> None:
    schema = {"type": "object", "properties": {"v": {"format": "date-tme"}, "w": {"format": "price"}}}
    first, second = schema_problems(schema)
    assert first.startswith("properties.v.format: expected one of date, date-time, ")
    assert first.endswith(', which are checked, was "date-tme"; did you mean "date-time"?')
    assert second.endswith(', which are checked, was "price"; for all else there is pattern')

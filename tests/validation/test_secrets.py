from __future__ import annotations

from typing import Any

import pytest

from reconciler.validation.secrets import SecretReference, secret_places, secret_references, with_secrets
from reconciler.validation.validator import check

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "api_key": {"type": "string", "writeOnly": True, "minLength": 20},
        "user": {"type": "string"},
        "feeds": {"type": "array", "items": {"$ref": "#/$defs/feed"}},
        "either": {"anyOf": [{"type": "string", "writeOnly": True}, {"type": "null"}]},
    },
    "$defs": {"feed": {"type": "object", "properties": {"token": {"writeOnly": True}, "url": {"type": "string"}}}},
}


@pytest.mark.parametrize("reference", [{"env": "KRAKEN_TOKEN"}, {"file": "/run/secrets/kraken"}])
def test_a_write_only_property_takes_a_reference(reference: dict[str, str]) -> None:
    assert check({"api_key": reference, "feeds": [{"token": reference}], "either": reference}, SCHEMA) == []


@pytest.mark.parametrize(
    "value", ["hunter2", 5, None, ["hunter2"], {}, {"env": "A", "file": "b"}, {"vault": "hunter2"}]
)
def test_a_write_only_property_takes_nothing_else_and_never_shows_it(value: Any) -> None:
    (violation, *rest) = check({"api_key": value}, SCHEMA)
    assert violation.path == ("api_key",)
    assert violation.message.startswith("expected {env: NAME} or {file: PATH}, was ")
    assert "hunter2" not in repr([violation, *rest])


@pytest.mark.parametrize("reference", [{"env": "hunter 2"}, {"env": 90125}, {"file": ""}, {"env": "hunter2\n"}])
def test_a_reference_must_be_well_formed_and_its_value_is_not_shown_either(reference: dict[str, Any]) -> None:
    (violation,) = check({"api_key": reference}, SCHEMA)
    assert violation.path == ("api_key", *reference)
    assert "hunter" not in repr(violation)
    assert "90125" not in repr(violation)


def test_a_literal_is_not_shown_by_any_of_several_forms() -> None:
    schema = {"allOf": [{"properties": {"a": {"writeOnly": True}}}, {"properties": {"a": {"maxLength": 3}}}]}
    for found in (check({"either": "hunter2"}, SCHEMA), check({"a": "hunter2"}, schema)):
        assert found
        assert "hunter2" not in repr(found)


def test_any_other_property_takes_no_reference() -> None:
    (violation,) = check({"user": {"env": "USER"}}, SCHEMA)
    assert violation.path == ("user",)
    assert violation.message == "expected a string, was a mapping"
    assert violation.hint == "only what the schema marks as writeOnly takes a reference to a secret"


def test_every_reference_is_found_by_its_pointer() -> None:
    values = {
        "api_key": {"env": "KEY"},
        "user": "me",
        "feeds": [{"url": "x"}, {"token": {"file": "/t"}}],
        "either": None,
    }
    assert sorted(secret_references(values, SCHEMA)) == sorted(
        [("api_key", SecretReference("env", "KEY")), ("feeds[1].token", SecretReference("file", "/t"))],
        key=lambda pair: pair[0],
    )
    assert sorted(path for path, _ in secret_places(values, SCHEMA)) == [
        ("api_key",),
        ("either",),
        ("feeds", 1, "token"),
    ]


def test_secrets_are_put_in_place_in_a_copy() -> None:
    values = {"api_key": {"env": "KEY"}, "feeds": [{"token": {"file": "/t"}, "url": "x"}]}
    filled = with_secrets(values, {"api_key": "s1", "feeds[0].token": "s2"})
    assert filled == {"api_key": "s1", "feeds": [{"token": "s2", "url": "x"}]}
    assert values == {"api_key": {"env": "KEY"}, "feeds": [{"token": {"file": "/t"}, "url": "x"}]}
    assert with_secrets(values, {}) is values


def test_a_schema_that_refers_to_itself_is_walked_to_an_end() -> None:
    schema = {
        "properties": {"next": {"$ref": "#"}, "key": {"writeOnly": True}},
        "anyOf": [{"$ref": "#/$defs/a"}],
        "$defs": {"a": {}},
    }
    values = {"next": {"next": {"key": {"env": "A"}}}}
    assert list(secret_references(values, schema)) == [("next.next.key", SecretReference("env", "A"))]

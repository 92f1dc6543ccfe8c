"""A strategy's config reference: what may stand under `config`, a row per property. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.records.record import Values
from reconciler.records.subschema import referred

MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One property. `name` is dotted (`exit.after`, `rungs[].price`); `default` is JSON text, empty where there
    is none; `constraints` read like `≥ 1`, `one of 1m, 5m`.
    """

    name: str
    type: str
    required: bool
    default: str
    constraints: tuple[str, ...]
    description: str
    secret: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "required": self.required,
            "default": self.default,
            "constraints": list(self.constraints),
            "description": self.description,
            "secret": self.secret,
        }


def config_reference(schema: Values) -> tuple[ConfigField, ...]:
    """The rows of a CONFIG_SCHEMA, in the order it lists them; nested ones follow their parent."""
    return tuple(_rows(schema, schema, "", 0))


def _rows(root: Values, schema: Values, prefix: str, depth: int) -> Iterator[ConfigField]:
    if depth > MAX_DEPTH:
        return
    required = schema.get("required", ())
    for name, written in schema.get("properties", {}).items():
        yield from _field(root, written, f"{prefix}{name}", name in required, depth)


def _field(root: Values, written: object, name: str, required: bool, depth: int) -> Iterator[ConfigField]:
    schema = _resolved(root, written)
    texts = [str(schema[key]) for key in ("title", "description") if schema.get(key)]
    yield ConfigField(
        name=name,
        type=_type(schema),
        required=required,
        default=_json(schema["default"]) if "default" in schema else "",
        constraints=tuple(_constraints(schema)),
        description=". ".join(text.rstrip(".") for text in texts) + ("." if texts else ""),
        secret=schema.get("writeOnly") is True,
    )
    yield from _rows(root, schema, f"{name}.", depth + 1)
    if isinstance(schema.get("items"), Mapping):
        yield from _rows(root, _resolved(root, schema["items"]), f"{name}[].", depth + 1)


def _resolved(root: Values, schema: object) -> Values:
    """The schema itself, or what its local `$ref`s name, with what stands beside a `$ref` on top."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        target = referred(schema["$ref"], root)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **beside} if isinstance(target, Mapping) else beside
    return schema if isinstance(schema, Mapping) else {}


def _type(schema: Values) -> str:
    if "const" in schema:
        return _json(schema["const"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(map(str, kind))
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        return f"array of {schema['items'].get('type', 'values')}"
    return str(kind or "any")


def _constraints(schema: Values) -> Iterator[str]:
    if "enum" in schema:
        yield "one of " + ", ".join(map(_plain, schema["enum"]))
    for key, form in _FORMS.items():
        if key in schema:
            yield form.format(_plain(schema[key]))
    if schema.get("uniqueItems") is True:
        yield "all different"


_FORMS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "a multiple of {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "pattern": "matches {}",
    "format": "a {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}


def _plain(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

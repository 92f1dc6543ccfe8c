"""A strategy's config reference: what may stand under `config`, a row per property. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.records.record import Values
from reconciler.validation.schema_tree import referred

MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class ConfigField:
    """One property. `name` is dotted (`exit.after`, `rungs[].price`, `labels.*` for a key of any name); `default`
    and `examples` are JSON text, the default empty where there is none; `constraints` read like `≥ 1`,
    `one of 1m, 5m`.
    """

    name: str
    type: str
    required: bool
    default: str
    constraints: tuple[str, ...]
    title: str
    meaning: str
    secret: bool = False
    examples: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """Title and meaning, as sentences."""
        return " ".join(f"{text.rstrip('.')}." for text in (self.title, self.meaning) if text)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "type": self.type,
            "required": self.required,
            "default": self.default,
            "constraints": list(self.constraints),
            "description": self.description,
            "secret": self.secret,
            "examples": list(self.examples),
        }


def config_reference(schema: Values) -> tuple[ConfigField, ...]:
    """The rows of a CONFIG_SCHEMA, in the order it lists them; nested ones follow their parent.

    A key that only an alternative of `anyOf` and its like knows has its row too, the first that names it, and is
    never required.
    """
    return tuple(_rows(schema, schema, "", 0))


def config_field(root: Values, written: object, name: str, required: bool) -> ConfigField:
    """The row of one property, as it is `written` in the schema `root`."""
    schema = _resolved(root, written)
    secret = schema.get("writeOnly") is True
    return ConfigField(
        name=name,
        type="secret" if secret else _type(root, schema),
        required=required,
        default=_json(schema["default"]) if "default" in schema else "",
        constraints=() if secret else tuple(_constraints(schema)),
        title=str(schema.get("title", "")),
        meaning=str(schema.get("description", "")),
        secret=secret,
        examples=tuple(map(_json, _listed(schema, "examples"))),
    )


def _rows(root: Values, schema: Values, prefix: str, depth: int) -> Iterator[ConfigField]:
    if depth > MAX_DEPTH:
        return
    written: dict[str, list[object]] = {}
    required: set[str] = set()
    for part, certain in _parts(root, schema, True):
        required.update(_listed(part, "required") if certain else ())
        of_any_name = (part.get("additionalProperties"), *(value for _, value in _named(part, "patternProperties")))
        for name, value in _named(part, "properties"):
            written.setdefault(name, []).append(value)
        for value in of_any_name:
            if isinstance(value, Mapping) and not value.keys() <= _MEANING:
                written.setdefault("*", []).append(value)
    for name, values in written.items():
        yield from _field(root, _told_apart(values), f"{prefix}{name}", name in required, depth)


def _told_apart(written: list[object]) -> object:
    """The first that names a key; but where each alternative wants a constant of its own there, any of those."""
    constants = [value["const"] for value in written if isinstance(value, Mapping) and "const" in value]
    if len(constants) != len(written) or len(constants) == 1 or not isinstance(written[0], Mapping):
        return written[0]
    meaning = {keyword: value for keyword, value in written[0].items() if keyword == "title"}
    return {**meaning, "enum": [value for i, value in enumerate(constants) if value not in constants[:i]]}


def _field(root: Values, written: object, name: str, required: bool, depth: int) -> Iterator[ConfigField]:
    schema = _resolved(root, written)
    yield config_field(root, schema, name, required)
    if schema.get("writeOnly") is True:
        return
    yield from _rows(root, schema, f"{name}.", depth + 1)
    items = schema.get("items")
    if isinstance(items, Mapping):
        yield from _rows(root, _resolved(root, items), f"{name}[].", depth + 1)


def _parts(root: Values, schema: Values, certain: bool, depth: int = 0) -> Iterator[tuple[Values, bool]]:
    """The schema and its alternatives, and whether each holds in any case."""
    if depth > MAX_DEPTH:
        return
    yield schema, certain
    inner = [(part, certain) for part in _listed(schema, "allOf")]
    inner += [(part, False) for keyword in ("anyOf", "oneOf") for part in _listed(schema, keyword)]
    inner += [(schema[keyword], False) for keyword in ("then", "else") if keyword in schema]
    inner += [(part, False) for _, part in _named(schema, "dependentSchemas")]
    for part, holds in inner:
        yield from _parts(root, _resolved(root, part), holds, depth + 1)


def _resolved(root: Values, schema: object) -> Values:
    """The schema itself, or what its local `$ref`s name, with what stands beside a `$ref` on top."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, Mapping) or "$ref" not in schema:
            break
        target = referred(schema["$ref"], root)
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**target, **beside} if isinstance(target, Mapping) else beside
    return schema if isinstance(schema, Mapping) else {}


def _listed(schema: Values, keyword: str) -> list[Any]:
    found = schema.get(keyword)
    return found if isinstance(found, list) else []


def _named(schema: Values, keyword: str) -> list[tuple[str, Any]]:
    found = schema.get(keyword)
    return list(found.items()) if isinstance(found, Mapping) else []


def _type(root: Values, schema: Values) -> str:
    if "const" in schema:
        return _json(schema["const"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return " or ".join(_WORDS.get(str(one), str(one)) for one in kind)
    if kind == "array" and isinstance(schema.get("items"), Mapping):
        item = _type(root, _resolved(root, schema["items"]))
        return f"list of {item}s" if item.isalpha() and item != "any" else f"list of {item}"
    if kind is None:
        alternatives = [_type(root, _resolved(root, part)) for k in ("anyOf", "oneOf") for part in _listed(schema, k)]
        return " or ".join(dict.fromkeys(alternatives)) or _type_of_options(schema)
    return _WORDS.get(str(kind), str(kind))


def _type_of_options(schema: Values) -> str:
    """An `enum` needs no type: its options have one."""
    options = _listed(schema, "enum")
    return "string" if options and all(isinstance(option, str) for option in options) else "any"


def _constraints(schema: Values) -> Iterator[str]:
    if "enum" in schema:
        yield "one of " + ", ".join(map(_plain, _listed(schema, "enum")))
    for key, form in _FORMS.items():
        if key in schema:
            yield "not empty" if key in _AT_LEAST and schema[key] == 1 else form.format(_plain(schema[key]))
    if schema.get("uniqueItems") is True:
        yield "all different"


_MEANING: Final = {"title", "description", "examples"}
"""Keywords of notes: a key of any name that says no more than this is not worth a row."""
_WORDS: Final = {"object": "mapping", "array": "list"}
"""What YAML calls them."""
_FORMS: Final = {
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
    "minProperties": "at least {} keys",
    "maxProperties": "at most {} keys",
}

_AT_LEAST: Final = {"minLength", "minItems", "minProperties"}


def _plain(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

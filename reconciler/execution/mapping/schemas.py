"""Walking the JSON schemas that servers list their tools with: what may be where, as far as they say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reconciler.execution.mapping.path import Each, Element, Member, Named, Path, Step

Schema = Mapping[str, Any]
"""A tool's inputSchema or outputSchema, as the server lists it."""

_DEEPEST: Final = 8
"""How many choices within choices are followed."""


def within(schema: Schema, path: tuple[str, ...], root: Schema) -> Schema | None:
    """The schema of what `path` leads to; an empty one where anything goes, None where nothing may be there."""
    for key in path:
        schema = resolved(schema, root)
        properties = schema.get("properties", {})
        if key in properties:
            schema = properties[key]
            continue
        each = [within(branch, (key,), root) for branch in branches(schema)]
        if (found := next((branch for branch in each if branch is not None), None)) is not None:
            schema = found
            continue
        more = schema.get("additionalProperties", not properties and not branches(schema))
        if more is False:
            return None
        schema = more if isinstance(more, Mapping) else {}
    return schema


def resolved(schema: Schema, root: Schema) -> Schema:
    """The schema behind local references; anything goes where one leads nowhere, or round in a circle."""
    for _ in range(8):
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        found: Any = root
        for key in reference.removeprefix("#/").split("/"):
            found = found.get(key) if isinstance(found, Mapping) else None
        schema = found if isinstance(found, Mapping) else {}
    return {}


def branches(schema: Schema) -> list[Schema]:
    """What it may be instead, or is besides, but for null."""
    each = (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ()))
    return [branch for branch in each if isinstance(branch, Mapping) and branch.get("type") != "null"]


def types_of(schema: Schema, root: Schema) -> set[str]:
    """The JSON types that it takes; empty where it does not say."""
    schema = resolved(schema, root)
    named = schema.get("type")
    if isinstance(named, str):
        return {named}
    if isinstance(named, list):
        return set(named)
    each = [types_of(branch, root) for branch in branches(schema)]
    return set().union(*each) if each and all(each) else set()


def enum_of(schema: Schema, root: Schema) -> set[Any] | None:
    """The words that it knows; None where it does not say."""
    schema = resolved(schema, root)
    if "enum" in schema:
        return {word for word in schema["enum"] if isinstance(word, (str, int, float, bool))}
    if "const" in schema:
        return {schema["const"]}
    each = [enum_of(branch, root) for branch in branches(schema)]
    words = [known for known in each if known is not None]
    return set().union(*words) if words and len(words) == len(each) else None


def led(path: Path, item: Schema, whole: Schema) -> Schema | None:
    """The schema of what a path into an answer leads to, None where there can be nothing. `whole` is the answer's."""
    schema: Schema | None = whole if path.whole else item
    for step in path.steps:
        schema = None if schema is None else _stepped(step, schema, whole)
    return schema


def of_items(schema: Schema, root: Schema) -> Schema:
    """The schema of one item of the list that is there; of what is there itself, where that is no list."""
    found = [_of_list(one) if _may_be("array", one, root) else one for one in _alternatives(schema, root)]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _stepped(step: Step, schema: Schema, root: Schema) -> Schema | None:
    each = [found for one in _alternatives(schema, root) if (found := _beyond(step, one, root)) is not None]
    return None if not each else each[0] if len(each) == 1 else {"anyOf": each}


def _beyond(step: Step, schema: Schema, root: Schema) -> Schema | None:
    is_object, is_list = (_may_be(wanted, schema, root) for wanted in ("object", "array"))
    match step:
        case Member(name):
            return within(schema, (name,), root) if is_object else None
        case Named():
            return _of_members(schema) if is_object else None
        case Element():
            return _of_list(schema) if is_list else None
        case Each():
            if is_object and not (is_list and not schema.get("properties")):
                return {"type": "object", "properties": {"key": {"type": "string"}, "value": _of_members(schema)}}
            return _of_list(schema) if is_list else None


def _of_members(schema: Schema) -> Schema:
    """Of a member whose name nobody knows yet."""
    properties = schema.get("properties")
    each = [one for one in properties.values() if isinstance(one, Mapping)] if isinstance(properties, Mapping) else []
    more = schema.get("additionalProperties")
    each += [more] if isinstance(more, Mapping) else []
    return {"anyOf": each} if each and more is not True else {}


def _of_list(schema: Schema) -> Schema:
    items = schema.get("items")
    return items if isinstance(items, Mapping) and "prefixItems" not in schema else {}


def _may_be(wanted: str, schema: Schema, root: Schema) -> bool:
    known = types_of(schema, root)
    return not known or wanted in known


def _alternatives(schema: Schema, root: Schema, depth: int = 0) -> list[Schema]:
    """The schemas that it stands for, references and choices followed."""
    schema = resolved(schema, root)
    each = [] if "properties" in schema else branches(schema)
    if not each or depth == _DEEPEST:
        return [schema]
    return [inner for branch in each for inner in _alternatives(branch, root, depth + 1)]

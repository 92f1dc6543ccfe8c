"""Defaults: what CONFIG_SCHEMA fills in where a config says nothing. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reconciler.records.subschema import Schema, referred


def defaults(values: Any, schema: Schema, root: Schema | None = None) -> Any:
    """`values` with the `default` of each absent property filled in, as new values.

    Follows `properties`, `items`, `prefixItems` and local `$ref`s, down into the mappings and lists that
    are there (or were just filled in), and never the alternatives of `anyOf` and its like: which of them
    is meant is not known. `root` is the schema that `$ref`s look into, `schema` itself where not given.
    """
    if not isinstance(values, (dict, list)):
        return values
    root = schema if root is None else root
    properties: dict[str, Schema] = {}
    items: Schema = True
    first: Sequence[Schema] = ()
    for part in reversed(_own(schema, root)):
        properties |= part.get("properties", {})
        items = part.get("items", items)
        first = part.get("prefixItems", first)
    if isinstance(values, list):
        return [defaults(value, first[i] if i < len(first) else items, root) for i, value in enumerate(values)]
    filled = dict(values)
    for key, part in properties.items():
        if key not in filled:
            default = _default(part, root)
            if default is _NONE:
                continue
            filled[key] = default
        if isinstance(filled[key], (dict, list)):
            filled[key] = defaults(filled[key], part, root)
    return filled


def _own(schema: Schema, root: Schema) -> Sequence[Mapping[str, Any]]:
    """The schema and, one after the other, what it refers to."""
    if isinstance(schema, bool):
        return ()
    if "$ref" not in schema:
        return (schema,)
    found: list[Mapping[str, Any]] = []
    at: Schema | None = schema
    while isinstance(at, Mapping) and not any(at is known for known in found):
        found.append(at)
        at = referred(at["$ref"], root) if "$ref" in at else None
    return found


def _default(schema: Schema, root: Schema) -> Any:
    """The default, `_NONE` where there is none; null is one. Nothing in it that can change is shared."""
    for part in _own(schema, root):
        if "default" in part:
            value = part["default"]
            return value if isinstance(value, _SHAREABLE) else copy.deepcopy(value)
    return _NONE


_NONE: Final = object()
_SHAREABLE: Final = (str, int, float, type(None))

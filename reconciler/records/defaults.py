"""Defaults: what CONFIG_SCHEMA fills in where a config says nothing. Pure."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

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
            filled.update((key, value) for value in _default(part, root))
        if isinstance(filled.get(key), (dict, list)):
            filled[key] = defaults(filled[key], part, root)
    return filled


def _own(schema: Schema, root: Schema) -> list[Mapping[str, Any]]:
    """The schema and, one after the other, what it refers to."""
    found: list[Mapping[str, Any]] = []
    at: Schema | None = schema
    while isinstance(at, Mapping) and not any(at is known for known in found):
        found.append(at)
        at = referred(at["$ref"], root) if "$ref" in at else None
    return found


def _default(schema: Schema, root: Schema) -> Iterator[Any]:
    """The default, if there is one; null is one."""
    for part in _own(schema, root):
        if "default" in part:
            yield copy.deepcopy(part["default"])
            return

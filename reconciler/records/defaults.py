"""Defaults: what CONFIG_SCHEMA fills in where a config says nothing. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from reconciler.records.subschema import Schema, referred


def defaults(values: Any, schema: Schema, root: Schema | None = None) -> Any:
    """`values` with the `default` of each absent property filled in, as new values.

    Follows `properties`, `items`, `prefixItems` and local `$ref`s, down into the mappings and lists that
    are there (or were just filled in), and never the alternatives of `anyOf` and its like: which of them
    is meant is not known. `root` is the schema that `$ref`s look into, `schema` itself where not given.
    """
    root = schema if root is None else root
    properties: dict[str, Schema] = {}
    items: Schema = True
    first: list[Schema] = []
    for part in _own(schema, root):
        properties = {**part.get("properties", {}), **properties}
        items = part.get("items", items)
        first = part.get("prefixItems", first)
    if isinstance(values, Mapping):
        absent = {key: d for key, part in properties.items() if key not in values for d in _default(part, root)}
        return {key: defaults(value, properties.get(key, True), root) for key, value in {**values, **absent}.items()}
    if isinstance(values, list):
        return [defaults(value, first[i] if i < len(first) else items, root) for i, value in enumerate(values)]
    return values


def _own(schema: Schema, root: Schema) -> list[Mapping[str, Any]]:
    """The schema and, one after the other, what it refers to."""
    found: list[Mapping[str, Any]] = []
    at: Schema | None = schema
    while isinstance(at, Mapping) and not any(at is known for known in found):
        found.append(at)
        at = referred(at["$ref"], root) if "$ref" in at else None
    return found


def _default(schema: Schema, root: Schema) -> list[Any]:
    """The default as a list of one, so that a default of null differs from none."""
    return next(([copy.deepcopy(part["default"])] for part in _own(schema, root) if "default" in part), [])

"""Defaults: what CONFIG_SCHEMA fills in where a config says nothing. Pure."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from reconciler.records.subschema import Schema, referred
from reconciler.records.walk import MAX_DEPTH

MAX_FILLED: Final = 100_000


class EndlessDefaults(ValueError):
    """Filling in defaults came to no end: a default leads back into itself, or leads to very many others."""


def defaults(values: Any, schema: Schema, root: Schema | None = None) -> Any:
    """`values` with the `default` of each absent property filled in, as new values.

    Follows `properties`, `items`, `prefixItems` and local `$ref`s, down into the mappings and lists that
    are there (or were just filled in), and never the alternatives of `anyOf` and its like: which of them
    is meant is not known. `root` is the schema that `$ref`s look into, `schema` itself where not given.
    Raises EndlessDefaults beyond `MAX_DEPTH` levels or `MAX_FILLED` defaults.
    """
    return _Filling(schema if root is None else root).filled(values, schema, 1)


class _Filling:
    """One filling in of defaults, which may only be so many."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._left = MAX_FILLED

    def filled(self, values: Any, schema: Schema, depth: int) -> Any:
        if not isinstance(values, (dict, list)):
            return values
        if depth > MAX_DEPTH:
            raise EndlessDefaults(f"expected defaults that end, was one that leads to more than {MAX_DEPTH} levels")
        properties: dict[str, Schema] = {}
        items: Schema = True
        first: Sequence[Schema] = ()
        for part in reversed(_own(schema, self._root)):
            properties |= part.get("properties", {})
            items = part.get("items", items)
            first = part.get("prefixItems", first)
        if isinstance(values, list):
            return [
                self.filled(value, first[i] if i < len(first) else items, depth + 1) for i, value in enumerate(values)
            ]
        filled = dict(values)
        for key, part in properties.items():
            if key not in filled:
                default = _default(part, self._root)
                if default is _NONE:
                    continue
                self._count()
                filled[key] = default
            if isinstance(filled[key], (dict, list)):
                filled[key] = self.filled(filled[key], part, depth + 1)
        return filled

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise EndlessDefaults(f"expected defaults that end, was one that leads to more than {MAX_FILLED:,} others")


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

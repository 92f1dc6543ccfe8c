"""Integers: what a schema promises as an integer is one, though it was written `5.0` or `5e0`. Pure.

To JSON Schema these are integers, to a strategy they are floats, which `range` and an index refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from reconciler.records.pointer import Path
from reconciler.records.subschema import Schema, applied, of_item, of_property

_LARGEST: Final = 2**63 - 1


def with_integers(values: Any, schema: Schema, root: Schema | None = None) -> Any:
    """`values` with each integral float as an int where the schema says integer; itself where there is none.

    Of alternatives any that says so is enough: an int is what each of them takes, too. `$ref`s look into `root`.
    """
    if not _has_float(values):
        return values
    return _converted(values, [schema], schema if root is None else root)


def too_large(values: Any, schema: Schema) -> Iterator[tuple[Path, float]]:
    """Each float that is promised as an integer, and is beyond those that are kept exactly."""
    if _has_float(values):
        yield from _too_large(values, [schema], schema, ())


def _converted(value: Any, schemas: Sequence[Schema], root: Schema) -> Any:
    if isinstance(value, float):
        return int(value) if _is_promised(value, schemas, root) and abs(value) <= _LARGEST else value
    if isinstance(value, dict):
        return {key: _converted(inner, _of(schemas, root, of_property, key), root) for key, inner in value.items()}
    if isinstance(value, list):
        return [_converted(inner, _of(schemas, root, of_item, index), root) for index, inner in enumerate(value)]
    return value


def _too_large(value: Any, schemas: Sequence[Schema], root: Schema, path: Path) -> Iterator[tuple[Path, float]]:
    if isinstance(value, float):
        if abs(value) > _LARGEST and _is_promised(value, schemas, root):
            yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _too_large(inner, _of(schemas, root, of_property, key), root, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _too_large(inner, _of(schemas, root, of_item, index), root, (*path, index))


def _of(
    schemas: Sequence[Schema], root: Schema, inside: Callable[..., Iterator[Schema]], step: str | int
) -> list[Schema]:
    """What all that has a say on a value says of what is inside of it."""
    return [inner for schema in schemas for part in applied(schema, root) for inner in inside(part, step)]


def _is_promised(value: float, schemas: Sequence[Schema], root: Schema) -> bool:
    return value.is_integer() and any(_says_integer(part, value) for one in schemas for part in applied(one, root))


def _says_integer(part: Any, value: float) -> bool:
    told = part.get("type", ())
    if told == "integer" or (isinstance(told, (list, tuple)) and "integer" in told):
        return True
    listed = (*part.get("enum", ()), *((part["const"],) if "const" in part else ()))
    return any(isinstance(one, int) and not isinstance(one, bool) and one == value for one in listed)


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    return any(map(_has_float, value)) if isinstance(value, list) else isinstance(value, float)

"""CONFIG_SCHEMA: what a strategy says of its config, made strict, its defaults, what is wrong with it. Pure."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from reconciler.documents.document import MAX_DEPTH
from reconciler.documents.wording import Path, did_you_mean, quoted, shown, spell
from reconciler.validation import schema_tree as regex
from reconciler.validation.formats import CHECKS
from reconciler.validation.schema_tree import LIST, MAP, ONE, Schema, applied, every, of_item, of_property, referred
from reconciler.validation.secrets import with_references

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
        self.left = MAX_FILLED

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
        self.left -= 1
        if self.left < 0:
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


# fmt: off
_OPENING: Final = frozenset({
    "additionalProperties", "unevaluatedProperties", "patternProperties", "$ref", "allOf", "anyOf", "oneOf", "if",
    "dependentSchemas",
})
# fmt: on
"""Keywords by which a schema says more about its keys than `properties` does."""
_FOREIGN: Final = ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary")
"""Keywords by which a schema is part of something larger. A CONFIG_SCHEMA stands alone."""
# fmt: off
_KNOWN: Final = frozenset({
    *ONE, *LIST, *MAP, *_FOREIGN,
    "$schema", "$ref", "$comment",
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "type", "enum", "const", "format", "contentEncoding", "contentMediaType",
    "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
    "maxLength", "minLength", "pattern",
    "maxItems", "minItems", "uniqueItems", "maxContains", "minContains",
    "maxProperties", "minProperties", "required", "dependentRequired",
})
# fmt: on


def strict(schema: Schema) -> Schema:
    """The schema that a written config is validated against, in the engine, in CI and in editors.

    As the author wrote it, but that a key no schema knows is a problem even where the author did not
    say `additionalProperties: false`, and that secrets are references.
    """
    return with_references(_closed(schema))


def _closed(schema: Schema) -> Schema:
    if isinstance(schema, bool):
        return schema
    copy = dict(schema)
    if "properties" in copy:
        copy["properties"] = {name: _closed(part) for name, part in copy["properties"].items()}
        if not _OPENING & copy.keys():
            copy["additionalProperties"] = False
    for keyword in ("items", "additionalProperties"):
        if keyword in copy:
            copy[keyword] = _closed(copy[keyword])
    return copy


def faults(schema: Mapping[str, Any]) -> Iterator[str]:
    """What the metaschema cannot say of an otherwise valid schema: references, patterns, words that do nothing."""
    parts = list(every(schema))
    places = {id(part) for _, part in parts}
    has_patterns = any("patternProperties" in part for _, part in parts if isinstance(part, Mapping))
    if schema.get("type") != "object":
        yield f'expected "type": "object" at the top, was {shown(schema.get("type"))}'
    for path, part in parts:
        if isinstance(part, bool):
            continue
        yield from (f"{spell((*path, at))}: {message}" for at, message in _own_faults(part, path, schema, places))
        if has_patterns and "unevaluatedProperties" in part:
            yield f"{spell((*path, 'unevaluatedProperties'))}: expected a schema without patternProperties to use it in"


def endless_defaults(schema: Mapping[str, Any]) -> Iterator[str]:
    """Each `default` of an otherwise sound schema that cannot be filled in, since that leads back to it.

    Of those that lead to too many others the first one: counting them takes a second, and they come in crowds.
    """
    for path, part in every(schema):
        if isinstance(part, Mapping) and "default" in part:
            filling = _Filling(schema)
            try:
                filling.filled(part["default"], part, 1)
            except EndlessDefaults as error:
                yield f"{spell((*path, 'default'))}: {error}"
                if filling.left < 0:
                    return


def _own_faults(
    part: Mapping[str, Any], path: Path, root: Schema, places: Collection[int]
) -> Iterator[tuple[str, str]]:
    for name in part:
        if name in _FOREIGN or (name == "$schema" and path):
            yield name, "expected a schema that stands alone, without this keyword"
        elif name not in _KNOWN and not name.startswith("x-"):
            near = did_you_mean(name, _KNOWN)
            if near:
                yield name, f"unknown keyword, {near}"
    if "format" in part and part["format"] not in CHECKS:
        near = did_you_mean(part["format"], CHECKS)
        known = f"expected one of {', '.join(sorted(CHECKS))}, which are checked, was {quoted(part['format'])}"
        yield "format", f"{known}; {near}" if near else f"{known}; for all else there is pattern"
    if "$ref" in part:
        target = referred(part["$ref"], root)
        if target is None or id(target) not in places:
            yield "$ref", f"expected a place within this schema, like #/$defs/name, was {quoted(part['$ref'])}"
        elif _is_endless(part, root):
            yield "$ref", "expected a schema, was one that refers to itself and nothing else"
    for pattern in (*([part["pattern"]] if "pattern" in part else []), *part.get("patternProperties", {})):
        wrong = _wrong_pattern(pattern)
        if wrong:
            yield "pattern", f"expected a regular expression, was {quoted(pattern)}: {wrong}"


def _wrong_pattern(pattern: str) -> str:
    """Why a pattern cannot be used; empty where it can. What Python only warns of, other readers read otherwise."""
    usable = regex.is_usable(pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            re.compile(pattern)
    except (re.error, FutureWarning, RecursionError, OverflowError) as error:
        return str(error)
    return "" if usable else _NOT_LINEAR


_NOT_LINEAR: Final = (
    "patterns are matched in linear time, which leaves no room for look-around, back-references, huge repetitions "
    "(maxLength is for those) and what only Python knows"
)


def _is_endless(part: Mapping[str, Any], root: Schema) -> bool:
    """True where judging one value by `part` leads back to `part` for the same value."""
    waiting: list[Schema] = [part]
    seen: list[Schema] = []
    while waiting:
        one = waiting.pop()
        if isinstance(one, bool):
            continue
        following: list[Any] = [one[k] for k in ("not", "if", "then", "else") if k in one]
        following += [branch for keyword in ("allOf", "anyOf", "oneOf") for branch in one.get(keyword, ())]
        following += one.get("dependentSchemas", {}).values()
        following += [referred(one["$ref"], root)] if "$ref" in one else []
        for schema in following:
            if schema is part:
                return True
            if schema is not None and not any(schema is known for known in seen):
                seen.append(schema)
                waiting.append(schema)
    return False


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

"""CONFIG_SCHEMA: what a strategy says of its config, made strict, and what is wrong with such a schema. Pure."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from reconciler.records import regex
from reconciler.records.defaults import EndlessDefaults, defaults
from reconciler.records.formats import CHECKS
from reconciler.records.pointer import Path, spell
from reconciler.records.secrets import with_references
from reconciler.records.subschema import LIST, MAP, ONE, Schema, every, referred
from reconciler.records.wording import did_you_mean, quoted, shown

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
    """Each `default` of an otherwise sound schema that cannot be filled in, since that leads back to it."""
    for path, part in every(schema):
        if isinstance(part, Mapping) and "default" in part:
            try:
                defaults(part["default"], part, schema)
            except EndlessDefaults as error:
                yield f"{spell((*path, 'default'))}: {error}"


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

"""Subschemas: how the parts of a JSON Schema (2020-12) hang together, and which apply to a value. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from reconciler.documents.wording import Path

if TYPE_CHECKING:
    from jsonschema_rs import RegexOptions


_SIZE_BYTES: Final = 2**18
"""Of a pattern made ready. The time to match grows with it: `(.{0,300}){0,30}` is linear, and may take a minute."""
_CACHE_BYTES: Final = 2**24
"""Where the engine keeps what it found out about a pattern; ten times slower where a large one does not fit."""


def matches(pattern: str, text: str) -> bool:
    """True where `pattern` is found somewhere in `text`. Raises ValueError where it is not `is_usable`."""
    return _matcher(pattern)(text)


def is_usable(pattern: str) -> bool:
    """True where the engine takes `pattern`."""
    try:
        _matcher(pattern)
    except ValueError:
        return False
    return True


def options() -> RegexOptions:
    """How jsonschema-rs must be told to match, to match as `matches` does."""
    from jsonschema_rs import RegexOptions

    return RegexOptions(size_limit=_SIZE_BYTES, dfa_size_limit=_CACHE_BYTES)


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> Callable[[str], bool]:
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator({"pattern": pattern}, pattern_options=options(), offline=True).is_valid


Schema = Mapping[str, Any] | bool

# fmt: off
ONE: Final = frozenset({
    "additionalProperties", "contains", "contentSchema", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
})
# fmt: on
"""Keywords whose value is a schema."""
LIST: Final = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
"""Keywords whose value is a list of schemas."""
MAP: Final = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
"""Keywords whose value is a mapping of names to schemas."""


def children(schema: Schema) -> Iterator[tuple[Path, Schema]]:
    """The schemas directly inside of `schema`, each with its path from it."""
    if isinstance(schema, bool):
        return
    for keyword, value in schema.items():
        if keyword in ONE:
            yield (keyword,), value
        elif keyword in LIST:
            yield from (((keyword, i), part) for i, part in enumerate(value))
        elif keyword in MAP:
            yield from (((keyword, name), part) for name, part in value.items())


def every(schema: Schema, at: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """`schema` and all schemas inside of it, each with its path."""
    yield at, schema
    for path, part in children(schema):
        yield from every(part, at + path)


def at(schema: Schema, path: Path) -> Schema | None:
    """The schema at a path that `every` gave of a similar one; None where there is none."""
    here: Any = schema
    for step in path:
        try:
            here = here[step]
        except (KeyError, IndexError, TypeError):
            return None
    return here if isinstance(here, (Mapping, bool)) else None


def rewritten(schema: Schema, change: Callable[[Mapping[str, Any]], Mapping[str, Any] | None]) -> Schema:
    """A copy in which each schema that `change` has a replacement for is replaced, from the top down."""
    if isinstance(schema, bool):
        return schema
    replacement = change(schema)
    if replacement is not None:
        return replacement
    copy: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in ONE:
            copy[keyword] = rewritten(value, change)
        elif keyword in LIST:
            copy[keyword] = [rewritten(part, change) for part in value]
        elif keyword in MAP:
            copy[keyword] = {name: rewritten(part, change) for name, part in value.items()}
        else:
            copy[keyword] = value
    return copy


def referred(reference: str, root: Schema) -> Schema | None:
    """What a `$ref` within `root` (`#`, `#/$defs/name`) points at; None where there is no such schema."""
    if reference != "#" and not reference.startswith("#/"):
        return None
    steps = [step.replace("~1", "/").replace("~0", "~") for step in unquote(reference[1:]).split("/")[1:]]
    found = at(root, tuple(steps))
    return at(root, tuple(int(s) if s.isdecimal() else s for s in steps)) if found is None else found


def applied(schema: Schema, root: Schema) -> list[Mapping[str, Any]]:
    """`schema` and every other that has a say on the same value: what it refers to, and its alternatives."""
    found: list[Mapping[str, Any]] = []
    waiting = [schema]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, bool) or any(part is known for known in found):
            continue
        found.append(part)
        if "$ref" in part:
            target = referred(part["$ref"], root)
            waiting += [] if target is None else [target]
        for keyword in ("allOf", "anyOf", "oneOf"):
            waiting += part.get(keyword, ())
        waiting += [part[keyword] for keyword in ("if", "then", "else") if keyword in part]
        waiting += part.get("dependentSchemas", {}).values()
    return found


def by_pattern(schema: Mapping[str, Any], key: str) -> list[Schema]:
    """What the `patternProperties` of one schema say of the value at `key` of a mapping."""
    return [part for pattern, part in schema.get("patternProperties", {}).items() if matches(pattern, key)]


def of_property(schema: Mapping[str, Any], key: str) -> Iterator[Schema]:
    """What one schema itself says of the value at `key` of a mapping."""
    named = schema.get("properties", {})
    if key in named:
        yield named[key]
    matching = by_pattern(schema, key)
    yield from matching
    if key not in named and not matching:
        yield from (schema[k] for k in ("additionalProperties", "unevaluatedProperties") if k in schema)


def of_item(schema: Mapping[str, Any], index: int) -> Iterator[Schema]:
    """What one schema itself says of the item at `index` of a list."""
    first = schema.get("prefixItems", ())
    if index < len(first):
        yield first[index]
    else:
        yield from (schema[k] for k in ("items", "unevaluatedItems") if k in schema)
    if "contains" in schema:
        yield schema["contains"]

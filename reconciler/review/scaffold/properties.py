"""The properties of a JSON Schema as commented lines of YAML, each with what it means. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from reconciler.records import pointer
from reconciler.records.defaults import defaults
from reconciler.records.pointer import Path
from reconciler.records.record import Values
from reconciler.records.subschema import Schema, referred
from reconciler.review.scaffold.spelling import can_be_spelled, entry, indented, scalar
from reconciler.strategy.describe import config_field

GAP: Final = "# fill in"
_WIDTH: Final = 100
_MAX_DEPTH: Final = 8
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Properties:
    """Writes what `schema` says may stand at `at`.

    A required property has its default or its example, or is a gap, noted in `gaps` as people write such places.
    What may be left out is there as a comment to be uncommented, so that a template can still fill it and a new
    default still arrives: with its default where `with_defaults` and it has one, else with its example. A secret
    becomes a reference to an environment variable, `SECRET_PREFIX_NAME`.
    """

    schema: Values
    at: Path = ()
    with_defaults: bool = True
    secret_prefix: str = ""
    gaps: list[str] = field(default_factory=list)

    def lines(self, *, leaving_out: Iterable[str] = ()) -> list[str]:
        """Not indented, a blank line between properties."""
        lines: list[str] = []
        for name in self.schema.get("properties", {}):
            if name not in leaving_out:
                lines += ["", *self._property(self.schema, self.at, name, shown=False)]
        return lines[1:]

    def _property(self, parent: Mapping[str, Any], at: Path, name: str, *, shown: bool) -> Iterator[str]:
        """Where `shown`, what may be left out is written all the same: it stands in a comment already."""
        schema = self._resolved(parent["properties"][name])
        required = name in parent.get("required", ())
        written = required or shown
        yield from self._meaning(name, schema, required)
        value = self._value(name, schema)
        if "default" in schema and (self.with_defaults or required):
            filled = defaults({}, {"properties": {name: schema}}, self.schema)[name]
            if can_be_spelled(name, filled):
                yield from entry(name, filled) if written else commented(entry(name, filled))
            else:
                yield "# its default cannot be written here"
        elif value is not _NOTHING and can_be_spelled(name, value):
            yield from entry(name, value) if written else commented(entry(name, value))
        elif "properties" in schema and len(at) < _MAX_DEPTH:
            lines = self._mapping(schema, (*at, name), shown=not required)
            yield from lines if written else commented(lines)
        elif required:
            if not shown:
                self.gaps.append(pointer.spell((*at, name)))
            yield f"{scalar(name)}: {GAP}"
        else:
            yield f"# {scalar(name)}:"

    def _mapping(self, schema: Mapping[str, Any], at: Path, *, shown: bool) -> list[str]:
        lines = [line for name in schema["properties"] for line in self._property(schema, at, name, shown=shown)]
        name = scalar(str(at[-1]))
        return [f"{name}:" if has_values(lines) else f"{name}: {{}}", *indented(lines)]

    def _value(self, name: str, schema: Mapping[str, Any]) -> Any:
        if schema.get("writeOnly") is True:
            return {"env": re.sub(r"\W+", "_", f"{self.secret_prefix}_{name}", flags=re.ASCII).upper()}
        if "properties" in schema:
            return _NOTHING
        return schema.get("const", next(iter(schema.get("examples", ())), _NOTHING))

    def _meaning(self, name: str, schema: Mapping[str, Any], required: bool) -> Iterator[str]:
        described = config_field(self.schema, schema, name, required)
        rules = [described.type, *(rule for rule in described.constraints if not rule.startswith("matches "))]
        last = f"({', '.join([*rules, *(['required'] if required else [])])})"
        text = str(schema.get("description") or schema.get("title") or "")
        on_one_line = list(remark(f"{text} {last}"))
        yield from on_one_line if len(on_one_line) == 1 else [*remark(text), *remark(last)]

    def _resolved(self, schema: Schema) -> Mapping[str, Any]:
        """The schema on top of what its `$ref`s name."""
        parts: list[Mapping[str, Any]] = []
        at: Schema | None = schema
        while isinstance(at, Mapping) and not any(at is part for part in parts):
            parts.append(at)
            at = referred(at["$ref"], self.schema) if "$ref" in at else None
        return {key: value for part in reversed(parts) for key, value in part.items()}


def has_values(lines: Iterable[str]) -> bool:
    """False where all of it is comments, so that the mapping around it must say `{}`."""
    return any(line and not line.startswith("#") for line in lines)


def commented(lines: Iterable[str]) -> Iterator[str]:
    return (f"# {line}".rstrip() for line in lines)


def remark(text: str) -> Iterator[str]:
    """A comment, wrapped, whatever the text holds."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return commented(textwrap.wrap(" ".join(words), _WIDTH, break_on_hyphens=False))

"""What a mapping relies on of a server's tools: what they take and answer, not how they are described. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from reconciler.execution.mapping.contract import OPTIONAL, TOOLS
from reconciler.execution.mapping.schemas import Schema
from reconciler.execution.mapping.words import ServerWords
from reconciler.records.tools import Shape

_DESCRIBING: Final = frozenset({"title", "description", "examples", "$comment", "deprecated"})
_BY_NAME: Final = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_AS_THEY_ARE: Final = frozenset({"default", "const", "enum", "required"})
_ARGUMENT: Final = "argument "
_DEFAULT: Final = "the default of "


@dataclass(frozen=True, slots=True)
class Offer:
    """One tool as its server lists it: its inputSchema, and its outputSchema where it has one."""

    takes: Schema
    gives: Schema | None = None

    @property
    def is_wrapping(self) -> bool:
        """True where it answers `{"result": …}`, which the SDK puts around what is no one kind of object."""
        properties = None if self.gives is None else self.gives.get("properties")
        return isinstance(properties, Mapping) and properties.keys() == {"result"}


def shape(words: ServerWords, offered: Mapping[str, Offer]) -> Shape:
    """Of every tool that the mapping uses, by the server's names."""
    used = {name for tool in TOOLS if (spoken := words.tool(tool)) is not None for name in spoken.names()}
    used -= OPTIONAL - offered.keys()
    return {name: _facts(offered[name]) if name in offered else {} for name in sorted(used)}


def difference(first: Shape, now: Shape) -> str:
    """What changed, in words; empty where nothing did."""
    return "; ".join(
        f"{name} {_told(first.get(name, {}), now[name])}" for name in now if now[name] != first.get(name, {})
    )


def _told(first: Mapping[str, str], now: Mapping[str, str]) -> str:
    if not now:
        return "is gone"
    if not first:
        return "is new"
    changed = [fact for fact in {**first, **now} if first.get(fact) != now.get(fact)]
    changes = (
        f"{fact} {'is new' if fact not in first else 'is gone' if fact not in now else 'is another'}"
        for fact in changed
        if fact.replace(_DEFAULT, _ARGUMENT) not in changed or not fact.startswith(_DEFAULT)
    )
    return f"has changed: {', '.join(changes)}"


def _facts(offer: Offer) -> dict[str, str]:
    schema = _bare(offer.takes)
    properties = schema.pop("properties", {})
    required = schema.pop("required", ())
    facts = {"the form of its arguments": _digest(schema)}
    for name, argument in sorted(properties.items() if isinstance(properties, dict) else ()):
        # Left out, its default is what is sent: another default is another order.
        if isinstance(argument, dict) and "default" in argument:
            facts[_DEFAULT + name] = _digest(argument.pop("default"))
        facts[_ARGUMENT + name] = _digest([argument, name in required])
    if offer.gives is not None:
        facts["the form of its answers"] = _digest(_bare(offer.gives))
    return facts


def _bare(schema: Any) -> Any:
    """A schema without what only describes; a copy."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, Mapping):
        return schema
    bare: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _BY_NAME and isinstance(value, Mapping):
            bare[key] = {name: _bare(inner) for name, inner in value.items()}
        elif key in _AS_THEY_ARE:
            bare[key] = value
        elif key not in _DESCRIBING:
            bare[key] = _bare(value)
    return bare


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]

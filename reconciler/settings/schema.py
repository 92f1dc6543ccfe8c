"""What there is to set. Said once, in `reconciler.schema.json`; docs and the schema for editors come from it, too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from reconciler.ports import CONTRACT_TOOLS

PATH: Final = Path(__file__).with_name("reconciler.schema.json")
_TOOLS: Final = ", ".join(map(json.dumps, CONTRACT_TOOLS))
SCHEMA: Final[Mapping[str, Any]] = json.loads(PATH.read_text(encoding="utf-8").replace('"{tools}"', _TOOLS))

_SCALAR_TYPES = ("string", "integer", "number", "boolean")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A setting that is one value, so that it is an environment variable too."""

    path: tuple[str, ...]
    schema: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`dashboard.port`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """`RECONCILER_DASHBOARD_PORT`."""
        return "_".join(("RECONCILER", *self.path)).upper()

    def read(self, text: str) -> Any:
        """What `text`, the value of the environment variable, means; `text` itself where it is no such value."""
        if self.schema.get("type") == "boolean":
            return {"true": True, "false": False}.get(text, text)
        read = {"integer": int, "number": float}.get(self.schema.get("type", ""), str)
        try:
            return read(text)
        except ValueError:
            return text


def scalars(schema: Mapping[str, Any] = SCHEMA, path: tuple[str, ...] = ()) -> Iterator[Scalar]:
    """Every scalar in the schema's order. Those of `exec_mcp` are none: accounts and money stand only in the file."""
    for name, inner in schema["properties"].items():
        if "properties" in inner:
            yield from scalars(inner, (*path, name))
        elif "enum" in inner or inner.get("type") in _SCALAR_TYPES:
            yield Scalar((*path, name), inner)

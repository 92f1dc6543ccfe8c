"""A fault: one keyword of a JSON Schema that a value does not meet, as jsonschema found it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reconciler.records.pointer import Path


@dataclass(frozen=True, slots=True)
class Fault:
    """`value`, at `path`, does not meet `keyword`, which says `expected` in `schema`.

    `keyword` is empty for the schema `false`. `branches` are the faults of each alternative of an `anyOf`
    or `oneOf`, in their order. `reason` is what jsonschema itself says, which may hold the value.
    """

    path: Path
    keyword: str
    expected: Any
    value: Any
    schema: Any
    reason: str
    is_of_key: bool
    branches: tuple[tuple[Fault, ...], ...] = ()

    @property
    def is_forbidden(self) -> bool:
        """True where the schema allows nothing at all (`false`)."""
        return not self.keyword or (self.keyword == "not" and self.expected == {})

    @property
    def rules_out(self) -> bool:
        """True where the value is of another type, or is another constant, than the schema is about."""
        return self.keyword in ("type", "const", "enum") or self.is_forbidden

    @property
    def options(self) -> list[Any]:
        """What a `const` or `enum` would have taken."""
        return [self.expected] if self.keyword == "const" else list(self.expected)

"""A violation: one way in which values break a schema, by the path of the value. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from reconciler.documents.document import Document
from reconciler.documents.merged import Merged
from reconciler.documents.pointer import Path, spell
from reconciler.errors import Problem


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with the value at `path`.

    `of_key`: it is the key that is at fault (unknown), or that tells where a mapping stands (a key is
    missing in it), so the position is the key's.
    """

    path: Path
    message: str
    hint: str = ""
    rule: str = "schema"
    of_key: bool = False

    def below(self, path: Path) -> Violation:
        """The same violation where the values themselves stand at `path`."""
        return replace(self, path=(*path, *self.path))

    def at(self, document: Document | Merged) -> Problem:
        """The same as a problem of the file that the value stands in, with line and column."""
        place = document.key_place(self.path) if self.of_key else document.place(self.path)
        return Problem(*place, spell(self.path), self.message, self.hint, self.rule)


_TELLING: Final = ("schema-secret", "schema-type", "schema-enum", "schema-unknown-key", "schema-required")


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """By file and line; within a place, the most telling first: what kind of value it is before its details."""

    def rank(problem: Problem) -> tuple[str, int, int, int, Problem]:
        telling = _TELLING.index(problem.rule) if problem.rule in _TELLING else len(_TELLING)
        return problem.path, problem.line, problem.column, telling, problem

    return tuple(sorted(dict.fromkeys(problems), key=rank))


def bounded(problems: Iterable[Problem], most: int) -> tuple[Problem, ...]:
    """In order; of more than anybody reads, which would weigh on database and pages, the first and their number."""
    ordered = in_order(problems)
    if len(ordered) <= most:
        return ordered
    rest = f"and {len(ordered) - most:,} more problems"
    return (*ordered[:most], replace(ordered[most], pointer="", message=rest, hint="", rule="more"))


@dataclass(frozen=True, slots=True)
class SchemaFault:
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
    branches: tuple[tuple[SchemaFault, ...], ...] = ()

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

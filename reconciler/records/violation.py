"""A violation: one way in which values break a schema, by the path of the value. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.errors import Problem
from reconciler.records.document import Document
from reconciler.records.pointer import Path, spell


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with the value at `path`. `of_key` where the key is at fault (unknown) or must tell
    where its mapping stands (a key is missing in it); positions then point at the key."""

    path: Path
    message: str
    hint: str = ""
    rule: str = "schema"
    of_key: bool = False

    def below(self, path: Path) -> Violation:
        """The same violation in values that themselves stand at `path`."""
        return Violation((*path, *self.path), self.message, self.hint, self.rule, self.of_key)

    def at(self, document: Document) -> Problem:
        """The same as a problem of a file, with line and column."""
        place = document.key_place(self.path) if self.of_key else document.place(self.path)
        return Problem(*place, spell(self.path), self.message, self.hint, self.rule)

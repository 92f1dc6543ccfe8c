"""The halts of `instances/_halt.yaml`: put in force as soon as they are seen, lifted only when that is certain."""

from __future__ import annotations

from typing import Protocol

from reconciler.errors import Problem
from reconciler.records.halt import Halt
from reconciler.records.halt_file import read_halts
from reconciler.records.snapshot import Snapshot, SourceFile


class DeclaredHalts(Protocol):
    """Where the halts of a file come into force."""

    def declare(self, halts: tuple[Halt, ...]) -> None: ...


class HaltWatch:
    """Follows the halt file from snapshot to snapshot."""

    def __init__(self, halts: DeclaredHalts) -> None:
        self._halts = halts
        self._seen: tuple[SourceFile | None, bool] = (None, True)
        self.declared: tuple[Halt, ...] = ()
        self.problems: tuple[Problem, ...] = ()

    def follow(self, snapshot: Snapshot, at: str) -> bool:
        """True where the halts in force have changed. A snapshot that is not whole, or a file that is still being
        written, may add halts; it lifts none."""
        seen = (snapshot.halt, snapshot.whole)
        if seen == self._seen:
            return False
        halts, problems = read_halts(snapshot.halt, at)
        if not snapshot.whole or (snapshot.halt is not None and snapshot.halt.is_unfinished):
            halts = tuple(dict.fromkeys((*self.declared, *halts)))
        self._halts.declare(halts)
        self._seen, self.declared, self.problems = seen, halts, problems
        return True

"""An evaluation: everything one file says, judged on its own. Frozen values only; `validation` makes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.errors import Problem
from reconciler.records.mode import Mode
from reconciler.records.record import InstanceRecord, Values


@dataclass(frozen=True, slots=True)
class DefinitionFacts:
    """What validation must know of a strategy definition, without holding its code.

    `problems` says why it cannot be loaded; they are then problems of every record that names it.
    `committed` is True where the source is exactly what the current revision holds.
    """

    strategy_type: str
    path: str
    code_digest: str
    config_schema: Values
    committed: bool
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one file says.

    `record` is there exactly where `problems` is empty. `claimed_id` and `claimed_mode` are read from
    whatever parsed, so that a file that is invalid elsewhere can still lower its mode; both are None where
    the file does not parse or the value is not of its form. `positions` finds the line and column of a
    pointer for problems that only a comparison shows (mode step, identity): (line, column) by pointer.
    """

    path: str
    file_digest: str
    claimed_id: str | None
    claimed_mode: Mode | None
    record: InstanceRecord | None
    code_digest: str
    values_digest: str
    config_digest: str
    problems: tuple[Problem, ...]
    positions: tuple[tuple[str, int, int], ...] = ()
    committed: bool = False

    def position(self, pointer: str) -> tuple[int, int]:
        """Line and column of the value at `pointer`, (1, 1) where it stands nowhere."""
        for name, line, column in self.positions:
            if name == pointer:
                return line, column
        return 1, 1

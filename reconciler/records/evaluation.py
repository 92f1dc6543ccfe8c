"""An evaluation: everything one file says, judged on its own. Frozen values only; `evaluator` makes them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from reconciler.errors import Problem
from reconciler.records.document import Document, parse
from reconciler.records.mode import Mode
from reconciler.records.pointer import parse as parse_pointer
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
    the file does not parse or the value is not of its form. `committed` is True where both the file and
    the strategy's source are. `source` is the file's bytes: positions are read from them when asked for.
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
    committed: bool = False
    source: bytes | None = field(default=None, repr=False)
    _positions: dict[str, tuple[int, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def position(self, pointer: str) -> tuple[int, int]:
        """Line and column of the value at `pointer`, for problems that only a comparison shows (mode step,
        identity); of its nearest ancestor where it stands nowhere, (1, 1) where the file does not parse."""
        found = self._positions.get(pointer)
        if found is None:
            document = None if self.source is None else parse(self.source, self.path)
            place = document.place(parse_pointer(pointer))[1:] if isinstance(document, Document) else (1, 1)
            found = self._positions[pointer] = place
        return found

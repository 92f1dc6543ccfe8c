"""An evaluation: everything one file says, judged on its own. Frozen values only; `evaluator` makes them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from reconciler.documents.document import Document, Mark, Merged, parse
from reconciler.documents.wording import Path, parse_pointer, spell
from reconciler.errors import Problem
from reconciler.records.mode import Mode
from reconciler.records.record import InstanceRecord, Values
from reconciler.records.template import Template, upon


@dataclass(frozen=True, slots=True)
class DefinitionFacts:
    """What validation must know of a strategy definition, without holding its code.

    `problems` says why it cannot be loaded; they are then problems of every record that names it.
    `committed` is True where the source is exactly what the current revision holds. `waiting` says that the code is not
    there yet, and cannot be judged by: empty where it is.
    """

    strategy_type: str
    path: str
    code_digest: str
    config_schema: Values
    committed: bool
    problems: tuple[Problem, ...] = ()
    waiting: str = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one file says, upon its template where it names one.

    `waiting` says what has to happen before it counts, empty where nothing has: the code that it is to be judged by
    comes, or whoever writes the file or its template closes it, for this may be half of it. `record` is there
    where there are no `problems`, but for that code. `claimed_id`, `claimed_mode` and `claimed_template` are
    read from whatever parsed, so that a file that is invalid elsewhere can still lower its mode; each is None
    where the file does not parse or the value is not of its form. `committed` is True where the file, its
    template and the strategy's source are. `template` is the one it names, None where there is none of that
    name. `lacking` are the limits without which it may not rise to active. `source` is the file's
    bytes: positions are read from them when asked for. `judged_by` stands for all that the record was judged by beside
    the files, as `Basis` tells it; empty where nobody asked.
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
    template_path: str = ""
    template_digest: str = ""
    claimed_template: str | None = None
    template: Template | None = field(default=None, repr=False, compare=False)
    waiting: str = ""
    lacking: tuple[str, ...] = ()
    judged_by: str = field(default="", compare=False)
    _places: dict[str, Mark] = field(default_factory=dict, init=False, repr=False, compare=False)

    def held_up(self, why: str) -> Evaluation:
        """The same, but that it waits: for code, or for what it builds on."""
        return replace(self, record=None, waiting=self.waiting or why)

    def place(self, pointer: str) -> Mark:
        """Where the value at `pointer` begins, in the file it comes from: this one or its template.

        Of what stands nowhere, where its nearest ancestor does; line 1, column 1 where the file does not parse.
        """
        found = self._places.get(pointer)
        if found is None:
            values = self._upon_template(_document)
            found = Mark(self.path, 1, 1) if values is None else values.place(parse_pointer(pointer))
            self._places[pointer] = found
        return found

    def located(self) -> Document | Merged | None:
        """The values with their places, parsed anew; None where the file does not parse."""
        return self._upon_template(parse)

    def _upon_template(
        self, parsed: Callable[[bytes, str], Document | tuple[Problem, ...]]
    ) -> Document | Merged | None:
        document = None if self.source is None else parsed(self.source, self.path)
        return upon(document, self.template) if isinstance(document, Document) else None


_document = lru_cache(maxsize=4)(parse)
"""The documents that were asked for last: many places are asked of one file, or of a few in turn. Evaluations
themselves hold none: the engine keeps one for each file."""


def leaves(values: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value with its path: mappings are opened up, lists and empty mappings are values."""
    if isinstance(values, dict) and values:
        for key, inner in values.items():
            yield from leaves(inner, (*path, key))
    else:
        yield path, values


def holds(values: Any, path: Path) -> bool:
    """True where there is a value at `path`, which leads through mappings."""
    for step in path:
        if not isinstance(values, dict) or step not in values:
            return False
        values = values[step]
    return True


def line_of(located: Document | Merged, path: Path) -> str:
    """`instances/a.yaml:7`: the file and line that the value at `path` comes from."""
    place = located.place(path)
    return f"{place.path}:{place.line}"


def origins(evaluation: Evaluation) -> dict[str, str]:
    """File and line of every value that was written, by its pointer; nothing where the file does not parse."""
    located = evaluation.located()
    if located is None:
        return {}
    return {spell(path): line_of(located, path) for path, _ in leaves(located.values) if path}

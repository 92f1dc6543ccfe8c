"""What the controller knows of the fleet: one frozen value, replaced whole, so that readers need no lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.errors import Problem
from reconciler.records.admission import Removal
from reconciler.records.evaluation import Evaluation
from reconciler.records.followed import Followed
from reconciler.records.mode import Mode, lowers
from reconciler.records.record import Attempt, Row, RowChange, without_instance
from reconciler.records.snapshot import MergedChange


@dataclass(frozen=True, slots=True)
class Fleet:
    """The two facts on every record: `rows` by id is what is applied, `attempts` by path what was attempted.

    `evaluations` are what the files said last. `halt_problems` are those of `instances/_halt.yaml`,
    `template_problems` those that stand in templates, whether records use them or not. Empty where all is well:
    `source_error` says why the files could not be read at all, `not_whole` why the last read could not tell what
    is missing, `git_problem` why nobody knows what is committed, and `git_note` what else is to be said of git.
    `blocked_since_s` is when `not_whole` began (monotonic), None where it is empty. `followed` is how far a branch was,
    None of a work tree. `lowered` are modes that are in force below those of the rows. `head` is what `revision` says
    of itself, None where that is not known.
    """

    rows: Mapping[str, Row] = field(default_factory=dict)
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    evaluations: Sequence[Evaluation] = ()
    halt_problems: tuple[Problem, ...] = ()
    template_problems: tuple[Problem, ...] = ()
    removal: Removal = field(default_factory=Removal)
    revision: str | None = None
    clean: bool = False
    not_whole: str = ""
    git_problem: str = ""
    git_note: str = ""
    blocked_since_s: float | None = None
    source_error: str = ""
    followed: Followed | None = None
    lowered: Mapping[str, Mode] = field(default_factory=dict)
    head: MergedChange | None = None
    observed: bool = False
    """True once a snapshot has been read and applied by this process."""

    def after(self, changes: Iterable[RowChange], attempts: Iterable[Attempt], forgotten_paths: Iterable[str]) -> Fleet:
        """The same fleet with these changes written into it; unchanged rows stay the same objects."""
        rows, tried = dict(self.rows), dict(self.attempts)
        rows.update((change.row.id, change.row) for change in changes)
        tried.update((attempt.path, attempt) for attempt in attempts)
        for path in forgotten_paths:
            tried.pop(path, None)
        return replace(self, rows=rows, attempts=tried)

    def in_force(self) -> Mapping[str, Row]:
        """The rows by which the fleet is to run: these themselves where nothing is lower than they say."""
        lower = {
            name: row.lowered(mode)
            for name, mode in self.lowered.items()
            if (row := self.rows.get(name)) is not None and row.is_live and lowers(row.mode, mode)
        }
        return {**self.rows, **lower} if lower else self.rows

    def attempt_of(self, row: Row) -> Attempt | None:
        """What was last attempted with the file this row came from."""
        return self.attempts.get(row.path)

    def evaluation_of(self, row: Row) -> Evaluation | None:
        """What the files said that this row was made from; None where they say something else by now."""
        found = next((one for one in self.evaluations if one.path == row.path), None)
        if found is None or (found.file_digest, found.template_path, found.template_digest) != (
            row.file_digest,
            row.template_path,
            row.template_digest,
        ):
            return None
        return found

    @property
    def why_uncommitted(self) -> str:
        """Why nothing counts as committed, empty where it only lacks a commit."""
        return self.git_note or self.git_problem

    def without_instance(self) -> tuple[Attempt, ...]:
        """What was attempted with files that have a problem and stand for no instance."""
        return without_instance(self.rows.values(), self.attempts.values())

    def problems(self) -> tuple[Problem, ...]:
        """Every problem of every file, by path and line; those that files share (a template's), once."""
        found = {problem for attempt in self.attempts.values() for problem in attempt.problems}
        return tuple(sorted(found.union(self.halt_problems, self.template_problems)))

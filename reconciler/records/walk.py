"""The walk: rows moved on by one commit after the other, each a change of its own. Pure.

An engine that follows a branch walks so, and so does a review that asks what such an engine has applied by now.
Where it leads is the same whether the commits are walked one by one, as they came, or all at once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from reconciler.records.admission import Admission, Arrival, admit
from reconciler.records.crosscheck import contested_id
from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import Mode, lowers
from reconciler.records.record import Row, RowChange
from reconciler.records.snapshot import Snapshot, SourceFile, named_id


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit did to the records of a fleet.

    `files` are those of each name that it touched: all that then had the name, none where it took them away.
    `removed` are names that it took away, unless these were too many at once. `strategies` and `templates` are the
    files of that moment, and so are the bytes of the `settings`, None where there are none. `is_first`: no commit
    before it held any record.
    """

    commit: str
    files: Mapping[str, tuple[SourceFile, ...]]
    removed: frozenset[str] = frozenset()
    strategies: tuple[SourceFile, ...] = ()
    templates: tuple[SourceFile, ...] = ()
    is_first: bool = False
    settings: bytes | None = None

    def only(self, names: frozenset[str]) -> Step:
        """What it did to these names."""
        files = {name: files for name, files in self.files.items() if name in names}
        return replace(self, files=files, removed=self.removed & names)


UNUSABLE: Final = b"["
"""Settings of a step that cannot be read, as a link that leads out of the commit: those that were last good count."""


def moment(commit: str, snapshot: Snapshot, settings: bytes | None = None) -> Step:
    """What files are judged by at that commit, whatever it did."""
    return Step(commit, {}, strategies=snapshot.strategies, templates=snapshot.templates, settings=settings)


Judge = Callable[[Sequence[SourceFile], Step], Sequence[Evaluation]]
"""Judges these files by strategies and templates of that moment, and those that claim one id against each other."""


class CommitWalk:
    """`rows` by id are what is applied by now, `changes` all that led there, the oldest first.

    `behind` are names that could not be followed any further, for the code of a moment is not there yet: each with the
    commit at which it is to meet its row, once that is. `lowered` is the lowest that any commit since then says of
    them: their rows say nothing of it until they are led there.
    """

    def __init__(self, rows: Mapping[str, Row], judge: Judge, at: str) -> None:
        """`rows` are what is applied so far; `at` (ISO 8601) is when all of it is."""
        self.rows = dict(rows)
        self.changes: list[RowChange] = []
        self.behind: dict[str, str] = {}
        self.lowered: dict[str, Mode] = {}
        self._judge = judge
        self._at = at
        self._files: dict[str, tuple[SourceFile, ...]] = {}
        self._strategies: tuple[SourceFile, ...] = ()
        self._templates: tuple[SourceFile, ...] = ()
        self._settings: bytes | None = None
        self._strange: dict[str, frozenset[str]] = {}
        """The ids that files claim under other names than these: they contest them, though they are none of theirs."""

    def stand(self, evaluations: Iterable[Evaluation], files: Iterable[SourceFile], moment: Step) -> None:
        """What there is before the first step: `files` are records, `moment` tells strategies and templates."""
        self._strategies, self._templates, self._settings = moment.strategies, moment.templates, moment.settings
        for file in files:
            name = named_id(file.path)
            self._files[name] = (*self._files.get(name, ()), file)
        self._note_claims(evaluations, ())

    def follow(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self._follow(step)

    def arrive(self, evaluations: Sequence[Evaluation], revision: str, is_first: bool = False) -> Admission:
        """Let these files, all that bear their names, meet the rows."""
        names = {named_id(one.path) for one in evaluations}
        return self._admit(names, evaluations, Arrival(self._at, revision, adopt=is_first))

    def take(self, other: CommitWalk) -> None:
        """Go on from where another one, which began with the same rows, has led some of them."""
        self.rows = other.rows
        self.changes += other.changes
        self.behind |= other.behind

    def _follow(self, step: Step) -> None:
        touched = set(step.files)
        for name, files in step.files.items():
            self._files[name] = files
        if step.strategies != self._strategies or step.templates != self._templates:
            touched.update(self._files)
        if step.settings != self._settings:
            touched.update(self._files)
        self._strategies, self._templates, self._settings = step.strategies, step.templates, step.settings
        # What was lowered, by a commit that was held or by a file that was wrong, is said anew by each commit.
        touched.update(name for name, row in self.rows.items() if row.mode_override is not None and row.is_live)
        contested = {id_ for ids in self._strange.values() for id_ in ids}
        self._remove(step.removed - contested, step.commit)
        evaluations, names = self._judged(touched, step)
        for one in evaluations:
            if one.waiting:
                self.behind.setdefault(named_id(one.path), step.commit)
        self._admit(names, evaluations, Arrival(self._at, step.commit, adopt=step.is_first))

    def _remove(self, names: Iterable[str], commit: str) -> None:
        for name in sorted(names):
            row = self.rows.get(name)
            if row is not None and row.is_live and not row.record.protect and name not in self.behind:
                gone = replace(row, removed_at=self._at, applied_at=self._at, revision=commit)
                self._put(RowChange(gone, "removed", "its file was removed"))

    def _judged(self, touched: Collection[str], step: Step) -> tuple[Sequence[Evaluation], set[str]]:
        """Evaluations of all files of these names, and of the names that claim an id together with them."""
        names = set(touched)
        while True:
            names |= {id_ for name in names & self._strange.keys() for id_ in self._strange[name]}
            names |= {name for name, ids in self._strange.items() if not names.isdisjoint(ids)}
            files = [file for name in sorted(names) for file in self._files.get(name, ())]
            evaluations = self._judge(files, step) if files else ()
            self._note_claims(evaluations, names)
            if all(self._strange.get(name, frozenset()) <= names for name in names):
                return evaluations, names

    def _note_claims(self, evaluations: Iterable[Evaluation], names: Iterable[str]) -> None:
        for name in names:
            self._strange.pop(name, None)
        for one in evaluations:
            name, claimed = named_id(one.path), contested_id(one)
            if claimed is not None and claimed != name:
                self._strange[name] = self._strange.get(name, frozenset()) | {claimed}

    def _admit(self, names: Collection[str], evaluations: Iterable[Evaluation], arrival: Arrival) -> Admission:
        rows = {name: self.rows[name] for name in names if name in self.rows}
        admission = admit(evaluations, rows, {}, arrival)
        for change in admission.changes:
            id_ = change.row.id
            if id_ in self.behind:
                self.lowered |= lowest(self.lowered, {id_: change.row.mode} if _is_lower(change, rows) else {})
            elif id_ in names:
                self._put(change)
        return admission

    def _put(self, change: RowChange) -> None:
        self.rows[change.row.id] = change.row
        self.changes.append(change)


def _is_lower(change: RowChange, rows: Mapping[str, Row]) -> bool:
    row = rows.get(change.row.id)
    return row is not None and row.is_live and lowers(row.mode, change.row.mode)


def lowest(*said: Mapping[str, Mode]) -> dict[str, Mode]:
    """Of each name the lowest mode that any of them says."""
    found: dict[str, Mode] = {}
    for modes in said:
        found |= {name: mode for name, mode in modes.items() if name not in found or lowers(found[name], mode)}
    return found

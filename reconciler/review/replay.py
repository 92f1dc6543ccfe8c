"""The replay: what an engine has applied for some records, told from the commits that led to a base. Loads strategies.

Each version of a record meets the row of the version before it by the engine's own rules, so that one that was
merged past a red check counts for no more than it did. An approximation it remains: accounts are the base's, an engine
may not have seen every commit, and nobody knows what its operators confirmed. A version that the strategies of the
base refuse is judged by those of its time; where these cannot be loaded any more, its config is taken to be right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from reconciler.records.accounts import Accounts
from reconciler.records.admission import Arrival, admit
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.record import Attempt, Row
from reconciler.records.snapshot import SourceFile, named_id
from reconciler.sources.history import Step
from reconciler.strategy.catalogue import Catalogue

UNTIMED: Final = ""
"""When something was applied, or will be: no file tells."""


class Replay:
    """The rows of some records, moved on by one commit after the other."""

    def __init__(self, accounts: Accounts, catalogue: Catalogue) -> None:
        """`catalogue` holds the strategies of the base, and is only asked."""
        self.rows: dict[str, Row] = {}
        self._accounts = accounts
        self._catalogue = catalogue
        self._seen: dict[str, frozenset[tuple[str, str]]] = {}

    def follow(self, steps: Iterable[Step]) -> None:
        for step in steps:
            for name in step.removed:
                row = self.rows.get(name)
                if row is not None and row.is_live and not row.record.protect:
                    self.rows[name] = replace(row, removed_at=UNTIMED)
            for name, files in step.files.items():
                self._seen[name] = _versions(files)
                arrival = Arrival(UNTIMED, step.commit, adopt=step.is_first)
                self._admit({name}, self._judged(files, step), arrival)

    def arrive(self, evaluations: Iterable[Evaluation], revision: str) -> tuple[Attempt, ...]:
        """Let the files of the base itself meet the rows; what became of each of them."""
        files = tuple(evaluations)
        return self._admit({named_id(file.path) for file in files}, files, Arrival(UNTIMED, revision))

    def knows(self, name: str, files: Iterable[SourceFile]) -> bool:
        """False where these files of that name are not what the commits led to: a link, or another repository's."""
        return self._seen.get(name, frozenset()) == _versions(files)

    def _admit(self, names: Collection[str], files: tuple[Evaluation, ...], arrival: Arrival) -> tuple[Attempt, ...]:
        rows = {name: self.rows[name] for name in names if name in self.rows}
        admission = admit(files, rows, {}, arrival)
        self.rows.update((change.row.id, change.row) for change in admission.changes if change.row.id in names)
        return admission.attempts

    def _judged(self, files: tuple[SourceFile, ...], step: Step) -> tuple[Evaluation, ...]:
        def judged(facts: Mapping[str, DefinitionFacts]) -> tuple[Evaluation, ...]:
            types = tuple(sorted(facts))
            return evaluate_all(files, step.templates, facts.get, self._accounts, types, EvaluationCache())

        now = {name: facts for name in self._catalogue.types() if (facts := self._catalogue.facts(name)) is not None}
        evaluations = judged(now)
        if all(one.record is not None for one in evaluations) or _is_same(now, step.strategies):
            return evaluations
        return judged({name: _lenient(facts) for name, facts in _facts_then(step.strategies).items()})


def _versions(files: Iterable[SourceFile]) -> frozenset[tuple[str, str]]:
    return frozenset((file.path, file.digest) for file in files)


def _is_same(facts: Mapping[str, DefinitionFacts], strategies: Iterable[SourceFile]) -> bool:
    return {one.code_digest for one in facts.values()} == {file.digest for file in strategies}


@lru_cache(maxsize=64)
def _facts_then(strategies: tuple[SourceFile, ...]) -> Mapping[str, DefinitionFacts]:
    catalogue = Catalogue()
    catalogue.refresh(strategies)
    return {name: facts for name in catalogue.types() if (facts := catalogue.facts(name)) is not None}


def _lenient(facts: DefinitionFacts) -> DefinitionFacts:
    """What cannot be loaded now could perhaps then, with what was installed."""
    return replace(facts, problems=(), config_schema=_ANYTHING) if facts.problems else facts


_ANYTHING: Final = {"type": "object"}

"""The cross-check: all files of a snapshot, judged each on its own and then against each other. Pure.

A file is judged again only where something its judgement rests on is another object than last time, so
a pass over unchanged files costs next to nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.evaluation import DefinitionFacts, Evaluation
from reconciler.records.evaluator import FindFacts, evaluate, named_id
from reconciler.records.snapshot import SourceFile
from reconciler.records.violation import in_order


@dataclass(frozen=True, slots=True)
class _Judged:
    """An evaluation and what it rests on; `strategy_type` is None where the file names none."""

    evaluation: Evaluation
    file: SourceFile
    accounts: Accounts
    strategy_type: str | None
    facts: DefinitionFacts | None
    known_types: tuple[str, ...]


@dataclass(slots=True)
class EvaluationCache:
    """What was judged last time, by path, and the result in which nothing has changed since. Not thread-safe."""

    judged: dict[str, _Judged] = field(default_factory=dict)
    result: tuple[Evaluation, ...] = ()


def evaluate_all(
    files: Sequence[SourceFile],
    facts: FindFacts,
    accounts: Accounts,
    known_types: Sequence[str],
    cache: EvaluationCache,
) -> tuple[Evaluation, ...]:
    """Judge every file of a snapshot, in its order; the same tuple as last time where nothing changed.

    Files that claim one id are all refused, each naming the others. A file that cannot be read is taken to
    claim the id it is named after: nobody knows that it does not.
    """
    told: dict[str, DefinitionFacts | None] = {}

    def ask(strategy_type: str) -> DefinitionFacts | None:
        if strategy_type not in told:
            told[strategy_type] = facts(strategy_type)
        return told[strategy_type]

    types = tuple(known_types)
    before = cache.judged
    judged: dict[str, _Judged] = {}
    changed = len(files) != len(before)
    for file in files:
        known = before.get(file.path)
        if known is None or not _still_holds(known, file, accounts, ask, types):
            known = _judge(file, ask, accounts, types)
            changed = True
        judged[file.path] = known
    if changed:
        cache.judged = judged
        cache.result = _against_each_other([one.evaluation for one in judged.values()])
    return cache.result


def _still_holds(
    known: _Judged, file: SourceFile, accounts: Accounts, ask: FindFacts, known_types: tuple[str, ...]
) -> bool:
    if known.file is not file or known.accounts is not accounts:
        return False
    if known.strategy_type is None:
        return True
    return ask(known.strategy_type) is known.facts and (known.facts is not None or known.known_types == known_types)


def _judge(file: SourceFile, ask: FindFacts, accounts: Accounts, known_types: tuple[str, ...]) -> _Judged:
    asked: list[tuple[str, DefinitionFacts | None]] = []

    def note(strategy_type: str) -> DefinitionFacts | None:
        asked.append((strategy_type, ask(strategy_type)))
        return asked[-1][1]

    evaluation = evaluate(file, note, accounts, known_types)
    strategy_type, found = asked[0] if asked else (None, None)
    return _Judged(evaluation, file, accounts, strategy_type, found, known_types)


def _against_each_other(evaluations: Iterable[Evaluation]) -> tuple[Evaluation, ...]:
    files = tuple(evaluations)
    claims: dict[str, list[Evaluation]] = defaultdict(list)
    for file in files:
        claimed = named_id(file.path) if file.source is None else file.claimed_id
        if claimed is not None:
            claims[claimed].append(file)
    rivals = {file.path: claimants for claimants in claims.values() if len(claimants) > 1 for file in claimants}
    return tuple(_refused(file, rivals[file.path]) if file.path in rivals else file for file in files)


def _refused(file: Evaluation, claimants: Iterable[Evaluation]) -> Evaluation:
    rivalries = [_rivalry(file, rival) for rival in claimants if rival.path != file.path]
    problems = in_order([*file.problems, *rivalries])
    return replace(file, record=None, values_digest="", config_digest="", problems=problems)


def _rivalry(file: Evaluation, rival: Evaluation) -> Problem:
    how = "also claimed by" if rival.source is not None else "also claimed, as far as its name tells, by the unreadable"
    line, column = (0, 0) if file.source is None else file.position("id")
    hint = "an id belongs to one file: give one of the two another, or remove it"
    return Problem(file.path, line, column, "id", f"{how} {rival.path}", hint, "duplicate-id")

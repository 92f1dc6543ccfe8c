"""Judging a snapshot by its own strategies. Loads them; reads nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import EvaluationCache, contested_id, evaluate_all
from reconciler.records.evaluation import Evaluation
from reconciler.records.snapshot import Snapshot, named_id
from reconciler.review.sieve import Sieve, worthwhile_helpers
from reconciler.strategy.catalogue import Catalogue


def judge(
    snapshot: Snapshot, accounts: Accounts, catalogue: Catalogue, cache: EvaluationCache
) -> tuple[Evaluation, ...]:
    """An evaluation of every record file. Leaves `catalogue` at the strategies of this snapshot.

    What `cache` has judged before is not judged again, where file, template, strategy and accounts are the
    same objects as then.
    """
    catalogue.refresh(snapshot.strategies)
    return evaluate_all(snapshot.instances, snapshot.templates, catalogue.facts, accounts, catalogue.types(), cache)


class Sifted(NamedTuple):
    """The record files of a snapshot: the paths of `valid` ones, and an evaluation of each of the others, in order.

    The others are those with problems, and perhaps some without.
    """

    valid: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]


def sift(snapshot: Snapshot, accounts: Accounts, catalogue: Catalogue) -> Sifted:
    """Find the same problems as `judge` in a fraction of the time, where most files have none.

    Leaves `catalogue`, which must be new, at the strategies of this snapshot.
    """
    files, templates = snapshot.instances, snapshot.templates
    with Sieve(files, templates, accounts, worthwhile_helpers(len(files))) as sieve:
        catalogue.refresh(snapshot.strategies)
        found = {name: facts for name in catalogue.types() if (facts := catalogue.facts(name)) is not None}
        passed = [file.path for file in sieve.passed(found)]
    cache = EvaluationCache()

    def all_but(valid: Collection[str]) -> tuple[Evaluation, ...]:
        others = [file for file in files if file.path not in valid]
        return evaluate_all(others, templates, catalogue.facts, accounts, catalogue.types(), cache)

    evaluations = all_but(frozenset(passed))
    names = [named_id(path) for path in passed]  # a valid file has the id it is named after
    claims = Counter((*names, *map(contested_id, evaluations)))
    valid = tuple(path for path, name in zip(passed, names, strict=True) if claims[name] == 1)
    return Sifted(valid, evaluations if len(valid) == len(passed) else all_but(frozenset(valid)))

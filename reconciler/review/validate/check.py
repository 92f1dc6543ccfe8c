"""Checking a snapshot as the engine would, without one: definitions, every record, the halt file. Loads strategies."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reconciler.documents.document import Document, parse
from reconciler.errors import Problem
from reconciler.records.accounts import Accounts
from reconciler.records.admission import lacking_problem
from reconciler.records.crosscheck import template_problems
from reconciler.records.evaluation import Evaluation
from reconciler.records.halt import read_halts, strange_halts
from reconciler.records.mode import Mode
from reconciler.records.snapshot import Snapshot, named_id
from reconciler.review.judging import sift
from reconciler.review.validate.report import Report, report
from reconciler.strategy.catalogue import Catalogue

if TYPE_CHECKING:
    from reconciler.sources.compared import Base

EVERYTHING = ("",)


@dataclass(frozen=True, slots=True)
class Against:
    """What a snapshot is compared with, and the accounts that are declared there."""

    base: Base
    accounts: Accounts


def check(
    snapshot: Snapshot,
    accounts: Accounts,
    paths: Collection[str] = EVERYTHING,
    against: Against | None = None,
    folder: str = "",
    catalogue: Catalogue | None = None,
) -> Report:
    """The report on the files that `paths` name, relative to the fleet's root; a folder means all in it.

    Everything is read even where one file is named: two files that claim one id are a problem of both.
    `against` adds what only a comparison shows. `folder` is the way from the repository to the fleet. `catalogue` is a
    new one, which says how long imports may take.
    """
    catalogue = catalogue or Catalogue()
    valid: tuple[str, ...] = ()
    compared: tuple[Problem, ...] = ()
    if against is None:
        valid, evaluations = sift(snapshot, accounts, catalogue)
        compared = tuple(map(lacking_problem, filter(_would_be_refused, evaluations)))
    else:
        from reconciler.review.plan.comparison import compare_revisions, comparison_problems

        comparison = compare_revisions(against.base, against.accounts, snapshot, accounts, catalogue)
        evaluations, compared = comparison.evaluations, comparison_problems(comparison)
    _, others = read_halts(snapshot.halt, at="")
    ids = [named_id(file.path) for file in snapshot.instances]
    others += strange_halts(snapshot.halt, ids, lambda: {*accounts.declared, *_accounts_named(snapshot)})
    others += template_problems(snapshot.templates, evaluations)
    for facts in filter(None, map(catalogue.facts, catalogue.types())):
        others += facts.problems
    return report(
        (evaluation for evaluation in evaluations if is_under(evaluation.path, paths)),
        (problem for problem in (*others, *compared) if is_under(problem.path, paths)),
        folder,
        (path for path in valid if is_under(path, paths)),
    )


def _would_be_refused(file: Evaluation) -> bool:
    """True where it says active, and could not rise there: whether it was active before, only a comparison knows."""
    return bool(file.lacking) and file.record is not None and file.record.mode is Mode.ACTIVE


def _accounts_named(snapshot: Snapshot) -> Iterator[str]:
    """The account_id of every record that parses."""
    for file in snapshot.instances:
        document = None if file.data is None else parse(file.data, file.path)
        values = document.values if isinstance(document, Document) else None
        account = values.get("account") if isinstance(values, Mapping) else None
        if isinstance(account, Mapping) and isinstance(account.get("account_id"), str):
            yield account["account_id"]


_ACTIVE: Final = re.compile(rb"""^["']?mode["']? *: +["']?active\b""", re.MULTILINE)


def could_be_refused(snapshot: Snapshot) -> tuple[str, ...]:
    """The names of records that say active: good as they are, and yet a step that may be refused."""
    return tuple(named_id(one.path) for one in snapshot.instances if one.data and _ACTIVE.search(one.data))


def known_paths(snapshot: Snapshot) -> tuple[str, ...]:
    """Every file that counts: records and what they need."""
    halt = (snapshot.halt,) if snapshot.halt else ()
    return tuple(f.path for f in (*snapshot.instances, *snapshot.templates, *snapshot.strategies, *halt))


def is_under(path: str, folders: Collection[str]) -> bool:
    """True where `path` is one of `folders` or lies in one of them. The empty folder is the whole fleet."""
    return "" in folders or any(path == folder or path.startswith(f"{folder}/") for folder in folders)

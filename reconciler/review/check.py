"""Checking a snapshot as the engine would, without one: definitions, every record, the halt file. Loads strategies."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.halt_file import read_halts
from reconciler.records.snapshot import Snapshot
from reconciler.review.report import Report, report
from reconciler.strategy.catalogue import Catalogue

EVERYTHING = ("",)


def check(snapshot: Snapshot, accounts: Accounts, paths: Collection[str] = EVERYTHING) -> Report:
    """The report on the files that `paths` name, relative to the fleet's root; a folder means all in it.

    Everything is read even where one file is named: two files that claim one id are a problem of both.
    """
    catalogue = Catalogue()
    catalogue.refresh(snapshot.strategies)
    evaluations = evaluate_all(snapshot.instances, catalogue.facts, accounts, catalogue.types(), EvaluationCache())
    _, others = read_halts(snapshot.halt, at="")
    for facts in filter(None, map(catalogue.facts, catalogue.types())):
        others += facts.problems
    return report(
        (evaluation for evaluation in evaluations if is_under(evaluation.path, paths)),
        (problem for problem in others if is_under(problem.path, paths)),
    )


def known_paths(snapshot: Snapshot) -> tuple[str, ...]:
    """Every file that counts: records and what they need."""
    halt = (snapshot.halt,) if snapshot.halt else ()
    return tuple(f.path for f in (*snapshot.instances, *snapshot.templates, *snapshot.strategies, *halt))


def is_under(path: str, folders: Collection[str]) -> bool:
    """True where `path` is one of `folders` or lies in one of them. The empty folder is the whole fleet."""
    return any(not folder or path == folder or path.startswith(f"{folder}/") for folder in folders)

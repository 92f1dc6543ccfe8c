"""Checking a snapshot as the engine would, without one: definitions, then every record. Pure but for loading code."""

from __future__ import annotations

from collections.abc import Collection

from reconciler.records.accounts import Accounts
from reconciler.records.snapshot import Snapshot
from reconciler.records.validation import evaluate_all
from reconciler.review.report import Report, report
from reconciler.strategy.catalogue import Catalogue


def check(snapshot: Snapshot, accounts: Accounts, paths: Collection[str] | None = None) -> Report:
    """The report on all files, or on those named by `paths`, relative to the fleet's root; a folder means all in it.

    Everything is read even then: two files that claim one id are a problem of both.
    """
    catalogue = Catalogue()
    catalogue.refresh(snapshot.strategies)
    evaluations = evaluate_all(snapshot, catalogue, accounts)
    if paths is None:
        return report(evaluations)
    wanted = [evaluation for evaluation in evaluations if is_under(evaluation.path, paths)]
    others = {p for evaluation in evaluations for p in evaluation.problems if is_under(p.path, paths)}
    return report(wanted, others)


def known_paths(snapshot: Snapshot) -> tuple[str, ...]:
    """Every file that counts, records and what they need."""
    halt = (snapshot.halt,) if snapshot.halt else ()
    return tuple(f.path for f in (*snapshot.instances, *snapshot.templates, *snapshot.strategies, *halt))


def is_under(path: str, paths: Collection[str]) -> bool:
    """True where `path` is one of `paths` or lies in one of them. The empty path is the whole fleet."""
    return any(not folder or path == folder or path.startswith(f"{folder}/") for folder in paths)

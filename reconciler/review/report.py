"""A report: what validating files found. Each way of printing one is a module beside this (`text`, `json`). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation


@dataclass(frozen=True, slots=True)
class Report:
    """Every problem, by path and line; how many files were looked at, and how many of them are valid."""

    problems: tuple[Problem, ...]
    files: int
    valid: int

    @property
    def ok(self) -> bool:
        return not self.problems


def report(evaluations: Iterable[Evaluation], others: Iterable[Problem] = ()) -> Report:
    """The report on these files. `others` are problems of files that are no records.

    A problem that several records share (a strategy that cannot be loaded) is told once.
    """
    found = tuple(evaluations)
    problems = {problem for evaluation in found for problem in evaluation.problems} | set(others)
    valid = sum(1 for evaluation in found if not evaluation.problems)
    return Report(tuple(sorted(problems)), len(found), valid)

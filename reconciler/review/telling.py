"""Which problems are told first, and which are told where only some are seen. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from reconciler.errors import Problem
from reconciler.review.report import Report
from reconciler.review.rule import urgency


def most_urgent_first(report: Report) -> tuple[Problem, ...]:
    """All problems, in the order of `urgent_first`."""
    return tuple(sorted(report.problems, key=urgent_first(report)))


def urgent_first(report: Report) -> Callable[[Problem], tuple[int, bool, Problem]]:
    """What to sort by: the urgency of their rule, those of files that records need (strategies, templates, settings)
    before those of records, then path and line."""
    return lambda problem: (urgency(problem), problem.path in report.checked, problem)


def spread(problems: Sequence[Problem], number: int, per_file: int) -> frozenset[Problem]:
    """So many of the first of these, and not more than `per_file` of one file unless there is nothing else to tell:
    the first of each file before the second of any, within what is equally urgent."""
    seen: Counter[str] = Counter()
    at: Counter[tuple[int, str]] = Counter()
    ranked = []
    for order, problem in enumerate(problems):
        group = (urgency(problem), problem.path)
        seen[problem.path] += 1
        at[group] += 1
        ranked.append((seen[problem.path] > per_file, group[0], at[group], order))
    return frozenset(problems[order] for *_, order in sorted(ranked)[:number])

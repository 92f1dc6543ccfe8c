"""A report: what validating files found. Each way of writing one is a module beside this, listed in `FORMATS`. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Final

from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation
from reconciler.review.validate.rule import urgency


@dataclass(frozen=True, slots=True)
class Report:
    """Every problem once, by path and line, and what each record file was found to be.

    `checked` has all record files looked at, by path, each with the problems that keep it from being valid: its own,
    and those of files that it needs (its strategy, its template). A problem's path may be no record file: a strategy,
    a template, the settings, a file that was removed.

    `folder` is the way from the top of the repository to the fleet, `""` or `a/b/`: paths of problems begin at the
    fleet, and what reads these reports on a server begins at the repository. `here` is the way to the fleet from where
    the command was called: terminals and editors begin there. `unsure` are ids that a comparison could yet refuse.
    """

    problems: tuple[Problem, ...] = ()
    checked: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    folder: str = ""
    here: str = ""
    unsure: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def files(self) -> int:
        return len(self.checked)

    @property
    def invalid(self) -> tuple[str, ...]:
        """The record files that are not valid, by path."""
        return tuple(path for path, problems in self.checked.items() if problems)

    @property
    def valid(self) -> int:
        return self.files - len(self.invalid)


def report(
    evaluations: Iterable[Evaluation], others: Iterable[Problem] = (), folder: str = "", valid: Iterable[str] = ()
) -> Report:
    """The report on these files, and on those at the paths `valid`, which are without problems of their own.

    `others` are problems that no evaluation knows: of files that are no records, and of the change rather than the
    file. They keep a record file from being valid where they stand in one.

    A problem that several records share (a strategy that cannot be loaded) is told once.
    """
    others = tuple(others)
    theirs = {str(problem): problem for problem in others}
    checked: dict[str, tuple[Problem, ...]] = dict.fromkeys(valid, ())
    checked |= {e.path: tuple(_original(problem, theirs) for problem in e.problems) for e in evaluations}
    for problem in others:
        if problem.path in checked:
            checked[problem.path] += (problem,)
    found = {*others, *(problem for problems in checked.values() for problem in problems)}
    return Report(tuple(sorted(found)), dict(sorted(checked.items())), folder)


def _original(problem: Problem, others: Mapping[str, Problem]) -> Problem:
    """The strategy's own problem, where this one only repeats it in a record that runs the strategy."""
    return others.get(problem.message, problem) if problem.rule == "definition-broken" else problem


Render = Callable[[Report], str]


def _lazy(name: str) -> Render:
    def render(report: Report) -> str:
        written: str = import_module(f"reconciler.review.validate.{name}").render(report)
        return written

    return render


FORMATS: Final[Mapping[str, Render]] = MappingProxyType(
    {name: _lazy(name) for name in ("text", "json", "github", "gitlab", "sarif", "junit")}
)
"""Name → what writes a report that way: text without a final line break, empty where there is nothing to write."""


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

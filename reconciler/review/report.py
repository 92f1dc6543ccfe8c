"""A report: what validating files found. Each way of writing one is a module beside this, listed in `formats`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation


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

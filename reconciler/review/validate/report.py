"""A report: what validating files found, and how each format words it. Pure.

The text for people, and for editors that parse `path:line:column`, is made here; the other formats, which are for
machines, in `report_formats`. What a report tells was written by whoever wrote the file, so none of it may act on
whoever reads the report: see `reconciler.visible`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import Final

from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation
from reconciler.review.validate.rule import urgency
from reconciler.visible import visible


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


def as_text(report: Report) -> str:
    """A line per problem, its hint indented below; empty where there are none."""
    return "\n".join(as_lines(problem, report.here) for problem in report.problems)


def as_lines(problem: Problem, here: str = "") -> str:
    """`here` is the way to the fleet, at which paths begin."""
    return visible(here + str(problem)) + hinted(problem, "\n  ")


def summary(report: Report) -> str:
    """`12 files, all valid`, or `12 files, 10 valid; 5 problems`."""
    files = count(report.files, "file")
    if report.ok:
        return f"{files}, all valid" if report.files else "no instance files"
    return f"{files}, {report.valid:,} valid; {count(len(report.problems), 'problem')}"


def notes(report: Report) -> list[str]:
    """What was not looked at, and how to have it looked at."""
    if not report.unsure:
        return []
    verb = "say" if len(report.unsure) > 1 else "says"
    return [
        f"note: {some(report.unsure, 3)} {verb} mode: active, which only follows on observe; "
        "whether a change is such a step, and what else would be refused of it, is told by --base REF"
    ]


_BACKTICKS: Final = re.compile("`+")


def inert(line: str) -> str:
    """One line of a log in which GitHub's runner finds no command, as long as it begins with words of ours."""
    return visible(line).replace("##[", "##\\[")


def code_span(text: str) -> str:
    """`text` as a code span of markdown that nothing in it can end, on one line.

    Its fence is longer than any run of backticks within. A space that touches it would be lost and a backtick become
    part of it, so both are kept off by another space; of nothing but spaces nothing would be seen, so it is quoted.
    """
    text = visible(text)
    if not text.strip(" "):
        text = f'"{text}"'
    fence = "`" * (1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    pad = " " if {text[0], text[-1]} & {"`", " "} else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def statement(problem: Problem) -> str:
    """`config.levels: expected an integer, was "five"`, on one line; where it stands and its hint excluded."""
    return visible(f"{problem.pointer}: {problem.message}" if problem.pointer else problem.message)


def hinted(problem: Problem, before: str) -> str:
    """`before` and the hint, or nothing where there is none."""
    return f"{before}hint: {visible(problem.hint)}" if problem.hint else ""


def position(problem: Problem) -> str:
    """`14:11`, or nothing for the file as a whole."""
    return f"{problem.line}:{problem.column}" if problem.line else ""


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


Render = Callable[[Report], str]


def _lazy(name: str) -> Render:
    def render(report: Report) -> str:
        written: str = getattr(import_module("reconciler.review.validate.report_formats"), f"as_{name}")(report)
        return written

    return render


FORMATS: Final[Mapping[str, Render]] = MappingProxyType(
    {"text": as_text, **{name: _lazy(name) for name in ("json", "github", "gitlab", "sarif", "junit")}}
)
"""Name → what writes a report that way: text without a final line break, empty where there is nothing to write."""

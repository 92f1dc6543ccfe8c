"""A report for people, and for editors that parse `path:line:column`; and how every format words a problem. Pure.

What a report tells was written by whoever wrote the file, so none of it may act on whoever reads the report: see
`reconciler.visible`.
"""

from __future__ import annotations

import re
from typing import Final

from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.review.validate.report import Report
from reconciler.visible import visible


def render(report: Report) -> str:
    """A line per problem, its hint indented below; empty where there are none."""
    return "\n".join(lines(problem, report.here) for problem in report.problems)


def lines(problem: Problem, here: str = "") -> str:
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

"""A report for people and for editors that parse `path:line:column`. Reads without colour."""

from __future__ import annotations

from reconciler.documents.wording import some
from reconciler.errors import Problem
from reconciler.review.validate.report import Report
from reconciler.review.validate.wording import count, hinted
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

"""A report for people and for editors that parse `path:line:column`. Reads without colour."""

from __future__ import annotations

from reconciler.review.report import Report


def render(report: Report) -> str:
    """A line per problem, its hint indented below; empty where there are none."""
    lines = []
    for problem in report.problems:
        lines.append(str(problem))
        if problem.hint:
            lines.append(f"  hint: {problem.hint}")
    return "\n".join(lines)


def summary(report: Report) -> str:
    """`12 files, all valid`, or `12 files, 10 valid; 5 problems`."""
    files = _count(report.files, "file")
    if report.ok:
        return f"{files}, all valid" if report.files else "no instance files"
    return f"{files}, {report.valid} valid; {_count(len(report.problems), 'problem')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"

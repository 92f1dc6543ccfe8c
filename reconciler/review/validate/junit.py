"""A report as JUnit XML, which every CI server shows: a test case per file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

from reconciler.errors import Problem
from reconciler.review.validate import text
from reconciler.review.validate.report import Report
from reconciler.review.validate.rule import name
from reconciler.review.validate.text import count, position, statement
from reconciler.visible import visible


def render(report: Report) -> str:
    """A case fails where problems stand in its file, with one failure element for all: servers read only the first.

    A record that is invalid only for what stands in another file (its strategy, its template) is skipped: the fault is
    that file's, which has a case of its own and fails.
    """
    standing: dict[str, list[Problem]] = defaultdict(list)
    for problem in report.problems:
        standing[problem.path].append(problem)
    paths = sorted({*report.checked, *standing})
    skipped = sum(1 for path in report.invalid if path not in standing)
    counts = f'tests="{len(paths)}" failures="{len(standing)}" errors="0"'
    cases = (_case(report.folder + path, standing.get(path, ()), report.checked.get(path, ())) for path in paths)
    return "\n".join(
        (
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<testsuites name="reconciler validate" {counts}>',
            f'  <testsuite name="reconciler validate" {counts} skipped="{skipped}">',
            *cases,
            "  </testsuite>",
            "</testsuites>",
        )
    )


def _case(path: str, own: Iterable[Problem], keeping: Iterable[Problem]) -> str:
    path = visible(path)
    start = f"    <testcase classname={quoteattr(path.rpartition('/')[0])} name={quoteattr(path)}"
    if own:
        return f"{start}>\n      {_failure(tuple(own))}\n    </testcase>"
    for problem in keeping:
        reason = f"invalid because of {visible(str(problem))}"
        return f"{start}>\n      <skipped message={quoteattr(reason)}/>\n    </testcase>"
    return f"{start}/>"


def _failure(problems: tuple[Problem, ...]) -> str:
    first = problems[0]
    told = ": ".join(filter(None, (position(first), statement(first))))
    message = told if len(problems) == 1 else f"{count(len(problems), 'problem')}, the first {told}"
    lines = escape("\n".join(text.lines(problem) for problem in problems))
    return f"<failure type={quoteattr(visible(name(first)))} message={quoteattr(message)}>{lines}</failure>"

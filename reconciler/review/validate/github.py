"""A report for GitHub Actions: annotations as workflow commands on stdout, and the step summary as markdown.

The runner reads commands from every line of stdout: `::name …` at its start, and the older `##[name]` anywhere in it.
What a report tells must start none, so it stands on one line, behind something of ours, and escaped.
"""

from __future__ import annotations

from typing import Final

from reconciler.errors import Problem
from reconciler.review.validate import text
from reconciler.review.validate.report import Report, most_urgent_first, spread
from reconciler.review.validate.rule import name, title
from reconciler.review.validate.text import code_span, count, hinted, inert, position, statement
from reconciler.visible import visible

ANNOTATIONS: Final = 10
"""So many of a kind GitHub shows for a step; what comes after them is dropped."""

ANNOTATIONS_PER_FILE: Final = 3

SUMMARY_BYTES: Final = 1000 * 1024
"""GitHub drops a summary over 1 MiB whole; the rest is left to what else a step may write there."""


def render(report: Report) -> str:
    """The most telling problems as annotations, then how many more there are, and those as plain lines in a group."""
    problems = most_urgent_first(report)
    told = spread(problems, ANNOTATIONS, ANNOTATIONS_PER_FILE)
    left = [problem for problem in problems if problem not in told]
    lines = [_annotation(problem, report.folder) for problem in problems if problem in told]
    if left:
        more = f"{count(len(left), 'more problem')}, {len(problems):,} in all: listed below and in the step summary"
        lines.append(f"::notice title=reconciler validate::{more}")
        lines.append(f"::group::{count(len(left), 'more problem')}")
        lines += [inert(f"- {problem}{hinted(problem, '; ')}") for problem in left]
        lines.append("::endgroup::")
    return "\n".join(lines)


def _annotation(problem: Problem, folder: str) -> str:
    properties = {"file": visible(folder + problem.path)}
    if problem.line:
        properties |= {"line": str(problem.line), "col": str(problem.column)}
    properties["title"] = title(name(problem))
    spelled = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::error {spelled}::{_data(statement(problem) + hinted(problem, chr(10)))}"


def _data(value: str) -> str:
    return value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")


def step_summary(report: Report) -> str:
    """Markdown for the file that `GITHUB_STEP_SUMMARY` names: every problem, the most telling first, while they fit.

    All that comes from files stands in code spans, in which no markup, HTML, link, mention or reference is read.
    """
    head = f"### reconciler validate\n\n{text.summary(report)}\n\n"
    parts, size = [head], len(head.encode())
    problems = most_urgent_first(report)
    for at, item in enumerate(map(_item, problems)):
        size += len(item.encode())
        if size > SUMMARY_BYTES:
            parts.append(f"\nand {len(problems) - at:,} more, for which there is no room here\n")
            break
        parts.append(item)
    return "".join(parts)


def _item(problem: Problem) -> str:
    where = ":".join(filter(None, (problem.path, position(problem))))
    item = f"- **{code_span(where)}** {code_span(statement(problem))}\n"
    return item + (f"  <br>hint: {code_span(problem.hint)}\n" if problem.hint else "")

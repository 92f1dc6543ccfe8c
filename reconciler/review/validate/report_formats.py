"""The formats of a report that machines read: GitHub's annotations, GitLab's, JUnit, SARIF, JSON. Pure.

GitHub Actions: annotations as workflow commands on stdout, and the step summary as markdown. The runner reads commands
from every line of stdout: `::name …` at its start, and the older `##[name]` anywhere in it. What a report tells must
start none, so it stands on one line, behind something of ours, and escaped.

GitLab's Code Quality widget: the subset of the Code Climate format that it reads. JUnit XML, which every CI server
shows: a test case per file. SARIF 2.1.0, for code scanning; section numbers are those of the standard. JSON, as
`schemas/report.schema.json` describes it; items as `/api/v1/problems` has them.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import escape, quoteattr

from reconciler import __version__
from reconciler.errors import Problem
from reconciler.review.validate import rule
from reconciler.review.validate.report import (
    Report,
    as_lines,
    code_span,
    count,
    hinted,
    inert,
    most_urgent_first,
    position,
    spread,
    statement,
    summary,
    urgent_first,
)
from reconciler.review.validate.rule import is_about_safety, name, title
from reconciler.visible import json_text, storable, visible

ANNOTATIONS: Final = 10
"""So many of a kind GitHub shows for a step; what comes after them is dropped."""

ANNOTATIONS_PER_FILE: Final = 3

SUMMARY_BYTES: Final = 1000 * 1024
"""GitHub drops a summary over 1 MiB whole; the rest is left to what else a step may write there."""
_FOUND: Final = re.compile(r", (was|were) .*", re.DOTALL)
_INDEX: Final = re.compile(r"\[\d+\]")
_MORE: Final = re.compile(r"\band [\d,]+ more\b")
_LINE: Final = re.compile(r"\b(line|column) \d+")
SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
RESULTS: Final = 25_000
"""GitHub refuses a run of more."""
_TOP: Final = "%SRCROOT%"
_ESCAPES: Final = (("{", "{{"), ("}", "}}"), ("](", "\\]("))


def as_github(report: Report) -> str:
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
    head = f"### reconciler validate\n\n{summary(report)}\n\n"
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


def fingerprints(report: Report) -> tuple[str, ...]:
    """One for each problem of the report, in its order: 64 hex digits, no two the same.

    Problems that differ only in their line, or their place in a list, are counted from the top of the file.
    """
    seen: Counter[tuple[str, ...]] = Counter()
    found = []
    for problem in report.problems:
        kind = (report.folder + problem.path, problem.rule, _INDEX.sub("[]", problem.pointer), _expectation(problem))
        seen[kind] += 1
        found.append(sha256(json.dumps([*kind, seen[kind]]).encode()).hexdigest())
    return tuple(found)


def _expectation(problem: Problem) -> str:
    return _LINE.sub(r"\1", _MORE.sub("and more", _FOUND.sub("", problem.message)))


def as_gitlab(report: Report) -> str:
    """A JSON array. GitLab knows no problem of a file as a whole: those stand in line 1."""
    issues = [
        {
            "description": statement(problem) + hinted(problem, "; "),
            "check_name": name(problem),
            "fingerprint": fingerprint,
            "severity": "blocker" if is_about_safety(problem) else "major",
            "location": {"path": visible(report.folder + problem.path), "lines": {"begin": max(1, problem.line)}},
        }
        for problem, fingerprint in zip(report.problems, fingerprints(report), strict=True)
    ]
    return json_text(issues)


def as_junit(report: Report) -> str:
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
    lines = escape("\n".join(as_lines(problem) for problem in problems))
    return f"<failure type={quoteattr(visible(name(first)))} message={quoteattr(message)}>{lines}</failure>"


def as_sarif(report: Report) -> str:
    told = list(zip(report.problems, fingerprints(report), strict=True))
    if left_out := max(0, len(told) - RESULTS):
        told = sorted(told, key=lambda one: urgent_first(report)(one[0]))[:RESULTS]
    rules = sorted({rule.name(problem) for problem, _ in told})
    index = {name: at for at, name in enumerate(rules)}
    results = [_result(problem, report.folder, index, fingerprint) for problem, fingerprint in told]
    driver = {"name": "reconciler", "semanticVersion": __version__, "rules": [_rule(name) for name in rules]}
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True, **_left_out(left_out, len(report.problems))}],
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_TOP: {"description": {"text": "the top of the repository"}}},
        "results": results,
    }
    return json_text({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _left_out(number: int, of: int) -> dict[str, Any]:
    """What 3.20.21 has for what a run could not tell."""
    if not number:
        return {}
    told = f"{number:,} of {of:,} problems are left out, the most telling are here; all of them: reconciler validate"
    return {"toolExecutionNotifications": [{"level": "warning", "message": _message(told)}]}


def _rule(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": _message(rule.title(name)),
        "help": _message(rule.mend(name)),
        "defaultConfiguration": {"level": "error"},
    }


def _result(problem: Problem, folder: str, index: Mapping[str, int], fingerprint: str) -> dict[str, Any]:
    name = rule.name(problem)
    place: dict[str, Any] = {
        "artifactLocation": {"uri": quote(storable(folder + problem.path)), "uriBaseId": _TOP},
    }
    if problem.line:
        place["region"] = {"startLine": problem.line, "startColumn": max(1, problem.column)}
    return {
        "ruleId": name,
        "ruleIndex": index[name],
        "level": "error",
        "message": _message(statement(problem) + hinted(problem, "\n")),
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"problem/v1": fingerprint},
        "properties": {"pointer": problem.pointer, "message": problem.message, "hint": problem.hint},
    }


def _message(text: str) -> dict[str, str]:
    """As 3.11.5 and 3.11.6 want it: braces doubled, since `{0}` is a placeholder; nothing that reads as a link."""
    for character, escaped in _ESCAPES:
        text = text.replace(character, escaped)
    return {"text": text}


def as_json(report: Report) -> str:
    document = {
        "items": [problem.to_json() for problem in report.problems],
        "valid": report.valid,
        "files": report.files,
        "invalid": report.invalid,
    }
    return json_text(document, indent=2)

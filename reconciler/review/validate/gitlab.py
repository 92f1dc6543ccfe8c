"""A report for GitLab's Code Quality widget: the subset of the Code Climate format that it reads."""

from __future__ import annotations

import json
import re
from collections import Counter
from hashlib import sha256
from typing import Final

from reconciler.errors import Problem
from reconciler.review.validate.report import Report
from reconciler.review.validate.rule import is_about_safety, name
from reconciler.review.validate.text import hinted, statement
from reconciler.visible import json_text, visible

_FOUND: Final = re.compile(r", (was|were) .*", re.DOTALL)
_INDEX: Final = re.compile(r"\[\d+\]")
_MORE: Final = re.compile(r"\band [\d,]+ more\b")
_LINE: Final = re.compile(r"\b(line|column) \d+")


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


def render(report: Report) -> str:
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

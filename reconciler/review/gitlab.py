"""A report for GitLab's Code Quality widget: the subset of the Code Climate format that it reads."""

from __future__ import annotations

from reconciler.review.fingerprint import fingerprints
from reconciler.review.json_text import json_text
from reconciler.review.report import Report
from reconciler.review.rule import is_about_safety, name
from reconciler.review.wording import hinted, statement
from reconciler.visible import visible


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

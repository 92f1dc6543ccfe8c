from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given

from reconciler.errors import Problem
from reconciler.review.validate import report_formats
from reconciler.review.validate.report import Report, statement
from reconciler.review.validate.report_formats import fingerprints
from reconciler.visible import visible

PROBLEM = Problem(
    "instances/a.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "remove the quotes", "schema-type"
)
STEP = Problem("instances/b.yaml", 0, 0, "mode", "expected observe first", "", "mode-step")


def test_an_issue_has_what_the_widget_reads() -> None:
    report = Report((PROBLEM,), folder="fleet/")
    assert json.loads(report_formats.as_gitlab(report)) == [
        {
            "description": 'config.levels: expected an integer, was "five"; hint: remove the quotes',
            "check_name": "schema-type",
            "fingerprint": fingerprints(report)[0],
            "severity": "major",
            "location": {"path": "fleet/instances/a.yaml", "lines": {"begin": 14}},
        }
    ]


def test_what_is_about_safety_is_severe_and_a_file_as_a_whole_is_its_first_line() -> None:
    (issue,) = json.loads(report_formats.as_gitlab(Report((STEP,))))
    assert issue["severity"] == "blocker"
    assert issue["location"]["lines"] == {"begin": 1}


def test_a_moved_line_is_the_same_issue() -> None:
    (before,), (after,) = (
        json.loads(report_formats.as_gitlab(Report((p,)))) for p in (PROBLEM, replace(PROBLEM, line=20))
    )
    assert before["fingerprint"] == after["fingerprint"]
    assert (before["location"], after["location"]) != (after["location"], after["location"])


def test_nothing_wrong_is_an_empty_array() -> None:
    assert json.loads(report_formats.as_gitlab(Report())) == []


@given(...)
def test_any_text_is_read_back(report: Report) -> None:
    issues = json.loads(report_formats.as_gitlab(report).encode())
    assert len({issue["fingerprint"] for issue in issues}) == len(issues)
    for issue, problem in zip(issues, report.problems, strict=True):
        hint = f"; hint: {visible(problem.hint)}" if problem.hint else ""
        assert issue["description"] == statement(problem) + hint
        assert issue["location"] == {
            "path": visible(report.folder + problem.path),
            "lines": {"begin": max(1, problem.line)},
        }

from __future__ import annotations

import pytest
from hypothesis import given

from reconciler.errors import Problem
from reconciler.review.validate.report import Report, as_text, summary
from reconciler.visible import visible

AT_A_LINE = Problem("instances/a.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "remove the quotes")
OF_THE_FILE = Problem("instances/b.yaml", 0, 0, "", "expected a readable file")
INVALID = {"instances/a.yaml": (AT_A_LINE,), "instances/b.yaml": (OF_THE_FILE,)}


def test_each_problem_is_a_line_with_its_hint_below() -> None:
    assert as_text(Report((AT_A_LINE, OF_THE_FILE), INVALID)) == (
        'instances/a.yaml:14:11: config.levels: expected an integer, was "five"\n'
        "  hint: remove the quotes\n"
        "instances/b.yaml: expected a readable file"
    )


def test_nothing_wrong_is_nothing_written() -> None:
    assert as_text(Report((), {"instances/a.yaml": ()})) == ""


@given(...)
def test_no_text_makes_a_line_of_its_own(report: Report) -> None:
    expected = []
    for problem in report.problems:
        expected += [visible(str(problem)), *([f"  hint: {visible(problem.hint)}"] if problem.hint else [])]
    assert as_text(report).encode().decode().splitlines() == expected


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Report(), "no instance files"),
        (Report((), {"a": ()}), "1 file, all valid"),
        (Report((), {str(n): () for n in range(10_000)}), "10,000 files, all valid"),
        (Report((AT_A_LINE,), {"a": (AT_A_LINE,), "b": ()}), "2 files, 1 valid; 1 problem"),
        (Report((AT_A_LINE, OF_THE_FILE), INVALID), "2 files, 0 valid; 2 problems"),
    ],
)
def test_the_summary_counts(found: Report, sentence: str) -> None:
    assert summary(found) == sentence

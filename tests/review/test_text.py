from __future__ import annotations

import pytest

from reconciler.errors import Problem
from reconciler.review import text
from reconciler.review.report import Report

AT_A_LINE = Problem("instances/a.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "remove the quotes")
OF_THE_FILE = Problem("instances/b.yaml", 0, 0, "", "expected a readable file")


def test_each_problem_is_a_line_with_its_hint_below() -> None:
    assert text.render(Report((AT_A_LINE, OF_THE_FILE), 2, 0)) == (
        'instances/a.yaml:14:11: config.levels: expected an integer, was "five"\n'
        "  hint: remove the quotes\n"
        "instances/b.yaml: expected a readable file"
    )


def test_nothing_wrong_is_nothing_written() -> None:
    assert text.render(Report((), 3, 3)) == ""


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (Report((), 0, 0), "no instance files"),
        (Report((), 1, 1), "1 file, all valid"),
        (Report((), 10_000, 10_000), "10,000 files, all valid"),
        (Report((AT_A_LINE,), 2, 1), "2 files, 1 valid; 1 problem"),
        (Report((AT_A_LINE, OF_THE_FILE), 2, 0), "2 files, 0 valid; 2 problems"),
    ],
)
def test_the_summary_counts(found: Report, sentence: str) -> None:
    assert text.summary(found) == sentence

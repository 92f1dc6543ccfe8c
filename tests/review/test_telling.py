from __future__ import annotations

from dataclasses import replace

from reconciler.errors import Problem
from reconciler.review.validate.report import Report, most_urgent_first, spread

A = Problem("instances/a.yaml", 3, 1, "config.x", "wrong", "", "schema-type")
B = replace(A, path="instances/b.yaml")
STRATEGY = Problem("strategies/grid.py", 3, 1, "", "broken", "", "code-syntax")
SECRET = replace(A, path="instances/c.yaml", rule="secret-literal")
STEP = replace(A, path="instances/z.yaml", rule="mode-step")
IDENTITY = replace(A, path="instances/d.yaml", rule="identity-changed")
RECORDS = {f"instances/{name}.yaml": () for name in "abcdz"}


def lines(problem: Problem, *numbers: int) -> list[Problem]:
    return [replace(problem, line=line) for line in numbers]


def test_safety_comes_first_then_what_records_need_then_the_records() -> None:
    report = Report(tuple(sorted([A, B, STRATEGY, SECRET, STEP, IDENTITY])), RECORDS)
    assert most_urgent_first(report) == (STEP, IDENTITY, SECRET, STRATEGY, A, B)


def test_all_are_told_while_they_are_few() -> None:
    assert spread([A, B, STRATEGY], 10, per_file=3) == {A, B, STRATEGY}


def test_the_first_of_each_file_comes_before_the_second_of_any() -> None:
    assert spread([*lines(A, 1, 2, 3), *lines(B, 1, 2)], 3, per_file=3) == {*lines(A, 1, 2), *lines(B, 1)}


def test_one_file_full_of_secrets_does_not_hide_the_others() -> None:
    told = spread([*lines(SECRET, *range(1, 15)), A, B], 10, per_file=3)
    assert told == {*lines(SECRET, *range(1, 9)), A, B}


def test_what_is_urgent_comes_before_what_is_elsewhere() -> None:
    assert spread([STEP, *lines(SECRET, 1, 2), A, B], 3, per_file=3) == {STEP, *lines(SECRET, 1, 2)}

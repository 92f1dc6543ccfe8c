from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from reconciler.errors import Problem
from reconciler.review.validate.report import Report
from reconciler.review.validate.report_formats import fingerprints

PROBLEM = Problem(
    "instances/a.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "remove the quotes", "schema-type"
)
DUPLICATE = Problem("a.yaml", 9, 1, "mode", 'duplicate key "mode": it is on line 7 already', "", "yaml-duplicate-key")


def of(*problems: Problem) -> tuple[str, ...]:
    return fingerprints(Report(problems))


def test_a_fingerprint_never_changes() -> None:
    """Servers remember it: if this fails, every known problem becomes a new one for everybody."""
    assert of(PROBLEM) == ("7097d490e169606a6d4f97e1a936cc2c67839ee83fa357012c66c915ca4a7640",)


@pytest.mark.parametrize(
    "same",
    [
        replace(PROBLEM, line=15, column=3),
        replace(PROBLEM, message='expected an integer, was "6, was 7"'),
        replace(PROBLEM, hint="another"),
    ],
    ids=["moved", "another try", "better hint"],
)
def test_it_survives_what_is_no_other_problem(same: Problem) -> None:
    assert of(same) == of(PROBLEM)


def test_it_survives_that_one_more_is_removed_at_once() -> None:
    held = Problem("instances", 0, 0, "", "expected at most 4 of 20 records, were 7: a, b", "", "mass-removal")
    assert of(replace(held, message=held.message.replace("7: a, b", "8: a, b, c"))) == of(held)


def test_it_survives_that_the_line_it_speaks_of_moves() -> None:
    assert of(replace(DUPLICATE, line=12, message=DUPLICATE.message.replace("7", "10"))) == of(DUPLICATE)


@pytest.mark.parametrize(
    "other",
    [
        replace(PROBLEM, path="instances/b.yaml"),
        replace(PROBLEM, pointer="config.spacing"),
        replace(PROBLEM, rule="schema-enum"),
        replace(PROBLEM, message="expected a number"),
    ],
    ids=["file", "value", "rule", "expectation"],
)
def test_another_problem_has_another(other: Problem) -> None:
    assert of(other) != of(PROBLEM)


def test_two_missing_keys_of_one_mapping_are_not_mistaken_for_each_other() -> None:
    id_, mode = (Problem("a.yaml", 1, 1, "", f'missing key "{key}"', "", "schema-required") for key in ("id", "mode"))
    assert of(id_, mode)[1:] == of(mode)


def test_the_same_twice_in_a_file_is_counted() -> None:
    first, second = of(PROBLEM, replace(PROBLEM, line=20))
    assert first == of(PROBLEM)[0] != second


def test_two_fleets_of_one_repository_are_told_apart() -> None:
    assert fingerprints(Report((PROBLEM,), folder="desk-b/")) != of(PROBLEM)


@given(...)
def test_no_two_problems_of_a_report_share_one(report: Report) -> None:
    found = fingerprints(report)
    assert len(set(found)) == len(found) == len(report.problems)


def test_it_survives_that_an_item_is_put_in_before() -> None:
    def at(*indices: int) -> tuple[str, ...]:
        return of(*(replace(PROBLEM, pointer=f"config.legs[{i}].size", line=10 + i) for i in indices))

    assert at(0, 1, 3) == at(1, 2, 4)
    assert set(at(0, 1, 3)) < set(at(0, 1, 2, 4))


def test_it_survives_that_more_are_left_out() -> None:
    more = Problem("a.yaml", 9, 1, "", "and 1,300 more problems", "", "more")
    assert of(more) == of(replace(more, message="and 2 more problems"))

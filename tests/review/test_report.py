from __future__ import annotations

from collections.abc import Callable

from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation
from reconciler.review.report import report

FIRST = Problem("instances/a.yaml", 2, 1, "mode", "wrong")
SECOND = Problem("instances/a.yaml", 10, 1, "config", "wrong")
SHARED = Problem("strategies/grid.py", 3, 1, "", "broken")


def test_problems_stand_by_path_and_line_however_they_came(evaluation: Callable[..., Evaluation]) -> None:
    found = report([evaluation("instances/b.yaml", SHARED), evaluation("instances/a.yaml", SECOND, FIRST)])
    assert found.problems == (FIRST, SECOND, SHARED)
    assert (found.files, found.valid, found.ok) == (2, 0, False)


def test_a_problem_that_files_share_is_told_once(evaluation: Callable[..., Evaluation]) -> None:
    found = report([evaluation("instances/a.yaml", SHARED), evaluation("instances/b.yaml", SHARED)], [SHARED])
    assert found.problems == (SHARED,)


def test_a_problem_beside_the_records_makes_the_report_bad_but_no_record_invalid(
    evaluation: Callable[..., Evaluation],
) -> None:
    found = report([evaluation("instances/a.yaml")], [SHARED])
    assert (found.files, found.valid, found.ok) == (1, 1, False)

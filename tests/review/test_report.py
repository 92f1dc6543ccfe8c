from __future__ import annotations

from collections.abc import Callable

from reconciler.errors import Problem
from reconciler.records.evaluation import Evaluation
from reconciler.review.validate.report import report

FIRST = Problem("instances/a.yaml", 2, 1, "mode", "wrong")
SECOND = Problem("instances/a.yaml", 10, 1, "config", "wrong")
SHARED = Problem("strategies/grid.py", 3, 1, "", "broken")
Make = Callable[..., Evaluation]


def test_problems_stand_by_path_and_line_however_they_came(evaluation: Make) -> None:
    found = report([evaluation("instances/b.yaml", SHARED), evaluation("instances/a.yaml", SECOND, FIRST)])
    assert found.problems == (FIRST, SECOND, SHARED)
    assert (found.files, found.valid, found.ok) == (2, 0, False)


def test_a_problem_that_files_share_is_told_once(evaluation: Make) -> None:
    found = report([evaluation("instances/a.yaml", SHARED), evaluation("instances/b.yaml", SHARED)], [SHARED])
    assert found.problems == (SHARED,)
    assert found.invalid == ("instances/a.yaml", "instances/b.yaml")


def test_a_fault_in_a_strategy_is_told_at_its_own_line_and_not_in_each_record_that_runs_it(evaluation: Make) -> None:
    echo = Problem("instances/a.yaml", 2, 16, "strategy_type", str(SHARED), "", "definition-broken")
    found = report([evaluation("instances/a.yaml", echo, SECOND)], [SHARED])
    assert found.problems == (SECOND, SHARED)
    assert found.checked == {"instances/a.yaml": (SHARED, SECOND)}


def test_a_fault_in_a_strategy_is_told_in_the_record_where_only_that_is_asked_for(evaluation: Make) -> None:
    echo = Problem("instances/a.yaml", 2, 16, "strategy_type", str(SHARED), "", "definition-broken")
    assert report([evaluation("instances/a.yaml", echo)]).problems == (echo,)


def test_a_problem_beside_the_records_makes_the_report_bad_but_no_record_invalid(evaluation: Make) -> None:
    found = report([evaluation("instances/a.yaml")], [SHARED])
    assert (found.files, found.valid, found.ok) == (1, 1, False)


def test_a_problem_of_the_change_makes_the_record_invalid_in_which_it_stands(evaluation: Make) -> None:
    found = report([evaluation("instances/b.yaml"), evaluation("instances/a.yaml")], (p for p in [FIRST]))
    assert found.problems == (FIRST,)
    assert found.invalid == ("instances/a.yaml",)
    assert (found.files, found.valid) == (2, 1)


def test_files_are_kept_by_path_with_what_keeps_them_from_being_valid(evaluation: Make) -> None:
    found = report([evaluation("instances/b.yaml"), evaluation("instances/a.yaml", FIRST, SHARED)])
    assert list(found.checked.items()) == [("instances/a.yaml", (FIRST, SHARED)), ("instances/b.yaml", ())]

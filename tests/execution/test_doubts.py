"""Doubts and absences: the values that decide when an order was never placed."""

from __future__ import annotations

import pytest

from reconciler.execution.watch import Absences


@pytest.mark.parametrize(
    ("answers_s", "counts"),
    [
        ([0, 15, 30], True),
        ([0, 30], False),
        ([0, 1, 29.9], False),
        ([0, 0, 0, 0], False),
        ([5, 6, 35], True),
    ],
)
def test_three_answers_over_thirty_seconds_say_that_there_is_no_order(answers_s: list[float], counts: bool) -> None:
    absences = Absences()
    assert [absences.count("x", at_s) for at_s in answers_s][-1] is counts


def test_each_order_is_counted_for_itself_and_anew_once_it_was_found() -> None:
    absences = Absences()
    for at_s in (0, 15):
        absences.count("x", at_s)
    assert not absences.count("y", 30)
    absences.forget("x")
    assert not absences.count("x", 30)
    assert absences.told("x", 42) == "the exchange does not know it: asked 1 times in 12 s"

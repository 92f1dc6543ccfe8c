"""What the measurement of the page takes for time that the loop was held."""

from __future__ import annotations

import pytest

from tests.bench.page import Late, held_s

LATE = Late(due_s=1.0, came_s=1.010, waited_s=0.002, computed_s=0.009)


@pytest.mark.parametrize(
    ("one", "idle", "held"),
    [
        (LATE, [], 0.008),
        (LATE._replace(computed_s=0.003), [], 0.003),
        (LATE._replace(waited_s=0.020), [], 0.0),
        (LATE, [Late(1.001, 1.007, 0.001, 0.0)], 0.003),
        (LATE, [Late(1.001, 1.007, 0.006, 0.0)], 0.008),
        (LATE, [Late(0.990, 1.001, 0.0, 0.0)], 0.007),
        (LATE, [Late(2.0, 2.5, 0.0, 0.0), Late(0.1, 0.5, 0.0, 0.0)], 0.008),
    ],
    ids=[
        "late, and not for want of a core",
        "it computed for less than that",
        "others had the cores",
        "an idle process was kept as well, by nobody",
        "others had that one's core, too",
        "only for a part of the time",
        "at other times",
    ],
)
def test_the_loop_is_held_by_what_its_own_process_computes(one: Late, idle: list[Late], held: float) -> None:
    assert held_s(one, idle) == pytest.approx(held, abs=1e-9)

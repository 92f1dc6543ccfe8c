"""Orders under everything that may come between: invariants 2, 3 and 9, in random lives of an engine.

What may happen is in `lives`, how in `life`, what must hold in `model`. By default the same lives are led every time.
`SIMULATION_EXAMPLES=2000 pytest tests/simulation` leads so many new ones.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.execution.standins import Carrier, Inline, MainLoop
from tests.simulation.lives import BAD_CANCELS, UNANSWERED, BoundLives, Lives
from tests.simulation.table import BEHIND, BRAKED, EXPOSING, RULES
from tests.simulation.wire import POINTS, WAYS

EXAMPLES = int(os.environ.get("SIMULATION_EXAMPLES", "0"))
SEEDS = range(9)
LIVES = 11
"""To a seed. Of more, Hypothesis makes by far the most by repeating parts of earlier ones."""

IN_SCENES = BEHIND | BRAKED
"""What random lives hardly come by; scenes of their own do."""
DEEDS = ("crash", "lose", "flap", "halt", "declare", "lower", "pause")
REACHED = (
    *(f"way {way}" for way in WAYS),
    *(f"fault {fault}" for fault in (*UNANSWERED, *BAD_CANCELS)),
    # What became of orders.
    *("accepted", "unknown", "shadow", "raised", "rejected by exchange, no money"),
    *(f"rejected by gateway, {rule.word}" for name, rule in RULES.items() if rule.word and name not in IN_SCENES),
    *("rejected by gateway, NotCommitted", "rejected by gateway, Request"),
    *("became filled", "became partially_filled", "became expired"),
    *("given up", "turned up", "resolved as rejected", "withdrawn", "withdrawal held back"),
    # What an engine found when it started.
    *("killed", "pending at a start", "unknown at a start", "accepted at a start", "shadow at a start"),
    # Under a halt that is not full, and beside what rests.
    *(f"{act} while halted, kept in" for act in EXPOSING),
    "reduces while halted, left",
    # Cancels, by all that may be the case.
    *(f"cancelled while {fact}" for fact in (*RULES.keys() - IN_SCENES, "over", "nothing") if "quote" not in fact),
)
"""What random lives must come by: what they never reach they prove nothing about."""


def lead(lives: Callable[[], Lives], number: int, steps: int) -> None:
    wanted = settings(
        max_examples=number,
        phases=tuple(Phase) if EXAMPLES else (Phase.generate,),  # making a life shorter takes minutes
        stateful_step_count=steps,
        derandomize=False,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lives, settings=wanted)  # type: ignore[arg-type]  # whatever makes one will do


WITHIN_LIMITS = (
    *("refused by account main: max_gross_notional", "refused by account real: max_gross_notional"),
    "refused by account main: max_drawdown",
    *("refused by account main: max_turnover", "refused by account real: max_open_orders"),
    *("refused by account real: min_equity", "refused by label team=x: max_position[BTC/USD]"),
    *("refused by all: max_position[BTC/USD]", "refused by throttle", "cancelled where a limit is reached"),
    *("beside another, accepted", "beside another, rejected", "accepted", "killed"),
)


@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_happens_no_order_leaves_that_must_not_and_none_is_sent_twice_or_lost(
    main_loop: MainLoop, empty_database: Path
) -> None:
    tally: Counter[str] = Counter()

    def born() -> Lives:
        return Lives(main_loop, empty_database, tally)

    if EXAMPLES:
        lead(born, EXAMPLES, 50)
        return
    for number in SEEDS:
        lead(seed(number)(born), LIVES, 40)
    assert [what for what in REACHED if not tally[what]] == [], "never reached"
    for deed in DEEDS:
        assert any(tally[f"{deed} at {point}"] for point in POINTS), f"nothing came between by {deed}"
    for point in POINTS:
        assert sum(tally[f"{deed} at {point}"] for deed in DEEDS) >= 5, f"hardly anything came between at {point}"


@pytest.mark.parametrize("carrier", [MainLoop, Inline], ids=["threads and loop", "inline"])
@pytest.mark.timeout(0 if EXAMPLES else 120)
def test_whatever_happens_no_limit_above_the_instances_is_exceeded_and_none_is_in_the_way_of_what_it_allows(
    carrier: type[Carrier], empty_database: Path
) -> None:
    tally: Counter[str] = Counter()
    main_loop = carrier()

    def born() -> BoundLives:
        return BoundLives(main_loop, empty_database, tally)

    try:
        if EXAMPLES:
            lead(born, EXAMPLES, 50)
            return
        for number in range(2):
            lead(seed(number)(born), LIVES, 40)
    finally:
        main_loop.close()
    assert [what for what in WITHIN_LIMITS if not tally[what]] == [], "never reached"

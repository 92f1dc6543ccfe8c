"""Identifiers of orders."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from reconciler.clock import FakeClock
from reconciler.execution.order_id import LENGTH, OrderIds, prefix


def test_an_id_is_eighteen_characters_of_lower_case_letters_and_digits() -> None:
    for instance_id in ("a", "btc-grid-1", "z" * 63):
        made = OrderIds(FakeClock()).make(instance_id)
        assert re.fullmatch(r"[a-z0-9]{18}", made)
        assert len(made) == LENGTH == 18


def test_the_prefix_says_whose_order_it_is_and_never_changes() -> None:
    assert prefix("btc-grid-1") == "8fl267"
    assert OrderIds(FakeClock()).make("btc-grid-1").startswith("8fl267")
    assert prefix("btc-grid-2") != prefix("btc-grid-1")


def test_no_two_ids_are_alike_though_the_clock_stands_still_or_steps_back() -> None:
    clock = FakeClock()
    ids = OrderIds(clock, random_below=lambda _: 0)
    made = [ids.make("a") for _ in range(50)]
    clock.set_wall(clock.time() - 3600)
    made += [ids.make("a") for _ in range(50)]
    assert len(set(made)) == 100


def test_no_two_ids_are_alike_over_threads() -> None:
    ids = OrderIds(FakeClock(), random_below=lambda _: 0)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(ids.make, ["a"] * 400))) == 400


def test_another_database_at_the_same_moment_makes_other_ids() -> None:
    made = {OrderIds(FakeClock(), random_below=lambda _, n=n: n).make("a") for n in range(20)}  # type: ignore[misc]
    assert len(made) == 20

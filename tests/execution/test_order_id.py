"""Identifiers of orders."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from reconciler.clock import FakeClock
from reconciler.orders.order import LENGTH, OrderIds, prefix, tag_of


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
    made = {OrderIds(FakeClock(), tag).make("a") for tag in ("0aaa", "0aab", "9zzz")}
    made |= {OrderIds(FakeClock(), random_below=lambda below, n=n: n % below).make("a") for n in range(20)}  # type: ignore[misc]
    assert len(made) == 23


def test_an_id_says_which_database_made_it() -> None:
    made = OrderIds(FakeClock(), "7xyz").make("btc-grid-1")
    assert (made[:6], tag_of(made)) == ("8fl267", "7xyz")
    assert tag_of(OrderIds(FakeClock()).make("a"))


@pytest.mark.parametrize(("told", "tag"), [("8fl267loyw3v28l39j", ""), ("by-hand", None), ("8FL2677XYZLOYW3V28", None)])
def test_an_id_of_before_there_were_tags_has_none_and_one_of_others_even_less(told: str, tag: str | None) -> None:
    assert tag_of(told) == tag


def test_an_id_is_later_than_those_that_the_database_knows_whatever_the_clock_says() -> None:
    clock = FakeClock()
    ids = OrderIds(clock, "7xyz")
    known = [ids.make("a") for _ in range(50)]  # each later than the one before: the clock stands still
    clock.set_wall(clock.time() - 3600)
    assert OrderIds(clock, "7xyz", ["by-hand", *known[::-1]]).make("a") > known[-1]


def test_an_id_is_later_than_those_of_before_there_were_tags() -> None:
    clock = FakeClock()
    before = "8fl267" + OrderIds(clock).make("a")[-8:] + "l39j"
    assert OrderIds(clock, "7xyz", [before]).make("a")[-8:] > before[6:14]

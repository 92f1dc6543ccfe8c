"""The budget of an account: over all its instances, over any sixty seconds, and for cancels none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from reconciler.clock import FakeClock, utc
from reconciler.execution.gatekeeper import OrderRate


def test_an_account_sends_no_more_than_its_budget_however_many_threads_ask() -> None:
    rate = OrderRate(FakeClock())
    with ThreadPoolExecutor(16) as threads:
        taken = list(threads.map(lambda _: rate.take("main", 40), range(400)))
    assert sum(taken) == 40


def test_every_account_has_a_budget_of_its_own_and_none_is_without_end() -> None:
    rate = OrderRate(FakeClock())
    assert rate.take("main", 1)
    assert not rate.take("main", 1)
    assert rate.take("spare", 1)
    assert all(rate.take("free", None) for _ in range(100))


def test_the_budget_holds_for_any_sixty_seconds() -> None:
    clock = FakeClock()
    rate = OrderRate(clock)
    assert rate.take("main", 2)
    clock.advance(30)
    assert rate.take("main", 2)
    clock.advance(29.9)
    assert not rate.take("main", 2)
    clock.advance(0.2)
    assert rate.take("main", 2)
    assert not rate.take("main", 2)


def test_cancels_use_the_budget_up_and_always_pass() -> None:
    rate = OrderRate(FakeClock())
    for _ in range(3):
        rate.take_cancel("main")
    assert not rate.take("main", 2)
    assert rate.take("main", 4)


def test_what_was_not_sent_after_all_is_given_back() -> None:
    rate = OrderRate(FakeClock())
    rate.give_back("main")
    assert rate.take("main", 1)
    rate.give_back("main")
    assert rate.take("main", 1)
    assert not rate.take("main", 1)


def test_what_the_last_engine_sent_a_moment_ago_counts(clock: FakeClock) -> None:
    rate, now = OrderRate(clock), utc(clock.time())
    rate.remember([("main", now - timedelta(seconds=50)), ("main", now - timedelta(seconds=10)), ("other", now)])
    assert not rate.take("main", 2)
    clock.advance(11)
    assert rate.take("main", 2)
    assert not rate.take("main", 2)

from __future__ import annotations

from reconciler.runtime.progress import retry_in_s


def test_delays_double_up_to_the_longest_less_a_fifth_at_most() -> None:
    for attempt in range(1, 200):
        longest_s = min(300.0, 2.0 ** (attempt - 1))
        assert 0.8 * longest_s <= retry_in_s(1.0, 300.0, attempt, "one", "7") <= longest_s


def test_instances_that_failed_together_do_not_come_back_together() -> None:
    delays_s = {retry_in_s(1.0, 300.0, 1, f"i-{n}", "7") for n in range(100)}
    assert len(delays_s) == 100


def test_the_same_seed_gives_the_same_delays() -> None:
    assert retry_in_s(1.0, 300.0, 3, "one", "7") == retry_in_s(1.0, 300.0, 3, "one", "7")
    assert retry_in_s(1.0, 300.0, 3, "one", "7") != retry_in_s(1.0, 300.0, 3, "one", "8")

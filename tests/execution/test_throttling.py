"""The throttle: what is the same, how many of it may leave, what is halted, and how it begins anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.execution.gateway import Gateway
from reconciler.orders.order import Order, Outcome, RejectedBy, Side
from reconciler.records.accounts import Accounts, DeclaredAccount, Throttle
from reconciler.records.mode import Mode
from tests.execution.standins import ACCOUNTS, Desk, StandInGate, events

THREE = Throttle(3, 5)


def throttled(desk: Desk, throttle: Throttle | None = THREE, everywhere: Throttle | None = None) -> Gateway:
    """The desk with a gateway whose accounts are throttled so."""
    declared = {id_: replace(one, throttle=throttle) for id_, one in ACCOUNTS.declared.items()}
    desk.servers.accounts = replace(ACCOUNTS, declared=declared, throttle=everywhere)
    desk.gateway.close()
    desk.gateway = desk.restarted()
    desk.gateway._wholeness.look("real", (), {}, {})  # compared, as real money must be
    return desk.gateway


def gate(name: str = "a", **named: str) -> StandInGate:
    return StandInGate(instance_id=name, **named)  # type: ignore[arg-type]


def rejected(order: Order) -> str:
    assert order.outcome is Outcome.REJECTED
    assert order.rejected_by is RejectedBy.GATEWAY
    return order.reason


def test_the_order_after_the_last_that_may_leave_is_refused_and_its_instance_halted(desk: Desk) -> None:
    throttled(desk)
    left = [desk.buy(gate(), quantity, limit="100") for quantity in ("1", "2", "3")]
    assert [order.outcome for order in left] == [Outcome.ACCEPTED] * 3
    why = rejected(desk.buy(gate(), "4", limit="90"))
    first, *_, last = left
    assert "3 buy limit orders of BTC/USD by instance a within 5 min" in why
    assert f"the first is {first.client_order_id}, the last {last.client_order_id}; code c0de" in why
    (halt,) = desk.store.halts.active()
    assert (halt.scope, halt.id, halt.full, halt.by) == ("instance", "a", False, "engine")
    assert halt.reason in why
    assert ("Halted", halt.reason) in events(desk)
    assert rejected(desk.buy(gate(), "4", limit="90")).startswith("Halted: ")
    assert len(desk.server.asked("place_order")) == 3


def test_another_side_type_or_market_is_another_order(desk: Desk) -> None:
    throttled(desk)
    for _ in range(3):
        assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED
    for order in (
        desk.buy(gate(), side=Side.SELL, limit="100"),
        desk.buy(gate()),
        desk.buy(gate(symbol="ETH/USD"), limit="100"),
    ):
        assert order.outcome is Outcome.ACCEPTED


def test_what_left_long_enough_ago_counts_no_more(desk: Desk) -> None:
    throttled(desk)
    for _ in range(6):
        assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED
        desk.clock.advance(101)


def test_what_left_after_a_clock_was_set_back_counts_for_longer_and_never_shorter(desk: Desk) -> None:
    throttled(desk)
    desk.buy(gate(), limit="100")
    desk.buy(gate(), limit="100")
    desk.clock.set_wall(desk.clock.time() - 100)
    assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED
    desk.clock.advance(350)  # by the clock the third left longer ago than five minutes, the others did not
    assert "throttle" in rejected(desk.buy(gate(), limit="100"))


def test_one_code_is_counted_over_its_account_however_many_run_it(desk: Desk) -> None:
    throttled(desk)
    for name in "abc":
        assert desk.buy(gate(name), limit="100").outcome is Outcome.ACCEPTED
    assert "by code c0de on account main" in rejected(desk.buy(gate("d"), limit="100"))
    rejected(desk.buy(gate("e"), limit="100"))
    assert sorted(halt.id for halt in desk.store.halts.active()) == ["a", "b", "c", "d", "e"]
    assert desk.buy(gate("r", account_id="real"), limit="100").outcome is Outcome.ACCEPTED


def test_at_the_top_it_is_counted_over_all_accounts_of_one_kind_of_money(desk: Desk) -> None:
    throttled(desk, None, THREE)
    declared = {**desk.servers.accounts.declared, "more": DeclaredAccount("more", "paper", False)}
    desk.servers.accounts = replace(desk.servers.accounts, declared=declared)
    for name, account in (("a", "main"), ("b", "more"), ("c", "main")):
        assert desk.buy(gate(name, account_id=account), limit="100").outcome is Outcome.ACCEPTED
    assert "by code c0de on all paper money" in rejected(desk.buy(gate("d", account_id="more"), limit="100"))
    assert desk.buy(gate("r", account_id="real"), limit="100").outcome is Outcome.ACCEPTED


def test_lifting_the_halt_lets_it_begin_anew(desk: Desk) -> None:
    throttled(desk)
    for _ in range(4):
        desk.buy(gate(), limit="100")
    desk.store.halts.lift("instance", "a", "uid 1", "looked at it")
    for _ in range(3):
        assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED
    assert "throttle" in rejected(desk.buy(gate(), limit="100"))


def test_who_starts_again_and_again_does_not_begin_to_count_anew(desk: Desk) -> None:
    throttled(desk)
    for _ in range(3):
        assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED
        throttled(desk)
    assert "throttle" in rejected(desk.buy(gate(), limit="100"))
    throttled(desk)
    desk.clock.advance(1)
    desk.store.halts.lift("instance", "a", "uid 1", "looked at it")
    throttled(desk)
    desk.clock.advance(1)
    assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED


def test_lifting_the_halt_of_an_engine_that_is_gone_lets_it_begin_anew_without_another_start(desk: Desk) -> None:
    throttled(desk)
    for _ in range(4):
        desk.buy(gate(), limit="100")
    throttled(desk)
    desk.clock.advance(1)
    desk.store.halts.lift("instance", "a", "uid 1", "looked at it")
    for _ in range(3):
        assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED
    assert "throttle" in rejected(desk.buy(gate(), limit="100"))


@pytest.mark.parametrize("quantity", ["1", "0.5"])
def test_what_only_reduces_is_never_one_too_many(desk: Desk, quantity: str) -> None:
    desk.server.answers(
        "place_order", {"status": "filled", "filled_quantity": "9", "average_price": "100", "order_id": "x"}
    )
    throttled(desk)
    desk.buy(gate(), "9", limit="100")
    desk.server.answers(
        "place_order", {"status": "filled", "filled_quantity": quantity, "average_price": "100", "order_id": "x"}
    )
    for _ in range(8):
        assert desk.buy(gate(), quantity, limit="100", side=Side.SELL).outcome is Outcome.ACCEPTED


def test_what_is_only_simulated_is_not_counted(desk: Desk) -> None:
    throttled(desk)
    observing = gate()
    observing.mode = Mode.OBSERVE
    for _ in range(5):
        assert desk.buy(observing, limit="90").outcome is Outcome.SHADOW


def test_what_did_not_leave_after_all_is_not_counted(desk: Desk) -> None:
    throttled(desk)
    desk.servers.accounts = replace(
        desk.servers.accounts,
        declared={
            **desk.servers.accounts.declared,
            "main": replace(desk.servers.accounts.declared["main"], max_orders_per_minute=1),
        },
    )
    assert desk.buy(gate(), limit="100").outcome is Outcome.ACCEPTED
    for _ in range(5):
        assert "max_orders_per_minute" in rejected(desk.buy(gate(), limit="100"))


def test_without_a_throttle_nothing_is_counted() -> None:
    assert Accounts().throttle is None

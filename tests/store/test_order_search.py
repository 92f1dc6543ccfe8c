"""Finding orders by what following them up asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from reconciler.clock import FakeClock, utc
from reconciler.orders.order import Order, OrderNews, OrderState, Outcome, RejectedBy, Side
from reconciler.records.record import Row, RowChange
from reconciler.store import Store
from reconciler.store.order_search import _ENDED

MakeOrder = Callable[..., Order]


def test_an_order_that_was_in_doubt_is_found_after_it_was_written_off_for_a_day(
    store: Store, make_order: MakeOrder, clock: FakeClock
) -> None:
    for name in ("doubted", "never"):
        store.ledger.append(make_order(name, outcome=Outcome.PENDING))
    store.ledger.settle("doubted", OrderNews(outcome=Outcome.UNKNOWN))
    assert store.ledger.was_unknown("doubted")
    clock.advance(60)
    for name in ("doubted", "never"):
        store.ledger.settle(name, OrderNews(outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY))
    day = timedelta(days=1)
    assert [o.client_order_id for o in store.ledger.written_off(utc(clock.time()) - day)] == ["doubted"]
    clock.advance(86_401)
    assert store.ledger.written_off(utc(clock.time()) - day) == []
    assert (store.ledger.was_unknown("doubted"), store.ledger.was_unknown("never")) == (True, False)
    assert ("main", "desk-a") in store.ledger.clients()


def test_one_that_was_rejected_may_be_accepted_after_all_and_then_nobody_rejected_it(
    store: Store, make_order: MakeOrder
) -> None:
    store.ledger.append(make_order("x", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY))
    settled = store.ledger.settle("x", OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN))
    assert (settled.outcome, settled.rejected_by) == (Outcome.ACCEPTED, None)
    assert store.ledger.exposed() == {"dca"}


def test_what_was_or_may_have_been_sent_lately_is_counted_and_refusals_are_not(
    store: Store, make_order: MakeOrder, clock: FakeClock
) -> None:
    store.ledger.append(make_order("sent"))
    store.ledger.append(make_order("refused", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY))
    store.ledger.append(make_order("thrown-out", outcome=Outcome.REJECTED, rejected_by=RejectedBy.EXCHANGE))
    store.ledger.append(make_order("shadow", outcome=Outcome.SHADOW, state=OrderState.OPEN))
    store.ledger.append(make_order("lost", outcome=Outcome.PENDING))
    store.ledger.settle("lost", OrderNews(outcome=Outcome.UNKNOWN))
    store.ledger.settle("lost", OrderNews(outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY))
    now = utc(clock.time())
    assert len(store.ledger.sent(now - timedelta(minutes=1))) == 3
    assert store.ledger.sent(now + timedelta(minutes=1)) == []


def test_clients_are_those_of_every_record_removed_ones_too(store: Store, make_row: Callable[..., Row]) -> None:
    store.desired.apply([RowChange(make_row("a", removed_at="2026-01-31T12:00:00.000Z"), "removed", "")], ())
    assert store.ledger.clients() == [("main", "desk-a")]


def test_what_is_held_on_an_account_is_the_sum_of_all_instances_own_fills(store: Store, make_order: MakeOrder) -> None:
    def fill(name: str, quantity: str, instance_id: str, side: Side = Side.BUY) -> None:
        store.ledger.append(make_order(name, quantity=Decimal(quantity), instance_id=instance_id, side=side))
        store.ledger.settle(
            name, OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(quantity), average_price=Decimal(10))
        )

    fill("a", "3", "one")
    fill("b", "1", "two", Side.SELL)
    assert store.ledger.held("main") == {"BTC/USD": Decimal(2)}
    fill("c", "2", "two", Side.SELL)
    assert store.ledger.held("main") == {}
    assert store.ledger.held("other") == {}


def test_an_order_is_found_by_what_the_exchange_of_its_account_calls_it(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("x", exchange_order_id="e1"))
    found = store.ledger.of_exchange_id("main", "e1")
    assert found is not None
    assert found.client_order_id == "x"
    assert store.ledger.of_exchange_id("other", "e1") is None
    assert store.ledger.of_exchange_id("main", "e2") is None


def test_orders_that_ended_lately_are_found_and_none_that_all_is_known_of(
    store: Store, make_order: MakeOrder, clock: FakeClock
) -> None:
    def ended(name: str, state: OrderState, filled: str, **more: Any) -> None:
        store.ledger.append(make_order(name, quantity=Decimal(1)))
        store.ledger.settle(name, OrderNews(state=state, filled_quantity=Decimal(filled), **more))

    ended("long ago", OrderState.CANCELLED, "0")
    clock.advance(86_401)
    ended("cancelled", OrderState.CANCELLED, "0.4", average_price=Decimal(10), fee=Decimal(0))
    ended("expired", OrderState.EXPIRED, "0")
    ended("no fee", OrderState.FILLED, "1", average_price=Decimal(10))
    ended("no price", OrderState.FILLED, "1", fee=Decimal(1))
    ended("whole", OrderState.FILLED, "1", average_price=Decimal(10), fee=Decimal(1))
    store.ledger.append(make_order("open"))
    store.ledger.append(make_order("shadow", outcome=Outcome.SHADOW, state=OrderState.CANCELLED))
    store.ledger.append(make_order("refused", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY))
    found = store.ledger.ended(utc(clock.time()) - timedelta(days=1))
    assert [order.client_order_id for order in found] == ["cancelled", "expired", "no fee", "no price"]


def test_orders_that_ended_are_looked_for_among_the_latest_only(store: Store) -> None:
    plan = store.ledger._reads.query(f"EXPLAIN QUERY PLAN {_ENDED}", ["2026-01-31"])
    assert "orders_ended" in plan[0]["detail"]

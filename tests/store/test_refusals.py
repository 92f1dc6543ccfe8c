"""Repeated refusals are counted, not piled up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from reconciler.orders.order import Order, OrderType, Outcome, RejectedBy, Side, TimeInForce
from reconciler.records.mode import Mode
from reconciler.store import Store

MakeOrder = Callable[..., Order]


def refused(make_order: MakeOrder, client_order_id: str, **more: Any) -> Order:
    fields = {"outcome": Outcome.REJECTED, "rejected_by": RejectedBy.GATEWAY, "reason": "Limit: too many"}
    return make_order(client_order_id, **{**fields, **more})


def rows(store: Store) -> list[tuple[str, int]]:
    found = store.ledger._reads.query("SELECT client_order_id, repeats FROM orders ORDER BY id")
    return [(row["client_order_id"], row["repeats"]) for row in found]


def test_the_same_refusal_again_is_counted_on_the_last_row_which_is_returned(
    store: Store, make_order: MakeOrder
) -> None:
    first = refused(make_order, "a")
    assert store.ledger.refuse(first) == first
    later = first.updated_at + timedelta(minutes=1)
    second = replace(first, client_order_id="b", updated_at=later, created_at=later)
    second = replace(second, provenance=replace(second.provenance, beat=first.provenance.beat + 1))
    assert store.ledger.refuse(second) == replace(first, updated_at=later)
    assert rows(store) == [("a", 2)]


@pytest.mark.parametrize(
    "other",
    [
        {"reason": "Halted: fire"},
        {"side": Side.SELL},
        {"type": OrderType.STOP},
        {"time_in_force": TimeInForce.IOC},
        {"reduce_only": True},
        {"generation": 9},
        {"mode": Mode.OBSERVE},
        {"symbol": "ETH/USD"},
    ],
)
def test_another_refusal_is_a_row_of_its_own(store: Store, make_order: MakeOrder, other: dict[str, Any]) -> None:
    store.ledger.refuse(refused(make_order, "a"))
    store.ledger.refuse(refused(make_order, "b", **other))
    assert rows(store) == [("a", 1), ("b", 1)]


@pytest.mark.parametrize("other", [{"quantity": Decimal(2)}, {"limit_price": Decimal(7)}])
def test_what_follows_the_price_is_the_same_refusal_over_again(
    store: Store, make_order: MakeOrder, other: dict[str, Any]
) -> None:
    first = refused(make_order, "a")
    store.ledger.refuse(first)
    counted = store.ledger.refuse(refused(make_order, "b", **other))
    assert (counted.client_order_id, counted.request) == ("a", first.request)
    assert rows(store) == [("a", 2)]


def test_only_the_instances_own_last_row_counts_repeats(store: Store, make_order: MakeOrder) -> None:
    store.ledger.refuse(refused(make_order, "a"))
    store.ledger.refuse(refused(make_order, "z", instance_id="other"))
    store.ledger.refuse(refused(make_order, "b"))
    store.ledger.append(make_order("c"))
    store.ledger.refuse(refused(make_order, "d"))
    assert rows(store) == [("a", 2), ("z", 1), ("c", 1), ("d", 1)]


def test_what_the_exchange_refused_is_never_counted_as_the_gateways(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(refused(make_order, "a", rejected_by=RejectedBy.EXCHANGE))
    store.ledger.refuse(refused(make_order, "b"))
    assert rows(store) == [("a", 1), ("b", 1)]

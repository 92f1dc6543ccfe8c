"""What may become known of an order after what is known already. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.errors import StoreError
from reconciler.records.order import Order, Outcome

_FOLLOWERS = {
    Outcome.SHADOW: frozenset({Outcome.SHADOW}),
    Outcome.PENDING: frozenset({Outcome.PENDING, Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNKNOWN}),
    Outcome.UNKNOWN: frozenset({Outcome.UNKNOWN, Outcome.ACCEPTED, Outcome.REJECTED}),
    Outcome.ACCEPTED: frozenset({Outcome.ACCEPTED}),
    Outcome.REJECTED: frozenset({Outcome.REJECTED}),
}
"""What may be told of an order after each outcome, itself included."""


def settled_order(known: Order, news: Mapping[str, Any]) -> Order:
    """`known` with `news`, fields of `Order` by name. Raises StoreError where they cannot follow what is known."""
    if news.get("filled_quantity", known.filled_quantity) < known.filled_quantity:
        news = {k: v for k, v in news.items() if k not in ("filled_quantity", "average_price", "fee")}
    told = replace(known, **news)
    if told.outcome not in _FOLLOWERS[known.outcome]:
        raise StoreError(f"orders: {known.client_order_id}: {told.outcome} cannot follow {known.outcome}")
    if known.state is not None and known.state.is_final and told.state is not known.state:
        raise StoreError(f"orders: {known.client_order_id}: {told.state} cannot follow {known.state}, which is final")
    happened = told.state is not None or told.filled_quantity != 0
    if happened and told.outcome not in (Outcome.ACCEPTED, Outcome.SHADOW):
        raise StoreError(f"orders: {known.client_order_id}: expected no state or fill, for it is {told.outcome}")
    return told

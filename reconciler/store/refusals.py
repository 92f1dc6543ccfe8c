"""Orders that the gateway refused before it meant to send them: written down once, counted where they repeat."""

from __future__ import annotations

from dataclasses import replace

from sqlite_utils import Database

from reconciler.records.order import Order, OrderRequest, Outcome, RejectedBy
from reconciler.store.orders import order_columns, order_from
from reconciler.store.statements import insert
from reconciler.store.text import time_text


def refuse(db: Database, order: Order) -> Order:
    """Write `order` down, or count it on the instance's last one where it is that over again. Returns the one there."""
    found = list(db.query("SELECT * FROM orders WHERE instance_id = ? ORDER BY id DESC LIMIT 1", [order.instance_id]))
    last = order_from(found[0]) if found else None
    if last is None or not is_repeated(last, order):
        insert(db, "orders", order_columns(order))
        return order
    repeated = replace(last, updated_at=max(order.updated_at, last.updated_at))
    db.execute(
        "UPDATE orders SET repeats = repeats + 1, updated_at = ? WHERE client_order_id = ?",
        [time_text(repeated.updated_at), last.client_order_id],
    )
    return repeated


def is_repeated(last: Order, refused: Order) -> bool:
    """True where `refused` is `last` over again: asked for by the same record, and refused for the same reason.

    Whatever the quantity and the prices: what a strategy asks for follows the market, and so would its refusals.
    """
    return (
        last.outcome is refused.outcome is Outcome.REJECTED
        and last.rejected_by is refused.rejected_by is RejectedBy.GATEWAY
        and last.reason == refused.reason
        and _kind(last.request) == _kind(refused.request)
        and replace(last.provenance, beat=refused.provenance.beat) == refused.provenance
    )


def _kind(request: OrderRequest) -> tuple[object, ...]:
    return request.side, request.type, request.time_in_force, request.reduce_only

"""What may become known of an order after what is known already, and which of its fills are new. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from reconciler import exact
from reconciler.errors import StoreError
from reconciler.orders.order import Fill, Order, Outcome, decimal_text

_FOLLOWERS = {
    Outcome.SHADOW: frozenset({Outcome.SHADOW}),
    Outcome.PENDING: frozenset({Outcome.PENDING, Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNKNOWN}),
    Outcome.UNKNOWN: frozenset({Outcome.UNKNOWN, Outcome.ACCEPTED, Outcome.REJECTED}),
    Outcome.ACCEPTED: frozenset({Outcome.ACCEPTED}),
    Outcome.REJECTED: frozenset({Outcome.REJECTED, Outcome.ACCEPTED}),
}
"""What may be told of an order after each outcome, itself included. One taken for rejected may turn up after all."""

_OF_FILLS = frozenset({"filled_quantity", "average_price", "fee", "fee_currency"})


def settled_order(known: Order, news: Mapping[str, Any]) -> Order:
    """`known` with `news`, fields of `Order` by name. Raises StoreError where they cannot follow what is known."""
    if news.get("filled_quantity", known.filled_quantity) < known.filled_quantity:
        news = {k: v for k, v in news.items() if k not in _OF_FILLS}
    if news.get("outcome", known.outcome) is Outcome.ACCEPTED:
        news = {**news, "rejected_by": None}
    told = replace(known, **news)
    if told.outcome not in _FOLLOWERS[known.outcome]:
        raise StoreError(f"orders: {known.client_order_id}: {told.outcome} cannot follow {known.outcome}")
    if known.state is not None and known.state.is_final and told.state is not known.state:
        raise StoreError(f"orders: {known.client_order_id}: {told.state} cannot follow {known.state}, which is final")
    happened = told.state is not None or told.filled_quantity != 0
    if happened and told.outcome not in (Outcome.ACCEPTED, Outcome.SHADOW):
        raise StoreError(f"orders: {known.client_order_id}: expected no state or fill, for it is {told.outcome}")
    return told


def resolved_order(known: Order, news: Mapping[str, Any]) -> Order:
    """`known` as a person has it: with less filled, too, than is known, and another end. Else as `settled_order`."""
    told = replace(known, **news)
    if told.outcome is Outcome.ACCEPTED:
        told = replace(told, rejected_by=None)
    if not told.filled_quantity:
        told = replace(told, average_price=None)
    return settled_order(replace(known, state=None, filled_quantity=exact.ZERO), _differing(known, told))


def _differing(known: Order, told: Order) -> dict[str, Any]:
    names = ("outcome", "state", "filled_quantity", "average_price", "fee", "fee_currency", "exchange_order_id")
    return {name: getattr(told, name) for name in (*names, "reason", "rejected_by")}


def new_fills(
    order: Order, known: Sequence[Fill], told: Sequence[Fill], average: Decimal | None, now: datetime
) -> list[Fill]:
    """The fills, besides those `known`, that add up to what `order` says is filled.

    They are those `told` that are not known, and, for what these leave unexplained, one made of the difference; its
    price follows from `average`, the order's average price, and is None without one. One of a negative quantity takes
    back what is filled no more. Where more is told than is
    filled, or where one was made up before, executions told apart would count twice: then all is made up.

    Their fees in the order's currency add up to its fee, where that was told: what is missing, or too much, is on the
    last new one. Where no fill is new, or that one was charged in another currency, it is on one of no quantity, made
    up for it. A currency that is told later takes the place of none.
    """
    news = _executions(order, known, told, average, now)
    if order.fee is None:
        return news
    for currency, amount in ((order.fee_currency, order.fee), (None, exact.ZERO)):
        charged = (fill.fee for fill in (*known, *news) if fill.fee is not None and fill.fee_currency == currency)
        owed = exact.subtract(amount, exact.total(charged))
        last = news[-1] if news else None
        if last is not None and (last.fee is None or last.fee_currency == currency) and currency == order.fee_currency:
            news[-1] = replace(last, fee=exact.add(last.fee or exact.ZERO, owed), fee_currency=currency)
        elif owed:
            fee_id, price = f"fee-{len(known) + len(news) + 1}", None if currency is None else order.average_price
            news.append(Fill(order.client_order_id, fee_id, exact.ZERO, price, owed, now, True, currency))
        if order.fee_currency is None:
            break
    return news


def late_prices(order: Order, known: Sequence[Fill], average: Decimal | None) -> list[Fill]:
    """Those `known` fills whose price was not told with them, at the price that follows from the order's `average` now.

    It is the one at which all fills together trade at the average; empty where it cannot be, or none is told.
    """
    late = [fill for fill in known if fill.price is None and fill.quantity]
    if average is None or not late:
        return []
    # A fee in what is held is worth what that trades at.
    fees = [fill for fill in known if fill.price is None and not fill.quantity and fill.fee_currency is not None]
    quantity, others = _sum(late), [fill for fill in known if fill.price is not None]
    price = _price_of_rest(exact.add(quantity, _sum(others)), average, others, quantity)
    return [replace(fill, price=price) for fill in (*late, *fees)]


def _executions(
    order: Order, known: Sequence[Fill], told: Sequence[Fill], average: Decimal | None, now: datetime
) -> list[Fill]:
    """The new fills with the fees that were told of each."""
    missing = exact.subtract(order.filled_quantity, _sum(known))
    if not missing:
        return []
    if missing < 0:  # a person took it back
        price = _price_of_rest(order.filled_quantity, average, known, missing)
        return [Fill(order.client_order_id, f"less-{len(known) + 1}", missing, price, None, now, is_made_up=True)]
    ids = {fill.exchange_fill_id for fill in known}
    news = list({f.exchange_fill_id: f for f in told if f.exchange_fill_id not in ids and f.quantity > 0}.values())
    if any(fill.is_made_up and fill.quantity for fill in known) or _sum(news) > missing:
        news = []
    rest = exact.subtract(missing, _sum(news))
    if rest:
        price = _price_of_rest(order.filled_quantity, average, (*known, *news), rest)
        fill_id = f"to-{decimal_text(order.filled_quantity)}"
        news.append(Fill(order.client_order_id, fill_id, rest, price, None, now, is_made_up=True))
    return news


def _sum(fills: Iterable[Fill]) -> Decimal:
    return exact.total(fill.quantity for fill in fills)


def _price_of_rest(filled: Decimal, average: Decimal | None, others: Sequence[Fill], rest: Decimal) -> Decimal | None:
    """What the rest must have traded at for the average to be right; the average itself where that cannot be."""
    if average is None:
        return None
    paid = exact.multiply(filled, average)
    for fill in others:
        paid = exact.subtract(paid, exact.multiply(fill.quantity, average if fill.price is None else fill.price))
    price = exact.quotient(paid, rest)
    return price if price > 0 else average

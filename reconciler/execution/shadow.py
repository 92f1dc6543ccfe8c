"""What the market makes of a shadow order: only what is certain to have filled is filled. Pure.

What comes in and can trade at once, and a stop whose price was reached, takes the quote. A limit order that waits is
filled at its limit, once the market trades through it: a price that is only reached says nothing of who came first.
Orders fill as a whole, unless they may only reduce a smaller position; how much there is at a price is not simulated.
Every fill pays a fee.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import ROUND_CEILING, Decimal

from reconciler import exact
from reconciler.execution.limits import QuotePrices
from reconciler.orders.order import Order, OrderState, OrderType, Outcome, Side, TimeInForce

DEFAULT_FEE = Decimal("0.0025")
"""The fee of a shadow fill, as a fraction of its notional: what exchanges charge those who trade little, or more."""

_FEE_STEP = Decimal("0.00000001")
_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)
_IMPATIENT = (TimeInForce.IOC, TimeInForce.FOK)


def shadowed(order: Order, fee_rate: Decimal) -> Order:
    """The order as the shadow book takes it in, judged by the quote that it saw, which must be there."""
    order = replace(order, outcome=Outcome.SHADOW, state=OrderState.OPEN)
    met = _met(order, QuotePrices(order.quote_bid, order.quote_ask), fee_rate, waited=False)
    if met.is_open and met.request.time_in_force in _IMPATIENT:
        return _ended(met, OrderState.CANCELLED, f"{met.request.time_in_force}: it could not be filled at once")
    return met


def followed(order: Order, prices: QuotePrices, fee_rate: Decimal, today: date) -> Order:
    """An open shadow order after a quote of a later beat; the same object where nothing happened to it.

    `today` is the UTC day: an order for the day ends with the one it was placed on.
    """
    if order.request.time_in_force is TimeInForce.DAY and today > order.created_at.date():
        return _ended(order, OrderState.EXPIRED, "its day is over")
    return _met(order, prices, fee_rate, waited=True)


def fee_on(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """The fee of one fill, rounded up to eight decimals."""
    fee = exact.multiply(exact.multiply(quantity, price), rate)
    return exact.rounded(fee, _FEE_STEP, ROUND_CEILING)


def part_of(filled: Order, quantity: Decimal, fee_rate: Decimal) -> Order:
    """The order as if only `quantity` of it had been filled, at the same price."""
    assert filled.average_price is not None
    return replace(filled, filled_quantity=quantity, fee=fee_on(quantity, filled.average_price, fee_rate))


def _met(order: Order, prices: QuotePrices, fee_rate: Decimal, *, waited: bool) -> Order:
    price = prices.against(order.side)
    assert price is not None
    if order.type in _STOPS and not order.is_triggered:
        if not _is_stopped(order, price):
            return order
        order, waited = replace(order, is_triggered=True), False
    limit = order.limit_price
    if limit is None or (not waited and price == limit) or _is_better(price, limit, order.side):
        return _filled(order, limit if waited and limit is not None else price, fee_rate)
    return order


def _is_stopped(order: Order, price: Decimal) -> bool:
    """True where the ask has risen to the stop price of a buy, or the bid has fallen to that of a sell."""
    stop = order.request.stop_price
    assert stop is not None
    return price >= stop if order.side is Side.BUY else price <= stop


def _is_better(price: Decimal, limit: Decimal, side: Side) -> bool:
    """True where the market trades through the limit."""
    return price < limit if side is Side.BUY else price > limit


def _filled(order: Order, price: Decimal, fee_rate: Decimal) -> Order:
    fee = fee_on(order.quantity, price, fee_rate)
    return replace(order, state=OrderState.FILLED, filled_quantity=order.quantity, average_price=price, fee=fee)


def _ended(order: Order, state: OrderState, reason: str) -> Order:
    return replace(order, state=state, reason=reason)

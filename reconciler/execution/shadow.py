"""What observing makes of an order: nothing is sent, and only what is certain to have filled is filled. Pure."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from reconciler.execution.limits import Prices
from reconciler.records.order import Order, OrderState, OrderType, Outcome, TimeInForce


def shadowed(order: Order) -> Order:
    """The order as the shadow book keeps it, judged by the quote that it saw, which must be there.

    A market order and a limit order that crosses at once fill at the quote, without a fee; others rest,
    or end where they were not to wait.
    """
    price = Prices(order.quote_bid, order.quote_ask).against(order.side)
    assert price is not None
    if order.type is OrderType.MARKET or (order.type is OrderType.LIMIT and _crosses(order, price)):
        return replace(
            order,
            outcome=Outcome.SHADOW,
            state=OrderState.FILLED,
            filled_quantity=order.quantity,
            average_price=price,
        )
    impatient = order.request.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
    return replace(order, outcome=Outcome.SHADOW, state=OrderState.CANCELLED if impatient else OrderState.OPEN)


def _crosses(order: Order, price: Decimal) -> bool:
    limit = order.limit_price
    assert limit is not None
    return price <= limit if order.side.value == "buy" else price >= limit

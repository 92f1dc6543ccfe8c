"""When resting orders move: the first price step that fills or ends one of them, found without a look at every step.

Pure. A long stretch of steps is halved until what is left can move something, or is one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from reconciler.execution.paper.account import PaperOrder
from reconciler.execution.paper.feed import Prices
from reconciler.records.market import Quote
from reconciler.records.order import Side, TimeInForce


def crossing(order: PaperOrder, quote: Quote) -> Decimal | None:
    """The price at which `order` trades against `quote`, or None where it does not."""
    price = quote.ask if order.side is Side.BUY else quote.bid
    if order.limit_price is None:
        return price
    reached = price <= order.limit_price if order.side is Side.BUY else price >= order.limit_price
    return price if reached else None


def has_expired(order: PaperOrder, quote: Quote) -> bool:
    """True from the first quote of the day after the one that `order` was for."""
    return order.time_in_force is TimeInForce.DAY and quote.as_of.date() > order.created_at.date()


def next_move(prices: Prices, symbol: str, orders: Sequence[PaperOrder], first: int, last: int) -> int | None:
    """The first of the steps `first` to `last` that fills or ends any of `orders`, None where none does."""
    if first > last:
        return None
    if first == last:
        return first if _moves(orders, prices.quote(symbol, first)) else None
    ask, bid = prices.reach(symbol, first, last)
    farthest = Quote(symbol, bid, ask, ask, prices.time_of(last))  # what no quote of these steps goes beyond
    if not _moves(orders, farthest):
        return None
    middle = (first + last) // 2
    earlier = next_move(prices, symbol, orders, first, middle)
    return next_move(prices, symbol, orders, middle + 1, last) if earlier is None else earlier


def _moves(orders: Sequence[PaperOrder], quote: Quote) -> bool:
    return any(has_expired(order, quote) or crossing(order, quote) is not None for order in orders)

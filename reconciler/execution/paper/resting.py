"""When resting orders move: the first price step that touches one of them, found without a look at every step.

Pure. A long stretch of steps is halved until what is left can move something, or is one step.
"""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.execution.paper.feed import Prices
from reconciler.execution.paper.matching import moves
from reconciler.execution.paper.order import PaperOrder


def next_move(prices: Prices, symbol: str, orders: Sequence[PaperOrder], first: int, last: int) -> int | None:
    """The first of the steps `first` to `last` that triggers, fills or ends any of `orders`, None where none does."""
    if first > last:
        return None
    if first == last:
        quote = prices.quote(symbol, first)
        return first if any(moves(order, quote, quote) for order in orders) else None
    lowest, highest = prices.reach(symbol, first, last)
    if not any(moves(order, lowest, highest) for order in orders):
        return None
    middle = (first + last) // 2
    earlier = next_move(prices, symbol, orders, first, middle)
    return next_move(prices, symbol, orders, middle + 1, last) if earlier is None else earlier

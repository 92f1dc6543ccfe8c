"""What fills add up to: the signed quantity, and the average cost of what is still open. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal

from reconciler.records.market import Position
from reconciler.records.order import Side

_EXACT = Context(prec=100)
"""Sums and products of any amounts that occur are exact in it; only the average itself is rounded."""


def position_of(symbol: str, fills: Iterable[tuple[Side, Decimal, Decimal | None]]) -> Position:
    """The position after `fills`, oldest first: (side, quantity, average price).

    Average-cost method: what adds to the position moves its average, what reduces it does not, and what
    turns it around starts anew. Where the price of an addition is unknown the average is None until the
    position is flat again.
    """
    held = Decimal(0)
    average: Decimal | None = None
    for side, quantity, price in fills:
        change = quantity if side is Side.BUY else -quantity
        before, held = held, _EXACT.add(held, change)
        if held == 0:
            average = None
        elif before == 0 or (before > 0) != (held > 0):
            average = price
        elif (before > 0) == (change > 0):
            average = _mean(before, average, change, price)
    return Position(symbol, held, average)


def _mean(held: Decimal, average: Decimal | None, change: Decimal, price: Decimal | None) -> Decimal | None:
    if average is None or price is None:
        return None
    cost = _EXACT.fma(held, average, _EXACT.multiply(change, price))
    return _EXACT.divide(cost, _EXACT.add(held, change))

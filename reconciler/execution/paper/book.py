"""The order book that an order meets in one price step: the best price, and behind it ever worse ones. Pure.

Where a market has a `depth`, that much trades at each of ten prices, a spread apart, and what one order took
is gone for the others until the next step. Where it has none, any quantity trades at the best price.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from reconciler.execution.paper.money import ZERO, exact
from reconciler.records.market import Quote
from reconciler.records.order import Side

LEVELS = 10
_ANY = Decimal("Infinity")


@dataclass(frozen=True, slots=True)
class Level:
    """A price, and how much trades at it."""

    price: Decimal
    quantity: Decimal


def touch(quote: Quote, side: Side) -> Decimal:
    """The best price for an order of `side`."""
    return quote.ask if side is Side.BUY else quote.bid


def reaches(price: Decimal, limit: Decimal | None, side: Side) -> bool:
    """True where an order of `side` may trade at `price`."""
    return limit is None or (price <= limit if side is Side.BUY else price >= limit)


def passes(price: Decimal, limit: Decimal, side: Side) -> bool:
    """True where a market at `price` trades through a limit order of `side` that waits."""
    return price < limit if side is Side.BUY else price > limit


def levels(quote: Quote, side: Side, depth: Decimal | None, taken: Decimal) -> list[Level]:
    """What an order of `side` finds, the best price first. `taken` is what others took of it in this step."""
    best = touch(quote, side)
    if depth is None:
        return [Level(best, _ANY)]
    found = []
    with exact():
        spacing = (quote.ask - quote.bid) * (1 if side is Side.BUY else -1)
        for number in range(LEVELS):
            price = best + number * spacing
            left = min(depth, max(ZERO, depth * (number + 1) - taken))
            if price > 0 and left:
                found.append(Level(price, left))
    return found


def within(book: Iterable[Level], limit: Decimal | None, side: Side) -> list[Level]:
    """The levels that an order with `limit` may trade at."""
    return [level for level in book if reaches(level.price, limit, side)]


def through(book: Iterable[Level], limit: Decimal, side: Side) -> list[Level]:
    """The levels that trade through `limit`: those who waited there before have had theirs."""
    return [level for level in book if passes(level.price, limit, side)]


def swept(book: Iterable[Level], quantity: Decimal) -> list[Level]:
    """The executions of an order that takes `quantity`, as far as there is enough."""
    executions = []
    with exact():
        for level in book:
            if not quantity:
                break
            part = min(quantity, level.quantity)
            executions.append(Level(level.price, part))
            quantity -= part
    return executions


def total(book: Iterable[Level]) -> Decimal:
    """How much there is at all levels together."""
    with exact():
        return sum((level.quantity for level in book), ZERO)


class Depleted:
    """What was taken from each side of each market in its last step."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, Side], tuple[int, Decimal]] = {}

    def take(self, symbol: str, side: Side, step: int, quantity: Decimal) -> None:
        with exact():
            self._taken[symbol, side] = step, self.taken(symbol, side, step) + quantity

    def taken(self, symbol: str, side: Side, step: int) -> Decimal:
        at, quantity = self._taken.get((symbol, side), (step, ZERO))
        return quantity if at == step else ZERO

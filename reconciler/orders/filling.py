"""When an order fills, at which prices, and when it ends unfilled: one rule for whatever simulates a market. Pure.

| order | fills |
|---|---|
| comes in, or is a stop just reached | with what is there, from the best price on, as far as its limit lets it |
| a limit that waits | at its limit, once the market trades through it, by as much as there is beyond |
| a stop that waits | once the ask has risen to its price, selling: the bid fallen to it; then as if it came in |

A price that is only reached says nothing of who came first, so whoever waits there gets nothing. How much there is
at which price is the `BookSide`, which the simulating market makes; so are what was taken of it before, and what a
`reduce_only` order may still reduce. What a fill costs is its rate and its way of rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from reconciler import exact
from reconciler.exact import ZERO
from reconciler.orders.order import OrderRequest, OrderState, OrderType, Side, TimeInForce

LEVELS = 10
"""So many prices on each side have something, where how much that is is limited."""

DAY_OVER = "its day is over"
NOTHING_TO_REDUCE = "reduce_only: there is no position left to reduce"
NOT_AS_A_WHOLE = "fok: it could not be filled as a whole"
NO_MORE = "the book has no more at its price"

_ANY = Decimal("Infinity")
_FEE_STEP = Decimal("0.00000001")
_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)
_UNPRICED = (OrderType.MARKET, OrderType.STOP)


class Liquidity(StrEnum):
    """Whether an execution met an order that was waiting, or was the one waiting."""

    MAKER = "maker"
    TAKER = "taker"


@dataclass(frozen=True, slots=True)
class Level:
    """A price, and how much trades at it."""

    price: Decimal
    quantity: Decimal


@dataclass(frozen=True, slots=True)
class BookSide:
    """What a moment has for orders of one side. `best` is its best price, whether or not anything is left there;
    `levels` what trades at which price, the best one first."""

    best: Decimal
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Resting:
    """What the rule asks about an order: `left` is what is not filled yet, `day` the one it was placed on, UTC.

    `is_triggered` is True for a stop whose price was reached, `has_waited` False for an order that just comes in.
    """

    request: OrderRequest
    left: Decimal
    day: date
    is_triggered: bool = False
    has_waited: bool = True

    @property
    def waits_for_stop(self) -> bool:
        """True for a stop whose price was not reached yet."""
        return self.request.type in _STOPS and not self.is_triggered

    def is_over(self, today: date) -> bool:
        """True from the day after the one that it was for."""
        return self.request.time_in_force is TimeInForce.DAY and today > self.day

    def is_moved_by(self, cheapest: Decimal, dearest: Decimal) -> bool:
        """True where a best price of its side between these two may trigger or fill it; False where none can."""
        buys = self.request.side is Side.BUY
        if self.waits_for_stop:
            return is_stopped(self.request, dearest if buys else cheapest)
        return is_crossed(self.request, cheapest if buys else dearest)


@dataclass(frozen=True, slots=True)
class Filling:
    """What a moment makes of an order, in this order: it is triggered, executed, and ended where it is not whole.

    `ended` is `cancelled` or `expired`, with its reason; None where the order was filled, or waits on with the
    rest.
    """

    is_triggered: bool
    executions: tuple[Level, ...] = ()
    liquidity: Liquidity = Liquidity.TAKER
    ended: OrderState | None = None
    reason: str = ""


def best_price(side: Side, bid: Decimal, ask: Decimal) -> Decimal:
    """What an order of `side` would trade at first."""
    return ask if side is Side.BUY else bid


def offered(side: Side, bid: Decimal, ask: Decimal, depth: Decimal | None = None, taken: Decimal = ZERO) -> BookSide:
    """What a quote has for orders of `side`.

    Without a `depth`, any quantity at the best price; with one, that much at each of ten prices a spread apart, of
    which the best ones lack what others have `taken` before.
    """
    best = best_price(side, bid, ask)
    if depth is None:
        return BookSide(best, (Level(best, _ANY),))
    found = []
    spacing = exact.subtract(ask, bid) if side is Side.BUY else exact.subtract(bid, ask)
    for number in range(LEVELS):
        price = exact.add(best, exact.multiply(Decimal(number), spacing))
        left = min(depth, max(ZERO, exact.subtract(exact.multiply(depth, Decimal(number + 1)), taken)))
        if price > 0 and left:
            found.append(Level(price, left))
    return BookSide(best, tuple(found))


def tried(order: Resting, book: BookSide, today: date, room: Decimal | None = None) -> Filling | None:
    """What a moment makes of an order that is open; None where nothing happens to it.

    `today` is the UTC day of that moment. `room` is how much a `reduce_only` order may fill at most: what is held, None
    where it was measured before.
    """
    if order.is_over(today):
        return Filling(order.is_triggered, ended=OrderState.EXPIRED, reason=DAY_OVER)
    request, triggered, waited = order.request, order.is_triggered, order.has_waited
    if order.waits_for_stop:
        if not is_stopped(request, book.best):
            return None
        triggered, waited = True, False
    elif waited and not is_crossed(request, book.best):
        return None
    waits = waited and request.limit_price is not None
    wanted = order.left if room is None or not request.reduce_only else min(order.left, room)
    if not wanted:
        return _cancelled(triggered, NOTHING_TO_REDUCE)
    reached = through(book.levels, request) if waits else within(book.levels, request)
    if request.time_in_force is TimeInForce.FOK and min(quantity_of(reached), wanted) < order.left:
        return _cancelled(triggered, NOT_AS_A_WHOLE)
    executions = _at_limit(reached, request, wanted) if waits else swept(reached, wanted)
    done = Filling(triggered, executions, Liquidity.MAKER if waits else Liquidity.TAKER)
    filled = quantity_of(executions)
    if filled == order.left:
        return done
    if request.time_in_force is TimeInForce.IOC or request.type in _UNPRICED:
        return _cancelled(triggered, NO_MORE, done)
    if filled == wanted:
        return _cancelled(triggered, NOTHING_TO_REDUCE, done)
    return done if executions or triggered is not order.is_triggered else None


def is_stopped(request: OrderRequest, best: Decimal) -> bool:
    """True where the ask has risen to the stop price of a buyer, or the bid has fallen to that of a seller."""
    assert request.stop_price is not None
    return best >= request.stop_price if request.side is Side.BUY else best <= request.stop_price


def is_crossed(request: OrderRequest, price: Decimal) -> bool:
    """True where a market at `price` trades through the limit of the order, which waits."""
    limit = request.limit_price
    return limit is None or (price < limit if request.side is Side.BUY else price > limit)


def within(levels: Iterable[Level], request: OrderRequest) -> tuple[Level, ...]:
    """The levels at which the order may trade."""
    limit, buys = request.limit_price, request.side is Side.BUY
    return tuple(level for level in levels if limit is None or (level.price <= limit if buys else level.price >= limit))


def through(levels: Iterable[Level], request: OrderRequest) -> tuple[Level, ...]:
    """The levels that trade through the limit of the order: those who waited at it before have had theirs."""
    return tuple(level for level in levels if is_crossed(request, level.price))


def swept(levels: Iterable[Level], quantity: Decimal) -> tuple[Level, ...]:
    """The executions of an order that takes `quantity`, as far as there is enough."""
    executions = []
    for level in levels:
        if not quantity:
            break
        part = min(quantity, level.quantity)
        executions.append(Level(level.price, part))
        quantity = exact.subtract(quantity, part)
    return tuple(executions)


def quantity_of(levels: Iterable[Level]) -> Decimal:
    """How much that is together."""
    return exact.total(level.quantity for level in levels)


def fee_on(quantity: Decimal, price: Decimal, rate: Decimal, rounding: str) -> Decimal:
    """The fee of one fill, in what `price` is in, to eight decimals; `rounding` is one of decimal's."""
    return exact.rounded(exact.multiply(exact.multiply(quantity, price), rate), _FEE_STEP, rounding)


def _at_limit(levels: Iterable[Level], request: OrderRequest, wanted: Decimal) -> tuple[Level, ...]:
    assert request.limit_price is not None
    part = min(wanted, quantity_of(levels))
    return (Level(request.limit_price, part),) if part else ()


def _cancelled(is_triggered: bool, reason: str, done: Filling | None = None) -> Filling:
    """Ended, after whatever was `done` of it."""
    executions, liquidity = (done.executions, done.liquidity) if done else ((), Liquidity.TAKER)
    return Filling(is_triggered, executions, liquidity, OrderState.CANCELLED, reason)

"""What one price step does to one order: trigger, execute, expire or nothing. Pure.

An order that comes in, or a stop whose price was reached, takes what the book has, from the best price on. A
limit order that waits is filled at its limit when the market trades through it: a price that is only reached says
nothing of who came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from reconciler.exact import subtract
from reconciler.orders.market import Quote
from reconciler.orders.order import OrderState, OrderType, Side, TimeInForce
from reconciler.paper.money import ZERO, exact, fee_on
from reconciler.paper.paper_order import Liquidity, PaperOrder
from reconciler.paper.terms import PaperOptions

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


_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)
_UNPRICED = (OrderType.MARKET, OrderType.STOP)
_NOTHING_TO_REDUCE = "reduce_only: there is no position left to reduce"


def waits_for_stop(order: PaperOrder) -> bool:
    """True for a stop order whose price was not reached yet."""
    return order.request.type in _STOPS and not order.is_triggered


def moves(order: PaperOrder, lowest: Quote, highest: Quote) -> bool:
    """True where a quote between `lowest` and `highest` may trigger, fill or end `order`; False where none can."""
    if has_expired(order, highest):
        return True
    if waits_for_stop(order):
        return is_stopped(order, highest if order.request.side is Side.BUY else lowest)
    return is_crossed(order, lowest if order.request.side is Side.BUY else highest)


def is_crossed(order: PaperOrder, quote: Quote) -> bool:
    """True where `quote` trades through the limit of `order`, which waits."""
    limit, side = order.request.limit_price, order.request.side
    return limit is None or passes(touch(quote, side), limit, side)


def is_stopped(order: PaperOrder, quote: Quote) -> bool:
    """True where `quote` reaches the stop price: the ask has risen to it, or the bid has fallen to it."""
    stop, side = order.request.stop_price, order.request.side
    assert stop is not None
    return touch(quote, side) >= stop if side is Side.BUY else touch(quote, side) <= stop


def has_expired(order: PaperOrder, quote: Quote) -> bool:
    """True from the first quote of the day after the one that `order` was for."""
    return order.request.time_in_force is TimeInForce.DAY and quote.as_of.date() > order.created_at.date()


def advanced(
    order: PaperOrder, quote: Quote, taken: Decimal, options: PaperOptions, room: Decimal, at: datetime, *, waited: bool
) -> PaperOrder:
    """`order` after `quote`; itself where nothing happens to it.

    `taken` is what other orders took of this step's book, `room` how much a reduce_only order may fill, `at`
    the time of whatever happens, `waited` False for an order that just came in.
    """
    if has_expired(order, quote):
        midnight = datetime(quote.as_of.year, quote.as_of.month, quote.as_of.day, tzinfo=UTC)
        return order.ended(OrderState.EXPIRED, midnight, "its day is over")
    if waits_for_stop(order):
        if not is_stopped(order, quote):
            return order
        order, waited = order.triggered(at), False
    request, left = order.request, order.left
    wanted = min(left, room) if request.reduce_only else left
    depth = options.markets.of(order.ticket.symbol).depth
    book, limit = levels(quote, request.side, depth, taken), request.limit_price
    book = through(book, limit, request.side) if waited and limit else within(book, limit, request.side)
    if not wanted:
        return order.ended(OrderState.CANCELLED, at, _NOTHING_TO_REDUCE)
    if request.time_in_force is TimeInForce.FOK and min(total(book), wanted) < left:
        return order.ended(OrderState.CANCELLED, at, "fok: it could not be filled as a whole")
    order = _executed(order, _executions(order, book, wanted, waited), options, at, waited=waited)
    if order.state.is_final:
        return order
    if request.time_in_force is TimeInForce.IOC or request.type in _UNPRICED:
        return order.ended(OrderState.CANCELLED, at, "the book has no more at its price")
    if order.left == subtract(left, wanted):
        return order.ended(OrderState.CANCELLED, at, _NOTHING_TO_REDUCE)
    return order


def _executions(order: PaperOrder, book: Sequence[Level], wanted: Decimal, waited: bool) -> list[Level]:
    limit = order.request.limit_price
    if not waited or limit is None:
        return swept(book, wanted)
    part = min(wanted, total(book))
    return [Level(limit, part)] if part else []


def _executed(
    order: PaperOrder, executions: Sequence[Level], options: PaperOptions, at: datetime, *, waited: bool
) -> PaperOrder:
    liquidity = Liquidity.MAKER if waited else Liquidity.TAKER
    for execution in executions:
        kept_in_base = options.fees_in == "received" and order.request.side is Side.BUY
        currency, price = (order.ticket.base, Decimal(1)) if kept_in_base else (order.ticket.quote, execution.price)
        fee = fee_on(execution.quantity, price, options.fee_rate(liquidity))
        order = order.filled(execution.quantity, execution.price, fee, liquidity, at, currency)
    return order

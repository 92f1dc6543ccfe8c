"""A record's risk envelope, applied to one order. Pure: what would be exceeded, in words, or nothing.

And its footprint: what an instance counts in the scopes above it, as held, and with its open orders filled; and which
of those add exposure, and are cancelled where a limit above the instance is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final, NamedTuple

from reconciler import exact
from reconciler.orders.holding import Holding
from reconciler.orders.order import Order, OrderRequest, Side, decimal_text
from reconciler.records.record import Limits

_NO_QUOTE = "there is no quote to measure it by"
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an instance stands before the order: its own position, its own open orders, its recent haste, its day.

    `placed_last_minute` is counted only where it is limited, and 0 otherwise. `loss_today` is what it lost since
    00:00 UTC, a gain being negative; None where that cannot be measured. `contract_size` is how much of the base
    currency one unit of quantity is.
    """

    position: Decimal
    open_orders: Sequence[Order]
    placed_last_minute: int
    loss_today: Decimal | None
    contract_size: Decimal = Decimal(1)

    def remaining(self, side: Side) -> Decimal:
        """How much its open orders of `side` may still fill."""
        own = (order for order in self.open_orders if order.side is side)
        return exact.total(exact.subtract(order.quantity, order.filled_quantity) for order in own)


@dataclass(frozen=True, slots=True)
class QuotePrices:
    """The quote seen, or None where there was none."""

    bid: Decimal | None
    ask: Decimal | None

    def against(self, side: Side) -> Decimal | None:
        """What an order of `side` would trade at."""
        return self.ask if side is Side.BUY else self.bid


def reduces(book: Standing, request: OrderRequest) -> bool:
    """True where the order can only bring the position nearer to zero, even if all that is open fills first."""
    held = book.position if request.side is Side.SELL else exact.negative(book.position)
    return exact.add(request.quantity, book.remaining(request.side)) <= held


def dearest(request: OrderRequest, prices: QuotePrices) -> Decimal | None:
    """The most that one unit of the order may trade at, as far as its prices and the quote tell; None without a quote
    where that is needed.

    | order | buy | sell |
    |---|---|---|
    | market | ask | bid |
    | limit | its limit | its limit, or the bid if that is higher |
    | stop | its stop price, or the ask if that is higher | its stop price, or the bid if that is higher |
    | stop_limit | the higher of its two prices | the highest of its two prices and the bid |

    A price that it names bounds what a buyer pays, if it is a limit, and nothing else: who offers to sell for less
    than the bid is paid the bid, and a stop whose price was reached long ago trades at the quote, whatever it names.
    """
    named = [price for price in (request.limit_price, request.stop_price) if price is not None]
    if request.side is Side.BUY and request.limit_price is not None:
        return max(named)
    quoted = prices.against(request.side)
    return None if quoted is None else max((quoted, *named))


def breach(limits: Limits, request: OrderRequest, prices: QuotePrices, book: Standing) -> str | None:
    """The first limit that the order would exceed, as a sentence. What cannot be measured counts as exceeded.

    What can only reduce the position is held to `max_price_deviation` alone, and to that where there is a quote: else
    nobody could get out of a market that lost its quotes, or of a book whose orders are all out.
    """
    if reduces(book, request):
        is_quoted = prices.against(request.side) is not None
        return _deviation(limits, request, prices) if is_quoted else None
    return (
        _loss(limits, book)
        or _open_orders(limits, book)
        or _haste(limits, book)
        or _notional(limits, request, prices, book.contract_size)
        or _position(limits, request, book)
        or _deviation(limits, request, prices)
    )


def staleness(most_s: int, quoted_at: datetime | None, now: datetime) -> str | None:
    """Why a quote of then says nothing of now, as a sentence: it is older than `most_s`, or from further ahead."""
    if quoted_at is None:
        return f"max_quote_age_seconds: {_NO_QUOTE}"
    age_s = (now - quoted_at).total_seconds()
    if abs(age_s) <= most_s:
        return None
    return f"max_quote_age_seconds: the quote is {'older than' if age_s > 0 else 'from more than'} {most_s} s" + (
        "" if age_s > 0 else " ahead"
    )


def _loss(limits: Limits, book: Standing) -> str | None:
    """Reached is exceeded: every new order may only lose more."""
    most, lost = limits.max_daily_loss, book.loss_today
    if most is None or (lost is not None and lost < most):
        return None
    if lost is None:
        return "max_daily_loss: the loss of the day cannot be measured: what is held lacks a quote, or a fill its price"
    return f"max_daily_loss: {decimal_text(lost)} is lost today, the limit is {decimal_text(most)}"


def _open_orders(limits: Limits, book: Standing) -> str | None:
    most, count = limits.max_open_orders, len(book.open_orders)
    if most is None or count < most:
        return None
    return f"max_open_orders: {count} are open, the limit is {most}"


def _haste(limits: Limits, book: Standing) -> str | None:
    most, count = limits.max_orders_per_minute, book.placed_last_minute
    if most is None or count < most:
        return None
    return f"max_orders_per_minute: {count} in the last minute, the limit is {most}"


def _notional(limits: Limits, request: OrderRequest, prices: QuotePrices, contract_size: Decimal) -> str | None:
    most = limits.max_order_notional
    if most is None:
        return None
    price = dearest(request, prices)
    if price is None:
        return f"max_order_notional: {_NO_QUOTE}"
    notional = exact.multiply(exact.multiply(request.quantity, price), contract_size)
    if notional <= most:
        return None
    return f"max_order_notional: the order is worth {decimal_text(notional)}, the limit is {decimal_text(most)}"


def _position(limits: Limits, request: OrderRequest, book: Standing) -> str | None:
    """Counts all open orders of the side as filled: the position that the order may lead to."""
    most = limits.max_position
    if most is None:
        return None
    added = exact.add(request.quantity, book.remaining(request.side))
    buys = request.side is Side.BUY
    after = exact.add(book.position, added) if buys else exact.subtract(book.position, added)
    reached = after if buys else exact.negative(after)
    if reached <= most:
        return None
    return f"max_position: the position could become {decimal_text(after)}, the limit is {decimal_text(most)}"


def _deviation(limits: Limits, request: OrderRequest, prices: QuotePrices) -> str | None:
    most = limits.max_price_deviation
    named = [p for p in (request.limit_price, request.stop_price) if p is not None]
    if most is None or not named:
        return None
    quoted = prices.against(request.side)
    if quoted is None:
        return f"max_price_deviation: {_NO_QUOTE}"
    for price in named:
        if exact.size(exact.subtract(price, quoted)) > exact.multiply(most, quoted):
            return (
                f"max_price_deviation: {decimal_text(price)} is off the quote of {decimal_text(quoted)}"
                f" by more than {decimal_text(most)} of it"
            )
    return None


class Footprint(NamedTuple):
    """Money is in the currency of the market, as much as contracts are of; None where it cannot be measured.

    `held` is what the position is worth, `gross` the most that it can come to by open orders being filled; `traded`
    what all open orders trade when filled. `loss` is that of the day, a gain being negative; `result` all profit there
    was, what is held included. `position`, `buys` and `sells` are quantities: what is held, and what is still open.
    """

    held: Decimal | None = _ZERO
    gross: Decimal | None = _ZERO
    traded: Decimal | None = _ZERO
    loss: Decimal | None = _ZERO
    result: Decimal | None = _ZERO
    position: Decimal = _ZERO
    buys: Decimal = _ZERO
    sells: Decimal = _ZERO
    open_orders: int = 0


_UNMEASURED: Final = Footprint(None, None, None, None, None)


class Worth(NamedTuple):
    """What is held comes to at one quote, as `Footprint` has it; orders that come and go change nothing of it."""

    held: Decimal | None
    loss: Decimal | None
    result: Decimal | None


def worth(holding: Holding, prices: QuotePrices, size: Decimal, today: date) -> Worth:
    """`size` is how much of the base currency one unit is."""
    return Worth(
        _worth(holding.quantity, prices.ask, size),
        _times(holding.loss_on(today, prices.bid, prices.ask), size),
        _times(_result(holding, prices), size),
    )


def footprint(
    position: Decimal, open_orders: Iterable[Order], prices: QuotePrices, size: Decimal | None, held: Worth
) -> Footprint:
    """`size` is None where nobody tells how much of the base currency one unit is: then nothing of it is measured."""
    own = tuple(open_orders)
    if not own:
        unmeasured = size is None and position
        return _UNMEASURED._replace(position=position) if unmeasured else _of_what_is_held(position, held)
    buys, sells = (_remaining(own, side) for side in (Side.BUY, Side.SELL))
    if size is None:
        return _UNMEASURED._replace(position=position, buys=buys, sells=sells, open_orders=len(own))
    return Footprint(
        held.held,
        _gross(position, own, prices, size, held.held),
        _traded(own, prices, size),
        held.loss,
        held.result,
        position,
        buys,
        sells,
        len(own),
    )


def _of_what_is_held(position: Decimal, held: Worth) -> Footprint:
    return Footprint(held.held, held.held, _ZERO, held.loss, held.result, position)


def exposing(position: Decimal, open_orders: Sequence[Order]) -> tuple[Order, ...]:
    """Those that could add exposure to `position`, oldest first; the others only reduce it, whatever fills first.

    Of the side that reduces, orders stay as long as all of them together are no more than what is held.
    """
    reducing = None if not position else Side.SELL if position > 0 else Side.BUY
    room, found = exact.size(position), []
    for order in sorted(open_orders, key=lambda one: (one.created_at, one.client_order_id)):
        rest = exact.subtract(order.quantity, order.filled_quantity)
        if order.side is reducing and rest <= room:
            room = exact.subtract(room, rest)
        else:
            found.append(order)
    return tuple(found)


def newly_traded(before: Order | None, after: Order) -> Decimal | None:
    """What was traded of an order since it was as `before`, in the currency of its market; None at an unknown price."""
    was = _ZERO if before is None else before.filled_quantity
    if after.filled_quantity <= was:
        return _ZERO
    cost = Decimal(0)
    if was and before is not None:
        if before.average_price is None:
            return None
        cost = exact.multiply(was, before.average_price)
    if after.average_price is None:
        return None
    return exact.subtract(exact.multiply(after.filled_quantity, after.average_price), cost)


def _remaining(orders: Iterable[Order], side: Side) -> Decimal:
    return exact.total(exact.subtract(one.quantity, one.filled_quantity) for one in orders if one.side is side)


def _worth(quantity: Decimal, price: Decimal | None, size: Decimal) -> Decimal | None:
    if not quantity:
        return _ZERO
    return None if price is None else exact.multiply(exact.multiply(exact.size(quantity), price), size)


def _traded(orders: Iterable[Order], prices: QuotePrices, size: Decimal) -> Decimal | None:
    """What the orders come to, each at the dearest that it may trade at."""
    found = _ZERO
    for order in orders:
        price = dearest(order.request, prices)
        if price is None:
            return None
        rest = exact.subtract(order.quantity, order.filled_quantity)
        found = exact.add(found, exact.multiply(exact.multiply(rest, price), size))
    return found


def _gross(
    position: Decimal, orders: Sequence[Order], prices: QuotePrices, size: Decimal, held: Decimal | None
) -> Decimal | None:
    """The most that the position can be worth: nothing more filled, all that is bought, or all that is sold."""
    found = held
    for side, sign in ((Side.BUY, 1), (Side.SELL, -1)):
        own = [one for one in orders if one.side is side]
        if not own or found is None:
            continue
        if exact.multiply(position, Decimal(sign)) >= 0:
            traded = _traded(own, prices, size)
            reached = None if traded is None or held is None else exact.add(held, traded)
        else:
            turned = exact.subtract(_remaining(own, side), exact.size(position))
            dear = [dearest(one.request, prices) for one in own] if turned > 0 else []
            known = [price for price in dear if price is not None]
            reached = None if len(known) < len(dear) else _worth(turned, max(known), size) if known else _ZERO
        found = None if reached is None else max(found, reached)
    return found


def _result(holding: Holding, prices: QuotePrices) -> Decimal | None:
    if not holding.quantity:
        return holding.realised
    if prices.bid is None or prices.ask is None:
        return None
    unrealised = holding.unrealised(prices.bid, prices.ask)
    return None if unrealised is None else exact.add(holding.realised, unrealised)


def _times(amount: Decimal | None, size: Decimal) -> Decimal | None:
    return None if amount is None else exact.multiply(amount, size)

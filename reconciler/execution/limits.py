"""A record's risk envelope, applied to one order. Pure: what would be exceeded, in words, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal

from reconciler.records.order import Order, OrderRequest, OrderType, Side, decimal_text
from reconciler.records.record import Limits

_EXACT = Context(prec=100)
_NO_QUOTE = "there is no quote to measure it by"


@dataclass(frozen=True, slots=True)
class Book:
    """Where an instance stands before the order: its own position, its own open orders, its recent haste, its day.

    `placed_last_minute` is counted only where it is limited, and 0 otherwise. `loss_today` is what it lost since
    00:00 UTC, a gain being negative; None where that cannot be measured.
    """

    position: Decimal
    open_orders: Sequence[Order]
    placed_last_minute: int
    loss_today: Decimal | None

    def remaining(self, side: Side) -> Decimal:
        """How much its open orders of `side` may still fill."""
        return sum((o.quantity - o.filled_quantity for o in self.open_orders if o.side is side), Decimal(0))


@dataclass(frozen=True, slots=True)
class Prices:
    """The quote seen, or None where there was none."""

    bid: Decimal | None
    ask: Decimal | None

    def against(self, side: Side) -> Decimal | None:
        """What an order of `side` would trade at."""
        return self.ask if side is Side.BUY else self.bid


def reduces(book: Book, request: OrderRequest) -> bool:
    """True where the order can only bring the position nearer to zero, even if all that is open fills first."""
    held = book.position if request.side is Side.SELL else -book.position
    return request.quantity + book.remaining(request.side) <= held


def breach(limits: Limits, request: OrderRequest, prices: Prices, book: Book) -> str | None:
    """The first limit that the order would exceed, as a sentence. What cannot be measured counts as exceeded."""
    return (
        _loss(limits, request, book)
        or _open_orders(limits, book)
        or _haste(limits, book)
        or _notional(limits, request, prices)
        or _position(limits, request, book)
        or _deviation(limits, request, prices)
    )


def _loss(limits: Limits, request: OrderRequest, book: Book) -> str | None:
    """Reached is exceeded: every new order may only lose more. What reduces the position always passes."""
    most, lost = limits.max_daily_loss, book.loss_today
    if most is None or (lost is not None and lost < most) or reduces(book, request):
        return None
    if lost is None:
        return "max_daily_loss: the loss of the day cannot be measured: what is held lacks a quote, or a fill its price"
    return f"max_daily_loss: {decimal_text(lost)} is lost today, the limit is {decimal_text(most)}"


def _open_orders(limits: Limits, book: Book) -> str | None:
    most, count = limits.max_open_orders, len(book.open_orders)
    if most is None or count < most:
        return None
    return f"max_open_orders: {count} are open, the limit is {most}"


def _haste(limits: Limits, book: Book) -> str | None:
    most, count = limits.max_orders_per_minute, book.placed_last_minute
    if most is None or count < most:
        return None
    return f"max_orders_per_minute: {count} in the last minute, the limit is {most}"


def _notional(limits: Limits, request: OrderRequest, prices: Prices) -> str | None:
    most = limits.max_order_notional
    if most is None:
        return None
    if request.type is OrderType.MARKET:
        price = prices.against(request.side)
    else:
        price = max(p for p in (request.limit_price, request.stop_price) if p is not None)
    if price is None:
        return f"max_order_notional: {_NO_QUOTE}"
    notional = _EXACT.multiply(request.quantity, price)
    if notional <= most:
        return None
    return f"max_order_notional: the order is worth {decimal_text(notional)}, the limit is {decimal_text(most)}"


def _position(limits: Limits, request: OrderRequest, book: Book) -> str | None:
    """Counts all open orders of the side as filled: the position that the order may lead to."""
    most = limits.max_position
    if most is None:
        return None
    added = request.quantity + book.remaining(request.side)
    after = book.position + added if request.side is Side.BUY else book.position - added
    reached = after if request.side is Side.BUY else -after
    if reached <= most:
        return None
    return f"max_position: the position could become {decimal_text(after)}, the limit is {decimal_text(most)}"


def _deviation(limits: Limits, request: OrderRequest, prices: Prices) -> str | None:
    most = limits.max_price_deviation
    named = [p for p in (request.limit_price, request.stop_price) if p is not None]
    if most is None or not named:
        return None
    quoted = prices.against(request.side)
    if quoted is None:
        return f"max_price_deviation: {_NO_QUOTE}"
    for price in named:
        if abs(price - quoted) > _EXACT.multiply(most, quoted):
            return (
                f"max_price_deviation: {decimal_text(price)} is off the quote of {decimal_text(quoted)}"
                f" by more than {decimal_text(most)} of it"
            )
    return None

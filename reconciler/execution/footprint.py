"""The footprint of an instance: what it counts in the scopes above it, as held, and with its open orders filled. Pure.

And which of its open orders add exposure: what is cancelled where a limit above the instance is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from reconciler import exact
from reconciler.execution.limits import QuotePrices, dearest
from reconciler.orders.holding import Holding
from reconciler.orders.order import Order, Side

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Footprint:
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


def footprint(
    holding: Holding, open_orders: Iterable[Order], prices: QuotePrices, size: Decimal | None, today: date
) -> Footprint:
    """`size` is how much of the base currency one unit is, None where nobody tells: then nothing of it is measured."""
    own = tuple(open_orders)
    buys, sells = (_remaining(own, side) for side in (Side.BUY, Side.SELL))
    position = holding.quantity
    if size is None and (position or own):
        return Footprint(None, None, None, None, None, position, buys, sells, len(own))
    size = Decimal(1) if size is None else size
    held = _worth(position, prices.ask, size)
    return Footprint(
        held,
        _gross(position, own, prices, size, held),
        _traded(own, prices, size),
        _times(holding.loss_on(today, prices.bid, prices.ask), size),
        _times(_result(holding, prices), size),
        position,
        buys,
        sells,
        len(own),
    )


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

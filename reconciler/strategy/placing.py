"""From the arguments of `orders.place` to an `OrderRequest`: strict, so that a typo never becomes an order. Pure."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from reconciler.documents.wording import did_you_mean
from reconciler.orders.order import OrderRequest, OrderType, Side, TimeInForce, to_decimal

_Word = TypeVar("_Word", bound=StrEnum)

_LIMITED = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_STOPPED = (OrderType.STOP, OrderType.STOP_LIMIT)


def order_request(
    side: str,
    quantity: str | Decimal,
    type: str = "market",
    limit_price: str | Decimal | None = None,
    stop_price: str | Decimal | None = None,
    time_in_force: str = "gtc",
    reduce_only: bool = False,
) -> OrderRequest:
    """The request these arguments spell out.

    Raises TypeError for a float or another wrong type; ValueError for an unknown word, for a quantity or
    price that is not positive, and for a price that the order's type needs and lacks, or has no use for.
    """
    order_type = _word(OrderType, type, "type")
    if not isinstance(reduce_only, bool):
        raise TypeError(f"reduce_only: expected a bool, was {reduce_only.__class__.__name__}")
    return OrderRequest(
        side=_word(Side, side, "side"),
        type=order_type,
        quantity=_positive(quantity, "quantity"),
        limit_price=_price(limit_price, "limit_price", order_type, _LIMITED),
        stop_price=_price(stop_price, "stop_price", order_type, _STOPPED),
        time_in_force=_word(TimeInForce, time_in_force, "time_in_force"),
        reduce_only=reduce_only,
    )


def _word(words: type[_Word], given: str, name: str) -> _Word:
    if not isinstance(given, str):
        raise TypeError(f"{name}: expected a str, was {given.__class__.__name__}")
    try:
        return words(given)
    except ValueError:
        hint = did_you_mean(given, list(words))
        known = ", ".join(words)
        raise ValueError(f"{name}: expected one of {known}, was {given!r}" + (f"; {hint}" if hint else "")) from None


def _positive(given: str | Decimal, name: str) -> Decimal:
    number = to_decimal(given, name)
    if number <= 0:
        raise ValueError(f"{name}: expected more than 0, was {given}")
    return number


def _price(
    given: str | Decimal | None, name: str, order_type: OrderType, takers: tuple[OrderType, ...]
) -> Decimal | None:
    if order_type in takers:
        if given is None:
            raise ValueError(f"{name}: expected a price, as a {order_type} order needs one, was missing")
        return _positive(given, name)
    if given is not None:
        raise ValueError(f"{name}: expected none, as a {order_type} order has no use for it, was {given}")
    return None

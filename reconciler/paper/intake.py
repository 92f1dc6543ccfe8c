"""Reading an order as it comes in: the contract's words into a `Ticket`, or all that is wrong with them. Pure."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import TypeVar

from reconciler.orders.order import OrderRequest, OrderType, Side, TimeInForce, decimal_text
from reconciler.paper.feed import SYMBOL
from reconciler.paper.paper_order import OrderRefused, Ticket

_PLACES = 12
_MAGNITUDE = 12
_LONGEST_ID = 128
_LONGEST_SHOWN = 60
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,6})?")
"""Of ASCII digits, and nothing else that Python would read."""

E = TypeVar("E", bound=StrEnum)


def read_ticket(
    account_id: str,
    client_id: str,
    client_order_id: str,
    symbol: str,
    side: str,
    type: str,
    quantity: str,
    limit_price: str | None = None,
    stop_price: str | None = None,
    time_in_force: str = "gtc",
    reduce_only: bool = False,
) -> Ticket:
    """The order that was asked for. Raises Refused, naming all that is wrong with it."""
    reader = _Reader()
    kind = reader.choice(OrderType, type, "type")
    priced = reader if not reader.faults else _Reader()  # of a type that is none, nobody knows what prices it takes
    request = OrderRequest(
        side=reader.choice(Side, side, "side"),
        type=kind,
        quantity=reader.positive(quantity, "quantity"),
        limit_price=priced.price(limit_price, "limit_price", kind, (OrderType.LIMIT, OrderType.STOP_LIMIT)),
        stop_price=priced.price(stop_price, "stop_price", kind, (OrderType.STOP, OrderType.STOP_LIMIT)),
        time_in_force=reader.choice(TimeInForce, time_in_force, "time_in_force"),
        reduce_only=reduce_only,
    )
    reader.symbol(symbol)
    reader.identity(account_id, "account_id")
    if client_id:
        reader.identity(client_id, "client_id")
    reader.identity(client_order_id, "client_order_id")
    if reader.faults:
        raise OrderRefused("; ".join(reader.faults))
    return Ticket(account_id, client_id, client_order_id, symbol, request)


def known_symbol(symbol: str) -> str:
    """`symbol`, where it is one. Raises Refused."""
    reader = _Reader()
    reader.symbol(symbol)
    if reader.faults:
        raise OrderRefused(reader.faults[0])
    return symbol


class _Reader:
    """Reads on after a fault, so that all of them are told; what is returned after one is of no use."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def symbol(self, symbol: str) -> None:
        if not SYMBOL.fullmatch(symbol):
            self.faults.append(f"unknown symbol {_shown(symbol)}: expected BASE/QUOTE, such as BTC/USD")
        elif len(set(symbol.split("/"))) == 1:
            self.faults.append(f"unknown symbol {symbol!r}: expected two currencies, such as BTC/USD, was one")

    def identity(self, text: str, name: str) -> None:
        if not text:
            self.faults.append(f"{name}: expected a text of your own, was empty")
        elif len(text) > _LONGEST_ID:
            self.faults.append(f"{name}: expected at most {_LONGEST_ID} characters, was {len(text)}")
        elif not text.isprintable() or text != text.strip():
            self.faults.append(f"{name}: expected printable text without spaces around it, was {_shown(text)}")

    def choice(self, kind: type[E], text: str, name: str) -> E:
        try:
            return kind(text.lower())
        except ValueError:
            self.faults.append(f"{name}: expected one of {', '.join(kind)}, was {_shown(text)}")
            return next(iter(kind))

    def price(self, text: str | None, name: str, kind: OrderType, takes: tuple[OrderType, ...]) -> Decimal | None:
        if text is None:
            if kind in takes:
                self.faults.append(f"{name}: a {kind} order needs one")
            return None
        if kind not in takes:
            self.faults.append(f"{name}: a {kind} order takes none")
            return None
        return self.positive(text, name)

    def positive(self, text: str, name: str) -> Decimal:
        """A positive decimal of at most twelve digits before the point and twelve after."""
        if not _NUMBER.fullmatch(text):
            self.faults.append(f"{name}: expected a decimal number, was {_shown(text)}")
            return Decimal(1)
        number = Decimal(text)
        if number <= 0:
            self.faults.append(f"{name}: expected more than zero, was {text:.60}")
            return Decimal(1)
        if not -_PLACES <= number.adjusted() < _MAGNITUDE or _places(number) > _PLACES:
            expected = f"at most {_MAGNITUDE} digits before and {_PLACES} after the point"
            self.faults.append(f"{name}: expected {expected}, was {text:.60}")
        return number


def _shown(text: str) -> str:
    """What came in, in quotes; the beginning of it where it is long."""
    return repr(text) if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]!r}…"


def _places(number: Decimal) -> int:
    """Digits after the point, but for trailing zeros."""
    return len(decimal_text(number).partition(".")[2])

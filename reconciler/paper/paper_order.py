"""Paper orders: what a client asks for, read or refused with all that is wrong, and what became of it. Frozen; a change
gives a new order. And the rules of its market, which it is refused by. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from reconciler import exact
from reconciler.exact import ZERO, exactly
from reconciler.orders import filling
from reconciler.orders.filling import Liquidity, Resting
from reconciler.orders.order import OrderRequest, OrderState, OrderType, Side, TimeInForce, decimal_text

SYMBOL = re.compile(r"[A-Z0-9]{2,12}/[A-Z0-9]{2,12}")
"""What symbols look like here: base and quote currency, `BTC/USD`."""
ORDER_ID = re.compile(r"paper-[1-9][0-9]{0,17}")


_PRICE_STEP = Decimal("0.0000000001")


def fee_on(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """The fee of an execution, in what `price` is in, rounded down to eight decimals.

    Down, so that many executions never cost more than one of all their quantity would.
    """
    return filling.fee_on(quantity, price, rate, ROUND_FLOOR)


def average(notional: Decimal, quantity: Decimal) -> Decimal:
    """A price, rounded half up to ten decimals."""
    return exact.rounded(exact.share(notional, Decimal(1), quantity), _PRICE_STEP, ROUND_HALF_UP)


class OrderRefused(Exception):
    """The exchange says no, and why: nothing happened."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order as a client asks for it. Two tickets are the same order where all of it is equal."""

    account_id: str
    client_id: str
    client_order_id: str
    symbol: str
    request: OrderRequest
    priced_in: str = ""
    """What its price is in, where the symbol does not say it: then it is held under the symbol's own name."""

    @property
    def base(self) -> str:
        return self.symbol if self.priced_in else self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        return self.priced_in or self.symbol.split("/")[1]


@dataclass(frozen=True, slots=True)
class PaperFill:
    """One execution. `fee_currency` is what its fee was taken in; None, as in older journals, is the quote currency."""

    fill_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: Liquidity
    at: datetime
    fee_currency: str | None = None


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """One order as the exchange holds it.

    `is_triggered` is True for a stop whose price was reached. `reason` says why it ended where no client
    cancelled it and it was not filled.
    """

    order_id: str
    ticket: Ticket
    state: OrderState
    created_at: datetime
    updated_at: datetime
    fills: tuple[PaperFill, ...] = ()
    is_triggered: bool = False
    reason: str = ""
    seen: Decimal | None = None
    """The price that a market order which waits for the next one came in at: what it sets aside for."""

    @property
    def key(self) -> tuple[str, str]:
        """What an order is found by: a client_order_id is used once in an account."""
        return self.ticket.account_id, self.ticket.client_order_id

    @property
    def request(self) -> OrderRequest:
        return self.ticket.request

    @property
    def filled_quantity(self) -> Decimal:
        with exactly():
            return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def left(self) -> Decimal:
        """What is not filled yet."""
        with exactly():
            return self.request.quantity - self.filled_quantity

    @property
    def fee(self) -> Decimal:
        with exactly():
            return sum((fill.fee for fill in self.fills), ZERO)

    @property
    def average_price(self) -> Decimal | None:
        """Weighted by quantity, rounded to ten decimals where it has more; None where nothing was filled."""
        if not self.fills:
            return None
        with exactly():
            notional = sum((fill.quantity * fill.price for fill in self.fills), ZERO)
        return average(notional, self.filled_quantity)

    @property
    def fee_currency(self) -> str:
        return (self.fills[-1].fee_currency if self.fills else None) or self.ticket.quote

    def resting(self, *, has_waited: bool) -> Resting:
        """It, as the rule of filling looks at it."""
        return Resting(self.request, self.left, self.created_at.date(), self.is_triggered, has_waited)

    def filled(
        self,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal,
        liquidity: Liquidity,
        at: datetime,
        fee_currency: str | None = None,
    ) -> PaperOrder:
        """The order after one more execution."""
        fill = PaperFill(f"{self.order_id}-{len(self.fills) + 1}", quantity, price, fee, liquidity, at, fee_currency)
        state = OrderState.PARTIALLY_FILLED if self.left > quantity else OrderState.FILLED
        return replace(self, state=state, updated_at=at, fills=(*self.fills, fill))

    def triggered(self, at: datetime) -> PaperOrder:
        """The order once its stop price was reached."""
        return replace(self, is_triggered=True, updated_at=at)

    def ended(self, state: OrderState, at: datetime, reason: str = "") -> PaperOrder:
        """The order cancelled or expired."""
        return replace(self, state=state, updated_at=at, reason=reason)


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
    priced_in: str = "",
) -> Ticket:
    """The order that was asked for. Raises Refused, naming all that is wrong with it.

    `priced_in` where the symbol is known, and does not say it.
    """
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
    if not priced_in:
        reader.symbol(symbol)
    reader.identity(account_id, "account_id")
    if client_id:
        reader.identity(client_id, "client_id")
    reader.identity(client_order_id, "client_order_id")
    if reader.faults:
        raise OrderRefused("; ".join(reader.faults))
    return Ticket(account_id, client_id, client_order_id, symbol, request, priced_in)


@lru_cache(maxsize=1024)  # what it refuses is not kept
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


ANY_SYMBOL = "*"
_DEPTHS = 1_000
"""An order may be this many times as large as the depth at one price: it would be filled bit by bit for hours."""
_FINEST = Decimal("0.00000001")
"""The step of a suggested quantity where the market has none."""


@dataclass(frozen=True, slots=True)
class MarketRules:
    """The rules of one market; None: no such rule. Quantities in the base currency, prices in the quote currency.

    `depth` is what trades at one price in one price step; None: any quantity trades at the best price.
    """

    price_step: Decimal | None = None
    quantity_step: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    depth: Decimal | None = None

    def faults(self, ticket: Ticket, touch: Decimal) -> Iterator[str]:
        """Everything about `ticket` that the market does not let through; `touch` is what a market order would pay."""
        request = ticket.request
        for name, price in (("limit_price", request.limit_price), ("stop_price", request.stop_price)):
            if price is not None and self.price_step is not None:
                yield from _off_step(name, price, self.price_step, self.price_step)
        yield from self._quantity_faults(request.quantity)
        price = request.limit_price or request.stop_price or touch
        with exactly():
            notional = request.quantity * price
        if self.min_notional is not None and notional < self.min_notional:
            yield (
                f"notional: expected at least {_text(self.min_notional)} {ticket.quote}, was {_text(notional)}"
                f" ({_text(request.quantity)} × {_text(price)}); smallest quantity: {_text(self._smallest(price))}"
            )

    def _quantity_faults(self, quantity: Decimal) -> Iterator[str]:
        if self.min_quantity is not None and quantity < self.min_quantity:
            yield f"quantity: expected at least {_text(self.min_quantity)}, was {_text(quantity)}"
        elif self.quantity_step is not None:
            least = exact.multiple(self.min_quantity or self.quantity_step, self.quantity_step, ROUND_CEILING)
            yield from _off_step("quantity", quantity, self.quantity_step, least)
        if self.depth is not None:
            with exactly():
                most = self.depth * _DEPTHS
            if quantity > most:
                expected = f"at most {_text(most)}, for no more than {_text(self.depth)} trade at a price"
                yield f"quantity: expected {expected}, was {_text(quantity)}"

    def _smallest(self, price: Decimal) -> Decimal:
        """The smallest quantity whose notional is enough."""
        assert self.min_notional is not None
        return exact.multiple(exact.quotient(self.min_notional, price), self.quantity_step or _FINEST, ROUND_CEILING)


@dataclass(frozen=True, slots=True)
class Markets:
    """The rules by symbol; those under `*` hold for every symbol that is not named."""

    by_symbol: Mapping[str, MarketRules] = field(default_factory=dict)

    def of(self, symbol: str) -> MarketRules:
        return self.by_symbol.get(symbol) or self.by_symbol.get(ANY_SYMBOL) or _FREE


_FREE = MarketRules()
_text = decimal_text


def _off_step(name: str, value: Decimal, step: Decimal, least: Decimal) -> Iterator[str]:
    nearest = max(least, exact.multiple(value, step, ROUND_HALF_UP))
    with exactly():
        if value % step:
            yield f"{name}: expected a multiple of {_text(step)}, was {_text(value)}; nearest: {_text(nearest)}"

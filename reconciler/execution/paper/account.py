"""Paper orders and what they do to an account. Exact: no sum here is ever rounded, or it raises.

A spot account: what is sold must be held, what is bought must be paid for, and what open orders would
take is set aside. Holds no clock and no prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact, InvalidOperation, localcontext

from reconciler.records.market import Balance, Position
from reconciler.records.order import OrderState, OrderType, Side, TimeInForce

_FEE_STEP = Decimal("0.00000001")
_PRICE_STEP = Decimal("0.0000000001")


@contextmanager
def exact() -> Iterator[None]:
    """Sums and products inside are exact; one that cannot be raises decimal.Inexact."""
    with localcontext(Context(prec=80, traps=[Inexact, InvalidOperation])):
        yield


@dataclass(frozen=True, slots=True)
class PaperFill:
    """One execution. `fee` is in the quote currency."""

    fill_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class PaperOrder:
    """One order as the exchange holds it. `step` is the last price step it was tried against."""

    order_id: str
    client_order_id: str
    account_id: str
    client_id: str
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce
    reduce_only: bool
    state: OrderState
    created_at: datetime
    updated_at: datetime
    fills: tuple[PaperFill, ...] = ()

    @property
    def base(self) -> str:
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.split("/")[1]

    @property
    def filled_quantity(self) -> Decimal:
        with exact():
            return sum((fill.quantity for fill in self.fills), Decimal(0))

    @property
    def fee(self) -> Decimal:
        with exact():
            return sum((fill.fee for fill in self.fills), Decimal(0))

    @property
    def average_price(self) -> Decimal | None:
        """Weighted by quantity, rounded to ten decimals where it has more; None where nothing was filled."""
        if not self.fills:
            return None
        with exact():
            notional = sum((fill.quantity * fill.price for fill in self.fills), Decimal(0))
        return (notional / self.filled_quantity).quantize(_PRICE_STEP, ROUND_HALF_UP)

    def filled(self, fill: PaperFill) -> PaperOrder:
        """The order after `fill`."""
        with exact():
            left = self.quantity - self.filled_quantity - fill.quantity
        state = OrderState.PARTIALLY_FILLED if left else OrderState.FILLED
        return replace(self, state=state, updated_at=fill.at, fills=(*self.fills, fill))

    def ended(self, state: OrderState, at: datetime) -> PaperOrder:
        """The order cancelled or expired."""
        return replace(self, state=state, updated_at=at)


def fee_on(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """The fee for an execution, in the quote currency, rounded half up to eight decimals."""
    with exact():
        exact_fee = quantity * price * rate
    return exact_fee.quantize(_FEE_STEP, ROUND_HALF_UP, context=Context(prec=80))


@dataclass(slots=True)
class PaperAccount:
    """The money of one account_id: what it began with, and what its fills made of it."""

    fee_rate: Decimal
    starting: Mapping[str, Decimal]
    default_starting: Decimal
    """What it begins with of a quote currency that `starting` does not name."""
    holdings: dict[str, Decimal] = field(default_factory=dict)
    traded: dict[str, Position] = field(default_factory=dict)
    open_orders: dict[str, PaperOrder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.holdings.update(self.starting)

    def saw(self, quote_currency: str) -> None:
        """The account trades against `quote_currency`: it begins with some of it."""
        self.holdings.setdefault(quote_currency, self.default_starting)

    def settle(self, order: PaperOrder, fill: PaperFill) -> None:
        """Move the money of one execution."""
        with exact():
            signed = fill.quantity if order.side is Side.BUY else -fill.quantity
            self.holdings[order.base] = self.holdings.get(order.base, Decimal(0)) + signed
            self.holdings[order.quote] = self.holdings.get(order.quote, Decimal(0)) - signed * fill.price - fill.fee
        self.traded[order.symbol] = _moved(self.position(order.symbol), signed, fill.price)

    def position(self, symbol: str) -> Position:
        return self.traded.get(symbol) or Position(symbol, Decimal(0))

    def positions(self) -> list[Position]:
        """What trading added up to, symbol by symbol; nothing for what is flat."""
        return [position for _, position in sorted(self.traded.items()) if position.quantity]

    def balances(self) -> list[Balance]:
        """Every asset the account holds, or began with, by name."""
        with exact():
            return [
                Balance(asset, total, total - self.reserved(asset)) for asset, total in sorted(self.holdings.items())
            ]

    def available(self, asset: str) -> Decimal:
        """What a new order may use."""
        with exact():
            return self.holdings.get(asset, Decimal(0)) - self.reserved(asset)

    def reserved(self, asset: str) -> Decimal:
        """What open orders would take, fees included."""
        with exact():
            return sum(
                (self.need(order)[1] for order in self.open_orders.values() if self.need(order)[0] == asset), Decimal(0)
            )

    def need(self, order: PaperOrder, price: Decimal | None = None) -> tuple[str, Decimal]:
        """The asset an order takes, and how much of it, filled at `price` or at its limit."""
        with exact():
            left = order.quantity - order.filled_quantity
            if order.side is Side.SELL:
                return order.base, left
            at = price or order.limit_price
            assert at is not None
            return order.quote, left * at + fee_on(left, at, self.fee_rate)


def _moved(position: Position, signed: Decimal, price: Decimal) -> Position:
    """The position after trading `signed` at `price`; average cost, rounded to ten decimals."""
    with exact():
        quantity = position.quantity + signed
    if not quantity:
        return Position(position.symbol, quantity)
    held, average = position.quantity, position.average_price
    if average is None or held * signed < 0:
        # Reducing leaves the cost of what remains; going through zero begins anew.
        through = average is None or abs(signed) > abs(held)
        return Position(position.symbol, quantity, price if through else average)
    with exact():
        cost = held * average + signed * price
    return Position(position.symbol, quantity, (cost / quantity).quantize(_PRICE_STEP, ROUND_HALF_UP))

"""Paper orders: what a client asked for, and what became of it. Frozen; a change gives a new order. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from reconciler.orders.filling import Liquidity, Resting
from reconciler.orders.order import OrderRequest, OrderState
from reconciler.paper.money import ZERO, average, exact

ORDER_ID = re.compile(r"paper-[1-9][0-9]{0,17}")


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

    @property
    def base(self) -> str:
        return self.symbol.split("/")[0]

    @property
    def quote(self) -> str:
        return self.symbol.split("/")[1]


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

    @property
    def key(self) -> tuple[str, str]:
        """What an order is found by: a client_order_id is used once in an account."""
        return self.ticket.account_id, self.ticket.client_order_id

    @property
    def request(self) -> OrderRequest:
        return self.ticket.request

    @property
    def filled_quantity(self) -> Decimal:
        with exact():
            return sum((fill.quantity for fill in self.fills), ZERO)

    @property
    def left(self) -> Decimal:
        """What is not filled yet."""
        with exact():
            return self.request.quantity - self.filled_quantity

    @property
    def fee(self) -> Decimal:
        with exact():
            return sum((fill.fee for fill in self.fills), ZERO)

    @property
    def average_price(self) -> Decimal | None:
        """Weighted by quantity, rounded to ten decimals where it has more; None where nothing was filled."""
        if not self.fills:
            return None
        with exact():
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

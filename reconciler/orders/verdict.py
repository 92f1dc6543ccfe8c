"""A verdict: what an operator, having looked at the exchange, says of an order, an account or a book. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, get_args

from reconciler.orders.order import Order, OrderNews, OrderState, Outcome, RejectedBy, decimal_text

VerdictWord = Literal["accepted", "filled", "cancelled", "expired", "rejected"]
WORDS: tuple[VerdictWord, ...] = get_args(VerdictWord)

_FINAL = {word: OrderState(word) for word in ("filled", "cancelled", "expired")}
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """`word`: accepted (it is there and open), filled, cancelled, expired, or rejected (it was never placed).

    `filled_quantity` is how much of it is filled in all, None for all of it where it is filled, else for what is
    known; more than was ordered where the exchange rounded up, or less than is known where that was wrong.
    `average_price` and `fee`, in `fee_currency`, are of all of that. `by` says who (`uid 1000`).
    """

    word: VerdictWord
    reason: str
    by: str
    filled_quantity: Decimal | None = None
    average_price: Decimal | None = None
    fee: Decimal | None = None
    exchange_order_id: str | None = None
    fee_currency: str | None = None

    def fault(self, order: Order, *, was_unknown: bool) -> str:
        """Why this cannot be said of `order`, with what to do; empty where it can.

        `was_unknown`: whether it was placed was not known, now or earlier. Of an order that the gateway rejected only
        then more can be said: any other was certainly never sent. One that the exchange rejected may be there after
        all: its server may have called a failure a refusal. Of one that is over, fills may be told that are not known.
        """
        if order.outcome is Outcome.SHADOW:
            return "it is a shadow order: nothing was sent, there is nothing to resolve"
        if order.outcome is Outcome.REJECTED and order.rejected_by is not RejectedBy.EXCHANGE and not was_unknown:
            return f"it was never placed, that is certain: {order.reason}"
        if order.outcome is Outcome.REJECTED and self.word == "rejected":
            return f"it is rejected already: {order.reason}"
        if order.state is not None and order.state.is_final:
            return self._addition_fault(order, order.state)
        if self.word == "rejected":
            return self._rejection_fault(order)
        return self._fill_fault(order)

    def news(self, order: Order) -> OrderNews:
        """What the ledger is to write down. Only where there is no `fault`."""
        reason = f"resolved by hand ({self.by}): {self.reason}"
        if self.word == "rejected":
            return OrderNews(outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, reason=reason)
        filled = self._filled(order)
        return OrderNews(
            outcome=Outcome.ACCEPTED,
            state=_FINAL.get(self.word) or (OrderState.PARTIALLY_FILLED if filled else OrderState.OPEN),
            filled_quantity=filled,
            average_price=self.average_price,
            fee=self.fee,
            fee_currency=self.fee_currency,
            exchange_order_id=self.exchange_order_id,
            reason=reason,
        )

    def __str__(self) -> str:
        filled = "" if self.filled_quantity is None else f", {decimal_text(self.filled_quantity)} filled"
        price = "" if self.average_price is None else f" at {decimal_text(self.average_price)}"
        return f"{self.word}{filled}{price}"

    def _filled(self, order: Order) -> Decimal:
        if self.filled_quantity is not None:
            return self.filled_quantity
        is_all = self.word == "filled" and not (order.state is not None and order.state.is_final)
        return order.quantity if is_all else order.filled_quantity

    def _rejection_fault(self, order: Order) -> str:
        if order.outcome is Outcome.ACCEPTED:
            return "the exchange took it: say cancelled, or expired, with what was filled"
        if (self.filled_quantity, self.average_price, self.fee) != (None, None, None):
            return "a rejected order has no fills: leave quantity, price and fee out, or say cancelled"
        return ""

    def _addition_fault(self, order: Order, state: OrderState) -> str:
        """Of an order that is over, what is filled may be more, or less; its state stays, unless not all was filled."""
        takes_back = state is OrderState.FILLED and self._filled(order) < order.quantity
        if self.word != state and not (takes_back and self.word in ("cancelled", "expired")):
            return f"it is {state}, and that is final: say {state}, with what is filled in all"
        told = ((self.average_price, order.average_price), (self.fee, order.fee))
        is_told = any(new is not None and known is None for new, known in told)
        is_changed = any(new is not None and known not in (None, new) for new, known in told)
        if self._filled(order) == order.filled_quantity and (is_changed or not is_told):
            return f"it is {state}, with {decimal_text(order.filled_quantity)} filled, and this adds nothing to it"
        return self._fill_fault(order)

    def _fill_fault(self, order: Order) -> str:
        filled, known = self._filled(order), order.filled_quantity
        if self.word == "filled" and filled < order.quantity:
            return f"filled quantity: expected {decimal_text(order.quantity)}, all; else say cancelled or accepted"
        is_more = filled > order.quantity and self.word != "filled"
        if is_more or (self.word == "accepted" and filled == order.quantity):
            return "all of it is filled: say filled"
        if filled > known and self.average_price is None:
            return "price: expected the average of what is filled: position and profit are made of it"
        if filled == _ZERO and (self.average_price or self.fee):
            return "filled quantity: expected one, for there is a price or a fee"
        return ""


@dataclass(frozen=True, slots=True)
class Correction:
    """`quantity` is all that is held afterwards, signed, fees taken out; `price` what one of it cost on average.

    Of nothing, `price` is what one of all that was held was closed at: 0 where it was written off. `fee` was charged
    besides what the book knows, in `fee_currency`, None for the quote currency. `by` says who (`uid 1000`).
    """

    quantity: Decimal
    price: Decimal
    reason: str
    by: str
    fee: Decimal | None = None
    fee_currency: str | None = None

    def fault(self) -> str:
        """Why no book can be put right so; empty where it can."""
        for name, value in (("quantity", self.quantity), ("price", self.price), ("fee", self.fee)):
            if value is not None and not value.is_finite():
                return f"{name}: expected a finite number, was {value}"
        if self.price < 0:
            return f"price: expected zero or more, was {decimal_text(self.price)}"
        if self.quantity and not self.price:
            return "price: expected what one of what is held cost, was 0: only of nothing held, written off, it may be"
        if self.fee is not None and self.fee < 0:
            return f"fee: expected zero or more, was {decimal_text(self.fee)}"
        return ""

    def __str__(self) -> str:
        fee = "" if self.fee is None else f", fee {decimal_text(self.fee)} {self.fee_currency or ''}".rstrip()
        return f"{decimal_text(self.quantity)} at {decimal_text(self.price)}{fee}"


@dataclass(frozen=True, slots=True)
class Shares:
    """Whose is what an account holds: `assigned` to instances, by id, all that each one holds afterwards; `outside` of
    all instances, by symbol, signed. Who is not named keeps what the books say.
    """

    reason: str
    by: str
    assigned: Mapping[str, Correction] = field(default_factory=dict)
    outside: Mapping[str, Decimal] = field(default_factory=dict)

    def __str__(self) -> str:
        told = [f"{instance_id} holds {correction}" for instance_id, correction in self.assigned.items()]
        told += [f"{decimal_text(quantity)} {symbol} is outside" for symbol, quantity in self.outside.items()]
        return ", ".join(told) or "nothing was assigned"

"""Corrections: what instances hold, and what is nobody's here, in the words of a person who looked there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from reconciler.records.order import decimal_text


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

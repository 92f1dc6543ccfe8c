"""What a market lets through: steps of price and quantity, smallest orders, and how much trades at a price. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal

from reconciler.execution.paper.money import exact, multiple, quotient
from reconciler.execution.paper.order import Ticket
from reconciler.records.order import decimal_text

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
        with exact():
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
            least = multiple(self.min_quantity or self.quantity_step, self.quantity_step, ROUND_CEILING)
            yield from _off_step("quantity", quantity, self.quantity_step, least)
        if self.depth is not None:
            with exact():
                most = self.depth * _DEPTHS
            if quantity > most:
                expected = f"at most {_text(most)}, for no more than {_text(self.depth)} trade at a price"
                yield f"quantity: expected {expected}, was {_text(quantity)}"

    def _smallest(self, price: Decimal) -> Decimal:
        """The smallest quantity whose notional is enough."""
        assert self.min_notional is not None
        return multiple(quotient(self.min_notional, price), self.quantity_step or _FINEST, ROUND_CEILING)


@dataclass(frozen=True, slots=True)
class Markets:
    """The rules by symbol; those under `*` hold for every symbol that is not named."""

    by_symbol: Mapping[str, MarketRules] = field(default_factory=dict)

    def of(self, symbol: str) -> MarketRules:
        return self.by_symbol.get(symbol) or self.by_symbol.get(ANY_SYMBOL) or _FREE


_FREE = MarketRules()


def _off_step(name: str, value: Decimal, step: Decimal, least: Decimal) -> Iterator[str]:
    nearest = max(least, multiple(value, step, ROUND_HALF_UP))
    with exact():
        if value % step:
            yield f"{name}: expected a multiple of {_text(step)}, was {_text(value)}; nearest: {_text(nearest)}"


_text = decimal_text

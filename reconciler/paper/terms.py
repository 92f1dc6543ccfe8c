"""What there is to choose about a paper exchange, as frozen options. Money as exact decimals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Literal

from reconciler.exact import exactly, multiple, quotient
from reconciler.orders.filling import Liquidity
from reconciler.orders.order import decimal_text
from reconciler.paper.paper_order import Ticket

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
            least = multiple(self.min_quantity or self.quantity_step, self.quantity_step, ROUND_CEILING)
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
    with exactly():
        if value % step:
            yield f"{name}: expected a multiple of {_text(step)}, was {_text(value)}; nearest: {_text(nearest)}"


_text = decimal_text


STARTING = {currency: Decimal(100_000) for currency in ("USD", "EUR", "GBP", "CHF", "JPY", "USDT", "USDC")}


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """What the exchange charges, gives and lets through. Fees are fractions of the notional.

    `fees_in` is what they are taken in: `quote`, or `received`, out of what the trade brings in: of a purchase, out of
    what is bought.

    Every account begins with `starting` of each currency named there, and with `default_starting` of any
    other when it first buys with it and has never had any. With `shorts`, more may be sold than is held.

    `fills` says when an order that comes in is tried first: `at_once`, or with the `next` price, the first that whoever
    placed it did not know.
    """

    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    fees_in: Literal["quote", "received"] = "quote"
    default_starting: Decimal = Decimal(100_000)
    starting: Mapping[str, Decimal] = field(default_factory=lambda: STARTING)
    shorts: bool = False
    markets: Markets = field(default_factory=Markets)
    fills: Literal["at_once", "next"] = "at_once"

    def fee_rate(self, liquidity: Liquidity) -> Decimal:
        return self.maker_fee if liquidity is Liquidity.MAKER else self.taker_fee


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Where prices come from: `prices` is a CSV file to replay, None for the example rates.

    Prices of the pairs that the file lacks are made up, and follow from `seed`. Without `speed` the file is
    replayed a row a step; with it, in its own time, that many times as fast. Its first row holds at `begin_s`,
    seconds since the epoch.
    """

    prices: Path | None = None
    seed: str = "paper"
    speed: float | None = None
    begin_s: float = 0.0

"""What there is to choose about a paper exchange, as frozen options. Money as exact decimals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

from reconciler.execution.paper.order import Liquidity
from reconciler.execution.paper.rules import Markets

STARTING = {currency: Decimal(100_000) for currency in ("USD", "EUR", "GBP", "CHF", "JPY", "USDT", "USDC")}


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """What the exchange charges, gives and lets through. Fees are fractions of the notional.

    `fees_in` is what they are taken in: `quote`, or `received`, out of what the trade brings in: of a purchase, out of
    what is bought.

    Every account begins with `starting` of each currency named there, and with `default_starting` of any
    other when it first buys with it and has never had any. With `shorts`, more may be sold than is held.
    """

    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    fees_in: Literal["quote", "received"] = "quote"
    default_starting: Decimal = Decimal(100_000)
    starting: Mapping[str, Decimal] = field(default_factory=lambda: STARTING)
    shorts: bool = False
    markets: Markets = field(default_factory=Markets)

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

"""What a market and an account look like: quotes, candles, positions, balances. Frozen, Decimal, UTC. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from reconciler.records import exact

TIMEFRAMES_S = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "1d": 86400}
"""Every timeframe a strategy may ask for, and its length in seconds."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The best prices of a symbol; `as_of` is the exchange's time of them."""

    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    as_of: datetime

    @property
    def mid(self) -> Decimal:
        """Halfway between bid and ask."""
        return exact.middle(self.bid, self.ask)


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed candle; `opened_at` is where its interval begins."""

    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of a symbol: positive long, negative short. `average_price` is None where flat."""

    symbol: str
    quantity: Decimal
    average_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds of an asset; `available` is not tied up in open orders."""

    asset: str
    total: Decimal
    available: Decimal

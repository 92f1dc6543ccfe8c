"""What a market and an account look like: quotes, candles, positions, balances. Frozen, Decimal, UTC. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

from reconciler.records import exact

TIMEFRAMES_S = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "1d": 86400}
"""Every timeframe a strategy may ask for, and its length in seconds."""

_CONTRACT: Final = re.compile(
    r"/[^/:]+:|[-_/ ](?:SWAP|PERP(?:ETUAL)?|FUT(?:URES?)?)\b|\wPERP$|[-_]\d{6,8}(?:[-_]|$)", re.IGNORECASE
)
"""BTC/USDT:USDT, BTC-USDT-SWAP, BTC-PERPETUAL, BTCUSDT_260327, BTC-USD-260327-90000-C."""
_CLOCK_CHANGE_S = 3600
"""By so much a step that is longer may be shorter or longer: exchanges that go by a local clock put it back and on."""


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
class InstrumentRules:
    """What a market lets through, as far as its server tells; None where it does not.

    Steps are those that prices and quantities are multiples of, `min_notional` is in the quote currency,
    `contract_size` how much of the base currency one unit of quantity is: 1 where quantities are in the base currency.
    """

    price_step: Decimal | None = None
    quantity_step: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    contract_size: Decimal | None = None


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


def is_contract(symbol: str) -> bool:
    """True where the name says that it is a future, a swap or an option: its quantities may be numbers of contracts."""
    return _CONTRACT.search(symbol) is not None


def is_same_step(one: datetime, other: datetime, timeframe: str) -> bool:
    """True where two candles that opened then, `one` first, are of the same step of the timeframe.

    Some servers say when the first trade of a step was; up to an hour, a step begins at a whole one of its length.
    """
    length_s = TIMEFRAMES_S[timeframe]
    if length_s <= _CLOCK_CHANGE_S:
        return one.timestamp() // length_s == other.timestamp() // length_s
    return (other - one).total_seconds() < length_s - _CLOCK_CHANGE_S


def gaps(candles: Iterable[Candle], timeframe: str) -> tuple[tuple[datetime, datetime], ...]:
    """Where steps are missing between `candles`, oldest first: from when to when nothing is told, each time.

    A market in which nobody trades has them, and so has an exchange that was down.
    """
    length_s = TIMEFRAMES_S[timeframe]
    slack_s = _CLOCK_CHANGE_S if length_s > _CLOCK_CHANGE_S else 0
    steps = [
        (candle.opened_at + timedelta(seconds=length_s), following.opened_at) for candle, following in pairwise(candles)
    ]
    return tuple((end, begin) for end, begin in steps if (begin - end).total_seconds() >= length_s - slack_s)

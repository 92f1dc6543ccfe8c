"""The fake market: quotes and candles are what the test says they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from reconciler.clock import Clock, utc
from reconciler.records.market import TIMEFRAMES_S, Candle, InstrumentRules, Quote
from reconciler.records.order import to_decimal
from reconciler.strategy.testing.tools import Tools


class FakeMarket:
    """Implements `strategy.context.Market`."""

    def __init__(self, symbol: str, clock: Clock, tools: Tools) -> None:
        self._symbol = symbol
        self._clock = clock
        self._tools = tools
        self._quote: Quote | None = None
        self._candles: dict[str, tuple[Candle, ...]] = {}
        self._rules = InstrumentRules()

    def set_quote(
        self, bid: str | Decimal, ask: str | Decimal | None = None, last: str | Decimal | None = None
    ) -> None:
        """The quote from now on; `ask` and `last` are the bid where left out."""
        low = to_decimal(bid, "bid")
        high = low if ask is None else to_decimal(ask, "ask")
        if not 0 < low <= high:
            raise ValueError(f"expected 0 < bid ≤ ask, was bid {bid}, ask {ask}")
        price = low if last is None else to_decimal(last, "last")
        self._quote = Quote(self._symbol, low, high, price, utc(self._clock.time()))

    def set_candles(self, timeframe: str, candles: Iterable[Candle]) -> None:
        """The closed candles of a timeframe from now on, oldest first."""
        self._candles[_known(timeframe)] = tuple(candles)

    def set_closes(self, timeframe: str, closes: Iterable[str | Decimal]) -> None:
        """Flat candles with these closes, the last one closed just now."""
        self.set_candles(timeframe, candles_of(closes, timeframe, utc(self._clock.time())))

    def has_quote(self) -> bool:
        return self._quote is not None

    def quote(self) -> Quote:
        self._tools.require("get_quote")
        if self._quote is None:
            raise AssertionError("the test has set no quote: call context.market.set_quote(bid, ask)")
        return self._quote

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        self._tools.require("get_candles")
        known = self._candles.get(_known(timeframe))
        if known is None:
            raise AssertionError(
                f"the test has set no {timeframe} candles: call context.market.set_closes or set_candles"
            )
        return known[-limit:] if limit > 0 else ()

    def set_rules(self, **rules: str | Decimal) -> None:
        """What the market lets through from now on: `price_step`, `quantity_step`, `min_quantity`, `min_notional`,
        `contract_size`; what is left out the server does not tell."""
        self._rules = InstrumentRules(**{name: to_decimal(value, name) for name, value in rules.items()})

    def rules(self) -> InstrumentRules:
        self._tools.require("get_rules")
        return self._rules


def candles_of(closes: Iterable[str | Decimal], timeframe: str, end: datetime) -> tuple[Candle, ...]:
    """A candle for each close, flat, volume 1, aligned to the clock; the last one closed at or before `end`."""
    length = timedelta(seconds=TIMEFRAMES_S[_known(timeframe)])
    prices = [to_decimal(close, "close") for close in closes]
    last_close = utc(end.timestamp() // length.total_seconds() * length.total_seconds())
    first_open = last_close - len(prices) * length
    return tuple(Candle(first_open + i * length, p, p, p, p, Decimal(1)) for i, p in enumerate(prices))


def _known(timeframe: str) -> str:
    if timeframe not in TIMEFRAMES_S:
        raise ValueError(f"timeframe: expected one of {', '.join(TIMEFRAMES_S)}, was {timeframe!r}")
    return timeframe

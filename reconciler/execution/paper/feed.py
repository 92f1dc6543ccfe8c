"""Prices for the paper exchange, as pure functions of time: the same at every start, in every process.

Time is cut into steps; a quote holds for one step. A feed says what a symbol cost at a step and over an
interval; `Prices` adds the spread, picks the feed and keeps closed candles.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Protocol

from reconciler.clock import utc
from reconciler.execution.paper.money import multiple
from reconciler.execution.paper.rules import Markets
from reconciler.records import exact
from reconciler.records.market import TIMEFRAMES_S, Candle, Quote

SYMBOL = re.compile(r"[A-Z0-9]{2,12}/[A-Z0-9]{2,12}")
"""What symbols look like here: base and quote currency, `BTC/USD`."""

_HALF_SPREAD = Decimal("0.0001")
_CANDLES_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class Bar:
    """Open, high, low and close of an interval, middle prices."""

    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


class Feed(Protocol):
    """Middle prices of the symbols it has."""

    def has(self, symbol: str) -> bool: ...

    def tick(self, symbol: str) -> Decimal:
        """The smallest difference between two prices."""
        ...

    def price(self, symbol: str, step: int) -> Decimal:
        """The price that holds during `step`."""
        ...

    def span(self, symbol: str, first: int, last: int) -> tuple[Decimal, Decimal]:
        """Two prices that none of the steps `first` to `last` goes below or above, at a cost that hardly grows."""
        ...

    def bar(self, symbol: str, start_s: int, length_s: int) -> Bar:
        """The interval of `length_s` seconds from `start_s`, in seconds since the epoch."""
        ...


class Prices:
    """Quotes and candles of every symbol, from the first feed that has it. `step_s` is how long a quote holds."""

    def __init__(self, feeds: Sequence[Feed], step_s: float, markets: Markets | None = None) -> None:
        self.step_s = step_s
        self._feeds = tuple(feeds)
        self._markets = markets or Markets()
        self._closed: dict[tuple[str, str], dict[int, Candle]] = {}

    def step_at(self, time_s: float) -> int:
        """The step that has begun last at `time_s`; `time_of` and this agree to the microsecond."""
        step = math.floor(time_s / self.step_s)
        if self._begins_s(step + 1) <= time_s:
            return step + 1
        return step if self._begins_s(step) <= time_s else step - 1

    def time_of(self, step: int) -> datetime:
        """When `step` begins."""
        return utc(step * self.step_s)

    def quote(self, symbol: str, step: int) -> Quote:
        """The quote that holds during `step`. Raises KeyError for a symbol no feed has."""
        feed = self._feed(symbol)
        return self._quoted(symbol, feed.price(symbol, step), feed.tick(symbol), step)

    def reach(self, symbol: str, first: int, last: int) -> tuple[Quote, Quote]:
        """The lowest and the highest that a quote of the steps `first` to `last` may be, as of the last of them.

        Without looking at every step. Raises KeyError for a symbol no feed has.
        """
        feed = self._feed(symbol)
        (low, high), tick = feed.span(symbol, first, last), feed.tick(symbol)
        return self._quoted(symbol, low, tick, last), self._quoted(symbol, high, tick, last)

    def candles(self, symbol: str, timeframe: str, limit: int, now_s: float) -> list[Candle]:
        """The last `limit` candles closed by `now_s`, oldest first. Raises KeyError for what is unknown.

        May run on any thread: it can take tens of milliseconds the first time.
        """
        feed, length_s = self._feed(symbol), TIMEFRAMES_S[timeframe]
        end_s = math.floor(now_s / length_s) * length_s
        known = self._closed.get((symbol, timeframe), {})
        if len(known) > _CANDLES_KEPT:
            known = {}
        candles = []
        for start_s in range(end_s - limit * length_s, end_s, length_s):
            candle = known.get(start_s)
            if candle is None:
                bar = self._stepped(symbol, feed.bar(symbol, start_s, length_s))
                candle = _candle(symbol, start_s, length_s, bar)
                known[start_s] = candle
            candles.append(candle)
        self._closed[symbol, timeframe] = known
        return candles

    def _feed(self, symbol: str) -> Feed:
        for feed in self._feeds:
            if feed.has(symbol):
                return feed
        raise KeyError(symbol)

    def _begins_s(self, step: int) -> float:
        return self.time_of(step).timestamp()

    def _stepped(self, symbol: str, bar: Bar) -> Bar:
        """The bar in prices that the market lets through, as quotes are."""
        price_step = self._markets.of(symbol).price_step
        if price_step is None:
            return bar
        prices = (bar.open, bar.high, bar.low, bar.close)
        return Bar(*(max(price_step, multiple(price, price_step, ROUND_HALF_UP)) for price in prices))

    def _quoted(self, symbol: str, middle: Decimal, tick: Decimal, step: int) -> Quote:
        """The quote around a middle price: with a higher middle, neither bid nor ask is ever lower."""
        half = _half_spread(middle, tick)
        bid, ask, last = exact.subtract(middle, half), exact.add(middle, half), middle
        price_step = self._markets.of(symbol).price_step
        if price_step is not None:
            bid = max(price_step, multiple(bid, price_step, ROUND_FLOOR))
            ask = max(exact.add(bid, price_step), multiple(ask, price_step, ROUND_CEILING))
            last = min(ask, max(bid, multiple(last, price_step, ROUND_HALF_UP)))
        return Quote(symbol, bid, ask, last, self.time_of(step))


def _half_spread(middle: Decimal, tick: Decimal) -> Decimal:
    """From the middle to bid and ask, in whole ticks: with a higher middle, neither is ever lower."""
    return max(tick, exact.rounded(exact.multiply(middle, _HALF_SPREAD), tick, ROUND_DOWN))


def _candle(symbol: str, start_s: int, length_s: int, bar: Bar) -> Candle:
    """The bar with a volume: made up, but always the same."""
    luck = int.from_bytes(hashlib.blake2b(f"{symbol}/{start_s}/{length_s}".encode(), digest_size=2).digest(), "big")
    volume = exact.shifted(Decimal(length_s * (luck + 1)), -5)
    return Candle(utc(start_s), bar.open, bar.high, bar.low, bar.close, volume)

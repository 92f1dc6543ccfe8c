"""Prices for the paper exchange, as pure functions of time: the same at every start, in every process.

Time is cut into steps; a quote holds for one step. A feed says what a symbol cost at a step and over an
interval; `Prices` adds the spread, picks the feed and keeps closed candles.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol, TypeAlias

from reconciler import exact
from reconciler.clock import utc
from reconciler.orders.filling import BookSide, Resting, offered
from reconciler.orders.market import TIMEFRAMES_S, Candle, Quote
from reconciler.paper.paper_order import SYMBOL, Markets

Moves: TypeAlias = Callable[[Quote, Quote], bool]
"""True where a quote between the two, the lower one first, may do something to an order."""

_HALF_SPREAD = Decimal("0.0001")
_CANDLES_KEPT = 2_000


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


@dataclass(frozen=True, slots=True)
class PriceBar:
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

    def bar(self, symbol: str, start_s: int, length_s: int) -> PriceBar:
        """The interval of `length_s` seconds from `start_s`, in seconds since the epoch."""
        ...


class Meeting(NamedTuple):
    """Where an order meets a price: pass `number` of `step`, from 0 on. It came in at `placed_s`, since the epoch."""

    symbol: str
    step: int
    number: int
    placed_s: float


class PriceSource(Protocol):
    """What a paper exchange asks of prices. Steps are counted; what they are is the source's business."""

    def step_at(self, time_s: float) -> int:
        """The step that has begun last at `time_s`."""
        ...

    def quote(self, symbol: str, step: int) -> Quote:
        """The quote that holds during `step`. Raises KeyError for a symbol that there is none of."""
        ...

    def candles(self, symbol: str, timeframe: str, limit: int, now_s: float) -> list[Candle]:
        """The last `limit` candles closed by `now_s`, oldest first. Raises KeyError."""
        ...

    def next_move(self, symbol: str, moves: Moves, first: int, last: int) -> int | None:
        """The first of the steps `first` to `last` in which `moves` says so, None where it does in none."""
        ...

    def passes(self, symbol: str, step: int) -> int:
        """How many prices orders meet in `step`, one after the other."""
        ...

    def offer(
        self, at: Meeting, order: Resting, depth: Decimal | None, taken: Decimal, held: Decimal
    ) -> BookSide | None:
        """What an order meets there, None where that is nothing for it.

        `depth` is what the market's rules let trade at one price, `taken` what others took of it before, `held` what
        its account held of the symbol when the step began.
        """
        ...

    def share_of(self, symbol: str, step: int) -> int:
        """What of equal number is taken from the same depth."""
        ...

    def share_at(self, symbol: str, time_s: float) -> int:
        """As `share_of`, for something that happened at `time_s`."""
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

    def next_move(self, symbol: str, moves: Moves, first: int, last: int) -> int | None:
        """Found by halves, so that what nobody looked at for a week costs a few looks."""
        if first > last:
            return None
        if first == last:
            quote = self.quote(symbol, first)
            return first if moves(quote, quote) else None
        if not moves(*self.reach(symbol, first, last)):
            return None
        middle = (first + last) // 2
        earlier = self.next_move(symbol, moves, first, middle)
        return self.next_move(symbol, moves, middle + 1, last) if earlier is None else earlier

    def passes(self, symbol: str, step: int) -> int:
        return 1

    def offer(
        self, at: Meeting, order: Resting, depth: Decimal | None, taken: Decimal, held: Decimal
    ) -> BookSide | None:
        quote = self.quote(at.symbol, at.step)
        return offered(order.request.side, quote.bid, quote.ask, depth, taken)

    def share_of(self, symbol: str, step: int) -> int:
        return step

    def share_at(self, symbol: str, time_s: float) -> int:
        return self.step_at(time_s)

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

    def _stepped(self, symbol: str, bar: PriceBar) -> PriceBar:
        """The bar in prices that the market lets through, as quotes are."""
        price_step = self._markets.of(symbol).price_step
        if price_step is None:
            return bar
        prices = (bar.open, bar.high, bar.low, bar.close)
        return PriceBar(*(max(price_step, exact.multiple(price, price_step, ROUND_HALF_UP)) for price in prices))

    def _quoted(self, symbol: str, middle: Decimal, tick: Decimal, step: int) -> Quote:
        """The quote around a middle price: with a higher middle, neither bid nor ask is ever lower."""
        half = _half_spread(middle, tick)
        bid, ask, last = exact.subtract(middle, half), exact.add(middle, half), middle
        price_step = self._markets.of(symbol).price_step
        if price_step is not None:
            bid = max(price_step, exact.multiple(bid, price_step, ROUND_FLOOR))
            ask = max(exact.add(bid, price_step), exact.multiple(ask, price_step, ROUND_CEILING))
            last = min(ask, max(bid, exact.multiple(last, price_step, ROUND_HALF_UP)))
        return Quote(symbol, bid, ask, last, self.time_of(step))


def _half_spread(middle: Decimal, tick: Decimal) -> Decimal:
    """From the middle to bid and ask, in whole ticks: with a higher middle, neither is ever lower."""
    return max(tick, exact.rounded(exact.multiply(middle, _HALF_SPREAD), tick, ROUND_DOWN))


def _candle(symbol: str, start_s: int, length_s: int, bar: PriceBar) -> Candle:
    """The bar with a volume: made up, but always the same."""
    luck = int.from_bytes(hashlib.blake2b(f"{symbol}/{start_s}/{length_s}".encode(), digest_size=2).digest(), "big")
    volume = exact.shifted(Decimal(length_s * (luck + 1)), -5)
    return Candle(utc(start_s), bar.open, bar.high, bar.low, bar.close, volume)


_MINUTE_S = 60
_DAY, _HOUR = 1_440, 60
"""In minutes."""
_WAVES = ((211.0, 0.20), (47.3, 0.09), (11.7, 0.04), (2.9, 0.015))
"""Period in days, and amplitude as a fraction of the price."""
_DAILY_NOISE = 0.012
_LEVELS = {"BTC": 60_000.0, "ETH": 3_000.0, "SOL": 150.0, "XAU": 2_400.0, "EUR": 1.1, "GBP": 1.3}
"""Where the price of one unit is about, in US dollars. Others lie somewhere between 1 and 1,000."""


class _Path(NamedTuple):
    """Open, high, low, close as logarithms relative to the level of the symbol."""

    open: float
    high: float
    low: float
    close: float


class SyntheticFeed:
    """Has every symbol of the usual form. `seed` makes another world."""

    def __init__(self, seed: str, step_s: float) -> None:
        self._seed = seed
        self._step_s = step_s

    def has(self, symbol: str) -> bool:
        return SYMBOL.fullmatch(symbol) is not None

    def tick(self, symbol: str) -> Decimal:
        return exact.shifted(Decimal(1), _exponent(_level(symbol)))

    def price(self, symbol: str, step: int) -> Decimal:
        minute, second = self._moment(step)
        path = _minutes(self._key(symbol), minute // 60)[minute % 60]
        return _rounded(symbol, _along(path, second / _MINUTE_S))

    def span(self, symbol: str, first: int, last: int) -> tuple[Decimal, Decimal]:
        parts = tuple(_covering(self._key(symbol), self._moment(first)[0], self._moment(last)[0] + 1))
        low, high = min(part.low for part in parts), max(part.high for part in parts)
        return _rounded(symbol, low), _rounded(symbol, high)

    def bar(self, symbol: str, start_s: int, length_s: int) -> PriceBar:
        parts = tuple(_covering(self._key(symbol), start_s // _MINUTE_S, (start_s + length_s) // _MINUTE_S))
        high, low = max(part.high for part in parts), min(part.low for part in parts)
        o, h, lo, c = (_rounded(symbol, x) for x in (parts[0].open, high, low, parts[-1].close))
        return PriceBar(o, h, lo, c)

    def _key(self, symbol: str) -> str:
        return f"{self._seed}/{symbol}"

    def _moment(self, step: int) -> tuple[int, float]:
        """The minute, counted from the epoch, and the second in it at which `step` begins."""
        minute, second = divmod(step * self._step_s, _MINUTE_S)
        return int(minute), second


def _covering(key: str, start: int, end: int) -> Iterator[_Path]:
    """The minutes from `start` to before `end`, by whole days and hours where they can be."""
    while start < end:
        if start % _DAY == 0 and start + _DAY <= end:
            yield _day(key, start // _DAY)
            start += _DAY
        elif start % _HOUR == 0 and start + _HOUR <= end:
            hour = start // _HOUR
            yield _hours(key, hour // 24)[hour % 24]
            start += _HOUR
        else:
            yield _minutes(key, start // _HOUR)[start % _HOUR]
            start += 1


@lru_cache(maxsize=4_096)
def _day(key: str, day: int) -> _Path:
    luck = random.Random(f"{key}/day/{day}")
    start, end = _knot(key, day), _knot(key, day + 1)
    high = max(start, end) + _DAILY_NOISE * luck.random()
    low = min(start, end) - _DAILY_NOISE * luck.random()
    return _Path(start, high, low, end)


@lru_cache(maxsize=512)
def _hours(key: str, day: int) -> tuple[_Path, ...]:
    return _refined(_day(key, day), 24, random.Random(f"{key}/hours/{day}"))


@lru_cache(maxsize=512)
def _minutes(key: str, hour: int) -> tuple[_Path, ...]:
    return _refined(_hours(key, hour // 24)[hour % 24], 60, random.Random(f"{key}/minutes/{hour}"))


@lru_cache(maxsize=4_096)
def _knot(key: str, day: int) -> float:
    """The price at the start of `day`."""
    waves = 0.0
    for period_days, amplitude in _WAVES:
        waves += amplitude * math.sin(math.tau * (day / period_days + _fraction(f"{key}/wave/{period_days}")))
    return waves + _DAILY_NOISE * (_fraction(f"{key}/knot/{day}") * 2 - 1)


def _refined(whole: _Path, count: int, luck: random.Random) -> tuple[_Path, ...]:
    """`whole` in `count` equal parts: it begins, ends, and has its high and low where `whole` has them."""
    span = whole.high - whole.low
    walk = [0.0]
    for _ in range(count):
        walk.append(walk[-1] + luck.random() - 0.5)
    reach = max(map(abs, walk)) or 1.0
    knots = []
    for i, height in enumerate(walk):
        done = i / count
        wander = (height - done * walk[-1]) / reach * span * 0.5
        knots.append(min(whole.high, max(whole.low, whole.open + done * (whole.close - whole.open) + wander)))
    top, bottom = luck.sample(range(count), 2)
    parts = []
    for i in range(count):
        start, end = knots[i], knots[i + 1]
        high = min(whole.high, max(start, end) + span * luck.random() / count)
        low = max(whole.low, min(start, end) - span * luck.random() / count)
        parts.append(_Path(start, whole.high if i == top else high, whole.low if i == bottom else low, end))
    return tuple(parts)


def _along(path: _Path, done: float) -> float:
    """Where a minute stands when `done` of it (0 to 1) has passed: by way of its high and low to its close."""
    rises = path.close >= path.open
    turns = (path.open, path.low, path.high, path.close) if rises else (path.open, path.high, path.low, path.close)
    leg = min(2, int(done * 3))
    return turns[leg] + (turns[leg + 1] - turns[leg]) * (done * 3 - leg)


def _level(symbol: str) -> float:
    base, quote = symbol.split("/")
    return _dollars(base) / (_dollars(quote) if quote in _LEVELS else 1.0)


def _dollars(asset: str) -> float:
    return _LEVELS.get(asset) or 10 ** (3 * _fraction(f"level/{asset}"))


def _exponent(level: float) -> int:
    """Prices have six digits: 0.1 for 60,000, 0.00001 for 1.1."""
    return math.floor(math.log10(level)) - 5


def _rounded(symbol: str, height: float) -> Decimal:
    level = _level(symbol)
    exponent = _exponent(level)
    return exact.shifted(Decimal(max(1, round(level * math.exp(height) / 10.0**exponent))), exponent)


def _fraction(text: str) -> float:
    """A number in [0, 1) that follows from `text`."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64

"""A made-up price feed for any symbol: a random walk that can be looked up at any moment, past or future.

A day's open and close come from slow waves and a little noise; its bar is then refined, into hours, an
hour into minutes, each time within the parent's high and low and touching both. So every moment costs the
same few refinements, and candles of every timeframe agree with each other. All of it follows from
(seed, symbol); only the last step makes Decimals, by rounding to a tick.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from reconciler.execution.paper.feed import SYMBOL, Bar
from reconciler.records import exact

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

    def bar(self, symbol: str, start_s: int, length_s: int) -> Bar:
        parts = tuple(_covering(self._key(symbol), start_s // _MINUTE_S, (start_s + length_s) // _MINUTE_S))
        high, low = max(part.high for part in parts), min(part.low for part in parts)
        o, h, lo, c = (_rounded(symbol, x) for x in (parts[0].open, high, low, parts[-1].close))
        return Bar(o, h, lo, c)

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

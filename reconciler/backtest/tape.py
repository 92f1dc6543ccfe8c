"""The tape: recorded rows as the prices of a paper exchange at simulated time. Goes forward only, and keeps little.

A candle is four moments. Its open is known when it opens. Its high, low and close are known when it has closed, and
not before: an order that was placed within it meets its close, one that stood when it opened meets them all.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple, TypeAlias

from reconciler import exact
from reconciler.backtest.rows import CandleRow, DataRow
from reconciler.clock import utc
from reconciler.exact import ZERO
from reconciler.orders.filling import BookSide, Level, Resting, best_price, is_stopped
from reconciler.orders.market import TIMEFRAMES_S, Candle, Quote
from reconciler.orders.order import Side
from reconciler.paper.feed import Meeting, Moves

_AFTER_S: Final = 0.001
"""What comes right after a beat comes after all that the beat did."""
_SAME_S: Final = 0.0001
"""Times that are closer are one: a float of seconds tells no microseconds of these days."""
_KEPT: Final = 1_000
"""Closed candles of each timeframe that can be asked for, as the paper exchange has it."""
_FEW: Final = 64
"""So many are taken from the end of a deque sooner one by one."""
_ONE: Final = Decimal(1)
_HALF: Final = Decimal("0.5")
_ANY: Final = Decimal("Infinity")


@dataclass(frozen=True, slots=True)
class Costs:
    """What trading costs beside fees, as fractions of the price; `max_volume` is one of a candle's volume."""

    spread: Decimal = ZERO
    slippage: Decimal = ZERO
    max_volume: Decimal = Decimal("0.1")
    widening: Decimal = Decimal(1)
    """By how much recorded spreads are taken wider than they were."""


class TapeMoment(NamedTuple):
    """A price of one symbol. It meets orders that were placed no later than `since_s`.

    Where `is_inside`, it is a candle as a whole, which went down to `low` and up to `high`. `at_most` bounds what
    orders take of `candle`, whose moments share that.
    """

    time_s: float
    since_s: float
    bid: Decimal
    ask: Decimal
    candle: int
    at_most: Decimal | None = None
    is_inside: bool = False
    low: Decimal = ZERO
    high: Decimal = ZERO


Hear: TypeAlias = Callable[[str, TapeMoment], None]
"""Is told each price when it is known."""


class Tape:
    """Of rows in the order of time. `lengths_s` says of each symbol how long its candles are.

    Implements `paper.feed.PriceSource`. Belongs to one thread.
    """

    def __init__(self, rows: Iterator[DataRow], lengths_s: Mapping[str, float], costs: Costs) -> None:
        self._rows = rows
        self._next = next(rows, None)
        self._lengths_s = lengths_s
        self._costs = costs
        self._half = exact.multiply(costs.spread, _HALF)
        self._pending: deque[tuple[str, TapeMoment]] = deque()
        self._open: dict[str, tuple[CandleRow, int]] = {}
        self._closes_s = float("inf")
        self._steps: dict[str, list[int]] = {}
        self._moments: dict[str, list[TapeMoment]] = {}
        self._candles: dict[str, CandleSeries] = {}
        self._quotes: dict[str, tuple[TapeMoment, Quote]] = {}
        self.heard: Hear | None = None
        self._step = 0
        self._number = 0
        self.now_s = float("-inf")

    @property
    def is_over(self) -> bool:
        """True where no row is left, and every candle has closed."""
        return self._next is None and not self._open

    def next_s(self) -> float | None:
        """When the next moment is, None where none is left."""
        row = self._next
        opens_s = float("inf") if row is None else row.time_s + (_AFTER_S if isinstance(row, CandleRow) else 0.0)
        found = min(opens_s, self._closes_s)
        return None if found == float("inf") else found

    def step_at(self, time_s: float) -> int:
        """How many moments there were until `time_s`, which never goes back."""
        if time_s > self.now_s:
            self._advance(time_s)
        return self._step

    def quote(self, symbol: str, step: int) -> Quote:
        """The quote that holds at `step`. KeyError where nothing was told of the symbol by then."""
        moment = self._moment(symbol, step)
        known = self._quotes.get(symbol)
        if known is None or known[0] is not moment:
            last = exact.middle(moment.bid, moment.ask)
            quote = Quote(symbol, moment.bid, moment.ask, last, utc(moment.time_s))
            self._quotes[symbol] = known = (moment, quote)
        return known[1]

    def candles(self, symbol: str, timeframe: str, limit: int, now_s: float) -> list[Candle]:
        """The last `limit` candles closed by `now_s`, oldest first. KeyError for a symbol that no row tells of.

        Raises ValueError for a timeframe that is finer than the data.
        """
        self.step_at(now_s)
        return self._candles[symbol].last(timeframe, limit, now_s)

    def moments(self, symbol: str, first: int, last: int) -> Iterator[tuple[int, TapeMoment]]:
        """Those of `symbol` from step `first` to `last`, with their steps."""
        steps = self._steps.get(symbol, [])
        moments = self._moments.get(symbol, [])
        for index in range(bisect_left(steps, first), bisect_right(steps, last)):
            yield steps[index], moments[index]

    def forget(self, step: int) -> None:
        """Nobody asks for what was before `step` any more, but for what holds then."""
        for symbol, steps in self._steps.items():
            keep = bisect_right(steps, step) - 1
            if keep > 0:
                del steps[:keep], self._moments[symbol][:keep]

    def next_move(self, symbol: str, moves: Moves, first: int, last: int) -> int | None:
        for step, moment in self.moments(symbol, first, last):
            if moment.is_inside:
                (low_bid, low_ask), (high_bid, high_ask) = self.at(moment.low), self.at(moment.high)
            else:
                (low_bid, low_ask), (high_bid, high_ask) = (moment.bid, moment.ask), (moment.bid, moment.ask)
            at = utc(moment.time_s)
            lowest = Quote(symbol, low_bid, low_ask, low_bid, at)
            if moves(lowest, Quote(symbol, high_bid, high_ask, high_bid, at)):
                return step
        return None

    def passes(self, symbol: str, step: int) -> int:
        return 2 if self._moment(symbol, step).is_inside else 1

    def offer(
        self, at: Meeting, order: Resting, depth: Decimal | None, taken: Decimal, held: Decimal
    ) -> BookSide | None:
        """Any quantity, or what is left of its candle's, a slippage worse than the price.

        Inside a candle, whoever holds something meets the worse end first, and a stop on the way trades where it is.
        """
        moment, side = self._moment(at.symbol, at.step), order.request.side
        if at.placed_s > moment.since_s + _SAME_S:
            return None
        bid, ask = moment.bid, moment.ask
        if moment.is_inside:
            ends = (moment.high, moment.low) if held < 0 else (moment.low, moment.high)
            bid, ask = self.at(ends[at.number])
        best = best_price(side, bid, ask)
        if moment.is_inside and order.waits_for_stop and is_stopped(order.request, best):
            assert order.request.stop_price is not None
            best = order.request.stop_price
        slip = self._costs.slippage
        price = exact.multiply(best, exact.add(_ONE, slip) if side is Side.BUY else exact.subtract(_ONE, slip))
        bounds = [bound for bound in (moment.at_most, depth) if bound is not None]
        left = exact.subtract(min(bounds), taken) if bounds else _ANY
        return BookSide(best, (Level(price, left),) if left > 0 else ())

    def share_of(self, symbol: str, step: int) -> int:
        return self._moment(symbol, step).candle

    def share_at(self, symbol: str, time_s: float) -> int:
        """Of the last moment until then: what is filled is filled at the time of one."""
        moments = self._moments[symbol]
        index = bisect_right(moments, time_s + _SAME_S, key=lambda moment: moment.time_s) - 1
        return moments[max(index, 0)].candle

    def at(self, price: Decimal) -> tuple[Decimal, Decimal]:
        """Bid and ask around a middle price."""
        if not self._half:
            return price, price
        aside = exact.multiply(price, self._half)
        return exact.subtract(price, aside), exact.add(price, aside)

    def _widened(self, bid: Decimal, ask: Decimal) -> tuple[Decimal, Decimal]:
        if self._costs.widening == _ONE:
            return bid, ask
        middle = exact.middle(bid, ask)
        aside = exact.multiply(exact.subtract(ask, middle), self._costs.widening)
        return exact.subtract(middle, aside), exact.add(middle, aside)

    def _moment(self, symbol: str, step: int) -> TapeMoment:
        steps = self._steps[symbol]
        if steps[-1] <= step:
            return self._moments[symbol][-1]
        index = bisect_right(steps, step) - 1
        if index < 0:
            raise KeyError(symbol)
        return self._moments[symbol][index]

    def _advance(self, time_s: float) -> None:
        """Take every row that began, and every candle that closed, until `time_s`."""
        self.now_s = time_s
        while True:
            row = self._next
            opens_s = float("inf") if row is None else row.time_s
            if self._closes_s <= opens_s:
                if self._closes_s > time_s:
                    return
                self._close(self._closes_s)
            elif row is None or (opens_s >= time_s - _AFTER_S and self._begins_after(row, time_s)):
                return
            else:
                self._take(row)
                self._next = next(self._rows, None)

    def _begins_after(self, row: DataRow, time_s: float) -> bool:
        """A candle opens right after the beat of that time, a quote is there at it."""
        return row.time_s + (_AFTER_S if isinstance(row, CandleRow) else 0.0) > time_s

    def _take(self, row: DataRow) -> None:
        symbol = row.symbol
        series = self._candles.get(symbol)
        if series is None:
            series = self._candles[symbol] = CandleSeries(self._lengths_s.get(symbol))
            self._steps[symbol], self._moments[symbol] = [], []
        if isinstance(row, CandleRow):
            if symbol in self._open:  # shorter than its fellows: it is over where the next one begins
                self._close(row.time_s, symbol)
            bid, ask = self.at(row.open)
            opens_s = row.time_s + _AFTER_S
            self._number += 1
            self._put(symbol, TapeMoment(opens_s, opens_s, bid, ask, self._number, self._bound(row)))
            self._open[symbol] = (row, self._number)
            self._closes_s = min(self._closes_s, row.time_s + self._lengths_s[symbol])
        else:
            bid, ask = self._widened(row.bid, row.ask) if row.bid != row.ask else self.at(row.bid)
            self._number += 1
            self._put(symbol, TapeMoment(row.time_s, row.time_s, bid, ask, self._number))
            series.price(row.time_s, exact.middle(row.bid, row.ask))

    def _close(self, time_s: float, only: str = "") -> None:
        """The candles that are over at `time_s`: what they touched, then their close."""
        for symbol in [only] if only else sorted(self._open):
            row, number = self._open[symbol]
            closes_s = min(row.time_s + self._lengths_s[symbol], time_s if only else float("inf"))
            if closes_s > time_s:
                continue
            del self._open[symbol]
            at_most, opened_s = self._bound(row), row.time_s + _AFTER_S
            bid, ask = self.at(row.close)
            self._put(symbol, TapeMoment(closes_s, opened_s, bid, ask, number, at_most, True, row.low, row.high))
            self._put(symbol, TapeMoment(closes_s, closes_s, bid, ask, number, at_most))
            self._candles[symbol].candle(row)
        self._closes_s = min(
            (row.time_s + self._lengths_s[symbol] for symbol, (row, _) in self._open.items()), default=float("inf")
        )

    def _bound(self, row: CandleRow) -> Decimal | None:
        return None if row.volume is None else exact.multiply(row.volume, self._costs.max_volume)

    def _put(self, symbol: str, moment: TapeMoment) -> None:
        self._step += 1
        self._steps[symbol].append(self._step)
        self._moments[symbol].append(moment)
        if self.heard is not None and not moment.is_inside:
            self.heard(symbol, moment)


class CandleSeries:
    """The closed candles of one symbol, of each timeframe the last ones: each coarser one is made of the finer.

    `length_s` is how long recorded candles are, None where there are only prices.
    """

    def __init__(self, length_s: float | None) -> None:
        self._length_s = length_s
        least_s = length_s or 0
        named = sorted((seconds, name) for name, seconds in TIMEFRAMES_S.items())
        self._chain = [_Frame(seconds) for seconds, _ in named if not least_s or _is_whole(seconds, least_s)]
        self._by_name = {name: frame for frame in self._chain for seconds, name in named if seconds == frame.length_s}

    def candle(self, row: CandleRow) -> None:
        """One more recorded candle has closed."""
        if not self._chain:
            return
        finest, length_s, volume = self._chain[0], self._length_s or 0, row.volume or ZERO
        if finest.length_s == length_s and finest.start_s is None and row.time_s % length_s == 0:
            self._closed(0, row.time_s, row.open, row.high, row.low, row.close, volume)  # as it was recorded
        else:
            self._add(0, row.time_s, row.time_s + length_s, row.open, row.high, row.low, row.close, volume)

    def price(self, time_s: float, price: Decimal) -> None:
        """One more price: it belongs to the minute that it is in."""
        self._add(0, time_s, time_s, price, price, price, price, ZERO)

    def last(self, timeframe: str, limit: int, now_s: float) -> list[Candle]:
        frame = self._by_name.get(timeframe)
        if frame is None:
            told = ", ".join(self._by_name) or "none"
            have = f"the data have candles of {self._length_s:g} s"
            raise ValueError(f"timeframe: expected one of {told}, for {have}, was {timeframe!r}")
        for index, finer in enumerate(self._chain):
            if finer.is_over(now_s):
                self._end(index)
            if finer is frame:
                break
        closed, count = frame.closed, len(frame.closed)
        if limit >= count:
            return list(closed)
        return list(closed)[-limit:] if limit > _FEW else [closed[index] for index in range(count - limit, count)]

    def _add(
        self, index: int, begin_s: float, end_s: float, opened: Decimal, high: Decimal, low: Decimal, close: Decimal,
        volume: Decimal,
    ) -> None:  # fmt: skip
        frame = self._chain[index]
        start_s = begin_s // frame.length_s * frame.length_s
        if frame.start_s is not None and frame.start_s != start_s:
            self._end(index)
        if frame.start_s is None:
            frame.begin(start_s, opened, high, low, close, volume)
        else:
            frame.extend(high, low, close, volume)
        if end_s >= start_s + frame.length_s:
            self._end(index)

    def _end(self, index: int) -> None:
        frame = self._chain[index]
        if frame.start_s is None:
            return
        start_s, frame.start_s = frame.start_s, None
        self._closed(index, start_s, frame.opened, frame.high, frame.low, frame.close, frame.volume)

    def _closed(
        self, index: int, start_s: float, opened: Decimal, high: Decimal, low: Decimal, close: Decimal, volume: Decimal
    ) -> None:
        """A candle of that timeframe is whole: it is kept, and a part of the next coarser one."""
        frame = self._chain[index]
        frame.closed.append(Candle(utc(start_s), opened, high, low, close, volume))
        if index + 1 < len(self._chain):
            self._add(index + 1, start_s, start_s + frame.length_s, opened, high, low, close, volume)


class _Frame:
    """One timeframe: its closed candles, and the one that is being made."""

    __slots__ = ("close", "closed", "high", "length_s", "low", "opened", "start_s", "volume")

    def __init__(self, length_s: int) -> None:
        self.length_s = length_s
        self.closed: deque[Candle] = deque(maxlen=_KEPT)
        self.start_s: float | None = None
        self.opened = self.high = self.low = self.close = self.volume = ZERO

    def begin(
        self, start_s: float, opened: Decimal, high: Decimal, low: Decimal, close: Decimal, volume: Decimal
    ) -> None:
        self.start_s = start_s
        self.opened, self.high, self.low, self.close, self.volume = opened, high, low, close, volume

    def extend(self, high: Decimal, low: Decimal, close: Decimal, volume: Decimal) -> None:
        self.high, self.low, self.close = max(self.high, high), min(self.low, low), close
        self.volume = exact.add(self.volume, volume)

    def is_over(self, now_s: float) -> bool:
        return self.start_s is not None and self.start_s + self.length_s <= now_s


def _is_whole(seconds: float, length_s: float) -> bool:
    return seconds >= length_s and seconds % length_s == 0

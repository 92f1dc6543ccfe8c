"""A price feed that replays a CSV file of rates: to its end, backwards to its beginning, and again.

Going back rather than starting over keeps the series free of a jump that no market made. Without a speed
there is one row a step; with one, rows come in their own time, that many times as fast.
"""

from __future__ import annotations

import csv
import math
import re
from bisect import bisect_right
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import accumulate, count, pairwise
from pathlib import Path
from typing import Protocol

from reconciler import exact
from reconciler.paper.feed import PriceBar
from reconciler.paper.paper_order import SYMBOL

_SECONDS = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_LAST_S = 253_402_300_800.0
"""The year 10,000: no clock goes so far."""


class Pace(Protocol):
    """How rows follow each other. Numbers never fall as time goes on."""

    def row_of(self, step: int) -> int:
        """The row that holds when `step` begins."""
        ...

    def rows_during(self, start_s: float, end_s: float) -> tuple[int, int]:
        """The first and the last row that hold from `start_s` to before `end_s`, seconds since the epoch."""
        ...


class RowAStep:
    """One row a step; the first holds in the step of `begin_s`."""

    def __init__(self, step_s: float, begin_s: float) -> None:
        self._step_s = step_s
        self._begin = math.floor(begin_s / step_s)

    def row_of(self, step: int) -> int:
        return step - self._begin

    def rows_during(self, start_s: float, end_s: float) -> tuple[int, int]:
        return math.floor(start_s / self._step_s) - self._begin, math.ceil(end_s / self._step_s) - 1 - self._begin


class Timed:
    """Every row as long as in its own time, `speed` times as fast. `times_s` are those of the rows, each one later.

    The last row lasts as long as the one before it.
    """

    def __init__(self, times_s: Sequence[float], step_s: float, speed: float, begin_s: float) -> None:
        self._step_s = step_s
        self._speed = speed
        self._begin_s = begin_s
        gaps_s = [after - before for before, after in pairwise(times_s)]
        *starts_s, self._turn_s = accumulate([*gaps_s, *reversed(gaps_s)], initial=0.0)
        self._starts_s = starts_s

    def row_of(self, step: int) -> int:
        return self._row_at(step * self._step_s)

    def rows_during(self, start_s: float, end_s: float) -> tuple[int, int]:
        first, last = self._row_at(start_s), self._row_at(end_s)
        if last > first and self._starts(last, end_s):
            last -= 1
        return first, last

    def _row_at(self, time_s: float) -> int:
        turns, within_s = divmod((time_s - self._begin_s) * self._speed, self._turn_s)
        return int(turns) * len(self._starts_s) + bisect_right(self._starts_s, within_s) - 1

    def _starts(self, row: int, time_s: float) -> bool:
        """True where `row` begins no earlier than `time_s`."""
        within_s = ((time_s - self._begin_s) * self._speed) % self._turn_s
        return self._starts_s[row % len(self._starts_s)] >= within_s


def moments(rows: Iterable[tuple[int, str]]) -> list[float]:
    """When rows hold, by the number of their line and their first column. Raises ValueError where they do not rise."""
    times_s: list[float] = []
    for line, text in rows:
        time_s = _moment(text)
        if time_s is None:
            raise ValueError(f"line {line}: expected an ISO 8601 time or seconds, was {text!r:.60}")
        if times_s and time_s <= times_s[-1]:
            raise ValueError(f"line {line}: expected a later time than in the row before, was {text!r:.60}")
        times_s.append(time_s)
    return times_s


def _moment(text: str) -> float | None:
    """Seconds since the epoch, as they are or as an ISO 8601 time; None for what is neither, or out of all bounds."""
    if _SECONDS.fullmatch(text):
        time_s = float(text)
        return time_s if abs(time_s) < _LAST_S else None
    try:
        time = datetime.fromisoformat(text)
        return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).timestamp()
    except (ValueError, OverflowError):
        return None


EXAMPLE = Path(__file__).parent / "ecb-reference-rates.csv"
_DIGITS, _PLACES = 12, 20
_PRICE = re.compile(rf"[0-9]{{1,{_DIGITS}}}(\.[0-9]{{0,{_PLACES}}})?")
_ABSENT = ("", "N/A")
"""No price in this row: the one before still holds."""


class CsvFeed:
    """Columns are symbols, rows moments; the first column names the moment. `#` begins a comment line.

    With `speed`, the first column must be ISO 8601 times (UTC, where they do not say) or seconds since the
    epoch, and rise; the first row holds at `begin_s`, seconds since the epoch.
    """

    def __init__(
        self, lines: Iterable[str], step_s: float, *, speed: float | None = None, begin_s: float = 0.0
    ) -> None:
        header, rows = _table(lines)
        self._series = {symbol: _loop(column) for symbol, column in _columns(header, rows).items()}
        self._extremes = {symbol: (min(loop), max(loop)) for symbol, (loop, _) in self._series.items()}
        self._pace: Pace = RowAStep(step_s, begin_s)
        if speed is not None:
            self._pace = Timed(moments((number, row[0]) for number, row in rows), step_s, speed, begin_s)

    @classmethod
    def read(cls, path: Path, step_s: float, *, speed: float | None = None, begin_s: float = 0.0) -> CsvFeed:
        """The feed in the file at `path`. Raises OSError; ValueError, naming file and line."""
        lines = path.read_bytes().removeprefix(BOM_UTF8).splitlines()
        try:
            return cls(map(_decoded, count(1), lines), step_s, speed=speed, begin_s=begin_s)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def has(self, symbol: str) -> bool:
        return symbol in self._series

    def tick(self, symbol: str) -> Decimal:
        """A tenth of the last digit that the file gives, so that a spread fits between two of its prices."""
        _, exponent = self._series[symbol]
        return exact.shifted(Decimal(1), exponent - 1)

    def price(self, symbol: str, step: int) -> Decimal:
        loop, exponent = self._series[symbol]
        return exact.shifted(Decimal(loop[self._pace.row_of(step) % len(loop)]), exponent)

    def span(self, symbol: str, first: int, last: int) -> tuple[Decimal, Decimal]:
        loop, exponent = self._series[symbol]
        low, high = self._extremes[symbol]
        first_row, last_row = self._pace.row_of(first), self._pace.row_of(last)
        if last_row - first_row + 1 < len(loop):
            seen = _turn(loop, first_row, last_row - first_row + 1)
            low, high = min(seen), max(seen)
        return exact.shifted(Decimal(low), exponent), exact.shifted(Decimal(high), exponent)

    def bar(self, symbol: str, start_s: int, length_s: int) -> PriceBar:
        loop, exponent = self._series[symbol]
        first, last = self._pace.rows_during(start_s, start_s + length_s)
        seen = _turn(loop, first, last - first + 1)
        # More than one turn sees the whole loop; only where it ends is not yet told.
        close = loop[last % len(loop)]
        o, h, lo, c = (exact.shifted(Decimal(n), exponent) for n in (seen[0], max(seen), min(seen), close))
        return PriceBar(o, h, lo, c)


Row = tuple[int, list[str]]
"""The number of a line in the file, and its cells."""


def _table(lines: Iterable[str]) -> tuple[Row, list[Row]]:
    """The line of names, and those of prices. Raises ValueError."""
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#"))
    table = [(number, _cells(number, line)) for number, line in numbered]
    if table and len(table[0][1]) < 2:
        expected = "columns divided by commas, a moment and symbols such as BTC/USD"
        raise ValueError(f"line {table[0][0]}: expected {expected}, was {table[0][1][0]!r:.60}")
    if len(table) < 3:
        raise ValueError(f"expected a line of symbols and at least two of prices, was {len(table)} lines")
    (number, names), *rows = table
    for name in names[1:]:
        if not SYMBOL.fullmatch(name):
            raise ValueError(
                f"line {number}: expected symbols such as BTC/USD after the first column, was {name!r:.60}"
            )
        if names.count(name) > 1:
            raise ValueError(f"line {number}: expected every symbol once, was {name} twice")
    for number, row in rows:
        if len(row) != len(names):
            raise ValueError(f"line {number}: expected {len(names)} columns, was {len(row)}")
    return table[0], rows


def _cells(number: int, line: str) -> list[str]:
    """What one line holds: a row has one, quotes do not reach beyond it. Raises ValueError."""
    try:
        (row,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise ValueError(f"line {number}: expected a row of CSV on a line of its own: {error}") from None
    return [cell.strip() for cell in row]


def _decoded(number: int, line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"line {number}: expected UTF-8, was the byte 0x{line[error.start]:02x} in it") from None


def _columns(header: Row, rows: Sequence[Row]) -> Mapping[str, list[Decimal]]:
    """Prices by symbol; where a row has none, the one before, or the first there is."""
    _, names = header
    columns = {}
    for index, name in enumerate(names[1:], 1):
        known = list(_prices(name, index, rows))
        first = next((price for price in known if price is not None), None)
        if first is None:
            raise ValueError(f"{name}: expected at least one price, found none")
        column, last = [], first
        for price in known:
            last = last if price is None else price
            column.append(last)
        columns[name] = column
    return columns


def _prices(name: str, index: int, rows: Sequence[Row]) -> Iterator[Decimal | None]:
    for number, row in rows:
        text = row[index]
        if text in _ABSENT:
            yield None
            continue
        price = Decimal(text) if _PRICE.fullmatch(text) else exact.ZERO
        if not price:
            expected = f"a positive number of at most {_DIGITS} digits before and {_PLACES} after the point"
            raise ValueError(f"line {number}: {name}: expected {expected}, was {text!r:.60}")
        yield price


def _loop(prices: Sequence[Decimal]) -> tuple[list[int], int]:
    """There and back, as whole multiples of a power of ten, and the exponent of that power."""
    exponent = min(0, *(int(price.as_tuple().exponent) for price in prices))
    there = [int(exact.shifted(price, -exponent)) for price in prices]
    return there + there[-2:0:-1], exponent


def _turn(loop: Sequence[int], first: int, count: int) -> Sequence[int]:
    """`count` values from index `first` on, round and round, at most one whole turn."""
    start = first % len(loop)
    end = start + min(count, len(loop))
    return [*loop[start:end], *loop[: max(0, end - len(loop))]]

"""A price feed that replays a CSV file of rates: one row a step, to the end, backwards to the beginning, and again.

Going back rather than starting over keeps the series free of a jump that no market made.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from reconciler.execution.paper.feed import Bar

EXAMPLE = Path(__file__).parent / "ecb-reference-rates.csv"


class CsvFeed:
    """Columns are symbols, rows moments; the first column names the moment. `#` begins a comment line."""

    def __init__(self, lines: Iterable[str], step_s: float) -> None:
        self._step_s = step_s
        header, *rows = csv.reader(line for line in lines if not line.startswith("#"))
        if len(rows) < 2:
            raise ValueError(f"a feed needs two rows of prices, was {len(rows)}")
        self._series = {symbol: _loop([row[i] for row in rows]) for i, symbol in enumerate(header) if i}
        self._extremes = {symbol: (min(loop), max(loop)) for symbol, (loop, _) in self._series.items()}

    @classmethod
    def read(cls, path: Path, step_s: float) -> CsvFeed:
        """The feed in the file at `path`. Raises OSError, ValueError."""
        with path.open(encoding="utf-8", newline="") as lines:
            return cls(lines, step_s)

    def has(self, symbol: str) -> bool:
        return symbol in self._series

    def tick(self, symbol: str) -> Decimal:
        """A tenth of the last digit that the file gives, so that a spread fits between two of its prices."""
        _, exponent = self._series[symbol]
        return Decimal(1).scaleb(exponent - 1)

    def price(self, symbol: str, step: int) -> Decimal:
        loop, exponent = self._series[symbol]
        return Decimal(loop[step % len(loop)]).scaleb(exponent)

    def span(self, symbol: str, first: int, last: int) -> tuple[Decimal, Decimal]:
        loop, exponent = self._series[symbol]
        low, high = self._extremes[symbol]
        if last - first + 1 < len(loop):
            seen = _turn(loop, first, last - first + 1)
            low, high = min(seen), max(seen)
        return Decimal(low).scaleb(exponent), Decimal(high).scaleb(exponent)

    def bar(self, symbol: str, start_s: int, length_s: int) -> Bar:
        loop, exponent = self._series[symbol]
        first = math.floor(start_s / self._step_s)
        count = math.ceil((start_s + length_s) / self._step_s) - first
        seen = _turn(loop, first, count)
        # More than one turn sees the whole loop; only where it ends is not yet told.
        close = loop[(first + count - 1) % len(loop)]
        o, h, low, c = (Decimal(n).scaleb(exponent) for n in (seen[0], max(seen), min(seen), close))
        return Bar(o, h, low, c)


def _loop(texts: Sequence[str]) -> tuple[list[int], int]:
    """There and back, as whole multiples of a power of ten, and the exponent of that power."""
    prices = [Decimal(text) for text in texts]
    if not all(price.is_finite() and price > 0 for price in prices):
        raise ValueError("expected every price to be a positive number")
    exponent = min(0, *(int(price.as_tuple().exponent) for price in prices))
    there = [int(price.scaleb(-exponent)) for price in prices]
    return there + there[-2:0:-1], exponent


def _turn(loop: Sequence[int], first: int, count: int) -> Sequence[int]:
    """`count` values from index `first` on, round and round, at most one whole turn."""
    start = first % len(loop)
    end = start + min(count, len(loop))
    return [*loop[start:end], *loop[: max(0, end - len(loop))]]

"""Rows of recorded prices, read one after the other: a CSV or Parquet file of candles, of quotes, or of prices.

| columns | what a row is |
|---|---|
| `time,symbol,open,high,low,close,volume` | a candle that opened at `time`; the volume may be missing |
| `time,symbol,bid,ask` | a quote |
| `time,SYMBOL,SYMBOL,…` | a middle price of each symbol, as the paper exchange replays them |

Times are ISO 8601, or seconds or milliseconds since the epoch; those that name no zone are UTC. A file is never held
as a whole. What is wrong with a row is a `Problem` with its line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

from reconciler.clock import utc
from reconciler.errors import Problem, ReconcilerError

_NUMBER: Final = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
_PLAIN: Final = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,9})?")
_MILLISECONDS: Final = 100_000_000_000
"""From here on a number is no count of seconds: it would be in the year 5138."""
_ABSENT: Final = ("", "N/A", "NaN", "nan", "null")
_CANDLES: Final = ("open", "high", "low", "close")
_QUOTES: Final = ("bid", "ask")
_TIMES: Final = ("time", "timestamp", "date", "datetime")
_CHUNK: Final = 1 << 20

Kind = Literal["candles", "quotes", "prices"]


class BadData(ReconcilerError):
    """Data that cannot be used: says where, what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class CandleRow:
    """A candle of `symbol` that opened at `time_s`; `volume` is None where the file does not tell it."""

    line: int
    time_s: float
    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None


@dataclass(frozen=True, slots=True)
class QuoteRow:
    """The best prices of `symbol` from `time_s` on. Where they are one, it was a price without a spread."""

    line: int
    time_s: float
    symbol: str
    bid: Decimal
    ask: Decimal


DataRow = CandleRow | QuoteRow


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of data. `zones` are the offsets that its times were written with, `none` where they named no zone."""

    path: Path
    kind: Kind
    names: tuple[str, ...]
    symbols: frozenset[str] | None = None
    """Those that are read, None for all."""

    def rows(self, problems: list[Problem], zones: set[str] | None = None) -> Iterator[DataRow]:
        """Its rows in the file's order. What is wrong with one is added to `problems`, and the row left out."""
        reading = _Reading(self, problems, set() if zones is None else zones)
        for line, cells in _lines(self.path, problems):
            if line > 1:
                yield from reading.row(line, cells)

    def digest(self) -> str:
        """Of its bytes."""
        found = blake2b(digest_size=16)
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
        return found.hexdigest()


def data_file(path: Path) -> DataFile:
    """The file at `path`, as its head says. Raises BadData, OSError."""
    problems: list[Problem] = []
    head = next(iter(_lines(path, problems)), None)
    if head is None:
        why = str(problems[0]) if problems else f"{path}: expected a line that names its columns, was empty"
        raise BadData(why)
    names = tuple(name.strip() for name in head[1])
    lower = [name.lower() for name in names]
    if lower[0] not in _TIMES:
        raise BadData(f"{path}:1:1: expected the first column to be called time, was {names[0]!r:.60}{_HINT}")
    if "symbol" in lower and all(name in lower for name in _CANDLES):
        return DataFile(path, "candles", tuple(lower))
    if "symbol" in lower and all(name in lower for name in _QUOTES):
        return DataFile(path, "quotes", tuple(lower))
    if "symbol" not in lower and len(names) > 1 and all("/" in name or "-" in name for name in names[1:]):
        return DataFile(path, "prices", names)
    raise BadData(f"{path}:1:1: expected columns of candles, quotes or prices, was {','.join(names)!r:.80}{_HINT}")


_HINT: Final = "; write time,symbol,open,high,low,close,volume or time,symbol,bid,ask or time,BTC/USD,ETH/USD,…"


class _Reading:
    """Cells of one file's lines, as rows."""

    def __init__(self, file: DataFile, problems: list[Problem], zones: set[str]) -> None:
        self._file = file
        self._problems = problems
        self._zones = zones
        at = {name: index for index, name in enumerate(file.names)}
        self._at = at
        self._symbols = file.symbols
        self._columns = [name for name in file.names[1:] if file.symbols is None or name in file.symbols]
        read: dict[Kind, Callable[[int, float, Sequence[str]], Iterator[DataRow]]] = {
            "candles": self._candle,
            "quotes": self._quote,
            "prices": self._prices,
        }
        self._read = read[file.kind]

    def row(self, line: int, cells: Sequence[str]) -> Iterator[DataRow]:
        if len(cells) != len(self._file.names):
            self._wrong(line, 1, "", f"expected {len(self._file.names)} columns, was {len(cells)}")
            return
        if self._symbols is not None and self._file.kind != "prices":
            symbol = cells[self._at["symbol"]]
            if symbol and symbol not in self._symbols:
                return
        time_s = self._time(line, cells[0])
        if time_s is not None:
            yield from self._read(line, time_s, cells)

    def _candle(self, line: int, time_s: float, cells: Sequence[str]) -> Iterator[DataRow]:
        numbers = [self._price(line, name, cells) for name in _CANDLES]
        volume = self._volume(line, cells)
        symbol = self._symbol(line, cells)
        if None in numbers or symbol is None or volume is _WRONG:
            return
        opened, high, low, close = (number for number in numbers if number is not None)
        if high < max(opened, close, low):
            self._wrong(line, 1, "high", f"expected no less than open, low and close, was {high}")
        elif low > min(opened, close):
            self._wrong(line, 1, "low", f"expected no more than open and close, was {low}")
        else:
            yield CandleRow(line, time_s, symbol, opened, high, low, close, volume)

    def _quote(self, line: int, time_s: float, cells: Sequence[str]) -> Iterator[DataRow]:
        bid, ask = self._price(line, "bid", cells), self._price(line, "ask", cells)
        symbol = self._symbol(line, cells)
        if bid is None or ask is None or symbol is None:
            return
        if ask < bid:
            self._wrong(line, 1, "ask", f"expected no less than the bid {bid}, was {ask}")
        else:
            yield QuoteRow(line, time_s, symbol, bid, ask)

    def _prices(self, line: int, time_s: float, cells: Sequence[str]) -> Iterator[DataRow]:
        """What is absent has no row: the price before still holds."""
        for name in self._columns:
            if cells[self._at[name]] not in _ABSENT and (price := self._price(line, name, cells)) is not None:
                yield QuoteRow(line, time_s, name, price, price)

    def _symbol(self, line: int, cells: Sequence[str]) -> str | None:
        symbol = cells[self._at["symbol"]]
        if not symbol:
            self._wrong(line, 1, "symbol", "expected the symbol of a market, was empty")
            return None
        return symbol

    def _price(self, line: int, name: str, cells: Sequence[str]) -> Decimal | None:
        text = cells[self._at[name]]
        if _NUMBER.fullmatch(text):
            price = Decimal(text)
            if price:
                return price
        self._wrong(line, self._at[name] + 1, name, f"expected a positive number in plain digits, was {text!r:.40}")
        return None

    def _volume(self, line: int, cells: Sequence[str]) -> Decimal | None:
        at = self._at.get("volume")
        if at is None or cells[at] in _ABSENT:
            return None
        if _NUMBER.fullmatch(cells[at]):
            return Decimal(cells[at])
        self._wrong(line, at + 1, "volume", f"expected a number in plain digits, or nothing, was {cells[at]!r:.40}")
        return _WRONG

    def _time(self, line: int, text: str) -> float | None:
        if _PLAIN.fullmatch(text):
            number = float(text)
            self._zones.add("seconds since the epoch" if abs(number) < _MILLISECONDS else "milliseconds")
            return number if abs(number) < _MILLISECONDS else number / 1000
        try:
            time = datetime.fromisoformat(text)
            offset = time.utcoffset()
            self._zones.add("none" if offset is None else f"{time:%z}" or "+0000")
            return (time.replace(tzinfo=UTC) if offset is None else time).timestamp()
        except (ValueError, OverflowError):
            self._wrong(line, 1, "time", f"expected an ISO 8601 time, or seconds, was {text!r:.40}")
            return None

    def _wrong(self, line: int, column: int, name: str, message: str) -> None:
        """`column` counts the file's columns: where in its line a cell begins, a reader of CSV does not tell."""
        self._problems.append(Problem(str(self._file.path), line, column, name, message, rule="data"))


_WRONG: Final = Decimal("-1")


def _lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, Sequence[str]]]:
    """Each line's number and cells, the head among them; empty lines and those that `#` begins are left out."""
    if path.suffix in (".parquet", ".pq"):
        yield from enumerate(_parquet(path), 1)
        return
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        told = (line for line in file)
        number, head = 0, True
        for number, text in enumerate(told, 1):
            if not text.strip() or text.startswith("#"):
                continue
            try:
                (cells,) = csv.reader([text], strict=True)
            except (csv.Error, ValueError) as error:
                problems.append(Problem(str(path), number, 1, "", f"expected a row of CSV: {error}", rule="data"))
                continue
            yield (1 if head else number), [cell.strip() for cell in cells]
            head = False


def _parquet(path: Path) -> Iterator[Sequence[str]]:
    """As the lines of a CSV file would be. Needs pyarrow, which is slow to import: only where such a file is read."""
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        need = "pip install 'strategy-reconciler[parquet]'"
        raise BadData(f"{path}: Parquet needs pyarrow, which is not installed: {need}") from None
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:
        raise BadData(f"{path}: expected a Parquet file, was refused: {error!s:.200}") from error
    with file:
        yield list(file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=4096):
            columns = [column.to_pylist() for column in batch.columns]
            yield from (list(map(_cell, values)) for values in zip(*columns, strict=True))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)


_Key = Callable[[DataRow], float]


def in_order(streams: Iterable[Iterator[DataRow]]) -> Iterator[DataRow]:
    """The rows of several files, the earliest first; those of one moment in the order of the files."""
    from heapq import merge

    key: _Key = _time_of
    return merge(*streams, key=key)


def _time_of(row: DataRow) -> float:
    return row.time_s


def shown(time_s: float) -> str:
    """`2026-01-05T12:00:00Z`."""
    return utc(time_s).isoformat(timespec="seconds").replace("+00:00", "Z")


def data_files(paths: Iterable[Path], symbols: frozenset[str] | None = None) -> tuple[DataFile, ...]:
    """The files at `paths`; of a folder, all CSV and Parquet files in it. Raises BadData, OSError.

    Only rows of `symbols` are read where they are named: what is wrong with others is nobody's matter.
    """
    files = map(data_file, chain.from_iterable(map(_expanded, paths)))
    found = tuple(replace(file, symbols=symbols) for file in files)
    if not found:
        raise BadData("--data: expected a file, or a folder that holds some, found none")
    return found


def _expanded(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return (path,)
    matches = partial(map, path.glob)
    return sorted(chain.from_iterable(matches(("*.csv", "*.parquet", "*.pq"))))

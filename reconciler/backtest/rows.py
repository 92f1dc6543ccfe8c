"""Rows of recorded prices, read one after the other: a CSV or Parquet file of candles, of quotes, or of prices.

| columns | what a row is |
|---|---|
| `time,symbol,open,high,low,close,volume` | a candle that opened at `time`; the volume may be missing |
| `time,symbol,bid,ask` | a quote |
| `time,SYMBOL,SYMBOL,…` | a middle price of each symbol, as the paper exchange replays them |

Times are ISO 8601, or seconds or milliseconds since the epoch; those that name no zone are UTC. Cells are set apart by
commas, or by semicolons or tabs where the head is; `.gz` is unpacked. A file is never held as a whole. What is wrong
with a row is a `Problem` with its line; of Parquet, with the number of its row.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TextIO

from reconciler.clock import utc
from reconciler.errors import Problem, ReconcilerError

MAX_PROBLEMS: Final = 50
"""So many are told, and nothing is read after them."""
_DIGITS: Final = r"(?:(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?)"
_NUMBER: Final = re.compile(_DIGITS)
_DAY: Final = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")
"""A day without signs between: as a number of seconds it would be in 1970."""
_PLAIN: Final = re.compile(r"-?[0-9]{1,14}(\.[0-9]{1,9})?")
_MILLISECONDS: Final = 100_000_000_000
"""From here on a number is no count of seconds: it would be in the year 5138."""
_ABSENT: Final = ("", "N/A", "NaN", "nan", "null")
_CANDLES: Final = ("open", "high", "low", "close")
_QUOTES: Final = ("bid", "ask")
_TIMES: Final = ("time", "timestamp", "date", "datetime")
_INDEX: Final = "__index_level_0__"  # as pandas calls one without a name
_CHUNK: Final = 1 << 20

Kind = Literal["candles", "quotes", "prices"]


class BadData(ReconcilerError):
    """Data that cannot be used: says where, what was expected and what was found."""


class CandleRow(NamedTuple):
    """A candle of `symbol` that opened at `time_s`; `volume` is None where the file does not tell it."""

    line: int
    time_s: float
    symbol: str
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal | None


class QuoteRow(NamedTuple):
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
    delimiter: str = ","

    def rows(self, problems: list[Problem], zones: set[str] | None = None) -> Iterator[DataRow]:
        """Its rows in the file's order. What is wrong with one is added to `problems`, and the row left out.

        The file is read no further once `MAX_PROBLEMS` are known.
        """
        reading = _Reading(self, problems, set() if zones is None else zones)
        if is_parquet(self.path):
            for row_number, values in enumerate(_parquet(self.path)):
                if row_number and len(problems) < MAX_PROBLEMS:
                    yield from reading.row(row_number, list(map(_cell, values)))
            return
        plain, has_head = reading.plain(), False
        with _opened(self.path) as file:
            for line, text in enumerate(_told(file, self.path), 1):
                row = plain(line, text)
                if row is not None:
                    if row is not _OTHER:
                        yield row
                    continue
                cells = _cells(self.path, line, text, self.delimiter, problems)
                if cells is not None and has_head:
                    yield from reading.row(line, cells)
                has_head = has_head or cells is not None
                if len(problems) >= MAX_PROBLEMS:
                    return

    def digest(self) -> str:
        """Of its bytes."""
        found = blake2b(digest_size=16)
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
        return found.hexdigest()


def data_file(path: Path) -> DataFile:
    """The file at `path`, as its head says. Raises BadData, OSError."""
    names, delimiter = _head(path)
    lower = [name.lower() for name in names]
    if lower[0] not in _TIMES:
        raise BadData(f"{path}:1:1: expected the first column to be called time, was {names[0]!r:.60}{_HINT}")
    if "symbol" in lower and all(name in lower for name in _CANDLES):
        return DataFile(path, "candles", tuple(lower), delimiter=delimiter)
    if "symbol" in lower and all(name in lower for name in _QUOTES):
        return DataFile(path, "quotes", tuple(lower), delimiter=delimiter)
    if "symbol" not in lower and len(names) > 1 and all("/" in name or "-" in name for name in names[1:]):
        return DataFile(path, "prices", names, delimiter=delimiter)
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
        self._known_time = ("none yet", 0.0)
        self._offsets: dict[timedelta | None, str] = {None: "none"}
        read: dict[Kind, Callable[[int, float, Sequence[str]], Iterator[DataRow]]] = {
            "candles": self._candle,
            "quotes": self._quote,
            "prices": self._prices,
        }
        self._read = read[file.kind]

    def plain(self) -> Callable[[int, str], DataRow | None]:
        """Reads a line as nearly all are: its row, or `_OTHER` where it is of a symbol that nobody asks for.

        None where there is anything to say about it, or to look at twice: then `row` does.
        """
        if self._file.kind == "prices":
            return lambda line, text: None
        is_candles = self._file.kind == "candles"
        wanted = ("time", "symbol", *((*_CANDLES, "volume") if is_candles else _QUOTES))
        wanted = tuple(name for name in (*wanted,) if name in self._at or name == "time")
        columns = ("time", *self._file.names[1:])
        cell = rf"[^\s\"#{self._file.delimiter}]"
        kinds = {"time": f"({cell}+(?: {cell}+)?)", "symbol": f"({cell}+)", "volume": f"({_DIGITS}?)"}
        other = rf"[^\"\r\n{self._file.delimiter}]*"
        patterns = [(kinds.get(name, f"({_DIGITS})") if name in wanted else other) for name in columns]
        match = re.compile(self._file.delimiter.join(patterns) + r"\r?\n?").fullmatch
        order = [name for name in columns if name in wanted]
        numbers = tuple(order.index(name) + 1 for name in wanted)
        symbols, moment = self._symbols, self._moment

        def candle(line: int, text: str) -> DataRow | None:
            found = match(text)
            if found is None:
                return None
            at, symbol, *cells = found.group(*numbers)
            if symbols is not None and symbol not in symbols:
                return _OTHER
            time_s, opened, high, low, close = moment(at), *map(Decimal, cells[:4])
            if time_s is None or not low or high < low or high < opened or high < close or low > opened or low > close:
                return None
            volume = Decimal(cells[4]) if len(cells) > 4 and cells[4] else None
            return CandleRow(line, time_s, symbol, opened, high, low, close, volume)

        def quote(line: int, text: str) -> DataRow | None:
            found = match(text)
            if found is None:
                return None
            at, symbol, *cells = found.group(*numbers)
            if symbols is not None and symbol not in symbols:
                return _OTHER
            time_s, bid, ask = moment(at), *map(Decimal, cells)
            return None if time_s is None or not bid or ask < bid else QuoteRow(line, time_s, symbol, bid, ask)

        return candle if is_candles else quote

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
        time_s = self._moment(text)
        if time_s is None:
            told = "expected an ISO 8601 time, or seconds"
            if _DAY.fullmatch(text):
                told = f"expected a day as {text[:4]}-{text[4:6]}-{text[6:]}, for so it is a number of seconds"
            self._wrong(line, 1, "time", f"{told}, was {text!r:.40}")
        return time_s

    def _moment(self, text: str) -> float | None:
        """Seconds since the epoch, None where it is no time."""
        known, time_s = self._known_time
        if text == known:
            return time_s
        if _PLAIN.fullmatch(text):
            if _DAY.fullmatch(text):
                return None
            number = float(text)
            self._zones.add("seconds since the epoch" if abs(number) < _MILLISECONDS else "milliseconds")
            time_s = number if abs(number) < _MILLISECONDS else number / 1000
        else:
            try:
                time = datetime.fromisoformat(text)
                offset = time.utcoffset()
                time_s = (time.replace(tzinfo=UTC) if offset is None else time).timestamp()
            except (ValueError, OverflowError):
                return None
            zone = self._offsets.get(offset)
            if zone is None:
                zone = self._offsets[offset] = f"{time:%z}"
            self._zones.add(zone)
        self._known_time = (text, time_s)
        return time_s

    def _wrong(self, line: int, column: int, name: str, message: str) -> None:
        """`column` counts the file's columns: where in its line a cell begins, a reader of CSV does not tell."""
        self._problems.append(Problem(str(self._file.path), line, column, name, message, rule="data"))


_WRONG: Final = Decimal("-1")
_OTHER: Final = QuoteRow(0, 0.0, "", Decimal(0), Decimal(0))
"""Stands for a row that is of no interest."""


def is_parquet(path: Path) -> bool:
    return path.suffix in (".parquet", ".pq")


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _told(file: TextIO, path: Path) -> Iterator[str]:
    """Its lines. Raises BadData where what is packed is broken."""
    try:
        yield from file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadData(f"{path}: expected a whole file, packed by gzip, was broken: {error}") from error


def _head(path: Path) -> tuple[tuple[str, ...], str]:
    """The names of the columns, and what stands between them. Raises BadData."""
    if is_parquet(path):
        return tuple(str(name).strip() for name in next(_parquet(path))), ","
    problems: list[Problem] = []
    with _opened(path) as file:
        for line, text in enumerate(_told(file, path), 1):
            delimiter = next((sign for sign in _DELIMITERS if sign in text), ",")
            cells = _cells(path, line, text, delimiter, problems)
            if problems:
                raise BadData(str(problems[0]))
            if cells is not None:
                return tuple(cells), delimiter
    raise BadData(f"{path}: expected a line that names its columns, was empty")


_DELIMITERS: Final = (",", ";", "\t")


def _cells(path: Path, line: int, text: str, delimiter: str, problems: list[Problem]) -> list[str] | None:
    """The cells of a line; None where it is empty, begins with `#`, or is no row of CSV, which is a problem."""
    if text.startswith("#") or not text.strip():
        return None
    try:
        (cells,) = csv.reader([text], strict=True, delimiter=delimiter)
    except (csv.Error, ValueError) as error:
        problems.append(Problem(str(path), line, 1, "", f"expected a row of CSV: {error}", rule="data"))
        return None
    return [cell.strip() for cell in cells]


def _parquet(path: Path) -> Iterator[Sequence[Any]]:
    """As the lines of a CSV file would be, the time first. Needs pyarrow, slow to import: only where one is read."""
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ImportError:
        need = "pip install 'strategy-reconciler[parquet]'"
        raise BadData(f"{path}: Parquet needs pyarrow, which is not installed: {need}") from None
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:
        raise BadData(f"{path}: expected a Parquet file, was refused: {error!s:.200}") from error
    names = ["time" if name == _INDEX else name.strip() for name in file.schema_arrow.names]
    order = sorted(range(len(names)), key=lambda at: names[at].lower() not in _TIMES)  # pandas writes its index last

    def cells(column: Any) -> list[Any]:
        if column.type == arrow.float32():  # 0.1 is 0.1, and not what it is as a longer one
            return [None if text is None else Decimal(text) for text in column.cast(arrow.string()).to_pylist()]
        if arrow.types.is_timestamp(column.type) and column.type.unit == "ns":  # Python's times have none
            column = column.cast(arrow.timestamp("us", column.type.tz), safe=False)
        return column.to_pylist()  # type: ignore[no-any-return]

    with file:
        yield [names[at] for at in order]
        try:
            for batch in file.iter_batches(batch_size=4096):
                yield from zip(*(cells(batch.columns[at]) for at in order), strict=True)
        except (OSError, arrow.ArrowException) as error:
            raise BadData(f"{path}: expected a whole Parquet file, was broken: {error!s:.200}") from error


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, datetime):
        return value.isoformat()
    number = Decimal(repr(value)) if isinstance(value, float) else value
    return format(number, "f") if isinstance(number, Decimal) else str(value)


_Key = Callable[[DataRow], float]


def in_order(streams: Iterable[Iterator[DataRow]]) -> Iterator[DataRow]:
    """The rows of several files, the earliest first; those of one moment in the order of the files."""
    from heapq import merge

    first, *others = streams
    key: _Key = _time_of
    return merge(first, *others, key=key) if others else first


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
    return sorted(chain.from_iterable(matches(("*.csv", "*.csv.gz", "*.parquet", "*.pq"))))

"""What the data are, found by one pass before anything runs: bad rows with their lines, gaps, zones, missing volume.

Nothing is mended and nothing made up: what is wrong stops the run, what is only to be known is told at its head. And
who else opens them while a run goes on.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import blake2b
from heapq import heappushpop, nlargest
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

from reconciler import exact
from reconciler.backtest.rows import MAX_PROBLEMS, CandleRow, DataFile, DataRow, Kind, in_order, shown
from reconciler.errors import Problem
from reconciler.orders.market import TIMEFRAMES_S

_LONGEST: Final = 20
_STEPS_KEPT: Final = 64
_NO_QUOTES_S: Final = 3_600
"""Quotes that are further apart leave a gap."""
_JUMP: Final = Decimal("1.8")
_NEAR: Final = Decimal("0.03")
_SPLITS: Final = tuple(map(Decimal, (2, 3, 4, 5, 8, 10, 15, 20, 25, 50, 100)))


@dataclass(frozen=True, slots=True)
class DataGap:
    """Nothing is told of `symbol` from `from_s` to `to_s`."""

    symbol: str
    from_s: float
    to_s: float

    def to_json(self) -> dict[str, str]:
        return {"symbol": self.symbol, "from": shown(self.from_s), "to": shown(self.to_s)}


@dataclass(frozen=True, slots=True)
class Series:
    """The rows of one symbol. `step_s` is how long its candles are, or how far apart its quotes mostly are.

    `gaps` are the longest ones, of `gap_count`. `missing_volume` counts candles that tell none.
    """

    symbol: str
    kind: Kind
    rows: int
    from_s: float
    to_s: float
    step_s: float
    gap_count: int
    gaps: tuple[DataGap, ...]
    missing_volume: int

    @property
    def timeframe(self) -> str:
        """`1h`, or how many seconds it is where that has no name."""
        named = {seconds: name for name, seconds in TIMEFRAMES_S.items()}
        return named.get(int(self.step_s), f"{self.step_s:g} s")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files that were looked through. `notes` is what people should know before they believe any figure."""

    files: tuple[DataFile, ...]
    digest: str
    series: tuple[Series, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    from_s: float | None = None
    to_s: float | None = None

    @property
    def begin_s(self) -> float:
        """When the first row is."""
        first = min(one.from_s for one in self.series)
        return first if self.from_s is None else max(first, self.from_s)

    @property
    def end_s(self) -> float:
        """When the last row is over: a candle is, once it has closed."""
        last = max(one.to_s + (one.step_s if one.kind == "candles" else 0) for one in self.series)
        return last if self.to_s is None else min(last, self.to_s)

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(one.symbol for one in self.series)

    @property
    def needs_spread(self) -> bool:
        return any(one.kind != "quotes" for one in self.series)

    def of(self, symbol: str) -> Series | None:
        return next((one for one in self.series if one.symbol == symbol), None)

    def rows(self) -> Iterator[DataRow]:
        """Those until the end, the earliest first: what is before the beginning is what strategies look back at."""
        rows, to_s = in_order([file.rows([]) for file in self.files]), self.to_s
        return rows if to_s is None else takewhile(lambda row: row.time_s < to_s, rows)

    def to_json(self) -> dict[str, Any]:
        gaps = nlargest(
            _LONGEST, (gap for one in self.series for gap in one.gaps), key=lambda gap: gap.to_s - gap.from_s
        )
        return {
            "digest": self.digest,
            "from": shown(self.begin_s),
            "to": shown(self.end_s),
            "gaps": {"count": sum(one.gap_count for one in self.series), "longest": [gap.to_json() for gap in gaps]},
        }


def look_through(files: Sequence[DataFile], from_s: float | None = None, to_s: float | None = None) -> Dataset:
    """Read all of it once, from the first row to `to_s`. Memory grows with the number of symbols, not of rows."""
    problems: list[Problem] = []
    zones: set[str] = set()
    order: dict[str, Problem] = {}
    series: dict[str, _Series] = {}
    notes: list[str] = []
    streams = [_checked(file, file.rows(problems, zones), problems, order) for file in files]
    for row, file in _with_files(streams):
        if to_s is not None and row.time_s >= to_s:
            break
        found = series.get(row.symbol)
        if found is None:
            series[row.symbol] = _Series(row.symbol, file, row)
        else:
            found.add(row, file, problems, notes)
        if len(problems) >= MAX_PROBLEMS:
            break
    if not series and not problems:
        of = "" if files[0].symbols is None else f" of {', '.join(sorted(files[0].symbols))}"
        before = "" if to_s is None else " of data before --to"
        what = f"expected rows{of}{before}, found none"
        problems.append(Problem(str(files[0].path), 0, 0, "", what, rule="data"))
    if len(problems) >= MAX_PROBLEMS:
        more = f"expected rows that can be used, was a file with {MAX_PROBLEMS} or more that cannot: no more is read"
        problems = [*problems[: MAX_PROBLEMS - 1], replace(problems[MAX_PROBLEMS - 1], message=more, pointer="")]
    told = tuple(one.series() for _, one in sorted(series.items()))
    notes = [*_zones_told(zones), *notes, *_told(told)]
    return Dataset(tuple(files), _digest(files), told, tuple(problems), tuple(notes), from_s, to_s)


def _with_files(streams: Sequence[Iterator[tuple[DataRow, DataFile]]]) -> Iterator[tuple[DataRow, DataFile]]:
    from heapq import merge

    return merge(*streams, key=lambda pair: pair[0].time_s) if len(streams) > 1 else streams[0]


def _checked(
    file: DataFile, rows: Iterator[DataRow], problems: list[Problem], told: dict[str, Problem]
) -> Iterator[tuple[DataRow, DataFile]]:
    """The rows of a file, as long as time does not run back in it."""
    last_s = float("-inf")
    for row in rows:
        if row.time_s < last_s:
            was = f"expected no earlier time than in the row before ({shown(last_s)}), was {shown(row.time_s)}"
            hint = "sort the file by time"
            problems.append(Problem(str(file.path), row.line, 1, "time", was, hint, "data"))
            return
        last_s = row.time_s
        yield row, file


@dataclass(slots=True)
class _Series:
    """What is gathered of one symbol while its rows pass by."""

    symbol: str
    file: DataFile
    last: DataRow
    rows: int = 1
    missing_volume: int = 0
    from_s: float = 0.0
    steps: Counter[float] = field(default_factory=Counter)
    longest: list[tuple[float, float]] = field(default_factory=list)
    splits: int = 0

    def __post_init__(self) -> None:
        self.from_s = self.last.time_s
        self.missing_volume = int(isinstance(self.last, CandleRow) and self.last.volume is None)

    def add(self, row: DataRow, file: DataFile, problems: list[Problem], notes: list[str]) -> None:
        if row.time_s <= self.last.time_s or file.kind != self.file.kind:
            problems.append(self._overlap(row, file))
            return
        step_s = row.time_s - self.last.time_s
        if step_s in self.steps or len(self.steps) < _STEPS_KEPT:
            self.steps[step_s] += 1
        else:
            self.steps[float("inf")] += 1
        longest = (step_s, self.last.time_s)
        if len(self.longest) < _LONGEST * 4:
            self.longest.append(longest)
            self.longest.sort()
        elif longest > self.longest[0]:
            heappushpop(self.longest, longest)
        self.missing_volume += isinstance(row, CandleRow) and row.volume is None
        self._look_for_split(row, file, notes)
        self.rows += 1
        self.last, self.file = row, file

    def series(self) -> Series:
        usual = [(count, -step_s) for step_s, count in self.steps.items() if step_s != float("inf")]
        step_s = -max(usual)[1] if usual else 86_400.0
        least_s = step_s if self.file.kind == "candles" else max(step_s, _NO_QUOTES_S)
        opens_s = step_s if self.file.kind == "candles" else 0.0
        wide = sorted((one for one in self.longest if one[0] > least_s), reverse=True)[:_LONGEST]
        gaps = tuple(DataGap(self.symbol, at_s + opens_s, at_s + wide_s) for wide_s, at_s in wide)
        count = sum(count for one_s, count in self.steps.items() if one_s > least_s)
        return Series(
            self.symbol,
            self.file.kind,
            self.rows,
            self.from_s,
            self.last.time_s,
            step_s,
            count,
            gaps,
            self.missing_volume,
        )

    def _overlap(self, row: DataRow, file: DataFile) -> Problem:
        before = f"{self.file.path}:{self.last.line}"
        if file.kind != self.file.kind:
            message = f"expected {self.file.kind} of {row.symbol}, as in {before}, was one of {file.kind}"
        else:
            later = f"expected a later time of {row.symbol} than in {before} ({shown(self.last.time_s)})"
            message = f"{later}, was {shown(row.time_s)}: rows overlap, or are there twice"
        return Problem(str(file.path), row.line, 1, "time", message, "keep one of them", "data")

    def _look_for_split(self, row: DataRow, file: DataFile, notes: list[str]) -> None:
        before, now = _last_price(self.last), _first_price(row)
        if max(before, now) < exact.multiply(min(before, now), _JUMP):
            return
        ratio = exact.quotient(max(before, now), min(before, now))
        self.splits += 1
        if self.splits > 5:
            return
        near = next((n for n in _SPLITS if exact.size(exact.subtract(ratio, n)) <= exact.multiply(n, _NEAR)), None)
        what = f"like a split {near}:1" if near and now < before else "like no price that a market makes"
        if near and now > before:
            what = f"like a merging of shares 1:{near}"
        told = f"{file.path}:{row.line}: {row.symbol} goes from {before} to {now}, which looks {what}"
        notes.append(f"{told}; prices are taken as they are, so adjust them first if it was one")


def _last_price(row: DataRow) -> Decimal:
    return row.close if isinstance(row, CandleRow) else row.bid


def _first_price(row: DataRow) -> Decimal:
    return row.open if isinstance(row, CandleRow) else row.bid


def _zones_told(zones: set[str]) -> Iterator[str]:
    if "none" in zones:
        yield "times without a zone are taken as UTC"
    others = sorted(zones - {"none", "+0000"})
    if others:
        also = " and in UTC" if "+0000" in zones else ""
        yield f"times are written as {', '.join(others)}{also}: all are read as UTC"


def _told(series: Sequence[Series]) -> Iterator[str]:
    for one in series:
        if one.gap_count:
            longest = max(one.gaps, key=lambda gap: gap.to_s - gap.from_s)
            span = f"the longest from {shown(longest.from_s)} to {shown(longest.to_s)}"
            gaps = f"{one.gap_count:,} gap{'s' if one.gap_count > 1 else ''}"
            yield f"{one.symbol}: {gaps}, {span}; no price is made up in them"
        if one.kind == "candles" and one.missing_volume:
            of = "all" if one.missing_volume == one.rows else f"{one.missing_volume:,} of {one.rows:,}"
            yield f"{one.symbol}: {of} candles tell no volume: how much may be filled of them is not bounded"
        if one.kind == "prices":
            yield f"{one.symbol}: prices without bid and ask: the spread is what --spread says"


def _digest(files: Sequence[DataFile]) -> str:
    found = blake2b(digest_size=16)
    for file in files:
        found.update(file.digest().encode())
    return found.hexdigest()


_MOST_NAMED: Final = 20
_CODE: Final = (".py", ".pyc", ".so", ".pyi", ".pth")
_PYTHON: Final = (sys.prefix, sys.base_prefix, "/proc/", "/sys/", "/dev/", "/etc/", "/usr/share/", "/usr/lib/")
_REACHING: Final = {
    "socket.connect": "a connection",
    "subprocess.Popen": "a program",
    "os.system": "a program",
    "os.exec": "a program",
    "os.posix_spawn": "a program",
}


class Ear:
    """Hears what is opened while a run goes on, from before its strategies are imported: the engine itself has the
    data open by then, and whatever else tells the future, only a strategy asks for.
    """

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files = files
        self._own = {(at.st_dev, at.st_ino) for at in (file.path.stat() for file in files)}
        self._opened: dict[str, bool] = {}
        """By path, whether it is one of the data, by whatever name."""
        self._reached: dict[str, None] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        if not _is_listening:  # an audit hook stays for as long as the process lives: one is enough
            _is_listening.append(True)
            sys.addaudithook(_heard)
        _ears.append(self)
        try:
            yield
        finally:
            _ears.remove(self)

    def heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in _REACHING:
            self._reached[_REACHING[event]] = None
        elif event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)) and len(self._opened) < 1_000:
            name, mode = os.path.realpath(os.fsdecode(arguments[0])), arguments[1]
            if name.endswith(_CODE) or name.startswith(_PYTHON) or (isinstance(mode, str) and set(mode) & set("wax+")):
                return
            with suppress(OSError):
                at = os.stat(name)
                self._opened[name] = self._opened.get(name, False) or (at.st_dev, at.st_ino) in self._own

    def peeked(self) -> tuple[str, ...]:
        """The files of data that strategies opened by themselves, and copies of them."""
        return tuple(sorted(name for name, is_own in self._opened.items() if is_own or self._is_copy(Path(name))))

    def reached(self) -> tuple[str, ...]:
        """What else strategies opened, which may tell of the future."""
        peeked = self.peeked()
        return most_telling((*self._reached, *(name for name in self._opened if name not in peeked)))

    def _is_copy(self, path: Path) -> bool:
        with suppress(OSError):
            alike = [file for file in self._files if file.path.stat().st_size == path.stat().st_size]
            return any(file.digest() == replace(file, path=path).digest() for file in alike)
        return False


def most_telling(reached: Iterable[str]) -> tuple[str, ...]:
    """Those that are told: programs and connections first, then files by their names, each once."""
    return tuple(sorted(set(reached), key=lambda name: (name not in _REACHING.values(), name))[:_MOST_NAMED])


_ears: list[Ear] = []
_is_listening: list[bool] = []


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    for ear in _ears:
        ear.heard(event, arguments)

"""Data are looked through before anything runs: what is wrong has its line, what is to be known is told."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.backtest.dataset import Dataset, look_through
from reconciler.backtest.rows import (
    MAX_PROBLEMS,
    BadData,
    CandleRow,
    DataFile,
    QuoteRow,
    _Reading,
    data_file,
    data_files,
)
from reconciler.errors import Problem

CANDLES = "time,symbol,open,high,low,close,volume\n"
HOUR = "2026-01-05T{:02}:00:00Z"


def candle(hour: int, prices: str = "100,101,99,100", volume: str = "5", symbol: str = "BTC/USD") -> str:
    return f"{HOUR.format(hour)},{symbol},{prices},{volume}\n"


def looked(folder: Path, *texts: str) -> Dataset:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.csv")
        paths[-1].write_text(text, encoding="utf-8")
    return look_through(data_files(paths))


def told(dataset: Dataset) -> list[str]:
    return [f"{Path(one.path).name}:{one.line}: {one.pointer}: {one.message}" for one in dataset.problems]


def test_candles_quotes_and_prices_are_told_apart_by_their_columns(tmp_path: Path) -> None:
    dataset = looked(
        tmp_path,
        CANDLES + candle(0) + candle(1, volume=""),
        "time,symbol,bid,ask\n1767571200,ETH/USD,10,11\n1767571200500,ETH/USD,10,10.5\n",
        "# notes\ndate,EUR/USD,EUR/JPY\n2026-01-05,1.1,N/A\n\n2026-01-06,1.2,130\n",
    )
    assert dataset.problems == ()
    assert {one.symbol: one.kind for one in dataset.series} == {
        "BTC/USD": "candles",
        "ETH/USD": "quotes",
        "EUR/USD": "prices",
        "EUR/JPY": "prices",
    }
    rows = list(dataset.rows())
    assert [row.time_s for row in rows] == sorted(row.time_s for row in rows)
    first = next(row for row in rows if isinstance(row, CandleRow))
    assert (first.open, first.high, first.volume) == (Decimal(100), Decimal(101), Decimal(5))
    quotes = [row for row in rows if isinstance(row, QuoteRow) and row.symbol == "ETH/USD"]
    assert [row.time_s for row in quotes] == [1767571200, 1767571200.5]
    assert [row.line for row in rows if row.symbol == "EUR/JPY"] == [5]
    assert "times without a zone are taken as UTC" in dataset.notes
    assert any(note.startswith("BTC/USD: 1 of 2 candles tell no volume") for note in dataset.notes)


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ("yesterday,BTC/USD,1,1,1,1,1", "time: expected an ISO 8601 time, or seconds, was 'yesterday'"),
        (
            "20260105,BTC/USD,1,1,1,1,1",
            "time: expected a day as 2026-01-05, for so it is a number of seconds, was '20260105'",
        ),
        (f"{HOUR.format(9)},BTC/USD,-1,1,1,1,1", "open: expected a positive number in plain digits, was '-1'"),
        (f"{HOUR.format(9)},BTC/USD,1,1,1,0,1", "close: expected a positive number in plain digits, was '0'"),
        (f"{HOUR.format(9)},BTC/USD,1,1,1,1e3,1", "close: expected a positive number in plain digits, was '1e3'"),
        (f"{HOUR.format(9)},BTC/USD,2,1,1,1,1", "high: expected no less than open, low and close, was 1"),
        (f"{HOUR.format(9)},BTC/USD,2,3,2.5,2,1", "low: expected no more than open and close, was 2.5"),
        (f"{HOUR.format(9)},BTC/USD,2,3,2,2,-1", "volume: expected a number in plain digits, or nothing, was '-1'"),
        (f"{HOUR.format(9)},BTC/USD,2,3,2", "expected 7 columns, was 5"),
        (f"{HOUR.format(9)},,2,3,2,2,1", "symbol: expected the symbol of a market, was empty"),
        (f"{HOUR.format(0)},BTC/USD,2,3,2,2,1", "time: expected no earlier time than in the row before"),
        (
            f"{HOUR.format(1)},BTC/USD,2,3,2,2,1",
            "time: expected a later time of BTC/USD than in {0}:3 (2026-01-05T01:00:00Z), was 2026-01-05T01:00:00Z: "
            "rows overlap, or are there twice",
        ),
    ],
)
def test_a_row_that_cannot_be_is_told_with_its_line(tmp_path: Path, row: str, wrong: str) -> None:
    dataset = looked(tmp_path, CANDLES + candle(0) + candle(1) + row + "\n")
    (problem,) = told(dataset)
    assert problem.startswith("0.csv:4: ")
    assert wrong.format(tmp_path / "0.csv") in problem


def test_two_files_that_overlap_are_told_by_both_their_lines(tmp_path: Path) -> None:
    dataset = looked(tmp_path, CANDLES + candle(0) + candle(1), CANDLES + candle(1) + candle(2))
    assert f"than in {tmp_path / '0.csv'}:3" in str(dataset.problems[0])
    assert dataset.problems[0].path == str(tmp_path / "1.csv")
    assert dataset.problems[0].line == 2


def test_a_quote_whose_ask_is_below_its_bid_is_none(tmp_path: Path) -> None:
    dataset = looked(tmp_path, "time,symbol,bid,ask\n0,BTC/USD,10,9\n")
    assert told(dataset) == ["0.csv:2: ask: expected no less than the bid 10, was 9"]


def test_gaps_and_splits_are_told_and_nothing_is_made_up(tmp_path: Path) -> None:
    rows = [candle(hour) for hour in (0, 1, 2, 5, 6)]
    dataset = looked(tmp_path, CANDLES + "".join(rows) + candle(7, "50,51,49,50"))
    (series,) = dataset.series
    assert (series.timeframe, series.rows, series.gap_count) == ("1h", 6, 1)
    assert dataset.to_json()["gaps"] == {
        "count": 1,
        "longest": [{"symbol": "BTC/USD", "from": "2026-01-05T03:00:00Z", "to": "2026-01-05T05:00:00Z"}],
    }
    assert any("0.csv:7: BTC/USD goes from 100 to 50, which looks like a split 2:1" in note for note in dataset.notes)
    assert len(list(dataset.rows())) == 6


def test_zones_are_told_where_there_are_several(tmp_path: Path) -> None:
    text = CANDLES + "2026-01-05T00:00:00+01:00,BTC/USD,1,1,1,1,1\n2026-01-05T01:00:00Z,BTC/USD,1,1,1,1,1\n"
    assert "times are written as +0100 and in UTC: all are read as UTC" in looked(tmp_path, text).notes


def test_the_digest_is_of_the_bytes_wherever_they_lie(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, other = looked(tmp_path, CANDLES + candle(0)), looked(tmp_path / "elsewhere", CANDLES + candle(0))
    assert one.digest == other.digest
    assert looked(tmp_path, CANDLES + candle(1)).digest != one.digest


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "time,symbol,price\n0,BTC/USD,1\n", "time\n0\n"])
def test_a_file_of_other_columns_is_refused_with_those_that_are_understood(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadData, match=r"wrong.csv.*(time,symbol,bid,ask|names its columns)"):
        data_file(path)


def test_a_folder_is_all_its_files_and_an_empty_one_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="expected a file, or a folder that holds some"):
        data_files([tmp_path])
    looked(tmp_path, CANDLES + candle(0), CANDLES + candle(1))
    assert [file.path.name for file in data_files([tmp_path])] == ["0.csv", "1.csv"]


HOURS = [datetime(2026, 1, 5, hour, tzinfo=UTC) for hour in (0, 1)]


def parquet_of(path: Path, **columns: Any) -> Path:
    """A Parquet file of two candles, these columns otherwise; None leaves one out."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    usual: dict[str, Any] = {
        "time": HOURS,
        "symbol": ["BTC/USD"] * 2,
        "open": [100.0, 100.5],
        "high": [101.25, 101.0],
        "low": [99.0, 100.0],
        "close": [100.5, 101.0],
        "volume": [5, None],
    }
    told = {name: values for name, values in {**usual, **columns}.items() if values is not None}
    parquet.write_table(pyarrow.table(told), path)
    return path


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    dataset = look_through(data_files([parquet_of(tmp_path / "hours.parquet")]))
    assert dataset.problems == ()
    rows = [row for row in dataset.rows() if isinstance(row, CandleRow)]
    assert [row.line for row in rows] == [1, 2], "rows have a number; there is no head that is a line"
    assert [row.time_s for row in rows] == [hour.timestamp() for hour in HOURS]
    assert [(row.high, row.volume) for row in rows] == [(Decimal("101.25"), Decimal(5)), (Decimal("101"), None)]


def arrows() -> dict[str, dict[str, Any]]:
    pyarrow = pytest.importorskip("pyarrow")
    naive = [hour.replace(tzinfo=None) for hour in HOURS]
    seconds = [int(hour.timestamp()) for hour in HOURS]
    return {
        **{unit: {"time": pyarrow.array(HOURS, pyarrow.timestamp(unit, "UTC"))} for unit in ("s", "ms", "us", "ns")},
        "less than a microsecond": {
            "time": pyarrow.array([second * 10**9 + 1 for second in seconds], pyarrow.timestamp("ns", "UTC"))
        },
        "another zone": {"time": pyarrow.array(HOURS, pyarrow.timestamp("us", "America/New_York"))},
        "no zone": {"time": pyarrow.array(naive, pyarrow.timestamp("ns"))},
        "text": {"time": [hour.isoformat() for hour in HOURS]},
        "seconds": {"time": seconds},
        "milliseconds": {"time": [second * 1000 for second in seconds]},
        "a dictionary": {"symbol": pyarrow.array(["BTC/USD"] * 2).dictionary_encode()},
        "bytes": {"symbol": [b"BTC/USD"] * 2},
        "decimals": {"low": pyarrow.array([Decimal("99"), Decimal("100")], pyarrow.decimal128(18, 8))},
        "short floats": {"open": pyarrow.array([100.1, 100.1], pyarrow.float32())},
        "lists that nobody asks for": {"levels": [[1.0], [2.0]]},
    }


@pytest.mark.parametrize(
    "how",
    [
        *("s", "ms", "us", "ns", "less than a microsecond", "another zone", "no zone", "text", "seconds"),
        *(
            "milliseconds",
            "a dictionary",
            "bytes",
            "decimals",
            "short floats",
            "lists that nobody asks for",
        ),
    ],
)
def test_whatever_type_a_column_of_parquet_has_it_is_the_same(tmp_path: Path, how: str) -> None:
    dataset = look_through(data_files([parquet_of(tmp_path / "hours.parquet", **arrows()[how])]))
    assert dataset.problems == ()
    rows = [row for row in dataset.rows() if isinstance(row, CandleRow)]
    assert [row.time_s for row in rows] == [hour.timestamp() for hour in HOURS]
    assert {row.symbol for row in rows} == {"BTC/USD"}
    assert [row.low for row in rows] == [99, 100]
    assert rows[0].open == (Decimal("100.1") if how == "short floats" else 100)


def test_numbers_that_are_small_are_no_exponents(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    tiny = [1e-7, 1e-7]
    exact = pyarrow.array([Decimal("1E-7")] * 2, pyarrow.decimal128(18, 8))
    short = pyarrow.array(tiny, pyarrow.float32())
    path = parquet_of(tmp_path / "hours.parquet", open=tiny, high=exact, low=short, close=tiny)
    dataset = look_through(data_files([path]))
    assert dataset.problems == ()
    (row, _) = (row for row in dataset.rows() if isinstance(row, CandleRow))
    assert {row.open, row.high, row.low, row.close} == {Decimal("1E-7")}


def test_an_index_of_pandas_is_the_time_wherever_it_stands(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    prices = {"symbol": ["BTC/USD"] * 2, "open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5}
    for name in ("time", "Date", None):
        frame = pandas.DataFrame(prices, index=pandas.DatetimeIndex(HOURS, name=name))
        frame.to_parquet(tmp_path / "hours.parquet")
        dataset = look_through(data_files([tmp_path / "hours.parquet"]))
        assert dataset.problems == ()
        assert [row.time_s for row in dataset.rows()] == [hour.timestamp() for hour in HOURS]


@pytest.mark.parametrize(
    ("columns", "at", "told"),
    [
        ({"open": [100.0, None]}, "2:3", "open: expected a positive number in plain digits, was ''"),
        ({"open": [float("nan"), 100.5]}, "1:3", "open: expected a positive number in plain digits, was 'NaN'"),
        ({"high": [float("inf"), 101.0]}, "1:4", "high: expected a positive number in plain digits, was 'Infinity'"),
        ({"high": [99.0, 101.0]}, "1:1", "high: expected no less than open, low and close, was 99.0"),
        ({"time": [HOURS[0], None]}, "2:1", "time: expected an ISO 8601 time, or seconds, was ''"),
        ({"symbol": [None, "BTC/USD"]}, "1:1", "symbol: expected the symbol of a market, was empty"),
        ({"open": [True, True]}, "1:3", "open: expected a positive number in plain digits, was 'True'"),
    ],
)
def test_a_bad_row_of_parquet_is_told_with_its_number(
    tmp_path: Path, columns: dict[str, Any], at: str, told: str
) -> None:
    path = parquet_of(tmp_path / "hours.parquet", **columns)
    assert str(look_through(data_files([path])).problems[0]) == f"{path}:{at}: {told}"


def test_a_column_that_parquet_lacks_is_named_and_a_broken_file_is_no_crash(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="expected columns of candles, quotes or prices, was 'time,symbol,open"):
        data_files([parquet_of(tmp_path / "hours.parquet", close=None)])
    whole = parquet_of(tmp_path / "hours.parquet").read_bytes()
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData, match="expected a Parquet file, was refused"):
        data_files([broken])
    broken.write_bytes(whole[:40] + bytes(0x55 ^ byte for byte in whole[40:120]) + whole[120:])
    with pytest.raises(BadData, match="expected a whole Parquet file, was broken"):
        look_through(data_files([broken]))


def test_files_of_both_kinds_are_one_series(tmp_path: Path) -> None:
    parquet_of(tmp_path / "first.parquet")
    (tmp_path / "second.csv").write_text(CANDLES + candle(2) + candle(3), encoding="utf-8")
    dataset = look_through(data_files([tmp_path]))
    assert dataset.problems == ()
    (one,) = dataset.series
    assert (one.rows, one.gap_count, one.timeframe) == (4, 0, "1h")
    times = [row.time_s for row in dataset.rows()]
    assert times == [HOURS[0].timestamp() + 3600 * hour for hour in range(4)]


def test_rows_of_other_markets_are_nobodys_matter(tmp_path: Path) -> None:
    path = tmp_path / "mixed.csv"
    path.write_text(CANDLES + candle(0) + candle(0, "0,0,0,0", symbol="ETH/USD") + candle(1), encoding="utf-8")
    assert len(look_through(data_files([path])).problems) == 4
    dataset = look_through(data_files([path], frozenset({"BTC/USD"})))
    assert dataset.problems == ()
    assert dataset.symbols == {"BTC/USD"}


@pytest.mark.parametrize(
    "written",
    [
        pytest.param(lambda text: text.replace(",", ";").encode(), id="semicolons"),
        pytest.param(lambda text: text.replace(",", "\t").encode(), id="tabs"),
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="lines of Windows"),
        pytest.param(lambda text: text.encode("utf-8-sig"), id="a mark of its encoding"),
        pytest.param(lambda text: re.sub("[^,\n]+", r'"\g<0>"', text).encode(), id="quotes"),
        pytest.param(lambda text: text.replace(",", " , ").encode(), id="spaces"),
        pytest.param(lambda text: f"# from somewhere\n\n{text}\n\n".encode(), id="notes"),
        pytest.param(lambda text: text.rstrip("\n").encode(), id="no end of the last line"),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_however_it_is_written_it_is_the_same(tmp_path: Path, written: Callable[[str], bytes], suffix: str) -> None:
    data = written(CANDLES + candle(0) + candle(1, "100,101.5,99,100.25") + candle(3, volume=""))
    path = tmp_path / f"hours{suffix}"
    path.write_bytes(gzip.compress(data) if suffix.endswith(".gz") else data)
    dataset = look_through(data_files([tmp_path]))
    assert dataset.problems == ()
    rows = [row for row in dataset.rows() if isinstance(row, CandleRow)]
    assert [row.time_s - rows[0].time_s for row in rows] == [0, 3600, 3 * 3600]
    assert [row.high for row in rows] == [Decimal(101), Decimal("101.5"), Decimal(101)]
    assert [row.volume for row in rows] == [Decimal(5), Decimal(5), None]


def test_a_packed_file_that_breaks_off_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hours.csv.gz"
    path.write_bytes(gzip.compress((CANDLES + "".join(map(candle, range(24)))).encode())[:-20])
    with pytest.raises(BadData, match=r"hours.csv.gz: expected a whole file, packed by gzip, was broken"):
        look_through(data_files([path]))


def test_a_file_of_nothing_but_wrong_rows_is_not_read_to_its_end(tmp_path: Path) -> None:
    dataset = looked(tmp_path, CANDLES + candle(0, "1,1,1,0") * 1000)
    assert len(dataset.problems) == MAX_PROBLEMS
    assert "no more is read" in str(dataset.problems[-1])


CELLS = st.sampled_from(
    ["1", "0", "1.50", "01", "-1", "1e3", "", " 2", "3 ", "NaN", "x", "0.000000000000000001", "2.5"]
)
TIMES = st.sampled_from(
    ["2026-01-05", "2026-01-05T00:00:00Z", "2026-01-05 01:00:00+02:00", "1767571200", "", "x", "1e9"]
)


@example(time="", symbol="BTC/USD", cells=["1"] * 5)
@given(
    time=TIMES, symbol=st.sampled_from(["BTC/USD", "AAPL", "", "B C"]), cells=st.lists(CELLS, min_size=5, max_size=5)
)
def test_the_quick_way_to_read_a_row_says_what_the_careful_one_says(time: str, symbol: str, cells: list[str]) -> None:
    """Whatever it reads at all, it reads alike; and what is plainly right it does read."""
    file = DataFile(Path("x.csv"), "candles", tuple(CANDLES.strip().split(",")))
    text = ",".join([time, symbol, *cells]) + "\n"
    problems: list[Problem] = []
    careful, quick = _Reading(file, problems, set()), _Reading(file, [], set())
    expected = list(careful.row(2, [cell.strip() for cell in text.strip("\n").split(",")]))
    found = quick.plain()(2, text)
    assert found is None or ([found], problems) == (expected, [])
    if expected and " " not in text.replace("05 01", "05T01") and "NaN" not in cells:
        assert found is not None

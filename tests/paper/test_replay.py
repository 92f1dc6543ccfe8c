"""Replaying a file: at which speed, from which moment, and what is wrong with a file that cannot be."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.paper.csv_feed import CsvFeed
from reconciler.paper.feed import Prices

DAYS = "date,EUR/USD,EUR/GBP\n2026-01-05,1.10,0.80\n2026-01-06,1.20,\n2026-01-09,1.30,0.82\n"
"""Four days of market: a day, three days, and three days for the last."""
DAY_S = 86_400


def last(feed: CsvFeed, symbol: str, step_s: float, *times_s: float) -> list[str]:
    prices = Prices([feed], step_s)
    return [str(prices.quote(symbol, prices.step_at(time_s)).last) for time_s in times_s]


def test_with_a_speed_rows_come_in_their_own_time() -> None:
    feed = CsvFeed(DAYS.splitlines(), 1, speed=DAY_S, begin_s=1000)
    seen = last(feed, "EUR/USD", 1, *range(1000, 1009))
    assert seen == ["1.10", "1.20", "1.20", "1.20", "1.30", "1.30", "1.30", "1.20", "1.10"]
    assert last(feed, "EUR/USD", 1, 999, 996) == ["1.20", "1.30"]  # before the beginning it was on its way there


def test_at_another_speed_they_come_faster() -> None:
    feed = CsvFeed(DAYS.splitlines(), 0.5, speed=2 * DAY_S, begin_s=1000)
    assert last(feed, "EUR/USD", 0.5, 1000, 1000.5, 1001.5, 1002) == ["1.10", "1.20", "1.20", "1.30"]


def test_without_a_speed_a_row_lasts_a_step_from_the_beginning_on() -> None:
    feed = CsvFeed(DAYS.splitlines(), 60, begin_s=600)
    assert last(feed, "EUR/USD", 60, 600, 660, 720, 780, 840) == ["1.10", "1.20", "1.30", "1.20", "1.10"]


def test_a_row_without_a_price_leaves_the_one_before() -> None:
    feed = CsvFeed(DAYS.splitlines(), 60)
    assert last(feed, "EUR/GBP", 60, 0, 60, 120) == ["0.80", "0.80", "0.82"]
    late = CsvFeed("date,EUR/USD\n1,N/A\n2,1.1\n".splitlines(), 60)
    assert last(late, "EUR/USD", 60, 0, 60) == ["1.1", "1.1"]


def test_candles_of_a_timed_file_hold_the_rows_of_their_time() -> None:
    feed = CsvFeed(DAYS.splitlines(), 1, speed=DAY_S / 60, begin_s=0)  # a minute a day
    candles = Prices([feed], 1).candles("EUR/USD", "1m", 7, 420)
    assert [(str(c.open), str(c.close)) for c in candles] == [
        ("1.10", "1.10"), ("1.20", "1.20"), ("1.20", "1.20"), ("1.20", "1.20"),
        ("1.30", "1.30"), ("1.30", "1.30"), ("1.30", "1.30"),
    ]  # fmt: skip
    whole = Prices([feed], 1).candles("EUR/USD", "5m", 1, 300)[0]
    assert (whole.open, whole.low, whole.high, whole.close) == tuple(map(Decimal, ("1.1", "1.1", "1.3", "1.3")))


@pytest.mark.parametrize("speed", [1, 3_600, 1_000_000.5])
@pytest.mark.parametrize("count", [1, 3, 40, 2_000])
def test_no_quote_of_a_timed_file_goes_beyond_the_reach_of_its_steps(speed: float, count: int) -> None:
    prices = Prices([CsvFeed(DAYS.splitlines(), 0.7, speed=speed, begin_s=17)], 0.7)
    first = prices.step_at(1_790_000_000)
    quotes = [prices.quote("EUR/USD", step) for step in range(first, first + count)]
    lowest, highest = prices.reach("EUR/USD", first, first + count - 1)
    assert lowest.bid <= min(quote.bid for quote in quotes)
    assert highest.ask >= max(quote.ask for quote in quotes)


@pytest.mark.parametrize("moments", ["0,86400,259200", "1970-01-01,1970-01-02T00:00:00,1970-01-04T01:00:00+01:00"])
def test_moments_are_seconds_or_times(moments: str) -> None:
    rows = "".join(f"{moment},{price}\n" for moment, price in zip(moments.split(","), (1, 2, 3), strict=True))
    feed = CsvFeed(f"time,EUR/USD\n{rows}".splitlines(), 1, speed=DAY_S)
    assert last(feed, "EUR/USD", 1, 0, 1, 2, 3) == ["1", "2", "2", "3"]


NUMBER = "expected a positive number of at most 12 digits before and 20 after the point"
MOMENT = "expected an ISO 8601 time or seconds"
COLUMNS = "expected columns divided by commas, a moment and symbols such as BTC/USD"
ROW = "expected a row of CSV on a line of its own"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a line of symbols and at least two of prices, was 0 lines"),
        ("date,BTC/USD\n1,100", "expected a line of symbols and at least two of prices, was 2 lines"),
        ("date,BTC/USD\n1,100\n2,0", f"line 3: BTC/USD: {NUMBER}, was '0'"),
        ("# a\n\ndate,BTC/USD\n1,100\n2,NaN", f"line 5: BTC/USD: {NUMBER}, was 'NaN'"),
        ("date,BTC/USD\n1,100\n2,x", f"line 3: BTC/USD: {NUMBER}, was 'x'"),
        ("date,BTC/USD\n1,100\n2,-1", f"line 3: BTC/USD: {NUMBER}, was '-1'"),
        ("date,BTC/USD\n1,100\n2,1_0", f"line 3: BTC/USD: {NUMBER}, was '1_0'"),
        ("date,BTC/USD\n1,100\n2,1e999999", f"line 3: BTC/USD: {NUMBER}, was '1e999999'"),
        ("date,BTC/USD\n1,100\n2,1e-70", f"line 3: BTC/USD: {NUMBER}, was '1e-70'"),
        (f"date,BTC/USD\n1,1.{'1' * 90}\n2,2", f"line 2: BTC/USD: {NUMBER}, was '1.{'1' * 57}"),
        ("date,BTC/USD\n1,100\n2", "line 3: expected 2 columns, was 1"),
        ("date,BTC/USD\n1,\n2,", "BTC/USD: expected at least one price, found none"),
        ("date,BTCUSD\n1,1\n2,2", "line 1: expected symbols such as BTC/USD after the first column, was 'BTCUSD'"),
        ("date,BTC/USD,BTC/USD\n1,1,1\n2,2,2", "line 1: expected every symbol once, was BTC/USD twice"),
        ("date,BTC/USD\n1,1\nnoon,2", f"line 3: {MOMENT}, was 'noon'"),
        ("date,BTC/USD\nnan,1\n2,2", f"line 2: {MOMENT}, was 'nan'"),
        ("date,BTC/USD\n1,1\ninf,2", f"line 3: {MOMENT}, was 'inf'"),
        ("date,BTC/USD\n1,1\n1e300,2", f"line 3: {MOMENT}, was '1e300'"),
        ("date,BTC/USD\n1,1\n253402300800,2", f"line 3: {MOMENT}, was '253402300800'"),
        ("date,BTC/USD\n1,1\n0001-01-01T00:00:00+14:00,2", "line 3: expected a later time than in the row before"),
        ("# c\ndate,BTC/USD\n# d\n\n2,1\n2,2", "line 6: expected a later time than in the row before, was '2'"),
        ("date;BTC/USD\n1;1\n2;2", f"line 1: {COLUMNS}, was 'date;BTC/USD'"),
        ("date\n1\n2", f"line 1: {COLUMNS}, was 'date'"),
        ('date,BTC/USD\n1,"1\n2"\n2,2', f"line 2: {ROW}: unexpected end of data"),
        ('date,BTC/USD\n1,"1"x\n2,2', f"line 2: {ROW}: ',' expected after '\"'"),
        (f"date,BTC/USD\n1,{'1' * 140_000}\n2,2", f"line 2: {ROW}: field larger than field limit (131072)"),
        ("date,BTC/USD\n1,1\n2,\xff", "line 3: expected UTF-8, was the byte 0xff in it"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {problem}')}") as refused:
        CsvFeed.read(path, 60, speed=1)
    assert len(str(refused.value)) < 300
    assert "\n" not in str(refused.value)

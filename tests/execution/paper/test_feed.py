"""Prices: the same at every start, and candles that agree with each other."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from reconciler.clock import utc
from reconciler.execution.paper.feed import Prices
from reconciler.execution.paper.replay import EXAMPLE, CsvFeed
from reconciler.execution.paper.synthetic import SyntheticFeed
from reconciler.records.market import TIMEFRAMES_S

NOW_S = 1_790_000_123.0


def market(step_s: float = 6.0, seed: str = "paper") -> Prices:
    return Prices([CsvFeed.read(EXAMPLE, step_s), SyntheticFeed(seed, step_s)], step_s)


def test_a_file_is_replayed_to_its_end_and_back_again(prices: Prices) -> None:
    seen = [str(prices.quote("BTC/USD", step).last) for step in range(8)]
    assert seen == ["100.00", "102.00", "95.00", "98.00", "95.00", "102.00", "100.00", "102.00"]


def test_a_quote_has_a_spread_and_the_time_at_which_its_step_began(prices: Prices) -> None:
    quote = prices.quote("BTC/USD", 1)
    assert (quote.bid, quote.ask, quote.as_of) == (Decimal("101.990"), Decimal("102.010"), utc(60))


def test_candles_of_a_replayed_file_are_made_of_its_steps(prices: Prices) -> None:
    five_minutes = prices.candles("BTC/USD", "5m", 2, 900)
    assert [(c.open, c.high, c.low, c.close) for c in five_minutes] == [
        (Decimal(102), Decimal(102), Decimal(95), Decimal(98)),  # steps 5 to 9
        (Decimal(95), Decimal(102), Decimal(95), Decimal(95)),  # steps 10 to 14
    ]
    day = prices.candles("BTC/USD", "1d", 1, 86_400)[0]
    assert (day.open, day.high, day.low, day.close) == (Decimal(100), Decimal(102), Decimal(95), Decimal(102))


@pytest.mark.parametrize("symbol", ["EUR/USD", "BTC/USD", "FOO/BAR"])
def test_prices_are_the_same_at_every_start(symbol: str) -> None:
    one, other = market(), market()
    step = one.step_at(NOW_S)
    other.candles(symbol, "1d", 50, NOW_S)  # looking around first changes nothing
    assert [one.quote(symbol, step + i) for i in range(50)] == [other.quote(symbol, step + i) for i in range(50)]
    assert one.candles(symbol, "15m", 50, NOW_S) == other.candles(symbol, "15m", 50, NOW_S)


def test_a_made_up_price_is_what_it_was_in_every_version() -> None:
    assert str(market().quote("BTC/USD", 298_333_353).last) == "55856.0"


def test_another_seed_is_another_world() -> None:
    step = market().step_at(NOW_S)
    assert market(seed="a").quote("BTC/USD", step) != market(seed="b").quote("BTC/USD", step)


@pytest.mark.parametrize("symbol", ["EUR/USD", "BTC/USD", "FOO/BAR"])
@pytest.mark.parametrize("timeframe", list(TIMEFRAMES_S))
def test_only_closed_candles_are_given_each_a_whole_interval_after_the_last(symbol: str, timeframe: str) -> None:
    candles, length_s = market().candles(symbol, timeframe, 20, NOW_S), TIMEFRAMES_S[timeframe]
    assert len(candles) == 20
    for before, after in pairwise(candles):
        assert after.opened_at - before.opened_at == timedelta(seconds=length_s)
    closed = candles[-1].opened_at + timedelta(seconds=length_s)
    assert closed <= utc(NOW_S) < closed + timedelta(seconds=length_s)
    for candle in candles:
        assert 0 < candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
        assert candle.volume > 0


@pytest.mark.parametrize("symbol", ["EUR/USD", "BTC/USD", "FOO/BAR"])
def test_a_long_candle_is_the_sum_of_its_short_ones(symbol: str) -> None:
    prices = market()
    hour = prices.candles(symbol, "1h", 24, 1_789_948_800)
    minutes = prices.candles(symbol, "1m", 60, hour[-1].opened_at.timestamp() + 3600)
    day = prices.candles(symbol, "1d", 1, 1_789_948_800)[0]
    for whole, parts in ((hour[-1], minutes), (day, hour)):
        assert (whole.open, whole.close) == (parts[0].open, parts[-1].close)
        assert whole.high == max(part.high for part in parts)
        assert whole.low == min(part.low for part in parts)


def test_a_made_up_quote_lies_within_the_candle_of_its_minute() -> None:
    prices = market()
    for candle in prices.candles("BTC/USD", "1m", 30, NOW_S):
        first = prices.step_at(candle.opened_at.timestamp())
        for step in range(first, first + 10):
            assert candle.low <= prices.quote("BTC/USD", step).last <= candle.high


@pytest.mark.parametrize("symbol", ["EUR/USD", "BTC/USD", "FOO/BAR"])
@pytest.mark.parametrize("step_s", [0.2, 6.0, 7.5, 90.0])
def test_no_quote_goes_beyond_the_reach_of_its_steps(symbol: str, step_s: float) -> None:
    prices = market(step_s)
    first = prices.step_at(NOW_S)
    for count in (1, 2, 7, 500, 4_000):
        quotes = [prices.quote(symbol, step) for step in range(first, first + count)]
        lowest_ask, highest_bid = prices.reach(symbol, first, first + count - 1)
        assert lowest_ask <= min(quote.ask for quote in quotes)
        assert highest_bid >= max(quote.bid for quote in quotes)


def test_the_reach_of_a_replayed_file_is_exact(prices: Prices) -> None:
    assert prices.reach("BTC/USD", 0, 1) == (Decimal("100.010"), Decimal("101.990"))
    assert prices.reach("BTC/USD", 3, 5) == (Decimal("95.009"), Decimal("101.990"))
    assert prices.reach("BTC/USD", 4, 999) == (Decimal("95.009"), Decimal("101.990"))


def test_a_made_up_market_moves_like_one() -> None:
    days = market().candles("BTC/USD", "1d", 300, NOW_S)
    moves = [abs(after.close / before.close - 1) for before, after in pairwise(days)]
    assert Decimal("0.002") < sum(moves) / len(moves) < Decimal("0.05")
    assert max(moves) < Decimal("0.2")


def test_what_is_no_symbol_has_no_price() -> None:
    for symbol in ("btc/usd", "BTCUSD", "BTC/", "../etc"):
        with pytest.raises(KeyError):
            market().quote(symbol, 1)


def test_the_example_says_where_it_comes_from() -> None:
    assert "European Central Bank" in EXAMPLE.read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("rows", ["1,100", "1,100\n2,0", "1,100\n2,NaN"])
def test_a_file_that_is_no_series_of_prices_is_refused(rows: str) -> None:
    with pytest.raises(ValueError, match=r"expected every price|needs two rows"):
        CsvFeed(f"date,BTC/USD\n{rows}".splitlines(), 60)

"""Prices: the same at every start, and candles that agree with each other."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.orders.market import TIMEFRAMES_S
from reconciler.paper.csv_feed import EXAMPLE, CsvFeed
from reconciler.paper.feed import Prices, SyntheticFeed
from reconciler.paper.paper_order import MarketRules, Markets

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
        lowest, highest = prices.reach(symbol, first, first + count - 1)
        assert lowest.as_of == highest.as_of == quotes[-1].as_of
        assert lowest.ask <= min(quote.ask for quote in quotes)
        assert lowest.bid <= min(quote.bid for quote in quotes)
        assert highest.ask >= max(quote.ask for quote in quotes)
        assert highest.bid >= max(quote.bid for quote in quotes)


def test_the_reach_of_a_replayed_file_is_exact(prices: Prices) -> None:
    def reach(first: int, last: int) -> tuple[str, str, str, str]:
        lowest, highest = prices.reach("BTC/USD", first, last)
        return str(lowest.bid), str(lowest.ask), str(highest.bid), str(highest.ask)

    assert reach(0, 1) == ("99.990", "100.010", "101.990", "102.010")
    assert reach(3, 5) == reach(4, 999) == ("94.991", "95.009", "101.990", "102.010")


@pytest.mark.parametrize("step_s", [0.05, 0.2, 0.3, 1 / 3, 6.0, 7.5, 86_400.0])
def test_a_step_is_found_again_by_the_time_at_which_it_began(step_s: float) -> None:
    prices = market(step_s)
    first = prices.step_at(NOW_S)
    for step in range(first, first + 500):
        assert prices.step_at(prices.time_of(step).timestamp()) == step
        assert prices.step_at(prices.time_of(step).timestamp() - 0.00001) == step - 1


def test_quotes_lie_on_the_steps_of_their_market(clock: FakeClock) -> None:
    markets = Markets({"BTC/USD": MarketRules(price_step=Decimal("0.5")), "*": MarketRules(price_step=Decimal(200))})
    prices = Prices([CsvFeed("date,BTC/USD,XAU/USD\n1,100,70\n2,101.3,70\n".splitlines(), 60)], 60, markets)
    assert [(str(q.bid), str(q.ask)) for q in (prices.quote("BTC/USD", step) for step in (0, 1))] == [
        ("99.5", "100.5"),
        ("101.0", "101.5"),
    ]
    assert [str(price) for price in (prices.quote("XAU/USD", 0).bid, prices.quote("XAU/USD", 0).ask)] == ["200", "400"]


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


def test_candles_keep_to_the_price_step_as_quotes_do() -> None:
    rules = Markets({"BTC/USD": MarketRules(price_step=Decimal("0.5"))})
    feed = CsvFeed("date,BTC/USD\n1,100.26\n2,0.1\n3,99.76\n".splitlines(), 60)
    (candle,) = Prices([feed], 60, rules).candles("BTC/USD", "5m", 1, 300)
    assert (candle.open, candle.high, candle.low, candle.close) == tuple(
        map(Decimal, ("100.5", "100.5", "0.5", "100.5"))
    )

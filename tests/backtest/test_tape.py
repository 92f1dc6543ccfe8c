"""Recorded rows as the prices of the paper exchange: nothing is known before it was, the worse comes first."""

from __future__ import annotations

import random
from collections.abc import Iterable
from decimal import Decimal

import pytest

from reconciler.backtest.rows import CandleRow, DataRow, QuoteRow
from reconciler.backtest.tape import Costs, Tape
from reconciler.clock import FakeClock
from reconciler.orders.order import OrderState
from reconciler.paper.account import PaperOptions
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.paper_order import PaperOrder, read_ticket

HOUR = 3_600.0
SYMBOL = "BTC/USD"


def row(time_s: float, opened: object, high: object, low: object, close: object, volume: object) -> CandleRow:
    o, h, lo, c, v = (Decimal(str(value)) for value in (opened, high, low, close, volume))
    return CandleRow(0, time_s, SYMBOL, o, h, lo, c, v)


def candle(hour: int, prices: str, volume: str = "1000") -> CandleRow:
    opened, high, low, close = prices.split()
    return row(hour * HOUR, opened, high, low, close, volume)


def quote(time_s: float, bid: str, ask: str = "") -> QuoteRow:
    return QuoteRow(0, time_s, SYMBOL, Decimal(bid), Decimal(ask or bid))


class Market:
    """A paper exchange on a tape, where orders are filled with the next price."""

    def __init__(self, rows: Iterable[DataRow], costs: Costs | None = None) -> None:
        self.clock = FakeClock(0)
        self.tape = Tape(iter(list(rows)), {SYMBOL: HOUR}, costs or Costs())
        starting = {"USD": Decimal(10**6), "BTC": Decimal(1000)}
        options = PaperOptions(Decimal(0), Decimal(0), starting=starting, shorts=True, fills="next")
        self.exchange = PaperExchange(self.tape, self.clock, options)
        self.number = 0

    def at(self, hours: float) -> Market:
        self.clock.advance(hours * HOUR - self.clock.time())
        self.exchange.look()
        return self

    def place(
        self,
        side: str,
        kind: str = "market",
        quantity: str = "1",
        limit: str = "",
        stop: str = "",
        reduce_only: bool = False,
    ) -> str:
        self.number += 1
        name = f"o{self.number}"
        prices = (limit or None, stop or None)
        ticket = read_ticket("main", "a", name, SYMBOL, side, kind, quantity, *prices, "gtc", reduce_only)
        self.exchange.place_order(ticket)
        return name

    def order(self, name: str) -> PaperOrder:
        return self.exchange.get_order("main", "a", name)

    def paid(self, name: str) -> Decimal | None:
        return self.order(name).average_price


def test_a_candle_is_seen_once_it_has_closed_and_its_open_once_it_opened() -> None:
    market = Market([candle(0, "100 110 90 105"), candle(1, "106 120 80 111")])
    market.at(0.5)
    assert market.exchange.get_quote(SYMBOL).last == 100
    assert market.exchange.get_candles(SYMBOL, "1h", 5) == []
    market.at(1)
    assert market.exchange.get_quote(SYMBOL).last == 105, "the close, and not yet the open of the next"
    assert [one.close for one in market.exchange.get_candles(SYMBOL, "1h", 5)] == [105]
    market.at(1.5)
    assert market.exchange.get_quote(SYMBOL).last == 106


def test_a_decision_at_a_close_is_filled_at_the_next_open_and_one_within_a_candle_at_its_close() -> None:
    market = Market([candle(0, "100 110 90 105"), candle(1, "106 120 80 111"), candle(2, "112 112 112 112")])
    at_close = market.at(1).place("buy")
    assert market.order(at_close).state is OrderState.OPEN
    within = market.at(1.5).place("buy")
    assert market.paid(at_close) == 106
    assert market.paid(within) is None
    market.at(2)
    assert market.paid(within) == 111


def test_a_limit_within_a_candle_is_not_filled_by_what_the_candle_touched_before_it_was_placed() -> None:
    rows = [candle(0, "100 100 100 100"), candle(1, "100 130 70 100"), candle(2, "100 100 100 100")]
    stood = Market(rows).at(1)
    name = stood.place("buy", "limit", limit="80")
    assert stood.at(1.9).order(name).state is OrderState.OPEN, "that it will be touched nobody knows before the close"
    assert stood.at(2).paid(name) == 80
    late = Market(rows).at(1.5)
    name = late.place("buy", "limit", limit="80")
    assert late.at(3).order(name).state is OrderState.OPEN


@pytest.mark.parametrize(("side", "stop", "target"), [("buy", "95", "105"), ("sell", "105", "95")])
def test_of_a_stop_and_a_target_in_one_candle_the_stop_comes_first(side: str, stop: str, target: str) -> None:
    market = Market([candle(0, "100 100 100 100"), candle(1, "100 100 100 100"), candle(2, "100 110 90 100")]).at(1)
    market.place(side)
    market.at(2)
    other = "sell" if side == "buy" else "buy"
    won = market.place(other, "limit", limit=target, reduce_only=True)
    stopped = market.place(other, "stop", stop=stop, reduce_only=True)
    market.at(3)
    assert market.paid(stopped) == Decimal(stop), "where it stands, not at the end of the candle"
    assert market.order(won).state is OrderState.CANCELLED


def test_a_stop_that_the_market_jumped_over_trades_at_the_open() -> None:
    market = Market([candle(0, "100 100 100 100"), candle(1, "80 82 79 81")]).at(0.5)
    name = market.place("sell", "stop", stop="95")
    market.at(2)
    assert market.paid(name) == 80


def test_an_order_takes_a_tenth_of_a_candle_and_no_more() -> None:
    market = Market([candle(0, "100 100 100 100"), candle(1, "100 110 90 100", "20")]).at(1)
    market_order, limit = market.place("buy", quantity="5"), market.place("sell", "limit", "5", limit="105")
    market.at(2)
    assert market.order(market_order).filled_quantity == 2
    assert market.order(market_order).reason == "the book has no more at its price"
    assert market.order(limit).filled_quantity == 2
    assert market.order(limit).state is OrderState.PARTIALLY_FILLED


def test_spread_and_slippage_are_on_the_dark_side() -> None:
    market = Market([quote(0, "100"), quote(6, "100")], Costs(spread=Decimal("0.02"), slippage=Decimal("0.01")))
    seen = market.exchange.get_quote(SYMBOL)
    assert (seen.bid, seen.ask) == (Decimal(99), Decimal(101))
    bought, sold = market.place("buy"), market.place("sell")
    market.at(1)
    assert market.paid(bought) == Decimal("102.01")
    assert market.paid(sold) == Decimal("98.01")


def test_recorded_quotes_keep_their_own_spread_and_a_waiting_limit_needs_to_be_traded_through() -> None:
    market = Market([quote(0, "99", "101"), quote(6, "94", "95"), quote(12, "93", "94")], Costs(spread=Decimal("0.5")))
    seen = market.exchange.get_quote(SYMBOL)
    assert (seen.bid, seen.ask) == (Decimal(99), Decimal(101))
    name = market.place("buy", "limit", limit="95")
    market.clock.advance(6)
    assert market.order(name).average_price == 95, "it came in with this price, and takes it"
    market = Market([quote(0, "99", "101"), quote(6, "98", "99"), quote(12, "94", "95"), quote(18, "93", "94")])
    name = market.place("buy", "limit", limit="95")
    market.clock.advance(12)
    assert market.order(name).average_price is None, "only reached"
    market.clock.advance(6)
    assert market.order(name).average_price == 95


@pytest.mark.parametrize("seed", range(3))
def test_coarser_candles_are_those_of_all_the_finer_ones(seed: int) -> None:
    luck = random.Random(seed)
    rows, price = [], 100
    for minute in range(1_500):
        ends = [price, price + luck.randint(-3, 3)]
        low, high = min(ends) - luck.randint(0, 2), max(ends) + luck.randint(0, 2)
        if luck.random() > 0.1:
            rows.append(row(minute * 60.0, ends[0], high, low, ends[1], minute % 7))
        price = max(20, ends[1])
    tape = Tape(iter(rows), {SYMBOL: 60.0}, Costs())
    for timeframe, length_s in {"5m": 300, "1h": 3_600, "4h": 14_400}.items():
        for made in tape.candles(SYMBOL, timeframe, 1_000, 90_000.0):
            start_s = made.opened_at.timestamp()
            own = [one for one in rows if start_s <= one.time_s < start_s + length_s]
            assert (made.open, made.close) == (own[0].open, own[-1].close)
            assert (made.high, made.low) == (max(one.high for one in own), min(one.low for one in own))
            assert made.volume == sum(one.volume or 0 for one in own)
    assert len(tape.candles(SYMBOL, "1d", 10, 90_000.0)) == 1
    with pytest.raises(ValueError, match="expected one of 1m, 5m"):
        tape.candles(SYMBOL, "2m", 1, 90_000.0)


def test_what_nobody_asks_for_any_more_is_forgotten() -> None:
    tape = Tape((quote(float(n), str(n + 1)) for n in range(10_000)), {}, Costs())
    for time_s in range(0, 10_000, 50):
        tape.forget(tape.step_at(float(time_s)))
    assert sum(map(len, tape._moments.values())) < 60
    assert tape.quote(SYMBOL, tape.step_at(9_999.0)).bid == 10_000

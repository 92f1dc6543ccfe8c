"""Four rules, traded here as backtrader and backtesting.py trade them: what they did is recorded beside the data.

`.bench/bin/python -m tests.bench.rules` records it anew; `make bench` fails where the peers do anything else by now.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.backtest.dataset import look_through
from reconciler.backtest.rows import data_files
from reconciler.backtest.simulation import InstanceRun, RunPlan, run
from reconciler.backtest.tape import Costs
from reconciler.clock import SystemClock
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests.bench import rules
from tests.bench.rules import Bar

RECORDED = json.loads(rules.RECORDED.read_text(encoding="utf-8"))
CENT = Decimal("0.01")

STRATEGY = """
from collections import defaultdict
from decimal import Decimal
from reconciler.strategy import Strategy
from tests.bench.rules import DEVIATIONS, EVERY, FAST, RUNGS, SLOW, STOP, UNITS, WINDOW

class Tried(Strategy):
    TICK_MINUTES = {minutes}
    CONFIG_SCHEMA = {{"type": "object"}}

    def init(self):
        self.seen = None
        self.count = 0
        self.placed = {{}}
        self.is_held = defaultdict(bool)

    def on_order(self, order):
        if order.state == "filled" and order.client_order_id in self.placed:
            self.is_held[self.placed.pop(order.client_order_id)] = order.side == "buy"

    def on_tick(self):
        candles = self.context.market.candles("{timeframe}", max(SLOW, WINDOW))
        if not candles or candles[-1].opened_at == self.seen:
            return
        self.seen = candles[-1].opened_at
        self.count += 1
        self.closes = [candle.close for candle in candles]
        self.held = self.context.orders.position()
        self.{rule}()

    def crossing(self):
        if len(self.closes) < SLOW:
            return
        rises = sum(self.closes[-FAST:]) / FAST > sum(self.closes[-SLOW:]) / SLOW
        if rises and not self.held.quantity:
            self.context.orders.place("buy", str(UNITS))
        elif self.held.quantity and not rises:
            self.context.orders.place("sell", self.held.quantity)

    def reversion(self):
        if len(self.closes) < WINDOW:
            return
        mean = sum(self.closes) / WINDOW
        deviation = (sum((one - mean) ** 2 for one in self.closes) / WINDOW).sqrt()
        stops = self.context.orders.open()
        if self.held.quantity and self.closes[-1] >= mean:
            for order in stops:
                self.context.orders.cancel(order.client_order_id)
            self.context.orders.place("sell", self.held.quantity)
        elif self.held.quantity and not stops:
            price = round(self.held.average_price * (1 - Decimal(str(STOP))), 5)
            self.context.orders.place("sell", self.held.quantity, type="stop", stop_price=price)
        elif not self.held.quantity and self.closes[-1] < mean - Decimal(str(DEVIATIONS)) * deviation:
            self.context.orders.place("buy", str(UNITS))

    def ladder(self):
        prices = [Decimal(price) for price in {prices}]
        for rung in range(1, RUNGS + 1):
            if rung not in self.placed.values():
                side, price = ("sell", prices[rung - 1]) if self.is_held[rung] else ("buy", prices[rung])
                order = self.context.orders.place(side, str(UNITS), type="limit", limit_price=price)
                self.placed[order.client_order_id] = rung

    def periodic(self):
        if self.count % EVERY == 0:
            self.context.orders.place("buy", str(UNITS))
"""
RECORD = """id: one
strategy_type: tried
account: {account_id: main, client_id: a}
market: EUR/USD
mode: "off"
config: {}
"""


APART = """
    def touch(self):
        if self.count == 2:
            self.context.orders.place("buy", str(UNITS), type="limit", limit_price="99")

    def ends(self):
        if self.count == 2:
            self.context.orders.place("buy", str(UNITS))
        elif self.count == 3:
            self.context.orders.place("sell", str(UNITS), type="stop", stop_price="98", reduce_only=True)
            self.context.orders.place("sell", str(UNITS), type="limit", limit_price="102", reduce_only=True)
"""


class Ours(NamedTuple):
    """Of each bar in which it traded the side, the units and the price; and equity at the closes that are sampled."""

    fills: list[tuple[int, str, int, float]]
    equity: list[Decimal]


def traded(root: Path, rule: str, series: str, refused: Sequence[str] = ()) -> Ours:
    length, bars = rules.bars(series)
    for folder in ("strategies", "instances"):
        (root / folder).mkdir()
    (root / "strategies" / "tried.py").write_text(
        (STRATEGY + APART).format(
            minutes=length.total_seconds() / 60,
            timeframe="1d" if series == "rates" else "1h",
            rule=rule,
            prices=[f"{price:.5f}" for price in rules.rungs(bars[0].open)],
        ),
        encoding="utf-8",
    )
    (root / "instances" / "one.yaml").write_text(RECORD, encoding="utf-8")
    fees = f'{{maker_fee: "{rules.FEE}", taker_fee: "{rules.FEE}"}}'
    (root / "reconciler.yaml").write_text(f"paper: {fees}\n", encoding="utf-8")
    lines = [f"{bar.at.isoformat()},EUR/USD,{bar.open},{bar.high},{bar.low},{bar.close}," for bar in bars]
    data = root / "bars.csv"
    data.write_text("\n".join(["time,symbol,open,high,low,close,volume", *lines]) + "\n", encoding="utf-8")
    snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
    plan = RunPlan(root, snapshot, look_through(data_files([data])), {"USD": Decimal(rules.CASH)}, Costs(), "")
    (one,) = run(plan).instances
    assert (one.errors, one.last_error) == (0, "")
    assert list(one.refused) == [*refused]
    return Ours(_fills(one, bars), _equity(one, [(bar.at + length).timestamp() for bar in bars]))


def _fills(one: InstanceRun, bars: Sequence[Bar]) -> list[tuple[int, str, int, float]]:
    """All units of a bar, side and price together, as the peers' are."""
    opened = [bar.at.timestamp() for bar in bars]
    sums: defaultdict[tuple[int, str, float], Decimal] = defaultdict(Decimal)
    for fill in one.fills:
        bar = bisect_left(opened, fill.at.timestamp()) - 1
        sums[bar, str(fill.side), float(fill.price)] += fill.quantity
    return sorted((bar, side, int(units), price) for (bar, side, price), units in sums.items())


def _equity(one: InstanceRun, closes_s: Sequence[float]) -> list[Decimal]:
    """What there is at the closes that are sampled: what was there at first, and what was made."""
    at = {point.time_s: point.equity for point in one.curve}
    wanted = [*closes_s[:: rules.SAMPLED], closes_s[-1]]
    return [rules.CASH + at[close_s] for close_s in wanted]


def recorded(rule: str, series: str, peer: str) -> rules.Traded:
    found = RECORDED[series][rule][peer]
    return rules.Traded([tuple(fill) for fill in found["fills"]], found["equity"])


@pytest.mark.parametrize("series", rules.SERIES)
@pytest.mark.parametrize("rule", ["crossing", "reversion", "periodic"])
def test_the_same_trades_and_the_same_equity_to_the_cent(tmp_path: Path, rule: str, series: str) -> None:
    ours = traded(tmp_path, rule, series)
    assert len(ours.fills) > 20
    for peer in rules.PEERS:
        theirs = recorded(rule, series, peer)
        assert ours.fills == theirs.fills, peer
        assert len(ours.equity) == len(theirs.equity)
        for mine, other in zip(ours.equity, theirs.equity, strict=True):
            assert abs(mine - Decimal(str(other))) < CENT, peer


@pytest.mark.parametrize("series", rules.SERIES)
def test_nautilus_trades_the_same_one_bar_earlier_for_it_fills_with_the_close_that_it_decides_on(
    tmp_path: Path, series: str
) -> None:
    """Its book stands at the close when a strategy is told the bar. Here nobody trades at a price that he has seen."""
    _, bars = rules.bars(series)
    ours = traded(tmp_path, "crossing", series).fills
    theirs = recorded("crossing", series, "NautilusTrader").fills
    last = len(bars) - 1  # decided on at the last close: here nothing comes after it
    assert [(bar - 1, side, units, bars[bar - 1].close) for bar, side, units, _ in ours] == [
        fill for fill in theirs if fill[0] < last
    ]
    assert all(price == bars[bar].open for bar, _, _, price in ours)


@pytest.mark.parametrize("series", rules.SERIES)
def test_a_ladder_trades_the_same_rungs_and_where_a_bar_opens_beyond_one_we_get_the_rung_and_they_the_better_open(
    tmp_path: Path, series: str
) -> None:
    """Who waits is filled at its limit: the better open is a gift of the model; live it goes to whoever is first."""
    _, bars = rules.bars(series)
    ours = traded(tmp_path, "ladder", series)
    given: defaultdict[tuple[int, str, float], int] = defaultdict(int)
    gift = Decimal(0)
    for bar, side, units, price in ours.fills:
        opened = bars[bar].open
        is_beyond = opened < price if side == "buy" else opened > price
        given[bar, side, opened if is_beyond else price] += units
        better = abs(Decimal(str(opened)) - Decimal(str(price))) if is_beyond else Decimal(0)
        fee = Decimal(str(rules.FEE))
        gift += units * better * (1 + fee if side == "buy" else 1 - fee)
    expected = sorted((bar, side, units, price) for (bar, side, price), units in given.items())
    assert len(expected) > 40
    assert gift > 0
    for peer in rules.PEERS:
        theirs = recorded("ladder", series, peer)
        assert theirs.fills == expected, peer
        assert abs(ours.equity[-1] + gift - Decimal(str(theirs.equity[-1]))) < CENT, peer


def test_a_limit_that_the_market_only_reaches_is_filled_by_them_and_not_here(tmp_path: Path) -> None:
    """A price that is only reached says nothing of who came first."""
    assert traded(tmp_path, "touch", "touch").fills == []
    for peer in rules.PEERS:
        assert recorded("touch", "touch", peer).fills == [(2, "buy", rules.UNITS, 99.0)], peer


def test_of_a_stop_and_a_target_in_one_bar_backtesting_takes_the_stop_and_backtrader_the_target(tmp_path: Path) -> None:
    """A bar does not tell its path. Here two orders never offer the same position: the second is refused."""
    bought, stopped = (2, "buy", rules.UNITS, 100.0), (3, "sell", rules.UNITS, 98.0)
    no_room = ["the engine: Request: reduce_only: the instance's own position has no room for it"]
    assert traded(tmp_path, "ends", "ends", no_room).fills == [bought, stopped]
    assert recorded("ends", "ends", "backtesting.py").fills == [bought, stopped]
    assert recorded("ends", "ends", "backtrader").fills == [bought, (3, "sell", rules.UNITS, 102.0)]

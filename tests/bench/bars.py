"""A bar of a backtest: two averages that cross, the same rule over the same hourly candles, here and at two peers.

What each does with a bar differs: here the whole engine ticks, with gateway, limits and ledger, and orders are looked
up; the peers call one method of one object, on arrays that are in memory, with prices that are floats. Here the file is
read again as the run goes on, so that memory does not grow with it.

Where a bar's time goes, on two cores of a small machine, in 2026 (155 µs a bar: 2.2 × backtrader, 2.5 × NautilusTrader,
15 × backtesting.py):

| µs a bar | |
|---|---|
| 42 | a beat of the engine and a candle read, checked and marked |
| 21 | twenty candles and the position handed to the strategy, and its averages in decimals |
| 92 | orders: one in sixteen bars, at 1.5 ms each |

An order is 1.5 ms because it is the order that trades: seventeen statements on the ledger in three transactions
(0.24 ms), the gate asked twice, the exchange's answer read as one that came over a wire, and a follow-up that asks what
became of it: some 2,900 calls of Python. Nothing of that is left out in a backtest, so the goals cannot be reached by a
rule that trades so often. The same rule without its orders takes 63 µs, which is less than backtrader's 69 and more
than backtesting.py's 10; a beat alone, of a strategy that only asks for the price, takes 14 µs, more than that as well.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import process_time
from typing import Any

from reconciler.backtest.dataset import look_through
from reconciler.backtest.rows import data_files
from reconciler.backtest.simulation import RunPlan, RunResult, run
from reconciler.backtest.tape import Costs
from reconciler.clock import SystemClock
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests.bench import rules
from tests.bench.result import Result

BARS, FAST, SLOW = 4_000, 5, 20
TO_BACKTRADER, TO_BACKTESTING = 0.1, 1.0
STRATEGY = f"""
from decimal import Decimal
from reconciler.strategy import Strategy

class Crossing(Strategy):
    TICK_MINUTES = 60.0
    CONFIG_SCHEMA = {{"type": "object"}}

    def on_tick(self):
        closes = [candle.close for candle in self.context.market.candles("1h", {SLOW})]
        if len(closes) < {SLOW}:
            return
        rises = sum(closes[-{FAST}:]) / {FAST} > sum(closes) / {SLOW}
        held = self.context.orders.position().quantity
        if rises and not held:
            self.context.orders.place("buy", "1")
        elif held and not rises:
            self.context.orders.place("sell", held)
"""
BEATS_A_MINUTE, TRIVIAL_BEATS, BEATS_AN_HOUR = 1_000_000, 60_000, 600
TRIVIAL = """
from reconciler.strategy import Strategy

class Crossing(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        self.context.market.quote()
"""
RECORD = """
id: one
strategy_type: crossing
account: {account_id: main, client_id: desk}
market: EUR/USD
mode: active
config: {}
"""
Bar = tuple[datetime, float, float, float, float]


def measure() -> Sequence[Result]:
    bars = _bars()
    ours_s, orders, made = _ours(bars)
    (backtrader_s, theirs), (backtesting_s, others) = _backtrader(bars), _backtesting(bars)
    for peer, result in (("backtrader", theirs), ("backtesting.py", others)):
        # The same rule without costs, filled at the next open by all three: a cent apart is a mistake of somebody's.
        assert abs(result - made) < 0.01, f"made {made} here, {result} by {peer}"
    note = f"{BARS:,} bars, {orders} orders; CPU time, reading the data left out; all made {made:.4f}"
    rows = [
        _trivial(),
        _row("backtrader", ours_s, backtrader_s, TO_BACKTRADER, note),
        _row("backtesting.py", ours_s, backtesting_s, TO_BACKTESTING, note),
    ]
    if rules.NAUTILUS.exists():
        nautilus_s, result = _nautilus(bars)
        assert abs(result - made) < 0.01, f"made {made} here, {result} by NautilusTrader"
        rows.append(_row("NautilusTrader", ours_s, nautilus_s, None, note))
    return rows


def _trivial() -> Result:
    """What `reconciler backtest` does of a strategy that ticks each beat and only asks for the price."""
    hours = _bars()[: TRIVIAL_BEATS // BEATS_AN_HOUR]
    took_s, beats = _ticked(hours, TRIVIAL)
    return Result(
        work="a beat of a backtest of a trivial strategy",
        to_reach=f"≥ {BEATS_A_MINUTE:,} due beats a minute and core",
        figure=f"{60 / took_s * beats:,.0f}, {took_s / beats * 1e6:.0f} µs each",
        ok=60 / took_s * beats >= BEATS_A_MINUTE,
        note=f"{beats:,} beats over {len(hours)} hourly candles, read meanwhile; CPU time; no order is placed",
    )


def _row(peer: str, ours_s: float, theirs_s: float, goal: float | None, note: str) -> Result:
    return Result(
        work=f"a bar of a backtest, beside {peer}",
        to_reach="to be told" if goal is None else f"≤ {goal:g} × {peer}",
        figure=f"{ours_s / BARS * 1e6:.0f} µs",
        ok=goal is None or ours_s <= goal * theirs_s,
        peer=f"{theirs_s / BARS * 1e6:.0f} µs",
        ratio=ours_s / theirs_s,
        note=note,
    )


def _bars() -> list[Bar]:
    luck, price, found = random.Random(7), 1.1, []
    for hour in range(BARS):
        close = round(max(0.5, price * (1 + luck.gauss(0, 0.001))), 5)
        high, low = round(max(price, close) + 0.0002, 5), round(min(price, close) - 0.0002, 5)
        found.append((datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hour), price, high, low, close))
        price = close
    return found


def _ours(bars: Sequence[Bar]) -> tuple[float, int, float]:
    took_s, result = _run(bars, STRATEGY)
    (one,) = result.instances
    return took_s, len(one.orders), float(one.equity)


def _nautilus(bars: Sequence[Bar]) -> tuple[float, float]:
    """It fills with the close that it decides on, which is the next open in these data: so it makes the same."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "bars.csv"
        rows = [f"{at.isoformat()},{o:.5f},{h:.5f},{lo:.5f},{c:.5f}" for at, o, h, lo, c in bars]
        data.write_text("time,open,high,low,close\n" + "\n".join(rows) + "\n", encoding="utf-8")
        found = rules.nautilus(data, timedelta(hours=1), 1)
    made = sum(price if side == "sell" else -price for _, side, price in found["fills"])
    held = len(found["fills"]) % 2
    return found["took_s"], made + held * bars[-1][4]


def _ticked(bars: Sequence[Bar], strategy: str) -> tuple[float, int]:
    took_s, result = _run(bars, strategy)
    assert [one.errors for one in result.instances] == [0]
    return took_s, result.beats


def _run(bars: Sequence[Bar], strategy: str) -> tuple[float, RunResult]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, text in (("strategies/crossing.py", strategy), ("instances/one.yaml", RECORD)):
            (root / path).parent.mkdir()
            (root / path).write_text(text, encoding="utf-8")
        (root / "reconciler.yaml").write_text('paper: {maker_fee: "0", taker_fee: "0"}\n', encoding="utf-8")
        rows = [f"{at.isoformat()},EUR/USD,{o:.5f},{h:.5f},{lo:.5f},{c:.5f},1000" for at, o, h, lo, c in bars]
        data = root / "bars.csv"
        data.write_text("time,symbol,open,high,low,close,volume\n" + "\n".join(rows) + "\n", encoding="utf-8")
        dataset = look_through(data_files([data]))
        snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
        plan = RunPlan(root, snapshot, dataset, {"USD": Decimal(10_000)}, Costs(), "")
        begin_s = process_time()
        result = run(plan)
        return process_time() - begin_s, result


def _frame(bars: Sequence[Bar]) -> Any:
    import pandas

    columns = ["Open", "High", "Low", "Close"]
    index = [bar[0].replace(tzinfo=None) for bar in bars]
    frame = pandas.DataFrame([bar[1:] for bar in bars], columns=columns, index=index)
    return frame.assign(Volume=1000)


def _backtrader(bars: Sequence[Bar]) -> tuple[float, float]:
    import backtrader

    class Crossing(backtrader.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.fast = backtrader.indicators.SMA(period=FAST)
            self.slow = backtrader.indicators.SMA(period=SLOW)

        def next(self) -> None:
            rises = self.fast[0] > self.slow[0]
            if rises and not self.position:
                self.buy(size=1)
            elif self.position and not rises:
                self.close()

    engine = backtrader.Cerebro(stdstats=False)
    engine.adddata(backtrader.feeds.PandasData(dataname=_frame(bars)))
    engine.addstrategy(Crossing)
    begin_s = process_time()
    engine.run()
    return process_time() - begin_s, float(engine.broker.getvalue()) - 10_000


def _backtesting(bars: Sequence[Bar]) -> tuple[float, float]:
    import backtesting

    def average(values: Any, count: int) -> Any:
        import pandas

        return pandas.Series(values).rolling(count).mean()

    class Crossing(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.fast = self.I(average, self.data.Close, FAST)
            self.slow = self.I(average, self.data.Close, SLOW)

        def next(self) -> None:
            rises = self.fast[-1] > self.slow[-1]
            if rises and not self.position:
                self.buy(size=1)
            elif self.position and not rises:
                self.position.close()

    test = backtesting.Backtest(_frame(bars), Crossing, cash=10_000)
    begin_s = process_time()
    found = test.run()
    return process_time() - begin_s, float(found["Equity Final [$]"]) - 10_000

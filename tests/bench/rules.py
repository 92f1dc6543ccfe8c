"""Four rules on the same data here, in backtrader and in backtesting.py: what the peers trade, and what it comes to.

What they did is recorded in `tests/backtest/data/peers.json`, which `make test` holds our own trades against. As a
measurement of `make bench` this asks the peers anew, and fails where they do anything else than was recorded. Of
NautilusTrader there is one rule, the crossing averages: see `tests/bench/nautilus.py`.

    .bench/bin/python -m tests.bench.rules     # records it anew, after a change of rules or peers

All money is in dollars, fees are a thousandth, nobody pays a spread. A decision at a bar's close is an order that the
next bar meets.
"""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.result import Result

DATA = Path(__file__).parents[1] / "backtest" / "data"
RECORDED = DATA / "peers.json"
CASH, FEE = 100_000, 0.001
UNITS = 100
FAST, SLOW = 5, 20
WINDOW, DEVIATIONS, STOP = 20, 1.5, 0.004
RUNGS, SPACING = 6, 0.004
EVERY = 7
SAMPLED = 10
"""The equity of every so manieth bar is recorded, and of the last."""


_CALM = (100.0, 100.5, 99.5, 100.0)
APART: Mapping[str, Sequence[tuple[float, float, float, float]]] = {
    "touch": (_CALM, _CALM, (100.0, 100.5, 99.0, 100.0), _CALM),
    "ends": (_CALM, _CALM, _CALM, (100.0, 103.0, 97.0, 100.0), _CALM),
}


class Bar(NamedTuple):
    """One candle: when it opened, and its prices as the file tells them."""

    at: datetime
    open: float
    high: float
    low: float
    close: float


class Traded(NamedTuple):
    """What a rule did: of each bar in which it traded the side, the units and the price; and its equity."""

    fills: Sequence[tuple[int, str, int, float]]
    equity: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        return {"fills": [list(fill) for fill in self.fills], "equity": [round(value, 6) for value in self.equity]}


def bars(name: str) -> tuple[timedelta, list[Bar]]:
    """How long a bar is, and the bars: `rates`, one price a day, and `candles`, made up hour by hour.

    And few bars for one question each: `touch`, whose low is 99 and no lower, and `ends`, which goes to 97 and 103.
    """
    if name in APART:
        begin, length = datetime(2025, 1, 1, tzinfo=UTC), timedelta(hours=1)
        return length, [Bar(begin + number * length, *prices) for number, prices in enumerate(APART[name])]
    if name == "rates":
        lines = (DATA / "eur-usd.csv").read_text(encoding="utf-8").splitlines()
        days = [line.split(",") for line in lines if line[:1].isdigit()]
        return timedelta(days=1), [
            Bar(datetime.fromisoformat(day).replace(tzinfo=UTC), *[float(rate)] * 4) for day, rate in days
        ]
    luck, price, found = random.Random(5), 1.1, []
    for hour in range(600):
        opened = round(price * (1 + luck.choice((0, 0, 0, 0.003, -0.003))), 4)  # now and then it jumps
        close = round(opened * (1 + luck.gauss(0, 0.002)), 4)
        high, low = (
            round(one, 4)
            for one in (max(opened, close) * (1 + luck.random() / 900), min(opened, close) * (1 - luck.random() / 900))
        )
        found.append(Bar(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hour), opened, high, low, close))
        price = close
    return timedelta(hours=1), found


def rungs(first: float) -> list[float]:
    """The prices of the ladder, the highest first. Between two prices that any data have: none is ever just touched."""
    return [round(first * (1 - SPACING * number), 4) + 0.00005 for number in range(RUNGS + 1)]


def is_low(closes: Sequence[float]) -> bool:
    """True where the last of so many closes is unusually far below their average."""
    mean = sum(closes) / len(closes)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in closes) / len(closes))
    return closes[-1] < mean - DEVIATIONS * deviation


def is_back(closes: Sequence[float]) -> bool:
    """True where the last of so many closes is at their average again."""
    return closes[-1] >= sum(closes) / len(closes)


def stop_price(paid: float) -> float:
    return round(paid * (1 - STOP), 5)


def _gathered(fills: Sequence[tuple[int, float, float]]) -> list[tuple[int, str, int, float]]:
    """Of each bar, side and price all units together."""
    sums: defaultdict[tuple[int, str, float], float] = defaultdict(float)
    for bar, units, price in fills:
        sums[bar, "buy" if units > 0 else "sell", round(price, 8)] += abs(units)
    return sorted((bar, side, round(units), price) for (bar, side, price), units in sums.items())


def sampled(equity: Sequence[float]) -> list[float]:
    """Of every tenth bar, and of the last."""
    return [*equity[::SAMPLED], equity[-1]]


def _backtrader(rule: str, data: Sequence[Bar]) -> Traded:
    import backtrader
    import pandas

    ladder = rungs(data[0].open)
    fills: list[tuple[int, float, float]] = []
    equity: list[float] = []

    class Rule(backtrader.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.orders: dict[int, Any] = {}
            self.is_held: defaultdict[int, bool] = defaultdict(bool)
            self.stop_order: Any = None
            self.under_way: Any = None

        def notify_order(self, order: Any) -> None:
            if order.status == order.Completed:
                fills.append((len(self) - 1, order.executed.size, order.executed.price))
                for rung, placed in tuple(self.orders.items()):
                    if placed.ref == order.ref:  # it is told as a copy
                        del self.orders[rung]
                        self.is_held[rung] = order.isbuy()
            assert order.status not in (order.Margin, order.Rejected)

        def next(self) -> None:
            equity.append(self.broker.getvalue())
            getattr(self, rule)()

        def closes(self, count: int) -> list[float] | None:
            return list(self.data.close.get(size=count)) if len(self) >= count else None

        def crossing(self) -> None:
            if (closes := self.closes(SLOW)) is None:
                return
            rises = sum(closes[-FAST:]) / FAST > sum(closes) / SLOW
            if rises and not self.position:
                self.buy(size=UNITS)
            elif self.position and not rises:
                self.close()

        def reversion(self) -> None:
            if (closes := self.closes(WINDOW)) is None:
                return
            if self.position and is_back(closes):
                if self.stop_order is not None:
                    self.cancel(self.stop_order)
                self.stop_order = None
                self.close()
            elif self.position and self.stop_order is None:
                price = stop_price(self.position.price)
                self.stop_order = self.sell(size=UNITS, exectype=backtrader.Order.Stop, price=price)
            elif not self.position:
                self.stop_order = None
                if is_low(closes):
                    self.buy(size=UNITS)

        def ladder(self) -> None:
            for rung in range(1, RUNGS + 1):
                if rung not in self.orders:
                    place = self.sell if self.is_held[rung] else self.buy
                    price = ladder[rung - 1] if self.is_held[rung] else ladder[rung]
                    self.orders[rung] = place(size=UNITS, exectype=backtrader.Order.Limit, price=price)

        def periodic(self) -> None:
            if len(self) % EVERY == 0:
                self.buy(size=UNITS)

        def touch(self) -> None:
            if len(self) == 2:
                self.buy(size=UNITS, exectype=backtrader.Order.Limit, price=99.0)

        def ends(self) -> None:
            if len(self) == 2:
                self.buy(size=UNITS)
            elif len(self) == 3:
                target = self.sell(size=UNITS, exectype=backtrader.Order.Limit, price=102.0)
                self.sell(size=UNITS, exectype=backtrader.Order.Stop, price=98.0, oco=target)

    engine = backtrader.Cerebro(stdstats=False)
    engine.broker.setcash(CASH)
    engine.broker.setcommission(commission=FEE)
    engine.adddata(backtrader.feeds.PandasData(dataname=_frame(data, pandas)))
    engine.addstrategy(Rule)
    engine.run()
    return Traded(_gathered(fills), sampled(equity))


def _backtesting(rule: str, data: Sequence[Bar]) -> Traded:
    import backtesting
    import pandas

    ladder = rungs(data[0].open)
    trades: list[Any] = []

    class Rule(backtesting.Strategy):  # type: ignore[misc]
        def init(self) -> None:
            self.placed: dict[int, Any] = {}
            self.is_held: defaultdict[int, bool] = defaultdict(bool)

        def next(self) -> None:
            getattr(self, rule)()
            trades[:] = [*self.closed_trades, *self.trades]

        def closes(self, count: int) -> list[float] | None:
            return list(self.data.Close[-count:]) if len(self.data) >= count else None

        def crossing(self) -> None:
            if (closes := self.closes(SLOW)) is None:
                return
            rises = sum(closes[-FAST:]) / FAST > sum(closes) / SLOW
            if rises and not self.position:
                self.buy(size=UNITS)
            elif self.position and not rises:
                self.position.close()

        def reversion(self) -> None:
            if (closes := self.closes(WINDOW)) is None:
                return
            if self.position and is_back(closes):
                self.position.close()
            elif self.position and self.trades[0].sl is None:
                self.trades[0].sl = stop_price(self.trades[0].entry_price)
            elif not self.position and is_low(closes):
                self.buy(size=UNITS)

        def ladder(self) -> None:
            for rung in range(1, RUNGS + 1):
                if rung in self.placed and self.placed[rung] not in self.orders:
                    self.is_held[rung] = self.placed.pop(rung).is_long
                if rung not in self.placed:
                    place = self.sell if self.is_held[rung] else self.buy
                    self.placed[rung] = place(size=UNITS, limit=ladder[rung - 1 if self.is_held[rung] else rung])

        def periodic(self) -> None:
            if len(self.data) % EVERY == 0:
                self.buy(size=UNITS)

        def touch(self) -> None:
            if len(self.data) == 2:  # where it begins
                self.buy(size=UNITS, limit=99.0)

        def ends(self) -> None:
            if len(self.data) == 2:
                self.buy(size=UNITS, sl=98.0, tp=102.0)

    test = backtesting.Backtest(_frame(data, pandas), Rule, cash=CASH, commission=FEE)
    found = test.run()
    fills = [(trade.entry_bar, trade.size, trade.entry_price) for trade in trades]
    fills += [(trade.exit_bar, -trade.size, trade.exit_price) for trade in trades if trade.exit_bar is not None]
    return Traded(_gathered(fills), sampled(list(found["_equity_curve"]["Equity"])))


def _frame(data: Sequence[Bar], pandas: Any) -> Any:
    columns, index = ["Open", "High", "Low", "Close"], [bar.at.replace(tzinfo=None) for bar in data]
    return pandas.DataFrame([bar[1:] for bar in data], columns=columns, index=index).assign(Volume=1_000_000)


RULES = ("crossing", "reversion", "ladder", "periodic")
SERIES = ("rates", "candles")
WANTED = {**dict.fromkeys(SERIES, RULES), **{name: (name,) for name in APART}}
PEERS: Mapping[str, Callable[[str, Sequence[Bar]], Traded]] = {
    "backtrader": _backtrader,
    "backtesting.py": _backtesting,
}


NAUTILUS = Path(sys.prefix) / "nautilus" / "bin" / "python"
"""Where `make bench` puts it, if it has a wheel for this machine."""


def nautilus(data: Path, length: timedelta, units: int) -> dict[str, Any]:
    """What NautilusTrader makes of the crossing averages on candles in that file, and how long it takes."""
    named = {timedelta(hours=1): "1-HOUR", timedelta(days=1): "1-DAY"}[length]
    words = [str(NAUTILUS), str(Path(__file__).with_name("nautilus.py")), str(data), named, str(units)]
    found: dict[str, Any] = json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)
    return found


def _nautilus(series: str) -> Traded:
    length, data = bars(series)
    lines = [f"{bar.at.isoformat()},{bar.open},{bar.high},{bar.low},{bar.close}" for bar in data]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.csv"
        path.write_text("\n".join(["time,open,high,low,close", *lines]) + "\n", encoding="utf-8")
        fills = nautilus(path, length, UNITS)["fills"]
    return Traded([(bar, side, UNITS, price) for bar, side, price in fills], [])


def asked() -> dict[str, Any]:
    """What the peers make of each rule on each series, by series, rule and peer."""
    found: dict[str, Any] = {
        series: {
            rule: {peer: trade(rule, bars(series)[1]).to_json() for peer, trade in PEERS.items()} for rule in those
        }
        for series, those in WANTED.items()
    }
    for series in SERIES if NAUTILUS.exists() else ():
        found[series]["crossing"]["NautilusTrader"] = _nautilus(series).to_json()
    return found


def measure() -> Result:
    found, recorded = json.loads(json.dumps(asked())), json.loads(RECORDED.read_text(encoding="utf-8"))
    unlike = [
        f"{peer}, {rule} on {series}"
        for series, those in found.items()
        for rule, peers in those.items()
        for peer, traded in peers.items()
        if traded != recorded[series][rule][peer]
    ]
    return Result(
        work="four rules on two series, as backtrader and backtesting.py trade them, and one as NautilusTrader does",
        to_reach="as recorded",
        figure="as recorded" if not unlike else f"otherwise: {'; '.join(unlike)}",
        ok=not unlike,
        peer="backtrader, backtesting.py" + (", NautilusTrader" if NAUTILUS.exists() else ""),
        note="tests/backtest/test_peers.py holds our own trades against what was recorded",
    )


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(asked(), separators=(",", ":")).replace("}},", "}},\n") + "\n", encoding="utf-8")
    print(f"{RECORDED}: recorded")

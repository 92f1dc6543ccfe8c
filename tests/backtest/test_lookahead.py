"""No false alarm: what other checks of look-ahead take for a peek, though it is none; and what is one, found.

freqtrade's lookahead-analysis compares a backtest of all pairs with one of a single pair that is cut off. As its users
report and its manual warns, it takes for a bias what is none: trades that hang on open trades, slots and balances, on
stakes and the other pairs, on entries that come late, on protections, and on exits that are forced where data end.
Here the whole fleet runs twice, and what is compared is what was asked for before the cut.
"""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.backtest.dataset import look_through
from reconciler.backtest.rows import data_files
from reconciler.backtest.simulation import RunPlan
from reconciler.backtest.study import Inquiry, Lookahead, study
from reconciler.backtest.tape import Costs
from reconciler.clock import SystemClock
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store.trials import Trials

if TYPE_CHECKING:
    from tests.backtest.conftest import Fleet

HONEST = {
    "an average that remembers every candle since the start": """
price = self.context.market.quote().bid
self.slow = price if self.ticks == 1 else self.slow + (price - self.slow) / 50
held = self.context.orders.position().quantity
if self.ticks > 50 and (price > self.slow) != bool(held):
    self.context.orders.place("sell" if held else "buy", held or "1")
""",
    "as much as the account can pay": """
free = {one.asset: one.available for one in self.context.account.balances()}.get("USD", 0)
held = self.context.orders.position().quantity
if self.ticks % 4 == 0:
    price = self.context.market.quote().ask
    self.context.orders.place("sell" if held else "buy", held or f"{free / price / 10:.4f}")
""",
    "at most two orders at a time, and none soon after the last": """
last = next(iter(self.context.orders.recent(1)), None)
if last is None or (self.context.now() - last.created_at).total_seconds() > 7200:
    if len(self.context.orders.open()) < 2:
        bid = self.context.market.quote().bid
        self.context.orders.place("buy", "1", type="limit", limit_price=f"{bid * 99 / 100:.2f}")
""",
    "limits that are filled late or never, and exits by what they cost": """
held = self.context.orders.position()
if not self.context.orders.open():
    if held.quantity:
        price = f"{held.average_price * 101 / 100:.2f}"
        self.context.orders.place("sell", held.quantity, type="limit", limit_price=price)
    else:
        bid = self.context.market.quote().bid
        self.context.orders.place("buy", "1", type="limit", limit_price=f"{bid * 995 / 1000:.2f}")
""",
    "another market, and days beside hours": """
other = self.context.market_of("ETH/USD" if self.context.instance.market == "BTC/USD" else "BTC/USD")
days, hours = other.candles("1d", 2), other.candles("1h", 10)
held = self.context.orders.position().quantity
if len(days) == 2 and (hours[-1].close > days[-1].close) != bool(held):
    self.context.orders.place("sell" if held else "buy", held or "1")
""",
    "the last candle shifted, of which the next is not there": """
closes = [candle.close for candle in self.context.market.candles("1h", 5)]
following = [*closes[1:], None]
rises = [after > before for before, after in zip(closes, following) if after is not None]
held = self.context.orders.position().quantity
if rises and rises[-1] != bool(held):
    self.context.orders.place("sell" if held else "buy", held or "1")
""",
    "failures, now and then five in a row": """
held = self.context.orders.position().quantity
if self.context.random.random() < 0.3:
    raise ValueError("by chance")
self.context.orders.place("sell" if held else "buy", held or "1")
""",
}
RESTING = """
if not self.context.orders.open():
    bid = self.context.market.quote().bid
    self.context.orders.place("buy", "1", type="limit", limit_price=f"{bid * 99 / 100:.2f}")
held = self.context.orders.position().quantity
if held and self.ticks % 5 == 0:
    self.context.orders.place("sell", held)
"""
SETTINGS = {
    "no limits": "",
    "three slots for all": "limits:\n  - {all: true, currency: USD, max_open_orders: 3}\n",
    "a loss of the day for all": 'limits:\n  - {all: true, currency: USD, max_daily_loss: "3"}\n',
    "a throttle": "exec_mcp:\n  p:\n    transport: {kind: paper}\n    accounts:\n"
    "      main: {money: paper, throttle: {same_orders: 6, within_minutes: 600}}\n",
}
PEEK = """
import pathlib
if self.ticks == 1:
    rows = [row.split(",") for row in pathlib.Path("{data}").read_text().splitlines()]
    self.close = {(row[0], row[1]): row[5] for row in rows}
now, market = self.context.now(), self.context.instance.market
coming = self.close.get((f"{now:%Y-%m-%dT%H}:00:00Z", market))
if coming and float(coming) > float(self.context.market.quote().ask):
    self.context.orders.place("buy", "1")
"""


@pytest.fixture
def hours(tmp_path: Path) -> Path:
    """Fourteen days of hourly candles of two markets, with a hole in the middle, where one cut is."""
    luck, prices = random.Random(3), {"BTC/USD": 100.0, "ETH/USD": 50.0}
    lines = ["time,symbol,open,high,low,close,volume"]
    for hour in range(24 * 14):
        day, of_day = divmod(hour, 24)
        for market, price in prices.items():
            close = prices[market] = max(20.0, price + luck.uniform(-1, 1))
            high, low = max(price, close) + luck.random() / 3, min(price, close) - luck.random() / 3
            if not 110 <= hour < 125:
                at = f"2026-01-{day + 1:02}T{of_day:02}:00:00Z"
                lines.append(f"{at},{market},{price:.2f},{high:.2f},{low:.2f},{close:.2f},20")
    path = tmp_path / "hours.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def looked(root: Path, data: Path, begin: float | None = None) -> list[Lookahead]:
    snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
    dataset = replace(look_through(data_files([data])), from_s=begin)
    plan = RunPlan(root, snapshot, dataset, {"USD": Decimal(1_000)}, Costs(spread=Decimal("0.001")), "3")
    trials = Trials(root / ".reconciler" / "trials.db", root / ".reconciler" / "reconciler.db")
    found = [one.lookahead for one in study(plan, Inquiry(check_lookahead=True), trials).instances]
    return [one for one in found if one is not None]


def several(fleet: Fleet, body: str, settings: str = "") -> Path:
    """Four instances on one account, two in each market, that see the other one."""
    root = fleet(body, *"abcd")
    for id, market, other in zip("abcd", ["BTC/USD", "ETH/USD"] * 2, ["ETH/USD", "BTC/USD"] * 2, strict=True):
        path = root / "instances" / f"{id}.yaml"
        text = path.read_text(encoding="utf-8").replace("BTC/USD", market)
        path.write_text(f"{text}data_markets: [{other}]\n", encoding="utf-8")
    (root / "reconciler.yaml").write_text(settings, encoding="utf-8")
    return root


@pytest.mark.parametrize("body", HONEST.values(), ids=HONEST)
def test_what_hangs_on_the_past_alone_is_no_peek(fleet: Fleet, hours: Path, body: str) -> None:
    found = looked(several(fleet, body), hours)
    assert [(one.ok, one.difference) for one in found] == [(True, "")] * 4
    assert sum(one.compared for one in found) > 10


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_what_others_leave_of_slots_money_and_orders_is_no_peek(fleet: Fleet, hours: Path, settings: str) -> None:
    found = looked(several(fleet, RESTING, settings), hours)
    assert [(one.ok, one.difference) for one in found] == [(True, "")] * 4
    assert sum(one.compared for one in found) > 10


@pytest.mark.parametrize("body", HONEST.values(), ids=HONEST)
def test_rows_from_before_the_beginning_that_warm_it_up_are_no_peek(fleet: Fleet, hours: Path, body: str) -> None:
    begin = look_through(data_files([hours])).begin_s + 3 * 86_400
    assert all(one.ok for one in looked(several(fleet, body), hours, begin))


def test_who_reads_tomorrows_row_is_found_though_its_orders_are_the_same_with_the_future_cut_off(
    fleet: Fleet, hours: Path
) -> None:
    """The file is whole in each of the runs: comparing alone would find nothing."""
    found = looked(several(fleet, PEEK.replace("{data}", str(hours))), hours)
    assert not any(one.ok for one in found)
    assert all("opened the data by itself" in one.difference for one in found)

"""A small fleet and small data, and studies of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.backtest.dataset import look_through
from reconciler.backtest.rows import data_files
from reconciler.backtest.simulation import RunPlan
from reconciler.backtest.study import Inquiry, Study, study
from reconciler.backtest.tape import Costs
from reconciler.clock import SystemClock
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store.trials import Trials

STRATEGY = """
from decimal import Decimal
from reconciler.strategy import Strategy

class Tried(Strategy):
    TICK_MINUTES = {minutes}
    CONFIG_SCHEMA = {{"type": "object"}}

    def init(self):
        self.ticks = 0

    def on_tick(self):
        self.ticks += 1
        {body}
"""
RECORD = """
id: {id}
strategy_type: tried
account: {{account_id: main, client_id: desk}}
market: BTC/USD
mode: "off"
config: {config}
"""
TURNS = """
held = self.context.orders.position().quantity
side = "sell" if held else "buy"
if self.ticks % 3 == 0:
    self.context.orders.place(side, str(self.context.random.randint(1, 3)) if not held else held)
"""
"""Buys and sells by turns, of chance how much."""

Fleet = Callable[..., Path]
Studied = Callable[..., Study]


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    def make(body: str = TURNS, *ids: str, minutes: float = 60.0, config: str = "{}", rest: str = "") -> Path:
        for folder in ("strategies", "instances"):
            (tmp_path / folder).mkdir(exist_ok=True)
        lines = body.strip().replace("\n", "\n        ")
        (tmp_path / "strategies" / "tried.py").write_text(
            STRATEGY.format(minutes=minutes, body=lines), encoding="utf-8"
        )
        for id in ids or ("one",):
            record = RECORD.format(id=id, config=config) + rest
            (tmp_path / "instances" / f"{id}.yaml").write_text(record, encoding="utf-8")
        return tmp_path

    return make


@pytest.fixture
def candles(tmp_path: Path) -> Path:
    """Twenty days of hourly candles, by chance that is always the same."""
    luck, price, lines = random.Random(7), 100.0, ["time,symbol,open,high,low,close,volume"]
    for hour in range(480):
        close = max(50.0, price + luck.uniform(-1, 1))
        high, low = max(price, close) + luck.random() / 3, min(price, close) - luck.random() / 3
        day, of_day = divmod(hour, 24)
        lines.append(
            f"2026-01-{day + 1:02}T{of_day:02}:00:00Z,BTC/USD,{price:.2f},{high:.2f},{low:.2f},{close:.2f},500"
        )
        price = float(f"{close:.2f}")
    path = tmp_path / "hours.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def studied() -> Studied:
    def make(root: Path, data: Iterable[Path], wanted: Inquiry | None = None, **changes: Any) -> Study:
        snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
        dataset = look_through(data_files(data))
        assert dataset.problems == ()
        costs = changes.pop("costs", Costs(spread=Decimal("0.001")))
        balances = {name: Decimal(10_000) for name in changes.pop("currencies", ("USD",))}
        plan = RunPlan(root, snapshot, dataset, balances, costs, changes.pop("seed", ""))
        trials = Trials(root / ".reconciler" / "trials.db", root / ".reconciler" / "reconciler.db")
        return study(plan, wanted or Inquiry(), trials, **changes)

    return make

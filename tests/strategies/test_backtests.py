"""What the guide says that the shipped strategies made in a backtest is what they make."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
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
from reconciler.paper.csv_feed import EXAMPLE
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store.trials import Trials

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "backtest.md").read_text(encoding="utf-8").partition("## What the shipped strategies made")[2]
ROW = re.compile(r"^\| `(\w+)` \| `(\{.*\})` \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\d+) \|$", re.MULTILINE)
ROWS = ROW.findall(GUIDE)
RECORD = """id: {id}
strategy_type: {type}
account: {{account_id: {id}, client_id: a}}
market: EUR/USD
mode: "off"
config: {config}
"""


def studied(root: Path, data: Path, records: dict[str, tuple[str, str]]) -> Study:
    """The records, each on an account of its own, over the data."""
    shutil.copytree(ROOT / "strategies", root / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "instances").mkdir()
    for id, (type, config) in records.items():
        text = RECORD.format(id=id, type=type, config=config)
        (root / "instances" / f"{id}.yaml").write_text(text, encoding="utf-8")
    snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
    dataset, balances = look_through(data_files([data])), {"USD": Decimal(100_000)}
    assert dataset.problems == ()
    plan = RunPlan(root, snapshot, dataset, balances, Costs(spread=Decimal("0.0002")), "")
    return study(plan, Inquiry(), Trials(root / "trials.db", root / "reconciler.db"))


def cents(amount: Any) -> str:
    return f"{amount:,.2f}"


def test_the_table_tells_of_each_strategy_what_it_makes(tmp_path: Path) -> None:
    pytest.importorskip("talipp", reason="the extra `indicators` is not installed")
    shipped = {path.stem for path in (ROOT / "strategies").glob("[a-z]*.py")}
    assert {row[0] for row in ROWS} == shipped - {"rebalance"}
    lines = [line.split(",") for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    told = [f"{(begin + timedelta(minutes=minute)).isoformat()},{row[1]}" for minute, row in enumerate(lines[1:])]
    data = tmp_path / "minutes.csv"
    data.write_text("\n".join(["time,EUR/USD", *told]) + "\n", encoding="utf-8")
    found = studied(tmp_path, data, {f"row-{number}": (row[0], row[1]) for number, row in enumerate(ROWS)})
    made = [
        (
            one.run.strategy_type,
            *(cents(one.run.equity), cents(one.costs_doubled), cents(one.buy_and_hold), cents(one.run.max_drawdown)),
            str(len(one.run.trades)),
        )
        for one in found.instances
    ]
    assert made == [(row[0], *row[2:]) for row in ROWS]
    assert not found.failed


def test_it_tells_of_rebalancing_in_its_own_time_what_it_makes(tmp_path: Path) -> None:
    data = ROOT / "tests" / "backtest" / "data" / "eur-usd.csv"
    (one,) = studied(tmp_path, data, {"half": ("rebalance", '{weight: "0.5"}')}).instances
    amounts = [one.run.equity, one.costs_doubled, one.buy_and_hold, one.run.max_drawdown]
    words = " ".join(GUIDE.split())
    said = re.search(r"it made (\S+) dollars, (\S+) at twice the costs, beside (\S+) for .* fell by (\S+) on", words)
    deflated = re.search(r"deflated, (\S+) after one trial", words)
    assert said is not None
    assert deflated is not None
    assert f"{one.deflated:.2f}" == deflated[1]
    assert len(one.run.orders) == 1
    assert [f"{amount:,.0f}" for amount in amounts] == list(said.groups())

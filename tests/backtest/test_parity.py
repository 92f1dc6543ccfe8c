"""Live and backtest are one engine: the example strategies on the paper exchange, and over its recorded quotes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from reconciler.backtest.dataset import look_through
from reconciler.backtest.rows import data_files
from reconciler.backtest.simulation import RunPlan, run
from reconciler.backtest.tape import Costs
from reconciler.clock import SimulatedClock, SystemClock
from reconciler.inline import Still, inline_engine, paper_exchange
from reconciler.orders.order import Order, decimal_text
from reconciler.records.mode import Mode
from reconciler.settings.loading import load
from reconciler.sources.worktree import Worktree, WorktreeOptions

ROOT = Path(__file__).parents[2]
START_S, HOURS = 1_767_268_800.0, 1
"""2026-01-01, noon."""
LOOKED_BACK_S = 7_200
RECORD = """id: {id}
strategy_type: {type}
account: {{account_id: {id}, client_id: a}}
market: {market}
mode: observe
config: {config}
"""
FLEET = {
    "ladder": ("grid", "BTC/USD", '{quantity: "0.01", levels: 3, spacing: "0.0005", price_step: "0.1"}'),
    "buyer": ("dca", "EUR/USD", '{notional: "100", every_minutes: 1, quantity_step: "0.01"}'),
    "crosser": ("sma_cross", "EUR/USD", '{quantity: "500", fast: 2, slow: 5, timeframe: 1m}'),
    "maker": ("market_maker", "BTC/USD", '{quantity: "0.1", max_inventory: "0.5", half_spread: "0.0004"}'),
}


class Told(NamedTuple):
    """All of an order but its ids."""

    placed: str
    asked: str
    became: str


def told(orders: Sequence[Order]) -> list[Told]:
    found = []
    for order in orders:
        request = order.request
        prices = [request.limit_price, request.stop_price, request.quantity]
        asked = " ".join([request.side, request.type, *(decimal_text(one) for one in prices if one is not None)])
        average = None if order.average_price is None else decimal_text(order.average_price)
        became = f"{order.outcome} {order.state} {decimal_text(order.filled_quantity)} at {average} {order.reason}"
        found.append(Told(order.created_at.isoformat(), asked, became))
    return found


def fleet(root: Path) -> Path:
    (root / "instances").mkdir()
    shutil.copytree(ROOT / "strategies", root / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    for id, (type, market, config) in FLEET.items():
        text = RECORD.format(id=id, type=type, market=market, config=config)
        (root / "instances" / f"{id}.yaml").write_text(text, encoding="utf-8")
    (root / "reconciler.yaml").write_text("paper: {fills: next}\n", encoding="utf-8")
    return root


def test_an_hour_of_the_example_strategies_is_the_same_on_the_exchange_and_over_its_quotes(tmp_path: Path) -> None:
    root = fleet(tmp_path)
    settings, clock = load(root, {}), SimulatedClock(START_S)
    snapshot = Worktree(root, SystemClock(), WorktreeOptions()).read()
    end_s = START_S + HOURS * 3_600
    with paper_exchange(settings, clock) as exchange:
        prices, lines = exchange._prices, ["time,symbol,bid,ask"]
        for step in range(prices.step_at(START_S - LOOKED_BACK_S), prices.step_at(end_s) + 1):
            for symbol in ("BTC/USD", "EUR/USD"):
                quote = prices.quote(symbol, step)
                lines.append(f"{quote.as_of.isoformat()},{symbol},{quote.bid},{quote.ask}")
        data = root / "quotes.csv"
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        with inline_engine(settings, clock, exchange, Still(snapshot), mode=Mode.ACTIVE) as engine:
            assert not engine.problems()
            engine.run(end_s)
            ledger = engine.store.ledger
            live = {id: told(list(reversed(ledger.recent(id, 10_000, shadow=False)))) for id in FLEET}
            books = {id: ledger.holding(id, market, False) for id, (_, market, _) in FLEET.items()}
    dataset = look_through(data_files([data]), START_S)
    assert dataset.problems == ()
    replayed = run(RunPlan(root, snapshot, dataset, {}, Costs(), ""))
    assert {one.id: told(one.orders) for one in replayed.instances} == live
    assert {one.id: one.holding for one in replayed.instances} == books
    assert sum(map(len, live.values())) > 100
    assert all(any("filled" in one.became for one in orders) for id, orders in live.items() if id != "crosser")
    assert Decimal(0) < books["buyer"].quantity

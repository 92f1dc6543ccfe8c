"""A beat of an engine that runs inline: one instance of a trivial strategy, all that a beat is included.

Each beat is due, and asks for the price. Nothing is jumped over.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import process_time

from reconciler.clock import SimulatedClock
from reconciler.inline import inline_engine, paper_exchange
from reconciler.settings.loading import load
from reconciler.sources.worktree import Worktree, WorktreeOptions
from tests.bench.result import Result

START_S = 1_767_225_600.0
BEATS = 20_000
GOAL = 1_000_000
STRATEGY = """
from reconciler.strategy import Strategy

class Trivial(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object"}

    def on_tick(self):
        self.context.market.quote()
"""
RECORD = """
id: one
strategy_type: trivial
account: {account_id: main, client_id: desk}
market: EUR/USD
mode: active
config: {}
"""


def measure() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for path, text in (("strategies/trivial.py", STRATEGY), ("instances/one.yaml", RECORD)):
            (root / path).parent.mkdir()
            (root / path).write_text(text, encoding="utf-8")
        took_s = _took_s(root)
    a_minute = 60 / took_s
    return Result(
        work="a beat of an engine that runs inline",
        to_reach=f"≥ {GOAL:,} due beats a minute and core",
        figure=f"{a_minute:,.0f}, {took_s * 1e6:.0f} µs each",
        ok=a_minute >= GOAL,
        note=f"one instance that asks for the price at each of {BEATS:,} beats; CPU time; no order is placed",
    )


def _took_s(root: Path) -> float:
    """CPU seconds that a beat takes."""
    settings, clock = load(root, {}), SimulatedClock(START_S)
    with (
        paper_exchange(settings, clock) as exchange,
        inline_engine(settings, clock, exchange, Worktree(root, clock, WorktreeOptions())) as engine,
    ):
        engine.run(START_S + 600)
        began_s, fired = process_time(), engine.beats
        engine.run(clock.time() + BEATS * settings.heartbeat_seconds)
        took_s = (process_time() - began_s) / (engine.beats - fired)
        assert engine.beats - fired == BEATS
        assert engine.host.ticks().errors == 0
        return took_s


if __name__ == "__main__":
    print(measure())

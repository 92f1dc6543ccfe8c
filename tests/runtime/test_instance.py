"""What a running instance weighs."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING

from reconciler.strategy.base import Strategy
from reconciler.strategy.widgets import metric

if TYPE_CHECKING:
    from tests.runtime.conftest import Stage

COUNT = 300


class Small(Strategy):
    def init(self) -> None:
        self.centre = self.config["levels"]

    def on_tick(self) -> None:
        self.context.log.info("ticked")

    def render(self) -> list[dict[str, object]]:
        return [metric("centre", "Centre", self.centre)]


def test_a_running_instance_takes_at_most_8_kib_all_told(stage: Stage) -> None:
    """With its record's row, gate, context, state, view, a widget and a log line."""
    stage.load(Small, stage.row("warm", config={"levels": 1, "ladder": {"rungs": [1, 2, 3]}}))
    stage.tick("warm")
    stage.settle("warm")
    gc.collect()
    tracemalloc.start()
    try:
        rows = [
            stage.row(f"i-{n}", config={"levels": n, "ladder": {"rungs": [1, 2, 3]}}, generation=n)
            for n in range(COUNT)
        ]
        before, _ = tracemalloc.get_traced_memory()
        for row in rows:
            stage.ask(Small, row)
        stage.until(lambda: len(stage.reports) == COUNT + 1)
        for row in rows:
            stage.settle(row.id)
        stage.beat()
        for row in rows:
            stage.settle(row.id)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stage.facts("i-7").ticks.count == 1
    each = (after - before) / COUNT
    assert each <= 8 * 1024
    assert each > 512, "nothing was measured"

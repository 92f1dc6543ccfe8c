"""kill -9 with an order on its way, and the next engine, which cannot learn what became of it: only a person can say.

Until then its instance opens nothing, though it tries at every beat; its own cancels pass, and others trade on.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.proof.workbench import Bench, until

STRATEGY = """\
from reconciler.strategy import Strategy


class Turnover(Strategy):
    \"\"\"Leaves an order resting far below the market, then cancels what rested before: at every beat.\"\"\"

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object", "additionalProperties": False}

    def on_tick(self):
        before = self.context.orders.open()
        self.context.orders.place("buy", "0.25", type="limit", limit_price="0.5")
        for order in before:
            if order.outcome == "accepted":
                self.context.orders.cancel(order.client_order_id)
"""
NEVER_S = 3600.0
BEATS = 5
FOUND = {
    "pending": ("trading/append.after:2",),
    "unknown": ("trading/append.after:2", "recovering/mark.after:1"),
}
"""What the next engine finds at its start, and where the ones before it die."""


@pytest.mark.parametrize("found", FOUND)
def test_an_order_found_in_doubt_at_a_start_blocks_its_instance_and_no_other_until_it_is_resolved(
    found: str, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, STRATEGY, {"trader": "active", "neighbour": "observe"})
    with bench.exchange(), bench.engines(spread_s=NEVER_S) as engines:
        for number, point in enumerate(FOUND[found]):
            engines.start(point, *(["--adopt"] if number == 0 else []))
            assert engines.ended() == -signal.SIGKILL
        (doubted,) = [row["client_order_id"] for row in bench.rows("trader") if row["outcome"] == found]
        (resting,) = [row["client_order_id"] for row in bench.rows("trader") if row["state"] == "open"]
        sent = bench.sent()
        assert doubted not in sent

        bench.write("neighbour", "active")  # not before: a kill could leave an order of its own in doubt
        pid = engines.start("")
        until(lambda: refused(bench) >= BEATS, "the instance to try to place orders")
        until(lambda: state(bench, resting) == "cancelled", "its own order to be cancelled")
        until(lambda: len(bench.sent("neighbour")) >= BEATS, "its neighbour to trade")
        assert state(bench, doubted, "outcome") == "unknown"
        assert bench.sent("trader") == sent

        bench.run("orders", "resolve", doubted, "--as", "rejected", "--reason", "not in the exchange's history")
        until(lambda: len(bench.sent("trader")) >= len(sent) + BEATS, "the instance to trade again")
        os.kill(pid, signal.SIGTERM)
        assert engines.ended() == 0
        assert state(bench, doubted, "outcome") == "rejected"
        bench.compare(at_most=0)


def refused(bench: Bench) -> int:
    """How often the doubt kept an order of the instance in."""
    return sum(row["repeats"] for row in bench.rows("trader") if row["reason"].startswith("UnknownOrder"))


def state(bench: Bench, client_order_id: str, column: str = "state") -> object:
    (told,) = [row[column] for row in bench.rows("trader") if row["client_order_id"] == client_order_id]
    return told

"""kill -9 at every write and every send around an order: the real engine against an exchange that lives on.

Every engine here kills itself at one point; the next one takes up what it left, and dies at the next point. A kill
leaves at most one order on which ledger and exchange differ, and none once the next engine has asked.
"""

from __future__ import annotations

import inspect
import os
import signal
from pathlib import Path

import pytest

from tests.proof import killable
from tests.proof.workbench import Bench, until

STRATEGY = """\
from reconciler.strategy import Strategy


class Turnover(Strategy):
    \"\"\"Cancels what rests, buys, leaves an order resting far below the market, is refused one: at every beat.\"\"\"

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object", "additionalProperties": False}

    def on_tick(self):
        for order in self.context.orders.open():
            self.context.orders.cancel(order.client_order_id)
        self.context.orders.place("buy", "0.1")
        self.context.orders.place("buy", "0.25", type="limit", limit_price="0.5")
        self.context.orders.place("sell", "1000", reduce_only=True)
"""

WRITES = ("before", "within", "after")
POINTS = (
    *(f"recovering/keep.{when}:1" for when in WRITES),  # what the account holds when it is compared first
    *(f"trading/append.{when}:{n}" for n in (1, 2) for when in WRITES),
    *(f"trading/place_order.{when}:{n}" for n in (1, 2) for when in ("before", "after")),
    *(f"trading/settle.{when}:{n}" for n in (1, 2, 3) for when in WRITES),
    *(f"trading/cancel_order.{when}:1" for when in ("before", "after")),
    *(f"trading/refuse.{when}:1" for when in WRITES),
    *(f"recovering/{send}.{when}:1" for send in ("list_orders", "get_positions") for when in ("before", "after")),
    # Each of these leaves an order in doubt for those that die recovering:
    "trading/place_order.after:1",
    *(f"recovering/mark.{when}:1" for when in WRITES),
    *(f"recovering/get_order.{when}:1" for when in ("before", "after")),
    *(f"recovering/settle.{when}:1" for when in WRITES),
    "trading/append.after:1",
    *(f"recovering/get_order.{when}:2" for when in ("before", "after")),
    *(f"recovering/settle.{when}:1" for when in WRITES),
)
"""In the order in which they are died at."""
BY_HAND = {"correct", "move", "resolve", "settle_strays"}
"""Writes at the word of people, which no engine makes by itself: one transaction each, of which nothing is sent."""


def test_every_write_to_the_ledger_has_its_kill_points() -> None:
    """A write that is added is to be died at, too."""
    methods = [one for owner in killable.OWNERS for one in vars(owner).items()]
    writes = {
        name for name, method in methods if "_writer.write" in _source(method) or "_writer.submit" in _source(method)
    }
    assert writes - BY_HAND == set(killable.WRITES)
    assert {step for step, _ in killable.WRITES.values()} == {
        point.partition("/")[2].partition(".")[0] for point in POINTS if ".within" in point
    }


def _source(method: object) -> str:
    return inspect.getsource(method) if inspect.isfunction(method) else ""


@pytest.mark.timeout(180)
def test_a_kill_at_any_write_or_send_loses_no_order_and_sends_none_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path, STRATEGY, {"trader": "active", "watcher": "observe"})
    with bench.exchange(), bench.engines() as engines:
        for point in POINTS:
            engines.start(point, *(["--adopt"] if point is POINTS[0] else []))
            assert engines.ended() == -signal.SIGKILL, point
            bench.compare(at_most=1)
        pid, sent = engines.start(""), len(bench.sent())
        until(lambda: len(bench.sent()) > sent, "the last engine to trade on")
        bench.write("trader", "observe")
        until(lambda: bench.ledger() == bench.taken(), "ledger and exchange to agree")
        os.kill(pid, signal.SIGTERM)
        assert engines.ended() == 0
        bench.compare(at_most=0)
        assert bench.told("LedgerBehind") == [], "no kill loses a row, and none is taken to have"
        assert bench.shadows()
        assert len(bench.taken()) > len(POINTS) // 2

"""kill -9 at every write and every send around an order: the real engine against an exchange that lives on.

Every engine here is a process of its own that kills itself at one point (see `killable.py`); the next one takes up
what it left, and dies at the next point. A kill leaves at most one order on which ledger and exchange differ, and
none once the next engine has asked.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import pytest

from reconciler.clock import SystemClock
from reconciler.execution.paper.journal import Journal
from reconciler.records.order import Outcome
from reconciler.store.reader import Reader

KILLABLE = Path(__file__).with_name("killable.py")
CLOCK = SystemClock()
LONGEST_S = 20.0

STRATEGY = """\
from reconciler.strategy import Strategy


class Turnover(Strategy):
    \"\"\"Cancels what rests, buys at the market, and leaves an order resting far below it: at every beat.\"\"\"

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {"type": "object", "additionalProperties": False}

    def on_tick(self):
        for order in self.context.orders.open():
            self.context.orders.cancel(order.client_order_id)
        self.context.orders.place("buy", "0.1")
        self.context.orders.place("buy", "0.25", type="limit", limit_price="0.5")
"""
INSTANCE = """\
id: {id}
strategy_type: turnover
account: {{account_id: main, client_id: desk-a}}
market: EUR/USD
mode: {mode}
config: {{}}
"""
SETTINGS = """\
heartbeat_seconds: 0.1
exec_mcp:
  paper:
    transport: {{kind: http, url: "{url}"}}
    accounts: {{main: {{money: paper}}}}
"""

WRITES = ("before", "within", "after")
POINTS = (
    *(f"trading/append.{when}:{n}" for n in (1, 2) for when in WRITES),
    *(f"trading/place_order.{when}:{n}" for n in (1, 2) for when in ("before", "after")),
    *(f"trading/settle.{when}:{n}" for n in (1, 2, 3) for when in WRITES),
    *(f"trading/cancel_order.{when}:1" for when in ("before", "after")),
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


class Known(NamedTuple):
    """What one side says of an order: None where it does not know it."""

    state: str | None
    filled: Decimal


class Bench:
    """A fleet in a folder, and the exchange that it trades on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.journal = root / "exchange.journal"
        self.placed = root / "placed"
        self.placed.touch()
        (root / "strategies").mkdir()
        (root / "strategies" / "turnover.py").write_text(STRATEGY)
        (root / "instances").mkdir()
        self.write("trader", "active")
        self.write("watcher", "observe")

    def write(self, id: str, mode: str) -> None:
        (self.root / "instances" / f"{id}.yaml").write_text(INSTANCE.format(id=id, mode=mode))

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """The paper exchange, for as long as it is needed; the settings say where."""
        options = ["--port", "0", "--state", str(self.journal), "--step-seconds", "600"]
        with _process(self.root, "-m", "reconciler", "paper", *options) as paper:
            assert paper.stdout is not None
            url = next(found[0] for line in paper.stdout if (found := re.findall(r'http://[^"]+', line)))
            (self.root / "reconciler.yaml").write_text(SETTINGS.format(url=url))
            yield

    @contextmanager
    def engines(self) -> Iterator[Engines]:
        with _process(self.root, str(KILLABLE)) as process:
            yield Engines(process, self.root)

    def ledger(self) -> dict[str, Known]:
        """All real orders of the ledger that were, or may have been, taken."""
        with closing(Reader.open(self.root / ".reconciler" / "reconciler.db")) as reader:
            items, total = reader.orders(shadow=False, limit=1_000)
        assert total == len(items)
        return {
            item["client_order_id"]: Known(item["state"], Decimal(item["filled_quantity"]))
            for item in items
            if item["outcome"] != Outcome.REJECTED
        }

    def shadows(self) -> set[str]:
        with closing(Reader.open(self.root / ".reconciler" / "reconciler.db")) as reader:
            return {item["client_order_id"] for item in reader.orders(shadow=True, limit=1_000)[0]}

    def taken(self) -> dict[str, Known]:
        """All orders that the exchange ever took, as they are now; from a copy of its journal, which it holds."""
        copy = self.root / "copy.journal"
        copy.write_bytes(self.journal.read_bytes())
        with closing(Journal(copy)) as journal:
            return {
                order.ticket.client_order_id: Known(order.state, sum((f.quantity for f in order.fills), Decimal(0)))
                for order in journal.changes()
            }

    def sent(self) -> Counter[str]:
        return Counter(self.placed.read_text().split())

    def compare(self, at_most: int) -> None:
        """Both sides agree on all orders but `at_most`; none was sent twice, none unwritten, no shadow at all."""
        taken, sent = self.taken(), self.sent()
        ledger, shadows = self.ledger(), self.shadows()
        assert set(sent.values()) <= {1}
        assert not shadows & (sent.keys() | taken.keys())
        assert taken.keys() <= ledger.keys()
        assert taken.keys() <= sent.keys()
        differing = {id: (known, taken.get(id)) for id, known in ledger.items() if known != taken.get(id)}
        assert len(differing) <= at_most, differing


class Engines:
    """One engine after the other, on the fleet of a bench."""

    def __init__(self, process: subprocess.Popen[str], root: Path) -> None:
        self._process = process
        self._root = root

    def start(self, point: str, *flags: str) -> int:
        """Start one that will die at `point`; its pid."""
        assert self._process.stdin is not None
        command = [point, "--root", str(self._root), "run", "--port", "0", *flags]
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self._told()

    def ended(self) -> int:
        """The status of the one that was started last, once it has ended."""
        return self._told()

    def _told(self) -> int:
        """The next line, which is all there is: nothing is left behind in a buffer."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], LONGEST_S)
        assert readable, f"expected an engine to start, or end, within {LONGEST_S:g} s"
        return int(self._process.stdout.readline())


@contextmanager
def _process(root: Path, *command: str) -> Iterator[subprocess.Popen[str]]:
    """A process with pipes; it and what it started are ended afterwards, however it goes."""
    environment = {**os.environ, "PLACED": str(root / "placed"), "PYTHONPATH": str(KILLABLE.parents[2])}
    with (root / "log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for `condition`, a while at most."""
    give_up_s, never = CLOCK.monotonic() + LONGEST_S, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < give_up_s, f"expected {what} within {LONGEST_S:g} s"
        CLOCK.wait(never, 0.02)


@pytest.mark.timeout(180)
def test_a_kill_at_any_write_or_send_loses_no_order_and_sends_none_twice(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
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
        assert bench.shadows()
        assert len(bench.taken()) > len(POINTS) // 2

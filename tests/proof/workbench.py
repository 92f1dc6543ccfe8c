"""Where engines are killed: a fleet in a folder, an exchange that lives on, one engine process after the other.

Every engine is a process of its own that kills itself at one point (see `killable.py`).
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from reconciler.clock import SystemClock
from reconciler.orders.order import Outcome, prefix
from reconciler.paper.mcp_server import Journal
from reconciler.store.reader import Reader

KILLABLE = Path(__file__).with_name("killable.py")
CLOCK = SystemClock()
LONGEST_S = 60.0

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


class Known(NamedTuple):
    """What one side says of an order: None where it does not know it."""

    state: str | None
    filled: Decimal


class Bench:
    """A fleet in a folder, whose instances all run one strategy, and the exchange that it trades on."""

    def __init__(self, root: Path, strategy: str, modes: Mapping[str, str]) -> None:
        self.root = root
        self.journal = root / "exchange.journal"
        self.placed = root / "placed"
        self.placed.touch()
        (root / "strategies").mkdir()
        (root / "strategies" / "turnover.py").write_text(strategy)
        (root / "instances").mkdir()
        for id, mode in modes.items():
            self.write(id, mode)

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
    def engines(self, spread_s: float = 0.2) -> Iterator[Engines]:
        """Engines to which three answers over `spread_s` say that there is no such order."""
        with _process(self.root, str(KILLABLE), str(spread_s)) as process:
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

    def told(self, reason: str) -> list[str]:
        """The messages of those events."""
        with closing(Reader.open(self.root / ".reconciler" / "reconciler.db")) as reader:
            return [str(item["message"]) for item in reader.events(limit=10_000)[0] if item["reason"] == reason]

    def rows(self, instance_id: str) -> list[dict[str, Any]]:
        """Its real orders, as the ledger has them, newest first."""
        with closing(Reader.open(self.root / ".reconciler" / "reconciler.db")) as reader:
            return [dict(item) for item in reader.orders(instance_id=instance_id, shadow=False, limit=1_000)[0]]

    def sent(self, instance_id: str = "") -> Counter[str]:
        """How often each order was sent: of all instances, or of one."""
        begins = prefix(instance_id) if instance_id else ""
        return Counter(id for id in self.placed.read_text().split() if id.startswith(begins))

    def run(self, *command: str) -> str:
        """`reconciler …` on the fleet, beside whatever engine runs; what it prints."""
        words = [sys.executable, "-m", "reconciler", "--root", str(self.root), *command]
        environment = {**os.environ, "PYTHONPATH": str(KILLABLE.parents[2])}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=LONGEST_S)
        assert done.returncode == 0, done.stderr
        return done.stdout

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

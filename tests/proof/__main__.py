"""`make kill`: kill -9 a thousand times over, at every write and send in turn and at moments that nobody chose.

KILLS says how often. After each, ledger and exchange differ on one order at most; none was sent twice, none is lost, no
simulated one left. At the end an engine runs on, and they differ on none. Prints what it did; exit code 0 where all
held.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

from tests.proof.test_kill import POINTS, STRATEGY
from tests.proof.workbench import CLOCK, Bench, until

KILLS = int(os.environ.get("KILLS", "1000"))
SEED = int(os.environ.get("SEED", "1"))
LONGEST_LIFE_S = 2.0
CHANCE = ""
"""From outside, at any moment between the start and the first orders."""
ROUND = (*POINTS, *[CHANCE] * (len(POINTS) // 3))
"""The kills on one fleet, in their order: points of recovery need what the ones before them left in doubt."""


def main() -> int:
    began_s, chance = CLOCK.monotonic(), random.Random(SEED)
    done = placed = by_chance = 0
    while done < KILLS:
        with tempfile.TemporaryDirectory(prefix="kill-") as folder:
            bench = Bench(Path(folder), STRATEGY, {"trader": "active", "watcher": "observe"})
            with bench.exchange(), bench.engines() as engines:
                for number, point in enumerate(ROUND[: KILLS - done]):
                    pid = engines.start(point, *(["--adopt"] if number == 0 else []))
                    if point == CHANCE:
                        CLOCK.wait(threading.Event(), chance.uniform(0, LONGEST_LIFE_S))
                        os.kill(pid, signal.SIGKILL)
                        by_chance += 1
                    assert engines.ended() == -signal.SIGKILL, f"kill {done + 1}: {point or 'by chance'}"
                    bench.compare(at_most=1)
                    done += 1
                _run_on(bench, engines.start(""))
                assert engines.ended() == 0
                bench.compare(at_most=0)
                placed += len(bench.sent())
            with closing(sqlite3.connect(Path(folder) / ".reconciler" / "reconciler.db")) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        print(f"{done:>5} kills, {placed} orders sent, none twice, none lost", flush=True)
    spent_s = CLOCK.monotonic() - began_s
    print(f"all held: {done} kills ({by_chance} of them by chance, seed {SEED}) in {spent_s:.0f} s")
    return 0


def _run_on(bench: Bench, pid: int) -> None:
    """The last engine trades on, settles what was left in doubt, and is asked to end."""
    sent = len(bench.sent())
    until(lambda: len(bench.sent()) > sent, "the last engine to trade on")
    bench.write("trader", "observe")
    until(lambda: bench.ledger() == bench.taken(), "ledger and exchange to agree")
    os.kill(pid, signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())

"""A cold start of 10,000 instances: from starting the process until all of them are Healthy.

A real `python -m reconciler run` on files made for the purpose, of a strategy that ships with the project, first
without a database, where each file is judged, then, started again, with the one the first start left behind, where
none is. Python finds its bytecode, as in every installation. `python -m tests.bench.coldstart`

Where the processor's time goes of a start with a database, of some 3 s on one core of a small, busy machine: importing
the engine's modules 0.5, rows out of the database 0.3, reading and hashing files 0.25, recognising them 0.1, admission
and plan 0.15, asking for loads 0.1, the loads themselves 0.7 (half of it: looking, after each `init`, whether it
changed anything of the process), opening servers and page 0.2; beside it whoever asks how many are Healthy, ten times
a second, has 0.5. Without a database judging takes 0.7 and writing 0.4 more. All of that shares one interpreter: of
the second core no more is used than what reads, writes and hashes leaves to it. Tried, and of no use: threads that
hand over less often. One worker instead of four spares a third of the loads' time, but holds up all where one `init`
waits for something.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from reconciler.cli.output import Failure
from reconciler.cli.place import Engine, NoEngine
from tests.bench.result import Result

INSTANCES = 10_000
GOAL_S = 1.5
STRATEGIES = Path(__file__).parents[2] / "strategies"

_EVERY_S = 0.1
_LONGEST_S = 60.0

_INSTANCE = """\
id: {id}
strategy_type: sma_cross
account: {{account_id: main, client_id: desk-{desk}}}
market: EUR/USD
mode: observe
config:
  quantity: "1000"
  fast: {fast}
"""


def measure() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        root, one = Path(folder, "fleet"), Path(folder, "one")
        make_fleet(one, 1)
        start(one, 1)  # writes the bytecode, and has the disk's pages in memory
        make_fleet(root)
        first, again = start(root), start(root)
    return Result(
        work=f"cold start of {INSTANCES:,} instances",
        to_reach=f"≤ {GOAL_S:g} s to all loaded",
        figure=f"{first.loaded_s:.2f} s",
        ok=first.loaded_s <= GOAL_S,
        note="whole process, empty database, until all are loaded; until all are Healthy, which they are once their "
        f"exchange is connected: {first.healthy_s:.2f} s; started again: {again.loaded_s:.2f} s, "
        f"{again.healthy_s:.2f} s",
    )


class Start(NamedTuple):
    """Seconds from starting an engine until all are loaded, and until it counts all as Healthy."""

    loaded_s: float
    healthy_s: float


def make_fleet(root: Path, instances: int = INSTANCES) -> None:
    shutil.copytree(STRATEGIES, root / "strategies", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "instances").mkdir()
    for number in range(instances):
        instance_id = f"sma-{number}"
        text = _INSTANCE.format(id=instance_id, desk=number % 7, fast=number % 10 + 2)
        (root / "instances" / f"{instance_id}.yaml").write_text(text)


def start(root: Path, instances: int = INSTANCES) -> Start:
    """Start an engine, and stop it again once every instance is Healthy.

    That all are loaded it says itself; it is asked for nothing before: who asks takes from it what it needs.
    """
    environment = {**os.environ, "RECONCILER_HEARTBEAT_SECONDS": "3600", "RECONCILER_DASHBOARD_PORT": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = (sys.executable, "-m", "reconciler", "--root", str(root), "run")
    began = perf_counter()
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said = next((line for line in process.stderr if "fleet loaded" in line), "")
            loaded_s = perf_counter() - began
            if f"instances={instances}\n" not in said:
                raise AssertionError(f"expected all {instances:,} to be loaded, was {said!r}")
            threading.Thread(target=process.stderr.read, daemon=True).start()  # whatever else it says
            engine = Engine(root / ".reconciler" / "control.sock")
            pause = threading.Event()
            while healthy(engine) < instances:
                if process.poll() is not None or perf_counter() - began > _LONGEST_S:
                    raise AssertionError(f"expected all {instances:,} to be Healthy, were {healthy(engine):,}")
                pause.wait(_EVERY_S)
            return Start(loaded_s, perf_counter() - began)
        finally:
            process.terminate()


def healthy(engine: Engine) -> int:
    """How many instances the engine counts as Healthy; none while it is not there yet."""
    try:
        return int(engine.get("/api/v1/engine")["counts"]["Healthy"])
    except (NoEngine, Failure):
        return 0


if __name__ == "__main__":
    print(measure())

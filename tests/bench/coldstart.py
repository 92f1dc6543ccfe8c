"""A cold start of 10,000 instances: from starting the process until all of them are loaded.

A real `python -m reconciler run` on files made for the purpose, of a strategy that ships with the project, first
without a database, where each file is judged, then, started again, with the one the first start left behind, where
none is. Python finds its bytecode, as in every installation. `python -m tests.bench.coldstart`

Where the time goes is told by `python -m tests.bench.startprofile`, step by step. On a small machine with two cores,
without a database, seconds of processor's time: Python and the engine's modules 0.43 (a third of it makes the methods
of dataclasses), files read and hashed 0.25 to 0.33, judged 0.48, admitted 0.07, rows made into columns 0.20, written
0.28, loads asked for 0.11, instances made 0.17, a look after each `init` whether it changed anything of the process
0.25, what else is noted of each load, and the plan, 0.35. With a database: rows out of it 0.25, what was attempted with
files 0.05, files 0.28, recognised 0.09, admitted 0.14, and the loads as before. All of it but half of the writing, and
what the system does, shares one interpreter: 2.4 s and 2.2 s are the floor of this process as it is.

Above it, at rest: the first plan after the loads took 0.5 s for 0.08 s of work. The worker beside it lets go of the
interpreter at every look, for a moment too short for anybody else to take it; and it draws already. To draw only once
all have settled, or to look without letting go, is not done yet.

Tried, and kept: one worker while loads are quick spares half of their time, and so does asking for all of them before
the first begins; a glance ten times a second at what came, instead of for each, 0.4 s; to note since when each has been
as it is after all have settled, 0.3 s to 0.5 s. Tried, and of no use: threads that hand over less often; to write rows
while those after them are made. Reckoned: judging half of the files in another process spares 0.14 s of 0.48, for what
it finds is packed there and unpacked here, measured at 16 to 30 µs each, beside 50 µs for judging.
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

"""`make soak`: a large fleet for minutes, its files edited all the time, and what that does to the process.

SOAK_INSTANCES (2,000), SOAK_SECONDS (600) and SOAK_EDITS (10 a second) say how large, how long and how busy; SEED what
is edited. One in forty instances is active, one in forty fails at random. Edits are modes, configs, descriptions,
broken and removed files, and code, good and bad. Printed each tenth of the time: memory, threads, descriptors, ticks,
missed ones, the database and its log. Exit code 0 where memory, threads and descriptors are flat, that is in the last
third as in the one before, but for what chance makes; where the page always answered, and SIGTERM ended the engine.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.proof.workbench import CLOCK

INSTANCES = int(os.environ.get("SOAK_INSTANCES", "2000"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
EDITS_PER_S = float(os.environ.get("SOAK_EDITS", "10"))
SEED = int(os.environ.get("SEED", "1"))
LOOKS = 10
ONE_IN = 40
"""So few are active, and so few fail."""
MORE_MEMORY, MORE_MIB = 1.15, 16.0
"""What the last looks may have more than those a third of the way in: interpreters take memory in pieces."""
MORE_THREADS, MORE_DESCRIPTORS = 8, 16
START_S = 120.0

STRATEGY = '''\
"""Version VERSION."""
import random

from reconciler.strategy import Strategy, metric


class Soaks(Strategy):
    """Counts, and fails or trades where it is told to."""

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {
        "type": "object",
        "properties": {"fails": {"type": "boolean", "default": False}, "note": {"type": "string", "default": ""}},
        "additionalProperties": False,
    }

    def init(self):
        self.ticks = 0

    def on_tick(self):
        self.ticks += 1
        if self.config["fails"] and random.random() < 0.3:
            raise RuntimeError("as it was told to")
        if self.context.instance.mode == "active" and self.ticks % 20 == 1:
            self.context.orders.place("buy" if self.ticks % 40 == 1 else "sell", "0.01")

    def render(self):
        return [metric("ticks", "Ticks", self.ticks)]
'''


class Look(NamedTuple):
    """The process at one moment."""

    at_s: float
    memory_mib: float
    threads: int
    descriptors: int
    ticks: int
    missed: int
    database_mib: float
    log_mib: float


class Soak:
    """A fleet in a folder and the engine on it. `edit` changes one file as somebody might."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.random = random.Random(SEED)
        self.edits = 0
        self.unanswered: list[str] = []
        self._version = 0
        self._port = 0
        for name in ("instances", "strategies"):
            (root / name).mkdir()
        (root / "reconciler.yaml").write_text("heartbeat_seconds: 0.5\ndashboard: {port: 0}\n")
        self._code()
        for number in range(INSTANCES):
            self._write(number)

    def _path(self, number: int) -> Path:
        return self.root / "instances" / f"soak-{number}.yaml"

    def _put(self, path: Path, text: str) -> None:
        """As editors save: no half of a file is ever seen."""
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(text)
        beside.replace(path)

    def _write(self, number: int, **changes: Any) -> None:
        record = {
            "id": f"soak-{number}",
            "strategy_type": "soaks",
            "account": {"account_id": "main", "client_id": "desk"},
            "market": "EUR/USD",
            "mode": "active" if number % ONE_IN == 0 else "observe",
            "config": {"fails": number % ONE_IN == 1},
            **changes,
        }
        self._put(self._path(number), json.dumps(record))

    def _code(self, more: str = "") -> None:
        self._version += 1
        self._put(self.root / "strategies" / "soaks.py", STRATEGY.replace("VERSION", str(self._version)) + more)

    def edit(self) -> None:
        number, chance = self.random.randrange(INSTANCES), self.random.random()
        self.edits += 1
        if chance < 0.25:
            self._write(number, description=f"edited {self.edits} times")
        elif chance < 0.5:
            self._write(number, config={"fails": False, "note": str(self.edits)})
        elif chance < 0.7:
            self._write(number, mode=self.random.choice(["off", "observe"]))
        elif chance < 0.8:
            self._write(number)
        elif chance < 0.9:
            self._put(self._path(number), f"id: soak-{number}\nmode: [\n")
        elif chance < 0.97:
            self._path(number).unlink(missing_ok=True)
        elif chance < 0.985:
            self._write(number, config={"unknown": True})
        elif chance < 0.995:
            self._code()
        else:
            self._code("\n\nimport nothing_that_is_installed\n")

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "reconciler", "--root", str(self.root), "run", "--adopt"]
        with (self.root / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def answers(self) -> bool:
        """Whether the fleet's page comes; what does not is kept."""
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._found_port(), timeout=20)
            connection.request("GET", "/")
            status = connection.getresponse().status
            connection.close()
        except (OSError, http.client.HTTPException) as error:
            self.unanswered.append(f"{type(error).__name__}: {error}")
            return False
        if status != 200:
            self.unanswered.append(f"status {status}")
        return status == 200

    def _found_port(self) -> int:
        if not self._port:
            line = next(line for line in (self.root / "log").read_text().splitlines() if "page=http" in line)
            self._port = int(line.partition("page=http://127.0.0.1:")[2].split()[0])
        return self._port

    def look(self, pid: int, at_s: float) -> Look:
        status = Path(f"/proc/{pid}/status").read_text()
        said = dict(line.split(":", 1) for line in status.splitlines())
        state = self.root / ".reconciler"
        ticks = self._ticks()
        return Look(
            at_s,
            int(said["VmRSS"].split()[0]) / 1024,
            int(said["Threads"]),
            len(os.listdir(f"/proc/{pid}/fd")),
            *ticks,
            (state / "reconciler.db").stat().st_size / 2**20,
            (self.root / "log").stat().st_size / 2**20,
        )

    def _ticks(self) -> tuple[int, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self._found_port(), timeout=20)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        found = [0, 0]
        for line in text.splitlines():
            for index, name in enumerate(("reconciler_ticks_total", "reconciler_ticks_missed_total")):
                if line.startswith(name):
                    found[index] = int(float(line.rsplit(" ", 1)[1]))
        return found[0], found[1]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder))
        print(f"{INSTANCES:,} instances, {SECONDS:g} s, {EDITS_PER_S:g} edits a second, seed {SEED}", flush=True)
        engine = soak.start()
        try:
            looks = _soaked(soak, engine)
            engine.send_signal(signal.SIGTERM)
            code = engine.wait(60)
        finally:
            if engine.poll() is None:
                engine.kill()
                engine.wait()
        faults = [*_growth(looks), *(f"the page did not answer: {one}" for one in soak.unanswered[:3])]
        faults += [f"the engine ended with {code}, expected 0"] if code else []
        print(f"{soak.edits:,} edits; {'; '.join(faults) or 'memory, threads and descriptors are flat'}")
        if faults:
            print((soak.root / "log").read_text()[-3_000:], file=sys.stderr)
        return 1 if faults else 0


def _soaked(soak: Soak, engine: subprocess.Popen[bytes]) -> list[Look]:
    never, give_up_s = threading.Event(), CLOCK.monotonic() + START_S
    while "fleet loaded" not in (log := (soak.root / "log").read_text()):
        assert engine.poll() is None, log
        assert CLOCK.monotonic() < give_up_s, f"expected the fleet to be loaded within {START_S:g} s: {log[-2_000:]}"
        CLOCK.wait(never, 0.1)
    print("at s  memory MiB  threads  descriptors     ticks    missed  database MiB  log MiB")
    began_s = CLOCK.monotonic()
    looks: list[Look] = []
    while (at_s := CLOCK.monotonic() - began_s) < SECONDS:
        if soak.edits < at_s * EDITS_PER_S:
            soak.edit()
        if at_s >= len(looks) * SECONDS / LOOKS and soak.answers():
            looks.append(_shown(soak.look(engine.pid, at_s)))
        assert engine.poll() is None, (soak.root / "log").read_text()[-3_000:]
        CLOCK.wait(never, 0.5 / EDITS_PER_S)
    return [*looks, _shown(soak.look(engine.pid, SECONDS))]


def _shown(one: Look) -> Look:
    print(
        f"{one.at_s:>4.0f}  {one.memory_mib:>10.1f}  {one.threads:>7}  {one.descriptors:>11}  {one.ticks:>8,}"
        f"  {one.missed:>8,}  {one.database_mib:>12.1f}  {one.log_mib:>7.2f}",
        flush=True,
    )
    return one


def _growth(looks: list[Look]) -> list[str]:
    """What there is more of in the last third than in the one before: of each the lowest, so that no peak counts."""
    third = max(1, len(looks) // 3)
    before, after = looks[third : 2 * third] or looks[:third], looks[-third:]
    faults = []
    bounds: dict[str, Callable[[float], float]] = {
        "memory_mib": lambda was: max(was * MORE_MEMORY, was + MORE_MIB),
        "threads": lambda was: was + MORE_THREADS,
        "descriptors": lambda was: was + MORE_DESCRIPTORS,
    }
    for name, bound in bounds.items():
        was, now = (min(getattr(one, name) for one in some) for some in (before, after))
        if now > bound(was):
            faults.append(f"{name} rose from {was:g} to {now:g}")
    return faults


if __name__ == "__main__":
    sys.exit(main())

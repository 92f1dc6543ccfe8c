"""Where the time of a cold start goes, by wall clock and by processor, step by step and thread by thread.

A real engine in this process, with a watch at the steps it takes; it ends once its fleet is loaded. What it prints is
of one start, of ten thousand instances without a database and of the same with one; the steps are told by the thread
that takes them, each without those within it. `python -m tests.bench.startprofile`
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn


class Step(NamedTuple):
    """One step that a thread took: when it began, seconds after the process, and what it took."""

    name: str
    thread: str
    began_s: float
    wall_s: float
    cpu_s: float


class Watch:
    """What was seen so far. Any thread may add to it."""

    def __init__(self, born_s: float) -> None:
        self._born_s = born_s
        self._within = threading.local()
        self.steps: list[Step] = []

    def now_s(self) -> float:
        """Since the process was started."""
        return time.time() - self._born_s

    def note(self, name: str, began_s: float, cpu_s: float) -> None:
        self.steps.append(Step(name, threading.current_thread().name, began_s, self.now_s() - began_s, cpu_s))

    def at(self, owner: Any, attribute: str, name: str) -> None:
        """Look at each call of it from now on."""
        call: Callable[..., Any] = getattr(owner, attribute)

        def seen(*arguments: Any, **options: Any) -> Any:
            within = self._within.__dict__.setdefault("stack", [])
            within.append([0.0, 0.0])
            began_s, cpu_s = self.now_s(), time.thread_time()
            try:
                return call(*arguments, **options)
            finally:
                took_s, spent_s = self.now_s() - began_s, time.thread_time() - cpu_s
                inner_s, inner_cpu_s = within.pop()
                if within:
                    within[-1][0] += took_s
                    within[-1][1] += spent_s
                thread = threading.current_thread().name
                self.steps.append(Step(name, thread, began_s, took_s - inner_s, spent_s - inner_cpu_s))

        setattr(owner, attribute, seen)

    def told(self) -> str:
        """A table: each step of each thread, its calls added up, in the order in which they first began."""
        found: dict[tuple[str, str], list[Step]] = {}
        for step in sorted(self.steps, key=lambda one: one.began_s):
            found.setdefault((step.name, step.thread), []).append(step)
        lines = [f"{'from':>6} {'wall':>6} {'cpu':>6} {'calls':>6}"]
        for (name, thread), steps in found.items():
            wall_s, cpu_s = sum(step.wall_s for step in steps), sum(step.cpu_s for step in steps)
            lines.append(f"{steps[0].began_s:6.2f} {wall_s:6.2f} {cpu_s:6.2f} {len(steps):6,} {thread}: {name}")
        used = resource.getrusage(resource.RUSAGE_SELF)
        lines.append(f"{self.now_s():6.2f} all loaded; processor: {used.ru_utime:.2f} s, system: {used.ru_stime:.2f} s")
        return "\n".join(lines)


def run(root: str, born_s: float) -> NoReturn:
    """An engine on the fleet at `root`, until it is loaded."""
    watch = Watch(born_s)
    watch.note("Python", 0.0, time.process_time())
    began_s, cpu_s = watch.now_s(), time.process_time()
    from reconciler import app
    from reconciler.control.controller import Controller
    from reconciler.control.observer import Observer
    from reconciler.runtime.host import ThreadHost
    from reconciler.runtime.performer import Performer
    from reconciler.runtime.process import Surroundings
    from reconciler.sources.worktree import Worktree
    from reconciler.store.desired import Desired
    from reconciler.store.store import Store
    from reconciler.store.writer import GroupWriter
    from reconciler.strategy.catalogue import Catalogue

    watch.note("importing the engine", began_s, time.process_time() - cpu_s)
    for owner, attribute, name in (
        (Store, "open", "opening the database"),
        (app, "assembled", "wiring"),
        (app, "rules", "a digest of what judges"),
        (app, "create_app", "the page"),
        (Desired, "rows", "rows out of the database"),
        (Desired, "attempts", "attempts out of the database"),
        (Worktree, "read", "reading and hashing files"),
        (Catalogue, "refresh", "importing strategies"),
        (Observer, "_evaluate_seen", "judging, or recognising what was judged"),
        (Observer, "_admit", "admission"),
        (Desired, "apply", "rows into columns, and waiting for the commit"),
        (GroupWriter, "_commit", "writing"),
        (Observer, "_remember", "remembering"),
        (Controller, "_plan", "the plan"),
        (ThreadHost, "load_all", "asking for loads"),
        (ThreadHost, "views", "looking who is loaded"),
        (Performer, "load", "making instances, `init`"),
        (Surroundings, "put_back", "looking whether `init` changed the process"),
        (Controller, "run_pass", "the rest of passes"),
    ):
        if attribute == "_evaluate_seen":
            _watch_judging(watch, Observer, name)
        else:
            watch.at(owner, attribute, name)

    def loaded() -> NoReturn:
        print(watch.told(), flush=True)
        os._exit(0)  # its database is not closed: the next start finds it as after a kill

    app.settle_memory = loaded
    sys.argv = ["reconciler", "--root", root, "run"]
    from reconciler.cli import main

    main()
    raise AssertionError("expected an engine that ends once it is loaded")


def _watch_judging(watch: Watch, observer: Any, name: str) -> None:
    """It is a function that each observer is given."""
    make = observer.__init__

    def made(self: Any, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        watch.at(self, "_evaluate", name)

    observer.__init__ = made


def main() -> None:
    from tests.bench.coldstart import make_fleet

    environment = {**os.environ, "RECONCILER_HEARTBEAT_SECONDS": "3600", "RECONCILER_DASHBOARD_PORT": "0"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as folder:
        make_fleet(Path(folder, "fleet"))
        make_fleet(Path(folder, "one"), 1)
        for fleet, title in (("one", ""), ("fleet", "without a database"), ("fleet", "with one")):
            command = (sys.executable, "-m", "tests.bench.startprofile", str(Path(folder, fleet)), str(time.time()))
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            if title:  # the other wrote the bytecode
                print(f"{title}:\n{done.stdout}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run(sys.argv[1], float(sys.argv[2]))
    main()

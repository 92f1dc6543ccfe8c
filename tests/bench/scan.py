"""A full pass over 10,000 unchanged files, against a bare recursive scandir + stat over the same files.

The controller's whole pass: read, compare, ask the database for changes made by hand, plan against 10,000
running instances. `python -m tests.bench.scan`
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from reconciler.clock import SystemClock
from reconciler.control.controller import Controller, ControllerOptions
from reconciler.control.observer import Observer
from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.records.plan import Phase, Running, load_key
from reconciler.runtime.protocol import LoadSpec
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store.store import Store
from reconciler.strategy.catalogue import Catalogue
from tests.bench.result import Result

FILES = 10_000
FOLDERS = 100
RUNS = 25
GOAL = 1.1

_STRATEGY = """\
from reconciler.strategy import Strategy

class Trivial(Strategy):
    '''Does nothing.'''
    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {"type": "object", "properties": {"levels": {"type": "integer"}}}

    def init(self): ...
    def on_tick(self): ...
"""
_INSTANCE = """\
id: {id}
strategy_type: trivial
account: {{account_id: main, client_id: desk-a}}
market: EUR/USD
mode: observe
config:
  levels: 5
"""


class _Running:
    """Stands for a host: whatever is loaded runs at once."""

    def __init__(self) -> None:
        self._views: dict[str, Running] = {}

    def load(self, spec: LoadSpec) -> None:
        row = spec.row
        self._views[row.id] = Running(row.id, Phase.RUNNING, row.mode, load_key(row), row)

    def views(self) -> Mapping[str, Running]:
        return self._views

    def settle(self) -> None:
        """Nothing is on its way."""


def measure() -> Result:
    """Both in turns, in one process, on a committed fleet in subfolders; the median of the ratios of each turn."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_fleet(root)
        with controller(root) as (engine, host):
            assert len(engine.run_pass()) == FILES
            assert len(host.views()) == FILES
            assert engine.fleet.clean
            assert not _full_pass(engine)
            passes, bare = [], []
            for _ in range(RUNS):
                passes.append(_seconds(lambda: _full_pass(engine)))
                bare.append(_seconds(lambda: stat_all(f"{root}/instances")))
    ratio = median(ours / theirs for ours, theirs in zip(passes, bare, strict=True))
    return Result(
        work=f"full pass over {FILES:,} unchanged files",
        to_reach=f"≤ {GOAL} × a bare scandir + stat",
        figure=f"{median(passes) * 1e3:.1f} ms",
        ok=ratio <= GOAL,
        peer=f"bare scandir + stat {median(bare) * 1e3:.1f} ms",
        ratio=ratio,
        note=f"the controller's pass as a whole, all instances running; {FOLDERS} folders of a git repository",
    )


def _full_pass(engine: Controller) -> tuple[Any, ...]:
    engine.hint()
    return engine.run_pass()


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


@contextmanager
def controller(root: Path) -> Iterator[tuple[Controller, _Running]]:
    """A controller on real files, git and database.

    Not an engine as `assembled` makes it: what loading costs is measured in `instances`.
    """
    clock = SystemClock()
    host: Any = _Running()
    catalogue, judged, accounts = Catalogue(), EvaluationCache(), Accounts()
    with Store.open(root / ".reconciler" / "reconciler.db", clock) as store:
        observer = Observer(
            clock,
            Worktree(root, clock, WorktreeOptions(racy_s=0.0)),
            catalogue,
            lambda snapshot, catalogue: evaluate_all(
                snapshot.instances, snapshot.templates, catalogue.facts, accounts, catalogue.types(), judged
            ),
            store,
            host,
            adopt=False,
        )
        yield Controller(clock, ControllerOptions(), observer, store.halts, host), host


def make_fleet(root: Path) -> None:
    """A committed fleet of FILES instance files in FOLDERS folders."""
    for number in range(FILES):
        path = root / "instances" / f"team-{number % FOLDERS}" / f"grid-{number}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_INSTANCE.format(id=path.stem))
    (root / "strategies").mkdir()
    (root / "strategies" / "trivial.py").write_text(_STRATEGY)
    (root / ".gitignore").write_text(".reconciler/\n")
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@example.com", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "The fleet")):
        subprocess.run(("git", *command), cwd=root, check=True)


def stat_all(folder: str) -> int:
    """The peer: the least that any program must do to know that no file changed."""
    count = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                count += stat_all(entry.path)
            else:
                entry.stat(follow_symlinks=False)
                count += 1
    return count


if __name__ == "__main__":
    print(measure())

"""Commits as the source: from a merge to what runs, a pass over a commit that stays, many records, many commits.

`python -m tests.bench.merged`
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter

from reconciler.cli.place import Engine, NoEngine
from reconciler.clock import SystemClock
from reconciler.control.observer import Observer
from reconciler.records.accounts import Accounts
from reconciler.records.crosscheck import EvaluationCache, evaluate_all
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store.store import Store
from reconciler.strategy.catalogue import Catalogue
from tests.bench.result import Result
from tests.control.histories import STRATEGY, NothingRuns, Repository, Written, record
from tests.control.histories import Engine as Following

RECORDS, STEPS, MERGES, LOOKS = 10_000, 1_000, 15, 2_000
GOAL_S, GOAL_RATIO, GOAL_STEPS_S, GOAL_LOOK_US = 1.0, 1.2, 10.0, 500.0
_CODE = {"strategies/probe.py": STRATEGY.replace("KEY", "levels")}


def measure() -> Sequence[Result]:
    return [merged(), unchanged(), many_records(), many_steps()]


def _fleet(count: int, mode: str = "observe") -> dict[str, str]:
    return _CODE | {f"instances/d{number % 100}/i{number}.yaml": record(f"i{number}", mode) for number in range(count)}


def merged() -> Result:
    """A whole engine on a local branch: from the moved ref until the record's mode is in force."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "fleet.git")
        repository = Repository(root)
        text = _fleet(100)
        modes = ["off", "observe"] * (MERGES // 2 + 1)
        texts = ({**text, "instances/x.yaml": record("x", mode)} for mode in modes)
        repository.write([Written(files, number - 1 if number else None) for number, files in enumerate(texts)])
        repository.move(repository.commits[0])
        environment = {**os.environ, "RECONCILER_HEARTBEAT_SECONDS": "3600", "RECONCILER_DASHBOARD_PORT": "0"}
        command = (sys.executable, "-m", "reconciler", "--root", str(root), "run", "--source", "git")
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                engine = Engine(root / ".reconciler" / "control.sock")
                _until(process, lambda: _mode(engine) == modes[0], 60)
                taken = []
                for commit, mode in zip(repository.commits[1:], modes[1:], strict=True):
                    began = perf_counter()
                    repository.move(commit)
                    _until(process, lambda mode=mode: _mode(engine) == mode, 60)  # type: ignore[misc]
                    taken.append(perf_counter() - began)
            finally:
                process.terminate()
    return Result(
        work="merged → running, of a local branch",
        to_reach=f"p50 ≤ {GOAL_S:g} s",
        figure=f"{median(taken) * 1e3:.0f} ms, at most {max(taken) * 1e3:.0f} ms",
        ok=median(taken) <= GOAL_S,
        note=f"whole process, {len(taken)} merges, until the API says that the mode is in force; asked every 5 ms",
    )


def _mode(engine: Engine) -> str:
    try:
        found = engine.get("/api/v1/instances/x")
    except NoEngine:
        return ""
    return "" if found is None else str(found["effective_mode"])


def _until(process: subprocess.Popen[bytes], condition: Callable[[], bool], within_s: float) -> None:
    began, pause = perf_counter(), threading.Event()
    while not condition():
        if process.poll() is not None or perf_counter() - began > within_s:
            raise AssertionError("expected the engine to follow, waited in vain")
        pause.wait(0.005)


def unchanged() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository(Path(folder, "fleet.git"))
        repository.write([Written(_fleet(RECORDS), None)])
        engine = Following(repository)
        engine.see(repository.commits[0])
        began = perf_counter()
        for _ in range(LOOKS):
            engine.follower.observe()
        each_us = (perf_counter() - began) / LOOKS * 1e6
    return Result(
        work=f"a pass over an unchanged commit of {RECORDS:,} records",
        to_reach=f"one ref look-up, ≤ {GOAL_LOOK_US:g} µs",
        figure=f"{each_us:.0f} µs",
        ok=each_us <= GOAL_LOOK_US,
        note="the observer's look, hand-edits of the database included; no process is started",
    )


def many_records() -> Result:
    """Both from the beginning, an empty database in memory, nothing judged before."""
    with tempfile.TemporaryDirectory() as folder:
        files = _fleet(RECORDS)
        repository = Repository(Path(folder, "fleet.git"))
        repository.write([Written(files, None)])
        repository.move(repository.commits[0])
        root = Path(folder, "checkout")
        subprocess.run(["git", "clone", "-q", str(repository.root), str(root)], check=True)
        ours, theirs = [], []
        for _ in range(3):
            engine = Following(repository)
            ours.append(_seconds(lambda engine=engine: engine.see(repository.commits[0])))  # type: ignore[misc]
            assert len(engine.follower.fleet.rows) == RECORDS
            observer = _observer(root)
            theirs.append(_seconds(observer.observe))
            assert len(observer.fleet.rows) == RECORDS
    ratio = median(one / other for one, other in zip(ours, theirs, strict=True))
    return Result(
        work=f"{RECORDS:,} records from a new commit",
        to_reach=f"≤ {GOAL_RATIO:g} × from the work tree",
        figure=f"{median(ours):.2f} s",
        ok=ratio <= GOAL_RATIO,
        peer=f"work tree {median(theirs):.2f} s",
        ratio=ratio,
        note="read, judged and written by one pass, the store in memory",
    )


def _observer(root: Path) -> Observer:
    """The part alone that reads, judges and writes: an engine as `assembled` makes it would load what it finds."""
    clock, judged, accounts = SystemClock(), EvaluationCache(), Accounts()
    return Observer(
        clock,
        Worktree(root, clock, WorktreeOptions()),
        Catalogue(),
        lambda snapshot, catalogue: evaluate_all(
            snapshot.instances, snapshot.templates, catalogue.facts, accounts, catalogue.types(), judged
        ),
        Store.in_memory(clock),
        NothingRuns(),  # type: ignore[arg-type]
        False,
    )


def many_steps() -> Result:
    with tempfile.TemporaryDirectory() as folder:
        files = _fleet(STEPS)
        commits = [Written(files, None)]
        for number in range(STEPS):
            files = {**files, f"instances/d{number % 100}/i{number}.yaml": record(f"i{number}", "active")}
            commits.append(Written(files, number))
        repository = Repository(Path(folder, "fleet.git"))
        repository.write(commits)
        engine = Following(repository)
        engine.see(repository.commits[0])
        taken = _seconds(lambda: engine.see(repository.commits[-1]))
        assert all(str(row.mode) == "active" for row in engine.follower.fleet.rows.values())
    return Result(
        work=f"{STEPS:,} first-parent steps at once",
        to_reach=f"≤ {GOAL_STEPS_S:g} s",
        figure=f"{taken:.2f} s",
        ok=taken <= GOAL_STEPS_S,
        note=f"each changes one of {STEPS:,} records; one transaction",
    )


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


if __name__ == "__main__":
    from tests.bench.__main__ import table

    print(table(measure()))

"""Dispatching a tick: from the beat to the end of the last `on_tick`, against APScheduler 3 calling as little.

The peer gets what it recommends for this: a BackgroundScheduler with its jobs in memory, a thread pool of the
same size, and every job due at the same moment, added beforehand. Both call a function that only counts.
"""

from __future__ import annotations

import sys
import threading
from datetime import UTC, datetime
from itertools import count
from statistics import median
from time import perf_counter
from typing import ClassVar

from reconciler.runtime.host import HostOptions
from reconciler.strategy.base import Strategy
from tests.bench.fleet import fleet, rows
from tests.bench.result import Result

TICKS = 100_000
PEER_JOBS = 10_000
ROUNDS = 3
WORKERS = HostOptions().workers


class Countdown:
    """Sets `reached` when it has been called `goal` times."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.start(0)

    def start(self, goal: int) -> None:
        self._goal = goal - 1
        self._next = count().__next__
        self.reached.clear()

    def __call__(self) -> None:
        if self._next() == self._goal:
            self.reached.set()


called = Countdown()


class Counted(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA: ClassVar = {"type": "object"}

    def on_tick(self) -> None:
        called()


def beat_s(due: int) -> float:
    """Seconds from a beat at which `due` instances are due to the end of their last tick."""
    with fleet() as running:
        running.load(rows(due), Counted)
        figures = []
        for beat in range(ROUNDS):
            called.start(due)
            began = perf_counter()
            report = running.host.beat(beat)
            called.reached.wait()
            figures.append(perf_counter() - began)
            assert report.dispatched == due, report
    return median(figures)


def peer_s() -> float | None:
    """Seconds per call of the peer, None where it is not installed."""
    try:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler
    except ImportError:
        print("peer missing: APScheduler", file=sys.stderr)
        return None
    figures = []
    for _ in range(ROUNDS):
        scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(WORKERS)},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
            timezone=UTC,
        )
        scheduler.start(paused=True)
        due = datetime.now(UTC)
        for _ in range(PEER_JOBS):
            scheduler.add_job(called, "interval", seconds=600, next_run_time=due)
        called.start(PEER_JOBS)
        began = perf_counter()
        scheduler.resume()
        called.reached.wait()
        figures.append(perf_counter() - began)
        scheduler.shutdown()
    return median(figures) / PEER_JOBS


def measure() -> list[Result]:
    call_s, peer = beat_s(PEER_JOBS) / PEER_JOBS, peer_s()
    ratio = None if peer is None else call_s / peer
    many_s = beat_s(TICKS)
    return [
        Result(
            work="dispatching a tick",
            to_reach="≤ 1/100 of APScheduler 3 per call",
            figure=f"{call_s * 1e6:.2f} µs",
            peer="peer missing" if peer is None else f"APScheduler {peer * 1e6:.0f} µs",
            ratio=ratio,
            ok=ratio is None or ratio <= 0.01,
            note=f"{PEER_JOBS:,} due at once on both sides, until the last call has returned",
        ),
        Result(
            work=f"{TICKS:,} due ticks in one beat",
            to_reach="≤ 1 s",
            figure=f"{many_s:.2f} s",
            ok=many_s <= 1.0,
            note=f"{many_s / TICKS * 1e6:.2f} µs each, a trivial on_tick included",
        ),
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)

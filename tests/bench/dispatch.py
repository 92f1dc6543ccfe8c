"""Dispatching a tick, against APScheduler 3 doing the same: as many due at once, in one run, taking turns.

Two figures each. Handing over is what the one thread that decides what is due spends on it: the heartbeat's
`host.beat`, the scheduler's `_process_jobs`; CPU time of that thread, so that neither is charged for what the
workers do meanwhile. A whole call goes from there until the last in the queue is called, wall time, bookkeeping
included; another worker may then still be at the one before.

The peer gets what it recommends for this: a BackgroundScheduler with its jobs in memory, a thread pool of the
same size, and every job due at the same moment, added beforehand. What is called does nothing, on both sides,
but for that last one, which says that the end is reached.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from statistics import median
from time import perf_counter, thread_time
from typing import Any, ClassVar, NamedTuple

from reconciler.runtime.protocol import HostOptions
from reconciler.strategy.base import Strategy
from tests.bench.fleet import Fleet, fleet, rows
from tests.bench.result import Result

DUE = 10_000
MANY = 100_000
ROUNDS = 7
WORKERS = HostOptions().workers
HAND_OVER, WHOLE = 100, 50
"""Of so many the one part of what APScheduler 3 takes of each call."""

reached = threading.Event()


class Cost(NamedTuple):
    """Seconds per call."""

    hand_over_s: float
    whole_s: float


class Idle(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA: ClassVar = {"type": "object"}

    def on_tick(self) -> None:
        pass


class Last(Idle):
    def on_tick(self) -> None:
        reached.set()


def idle() -> None:
    pass


@contextmanager
def due_fleet(count: int) -> Iterator[Fleet]:
    """A fleet of which `count` are due at every beat, the one that tells the end last."""
    with fleet() as running:
        running.load(rows(count - 1), Idle)
        running.load(rows(1, "last"), Last)
        yield running


def beat_cost(running: Fleet, beat: int, due: int) -> Cost:
    reached.clear()
    began_s, began_cpu_s = perf_counter(), thread_time()
    report = running.host.beat(beat)
    hand_over_s = thread_time() - began_cpu_s
    reached.wait()
    whole_s = perf_counter() - began_s
    assert report.dispatched == due, report
    _rest(running)
    return Cost(hand_over_s / due, whole_s / due)


def _rest(running: Fleet) -> None:
    """Wait, untimed, for workers that were a tick behind when the last in the queue was called."""
    pause = threading.Event()
    while any(slot.beat is not None for slot in running.host._roster.due(0)):
        pause.wait(0.001)


def peer_cost(executor: type[Any], scheduler: type[Any], due: int) -> Cost:
    spent_s: list[float] = []

    class Timed(scheduler):  # type: ignore[misc]
        def _process_jobs(self) -> Any:
            began_s = thread_time()
            try:
                return super()._process_jobs()
            finally:
                spent_s.append(thread_time() - began_s)

    peer = Timed(
        executors={"default": executor(WORKERS)},
        job_defaults={"misfire_grace_time": None, "coalesce": True},
        timezone=UTC,
    )
    peer.start(paused=True)
    now = datetime.now(UTC)
    for n in range(due):
        call = reached.set if n == due - 1 else idle
        peer.add_job(call, "interval", seconds=600, next_run_time=now, id=f"{n:06}")
    reached.clear()
    began_s = perf_counter()
    peer.resume()
    reached.wait()
    whole_s = perf_counter() - began_s
    peer.shutdown()
    return Cost(sum(spent_s) / due, whole_s / due)


def costs() -> tuple[Cost, Cost | None]:
    """Ours and the peer's, medians; None where the peer is not installed."""
    try:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.schedulers.background import BackgroundScheduler
    except ImportError:
        print("peer missing: APScheduler", file=sys.stderr)
        BackgroundScheduler = None
    ours, peers = [], []
    with due_fleet(DUE) as running:
        for beat in range(ROUNDS):
            ours.append(beat_cost(running, beat, DUE))
            if BackgroundScheduler is not None:
                peers.append(peer_cost(ThreadPoolExecutor, BackgroundScheduler, DUE))
    return _middle(ours), _middle(peers) if peers else None


def _middle(found: list[Cost]) -> Cost:
    return Cost(median(cost.hand_over_s for cost in found), median(cost.whole_s for cost in found))


def against(work: str, ours_s: float, peer_s: float | None, part: int, note: str) -> Result:
    ratio = None if peer_s is None else ours_s / peer_s
    return Result(
        work=work,
        to_reach=f"≤ 1/{part} of APScheduler 3 per call",
        figure=f"{ours_s * 1e6:.2f} µs",
        peer="peer missing" if peer_s is None else f"APScheduler {peer_s * 1e6:.0f} µs",
        ratio=ratio,
        ok=ratio is None or ratio * part <= 1,
        note=note,
    )


def measure() -> list[Result]:
    ours, peer = costs()
    with due_fleet(MANY) as running:
        many_s = median(beat_cost(running, beat, MANY).whole_s * MANY for beat in range(3))
    return [
        against(
            "dispatching a tick",
            ours.hand_over_s,
            None if peer is None else peer.hand_over_s,
            HAND_OVER,
            f"{DUE:,} due at once on both sides; CPU time that the thread which decides what is due spends on each, "
            "until a worker can take it",
        ),
        against(
            "a whole tick",
            ours.whole_s,
            None if peer is None else peer.whole_s,
            WHOLE,
            "wall time until the last in the queue is called, all bookkeeping included",
        ),
        Result(
            work=f"{MANY:,} due ticks in one beat",
            to_reach="≤ 0.3 s",
            figure=f"{many_s:.2f} s",
            ok=many_s <= 0.3,
            note=f"until the last in the queue is called: {many_s / MANY * 1e6:.2f} µs each",
        ),
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)

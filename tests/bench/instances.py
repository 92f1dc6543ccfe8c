"""What a running instance weighs, and whether the 10,000th costs as much as the first 1,000."""

from __future__ import annotations

import gc
import tracemalloc
from time import process_time

from tests.bench.fleet import fleet, rows
from tests.bench.result import Result

FEW, MANY = 1_000, 10_000
ROUNDS = 7
GC_THRESHOLDS = (50_000, 20, 50)
"""As `app` sets them."""


def each_bytes(count: int) -> float:
    """Bytes per instance that loading `count` of them takes, their rows left out."""
    wanted = rows(count)
    with fleet() as running:
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            running.load(wanted)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    return (after - before) / count


def load_s(count: int) -> float:
    """CPU seconds per instance to load fleets of `count` one after another, `MANY` instances in all.

    As many in all whatever `count` is, so that the garbage collector comes by as often on both sides.
    """
    spent_s = 0.0
    gc.collect()
    for _ in range(MANY // count):
        wanted = rows(count)
        with fleet() as running:
            began_s = process_time()
            running.load(wanted)
            spent_s += process_time() - began_s
    return spent_s / MANY


def least_load_s() -> tuple[float, float]:
    """The least seconds per instance in a fleet of `FEW` and of `MANY`, taken in turns.

    CPU time and the least of it, because whatever else the machine does only ever adds; with the garbage
    collector set as the engine sets it.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        figures = [(load_s(FEW), load_s(MANY)) for _ in range(ROUNDS)]
    finally:
        gc.set_threshold(*thresholds)
    few, many = zip(*figures, strict=True)
    return min(few), min(many)


def measure() -> list[Result]:
    few_bytes, many_bytes = each_bytes(FEW), each_bytes(MANY)
    few_s, many_s = least_load_s()
    growth = max(many_bytes / few_bytes, many_s / few_s)
    return [
        Result(
            work=f"{MANY:,} running instances",
            to_reach="≤ 2 KiB each",
            figure=f"{many_bytes / 1024:.2f} KiB",
            ok=many_bytes <= 2 * 1024,
            note="traced by tracemalloc; the desired rows are the store's and left out",
        ),
        Result(
            work=f"cost per instance at {MANY:,}",
            to_reach=f"≤ 1.1 × that at {FEW:,}",
            figure=f"{many_s * 1e6:.0f} µs, {many_bytes / 1024:.2f} KiB",
            peer=f"at {FEW:,}: {few_s * 1e6:.0f} µs, {few_bytes / 1024:.2f} KiB",
            ratio=growth,
            ok=growth <= 1.1,
            note="CPU time to load, and memory, whichever grew more",
        ),
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)

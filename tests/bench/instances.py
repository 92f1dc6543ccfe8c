"""What a running instance weighs, and whether the 10,000th costs as much as the first 1,000."""

from __future__ import annotations

import gc
import tracemalloc
from time import perf_counter

from tests.bench.fleet import fleet, rows
from tests.bench.result import Result

FEW, MANY = 1_000, 10_000
ROUNDS = 5


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
    """Seconds per instance to load `count` of them, the best of several: what the machine does besides is not it."""
    figures = []
    for _ in range(ROUNDS):
        wanted = rows(count)
        with fleet() as running:
            began = perf_counter()
            running.load(wanted)
            figures.append(perf_counter() - began)
    return min(figures) / count


def measure() -> list[Result]:
    few_bytes, many_bytes = each_bytes(FEW), each_bytes(MANY)
    few_s, many_s = load_s(FEW), load_s(MANY)
    growth = max(many_bytes / few_bytes, many_s / few_s)
    return [
        Result(
            work=f"{MANY:,} running instances",
            to_reach="≤ 8 KiB each",
            figure=f"{many_bytes / 1024:.2f} KiB",
            ok=many_bytes <= 8 * 1024,
            note="traced by tracemalloc; the desired rows are the store's and left out",
        ),
        Result(
            work=f"cost per instance at {MANY:,}",
            to_reach=f"≤ 1.3 × that at {FEW:,}",
            figure=f"{many_s * 1e6:.0f} µs, {many_bytes / 1024:.2f} KiB",
            peer=f"at {FEW:,}: {few_s * 1e6:.0f} µs, {few_bytes / 1024:.2f} KiB",
            ratio=growth,
            ok=growth <= 1.3,
            note="time to load and memory, whichever grew more",
        ),
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)

"""Where the processor's time of one order goes, from the strategy's `place` to its outcome, step by step.

The orders of `tests.bench.orders` at an exchange on loopback, four at a time. Each step is timed by its own thread's
clock, without what other steps take within it; what a thread does besides, its coroutines, hand-overs and the loop
itself, is what is left of it. Timing costs some itself. No row of `make bench`: nothing is to be reached here.
`python -m tests.bench.way`
"""

from __future__ import annotations

import functools
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.app import SWITCH_S
from reconciler.exec_mcp import http_pool, reception, server, wire
from reconciler.execution.order_steps import LastLook, OrderSteps
from reconciler.execution.settlement import Settlement
from reconciler.store import books, columns, ledger
from reconciler.store.writer import GroupWriter
from tests.bench.orders import AT_ONCE, ORDERS, Bare, Ours, exchange

ROUNDS = 6
WORKERS, WRITER, LOOP = "the workers", "the writer", "the loop"
STEPS: dict[str, tuple[tuple[str, Any, str], ...]] = {
    WORKERS: (
        ("the draft, under an id of its own", OrderSteps, "draft"),
        ("the gate, before the intent", OrderSteps, "refusal"),
        ("the intent as columns, to the writer", ledger.Ledger, "appending"),
    ),
    WRITER: (
        ("whether the files are ours, before and after", GroupWriter, "_require_ours"),
        ("rows: the order, its fill", columns, "insert"),
        ("rows: its end, its book", columns, "update"),
        ("rows read: the order, its book", columns, "rows"),
        ("what the end means, decided and booked", ledger.Ledger, "_settle"),
        ("transactions: begun, committed, synced", GroupWriter, "_commit"),
        ("what memory and those who wait are told", GroupWriter, "_resolve"),
    ),
    LOOP: (
        ("the call in the server's words", server, "request"),
        ("the call as it is written", wire, "_encoded"),
        ("a connection that is there", http_pool.HttpPool, "_kept"),
        ("the last look", LastLook, "passes"),
        ("what the socket brings", http_pool._Line, "data_received"),
        ("the answer, as MCP has it", wire, "reply_to"),
        ("the answer in the contract's words", server, "answered"),
        ("what it says of the order", OrderSteps, "answered"),
        ("its end, to the writer", Settlement, "settling"),
    ),
}


class Stopwatch:
    """Sums what each step takes of its thread's time, in nanoseconds, but for the steps within it."""

    def __init__(self) -> None:
        self.spent_ns: Counter[str] = Counter()
        self.times: Counter[str] = Counter()
        self._inner = threading.local()

    def around(self, step: str, owner: Any, name: str) -> None:
        timed: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(timed)
        def outer(*args: Any, **kwargs: Any) -> Any:
            before = getattr(self._inner, "ns", 0)
            self._inner.ns = 0
            began_ns = time.thread_time_ns()
            try:
                return timed(*args, **kwargs)
            finally:
                took_ns = time.thread_time_ns() - began_ns
                self.spent_ns[step] += took_ns - self._inner.ns
                self.times[step] += 1
                self._inner.ns = before + took_ns

        for place in (owner, ledger, books, reception) if owner in (columns, wire) else (owner,):
            if getattr(place, name, None) is timed:
                setattr(place, name, outer)


def of_thread_s(ident: int | None) -> float:
    """The processor's time of that thread."""
    assert ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


def main() -> None:
    sys.setswitchinterval(SWITCH_S)
    orders = AT_ONCE * ORDERS * ROUNDS
    with tempfile.TemporaryDirectory() as folder, exchange(Path(folder)) as url:
        ours, bare = Ours(Path(folder), url), Bare(url)
        plain_s = sum(ours.round_s() for _ in range(ROUNDS))
        bare_began_s = time.process_time()
        bare_s = sum(bare.round_s() for _ in range(ROUNDS))
        bare_used_s = time.process_time() - bare_began_s
        watch = Stopwatch()
        for steps in STEPS.values():
            for one in steps:
                watch.around(*one)
        (writing,) = (one.ident for one in threading.enumerate() if one.name == "store-writer")
        threads = {WRITER: writing, LOOP: ours.loop.ident}
        before = {who: of_thread_s(ident) for who, ident in threads.items()}
        began_s = time.process_time()
        timed_s = sum(ours.round_s() for _ in range(ROUNDS))
        used_s = time.process_time() - began_s
        spent_s = {who: of_thread_s(ident) - before[who] for who, ident in threads.items()}
        ours.close()
    spent_s[WORKERS] = used_s - sum(spent_s.values())
    print("| thread | step | µs an order | times |\n|---|---|---|---|")
    for who, steps in STEPS.items():
        told = 0.0
        for step, *_ in steps:
            told += watch.spent_ns[step] / 1e9
            print(f"| {who} | {step} | {watch.spent_ns[step] / 1e3 / orders:.0f} | {watch.times[step] / orders:.1f} |")
        print(f"| {who} | all else | {1e6 * (spent_s[who] - told) / orders:.0f} | |")
        print(f"| {who} | together | {1e6 * spent_s[who] / orders:.0f} | |")
    took = f"{1e6 * plain_s / orders:.0f} µs an order, {1e6 * timed_s / orders:.0f} while it is timed"
    print(f"\n{took}, {1e6 * used_s / orders:.0f} of them the processor's", end="; ")
    print(f"the bare SDK client {1e6 * bare_s / orders:.0f}, {1e6 * bare_used_s / orders:.0f} of them the processor's")


if __name__ == "__main__":
    main()

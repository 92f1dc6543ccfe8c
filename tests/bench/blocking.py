"""A tick that blocks for a minute: how many of the others' beats are late. A minute is scaled to `BLOCK_S`.

Everything is scaled alike: a beat of 6 s takes `BEAT_S`, and so the second after which a busy worker is
replaced. A beat is late where its `on_tick` begins after the next beat should have.
"""

from __future__ import annotations

import threading
from time import perf_counter
from typing import ClassVar

from reconciler.runtime.protocol import HostOptions
from reconciler.strategy.base import Strategy
from tests.bench.fleet import fleet, rows
from tests.bench.result import Result

SCALE = 20
BEAT_S = 6 / SCALE
BLOCK_S = 60 / SCALE
OTHERS = 1_000
BLOCKERS = 6
BEATS = 12

begun_s: list[float] = []
latest: list[float] = []


class Other(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA: ClassVar = {"type": "object"}

    def on_tick(self) -> None:
        latest.append(perf_counter() - begun_s[-1])


class Blocker(Strategy):
    TICK_MINUTES = 0.1
    CONFIG_SCHEMA: ClassVar = {"type": "object"}

    def on_tick(self) -> None:
        threading.Event().wait(BLOCK_S)


def measure() -> list[Result]:
    pause = threading.Event()
    with fleet(HostOptions(patience_s=1.0 / SCALE)) as running:
        running.load(rows(BLOCKERS, "blocks"), Blocker)
        running.load(rows(OTHERS), Other)
        first = perf_counter()
        for beat in range(BEATS):
            pause.wait(max(0.0, first + beat * BEAT_S - perf_counter()))
            begun_s.append(perf_counter())
            running.host.beat(beat)
        pause.wait(BEAT_S)
        due = OTHERS * BEATS
        in_time = sum(delay_s <= BEAT_S for delay_s in latest[:due])
    share = 1 - in_time / due
    return [
        Result(
            work="a tick that blocks for a minute",
            to_reach="< 0.1 % of the others' beats late",
            figure=f"{share:.2%} late",
            ok=share < 0.001,
            note=f"{BLOCKERS} block, more than the {HostOptions().workers} workers; 1 : {SCALE} of real time; "
            f"the others wait {max(latest) * 1000:.0f} ms at most, of {BEAT_S * 1000:.0f} ms a beat",
        )
    ]


if __name__ == "__main__":
    for row in measure():
        print(row)

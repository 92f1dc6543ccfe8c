"""Deadlines, spare workers, and why one instance that blocks is nobody else's business."""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.errors import TradingClosed
from reconciler.records.mode import Mode
from reconciler.records.plan import Phase
from reconciler.runtime.protocol import HookFailed, HostOptions, Loaded, Stuck, Unloaded, Unstuck
from reconciler.strategy.base import Strategy

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeStage, Stage


class Quiet(Strategy):
    def on_tick(self) -> None:
        pass


def blocker(gate: threading.Event, inside: threading.Semaphore) -> type[Strategy]:
    """A strategy whose ticks block until `gate` is set; each says that it began."""

    class Blocks(Strategy):
        def on_tick(self) -> None:
            inside.release()
            gate.wait(60)

    return Blocks


def crew_size(stage: Stage) -> int:
    return stage.host._crew.size


def test_a_tick_that_outlives_its_deadline_is_stuck_and_goes_on_when_it_returns(stage: Stage) -> None:
    gate, inside = stage.gate(), threading.Semaphore(0)
    stage.load(blocker(gate, inside))
    stage.beat()
    assert inside.acquire(timeout=60)
    stage.watch(lambda: crew_size(stage) == 5)
    assert stage.clock.monotonic() < 30.0
    assert stage.phase() is Phase.RUNNING
    stage.watch(lambda: stage.told(Stuck))

    assert stage.clock.monotonic() >= 30.0
    assert stage.told(Stuck) == [Stuck("one", "on_tick", 30.0)]
    assert stage.phase() is Phase.STUCK
    assert stage.facts().stuck_hook == "on_tick"
    assert re.fullmatch(r"\S+:\d+ in on_tick, waiting in threading:\d+ in wait", stage.facts().stuck_at)
    assert stage.told(Stuck)[0].at == stage.facts().stuck_at
    assert stage.facts().ticks.next_at is None, "none can come while it hangs"
    assert stage.beat().missed == 1
    gate.set()
    stage.until(lambda: stage.told(Unstuck))
    assert stage.told(Unstuck) == [Unstuck("one", "on_tick", stage.clock.monotonic())]
    stage.settle()
    assert (stage.phase(), stage.facts().stuck_hook) == (Phase.RUNNING, None)
    stage.tick()
    assert stage.facts().ticks.count == 2


def test_a_tick_that_was_late_when_looked_at_does_not_mark_the_next_one_of_its_worker(make_stage: MakeStage) -> None:
    """Between the watchdog's look and its word a worker may have gone on, with the same call written anew."""
    stage = make_stage(HostOptions(workers=1, max_workers=1))
    gate, inside = stage.gate(), threading.Semaphore(0)
    stage.load(Quiet, stage.row("before"))
    stage.load(blocker(gate, inside), stage.row("after"))
    stage.advance(10.0)
    stage.beat()
    assert inside.acquire(timeout=60)
    (call,) = stage.host._crew.calls()
    stage.host._watchdog._progress.mark_stuck(call, 30.0)
    assert stage.told(Stuck) == []
    stage.host._watchdog._progress.mark_stuck(call, 40.0)
    assert stage.told(Stuck) == [Stuck("after", "on_tick", 30.0)]


def test_nothing_is_loaded_in_place_of_one_that_is_stuck_until_its_hook_returns(stage: Stage) -> None:
    gate, inside = stage.gate(), threading.Semaphore(0)
    stage.load(blocker(gate, inside))
    stage.beat()
    assert inside.acquire(timeout=60)
    stage.watch(lambda: stage.told(Stuck))
    stage.host.unload("one", "reload")
    stage.ask(Quiet, stage.row(config={"levels": 7}))
    assert stage.phase() is Phase.STUCK
    gate.set()
    stage.until(lambda: len(stage.told(Loaded)) == 2)
    kinds = [type(report) for report in stage.reports]
    assert kinds == [Loaded, Stuck, Unstuck, Unloaded, Loaded]


def test_an_init_that_hangs_is_stuck_and_loaded_when_it_returns(stage: Stage) -> None:
    gate, inside = stage.gate(), threading.Event()

    class Hangs(Quiet):
        def init(self) -> None:
            inside.set()
            gate.wait(60)

    stage.ask(Hangs, stage.row())
    assert inside.wait(60)
    stage.watch(lambda: stage.phase() is Phase.STUCK)
    gate.set()
    stage.until(lambda: stage.phase() is Phase.RUNNING)
    assert [type(report) for report in stage.reports] == [Stuck, Unstuck, Loaded]


def test_an_on_unload_that_hangs_is_stuck_and_keeps_its_id_taken(stage: Stage) -> None:
    gate, inside = stage.gate(), threading.Event()

    class Hangs(Quiet):
        def on_unload(self) -> None:
            inside.set()
            gate.wait(60)

    stage.load(Hangs)
    stage.host.unload("one", "removed")
    assert inside.wait(60)
    stage.watch(lambda: stage.phase() is Phase.STUCK)
    gate.set()
    stage.until(lambda: stage.view() is None)


def test_a_stuck_tick_can_place_nothing_more(stage: Stage) -> None:
    gate, inside = stage.gate(), threading.Event()

    class Late(Strategy):
        def on_tick(self) -> None:
            inside.set()
            gate.wait(60)
            self.context.orders.place("buy", "1")

    stage.load(Late, stage.row(mode=Mode.ACTIVE))
    stage.beat()
    assert inside.wait(60)
    stage.watch(lambda: stage.told(Stuck))
    gate.set()
    stage.until(lambda: stage.told(HookFailed))
    assert stage.told(HookFailed)[0].error.startswith(f"{TradingClosed.__name__}: on_tick has outlived its deadline")
    assert stage.gateway.placed == []


def test_an_order_that_waits_in_the_gateway_when_its_tick_gets_stuck_does_not_leave(stage: Stage) -> None:
    gate, inside = stage.gate(), threading.Event()

    class Places(Strategy):
        def on_tick(self) -> None:
            self.context.orders.place("buy", "1")

    def commit() -> None:
        inside.set()
        gate.wait(60)

    stage.gateway.before_last_look = commit
    stage.load(Places, stage.row(mode=Mode.ACTIVE))
    stage.beat()
    assert inside.wait(60)
    stage.watch(lambda: stage.told(Stuck))
    gate.set()
    stage.settle()
    assert (len(stage.gateway.placed), stage.gateway.sent) == (1, [])
    stage.gateway.before_last_look = lambda: None
    stage.tick()
    assert len(stage.gateway.sent) == 1, "once it has returned, it trades again"


def test_invariant_8_an_instance_that_blocks_delays_no_other_instances_beat(stage: Stage) -> None:
    """More instances block than there are workers; everybody else ticks at the next beat all the same."""
    gate, inside = stage.gate(), threading.Semaphore(0)
    blocks = blocker(gate, inside)
    for n in range(6):
        stage.load(blocks, stage.row(f"blocks-{n}"))
    stage.beat()
    for _ in range(4):
        assert inside.acquire(timeout=60)
    for n in range(10):
        stage.ask(Quiet, stage.row(f"quiet-{n}"))
    for _ in range(2):
        stage.watch(lambda: inside.acquire(blocking=False))
    stage.until(lambda: len(stage.told(Loaded)) == 16)

    for _ in range(3):
        assert (report := stage.beat()).dispatched == 10
        assert report.missed == 6
        for n in range(10):
            stage.settle(f"quiet-{n}")
    assert {stage.facts(f"quiet-{n}").ticks.count for n in range(10)} == {3}


def test_spare_workers_stop_at_the_bound_and_retire_when_the_rush_is_over(make_stage: MakeStage) -> None:
    stage = make_stage(HostOptions(workers=2, max_workers=5))
    gate, inside = stage.gate(), threading.Semaphore(0)
    blocks = blocker(gate, inside)
    for n in range(8):
        stage.load(blocks, stage.row(f"blocks-{n}"))
    stage.beat()
    for _ in range(5):
        stage.watch(lambda: inside.acquire(blocking=False))
    for _ in range(20):
        stage.advance(0.25)
        stage.host._watchdog.look()
    assert crew_size(stage) == 5
    assert not inside.acquire(blocking=False), "the rest must wait"
    gate.set()
    for n in range(8):
        stage.settle(f"blocks-{n}")
    stage.watch(lambda: len(stage.host._crew.calls()) == 2)


class Trades(Strategy):
    def on_tick(self) -> None:
        self.context.orders.place("buy", "0.1")


def test_who_waits_in_a_context_call_occupies_no_place_and_no_time_passes_until_somebody_has_it(
    make_stage: MakeStage,
) -> None:
    """More wait for the exchange than there are workers; whoever else is due ticks at that beat, at once."""
    stage = make_stage(HostOptions(workers=2, max_workers=6))
    gate, inside = stage.gate(), threading.Semaphore(0)

    def wait() -> None:
        inside.release()
        gate.wait(10)

    stage.gateway.before_last_look = wait
    for n in range(5):
        stage.load(Trades, stage.row(f"trades-{n}"))
    stage.load(Quiet, stage.row("quiet"))
    stage.beat()
    stage.settle("quiet")
    for _ in range(5):
        assert inside.acquire(timeout=10)
    assert stage.facts("quiet").ticks.count == 1
    assert stage.clock.monotonic() == 0.0
    gate.set()
    for n in range(5):
        stage.settle(f"trades-{n}")
    assert len(stage.gateway.placed) == 5
    stage.watch(lambda: len(stage.host._crew.calls()) == 2)
    assert stage.told(HookFailed) == []


def test_what_queues_behind_the_bound_is_ticked_when_the_exchange_answers_and_none_is_missed(
    make_stage: MakeStage,
) -> None:
    stage = make_stage(HostOptions(workers=1, max_workers=3))
    gate, inside = stage.gate(), threading.Semaphore(0)

    def wait() -> None:
        inside.release()
        gate.wait(10)

    stage.gateway.before_last_look = wait
    for n in range(12):
        stage.load(Trades, stage.row(f"trades-{n}"))
    assert stage.beat().missed == 0
    for _ in range(3):
        assert inside.acquire(timeout=10)
    assert not inside.acquire(blocking=False)
    gate.set()
    for n in range(12):
        stage.settle(f"trades-{n}")
    assert len(stage.gateway.placed) == 12
    assert {stage.facts(f"trades-{n}").ticks.missed for n in range(12)} == {0}


def test_the_watchdog_outlives_a_system_that_gives_no_more_threads(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so once, counts no worker that never began, and hires as soon as it can."""
    gate, inside = stage.gate(), threading.Semaphore(0)
    stage.load(blocker(gate, inside))
    stage.beat()
    assert inside.acquire(timeout=60)

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(threading.Thread, "start", refuse)
        stage.watch(lambda: stage.told(Stuck))
        assert crew_size(stage) == len(stage.host._crew.calls()) == 4
    assert [record.message for record in caplog.records] == ["the watchdog failed and will look again"]
    stage.watch(lambda: crew_size(stage) == 5)


def test_workers_are_daemons_so_that_one_stuck_for_ever_does_not_keep_the_process(stage: Stage) -> None:
    ours = [thread for thread in threading.enumerate() if thread.name in ("worker", "watchdog")]
    assert len(ours) >= 5
    assert all(thread.daemon for thread in ours)

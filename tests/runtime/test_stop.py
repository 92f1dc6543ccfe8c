"""Stopping: everything is unloaded, and the deadline holds whatever hooks do."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.clock import SystemClock
from reconciler.records.mode import Mode
from reconciler.runtime.protocol import HostOptions, Unloaded
from reconciler.strategy.base import Strategy

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeStage, Stage

DEADLINE_S = 5.0


class Stopping:
    """`host.stop` on a thread of its own: it may hang where it should not."""

    def __init__(self, stage: Stage) -> None:
        self._abandoned: list[tuple[str, ...]] = []
        self._thread = threading.Thread(target=lambda: self._abandoned.append(stage.host.stop(DEADLINE_S)))
        self._thread.start()

    def abandoned(self) -> tuple[str, ...]:
        """What it returned, without any more time passing on the stage's clock."""
        self._thread.join(5)
        assert self._abandoned, "stop has not returned"
        return self._abandoned[0]


def stop(stage: Stage, *left: str) -> tuple[str, ...]:
    """Stop it, and let its deadline pass once only those `left` are there."""
    stopping = Stopping(stage)
    stage.until(lambda: stage.host._roster.is_closing and set(stage.host.views()) == set(left))
    stage.advance(DEADLINE_S)
    return stopping.abandoned()


class Quiet(Strategy):
    def on_tick(self) -> None:
        pass


def hanging(hook: str, gate: threading.Event, inside: threading.Semaphore) -> type[Strategy]:
    """A strategy of which one hook hangs until `gate` is set; each says that it began."""

    def hang(self: Strategy) -> list[dict[str, object]]:
        inside.release()
        gate.wait(60)
        return []

    return type("Hangs", (Quiet,), {hook: hang})


def test_stop_unloads_everything_and_names_what_it_abandoned(stage: Stage) -> None:
    unloaded: list[str] = []
    busy, inside = stage.gate(), threading.Event()

    class Orderly(Quiet):
        def on_unload(self) -> None:
            unloaded.append(self.context.instance.id)

    class Busy(Strategy):
        def on_tick(self) -> None:
            inside.set()
            busy.wait(60)

    stage.load(Orderly, stage.row("a"))
    stage.load(Orderly, stage.row("b"))
    stage.load(Busy, stage.row("hangs"))
    stage.beat()
    assert inside.wait(60)
    stage.settle("a")
    stage.settle("b")
    assert stop(stage, "hangs") == ("hangs",)
    assert sorted(unloaded) == ["a", "b"]
    stage.ask(Orderly, stage.row("late"))
    assert "late" not in stage.host.views(), "nothing is loaded any more"


@pytest.mark.parametrize("hook", ["init", "on_tick", "render", "on_unload"])
def test_stop_keeps_its_deadline_whichever_hook_hangs(stage: Stage, hook: str) -> None:
    inside = threading.Semaphore(0)
    stage.ask(hanging(hook, stage.gate(), inside), stage.row())
    if hook in ("on_tick", "on_unload"):
        stage.settle()
        stage.beat()
    if hook != "on_unload":
        assert inside.acquire(timeout=60)
    assert stop(stage, "one") == ("one",)


def test_stop_keeps_its_deadline_where_every_worker_there_may_be_is_stuck(make_stage: MakeStage) -> None:
    """Those that nobody is left to unload are abandoned with them."""
    options = HostOptions()
    stage = make_stage(options)
    inside = threading.Semaphore(0)
    stage.load(Quiet, stage.row("quiet"))
    hangs = hanging("on_tick", stage.gate(), inside)
    names = [f"hangs-{n:02}" for n in range(options.max_workers)]
    for name in names:
        stage.load(hangs, stage.row(name))
    stage.beat()
    for _ in names:
        stage.watch(lambda: inside.acquire(blocking=False))
    assert stop(stage, *names, "quiet") == (*names, "quiet")


def test_stop_keeps_its_deadline_while_orders_are_being_handed_to_a_slow_transport(stage: Stage) -> None:
    gate, inside = stage.gate(), threading.Event()

    class Places(Strategy):
        def on_tick(self) -> None:
            self.context.orders.place("buy", "1")

    def hand_over() -> None:
        inside.set()
        gate.wait(60)

    stage.gateway.while_handing_over = hand_over
    stage.load(Places, stage.row(mode=Mode.ACTIVE))
    stage.load(Quiet, stage.row("quiet"))
    stage.beat()
    assert inside.wait(60)
    assert stop(stage, "one") == ("one",)
    assert stage.told(Unloaded) == [Unloaded("quiet")]
    assert stage.facts().mode is Mode.OFF, "it may finish what it is at, and send nothing after that"


def test_the_time_it_takes_to_ask_everybody_is_part_of_stops_deadline(make_stage: MakeStage) -> None:
    """Those that were not asked in time are abandoned, but their gates are closed."""
    stage: Stage = make_stage(hear=lambda report: stage.advance(3.0) if isinstance(report, Unloaded) else None)
    inside = threading.Semaphore(0)

    class Fails(Quiet):
        def init(self) -> None:
            raise ValueError

    stage.load(Fails, stage.row("a"))
    stage.load(Fails, stage.row("b"))
    stage.ask(hanging("init", stage.gate(), inside), stage.row("hangs"))
    assert inside.acquire(timeout=60)
    stage.load(Quiet, stage.row("quiet", mode=Mode.ACTIVE))
    assert Stopping(stage).abandoned() == ("hangs", "quiet")
    assert stage.facts("quiet").mode is Mode.OFF


def test_stop_keeps_its_deadline_while_hooks_spin(make_stage: MakeStage) -> None:
    """They hold the interpreter in turns with whoever stops: real time, more than it takes when all goes well."""
    clock = SystemClock()
    stage = make_stage(clock=clock)
    gate, inside = stage.gate(), threading.Semaphore(0)

    class Spins(Strategy):
        def on_tick(self) -> None:
            inside.release()
            while not gate.is_set():
                pass

    names = [f"spins-{n}" for n in range(HostOptions().workers)]
    for name in names:
        stage.load(Spins, stage.row(name))
    stage.beat()
    for _ in names:
        assert inside.acquire(timeout=60)
    began_s = clock.monotonic()
    assert stage.host.stop(0.1) == tuple(names)
    assert clock.monotonic() - began_s < 2.0

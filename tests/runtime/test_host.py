"""Loading, ticking, unloading, and what must never happen at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from reconciler.errors import (
    CapabilityUnavailable,
    ExecRejected,
    ExecUnavailable,
    ExecUnknown,
    ReconcilerError,
    StoreError,
    StoreFenced,
)
from reconciler.records.mode import Mode
from reconciler.records.plan import Phase
from reconciler.runtime.protocol import (
    HookFailed,
    HostOptions,
    Loaded,
    LoadFailed,
    LoadSpec,
    Quarantined,
    Recovered,
    Stuck,
    TicksKept,
    TicksMissed,
    Unloaded,
    Unstuck,
)
from reconciler.strategy.base import Strategy
from reconciler.strategy.widgets import metric

if TYPE_CHECKING:
    from tests.runtime.conftest import Define, MakeStage, Stage


class Quiet(Strategy):
    def on_tick(self) -> None:
        pass


def test_an_instance_is_loaded_ticked_and_unloaded(stage: Stage) -> None:
    seen: list[str] = []

    class Told(Strategy):
        def init(self) -> None:
            seen.append(f"init {self.config['levels']}")

        def on_tick(self) -> None:
            seen.append("tick")

        def on_unload(self) -> None:
            seen.append("unload")

    stage.load(Told, stage.row(config={"levels": 5}, generation=3))
    stage.tick()
    stage.tick()
    stage.host.unload("one", "mode is off")
    stage.until(lambda: stage.view() is None)

    assert seen == ["init 5", "tick", "tick", "unload"]
    assert stage.reports == [Loaded("one", 3), Unloaded("one")]
    facts = stage.facts()
    assert (facts.phase, facts.mode, facts.ticks.count, facts.loaded_at) == (None, Mode.OFF, 2, None)


def test_a_fleet_that_starts_is_loaded_first_and_then_drawn(make_stage: MakeStage, define: Define) -> None:
    seen: list[str] = []

    class Drawn(Quiet):
        def init(self) -> None:
            seen.append("init")

        def render(self) -> list[Any]:
            seen.append("render")
            return [metric("drawn", "Drawn", "1")]

    stage, names = make_stage(HostOptions(workers=1)), ("a", "b", "c")
    stage.host.load_all([LoadSpec(stage.row(name), define(Drawn)) for name in names])
    for name in names:
        stage.settle(name)
    assert seen == ["init"] * 3 + ["render"] * 3
    assert [len(stage.facts(name).widgets) for name in names] == [1, 1, 1]


def test_nothing_ticks_but_at_its_due_beats(stage: Stage) -> None:
    class Slow(Quiet):
        TICK_MINUTES = 0.3

    stage.next_beat = 1_000  # 1_002 is the first that 3 divides
    stage.load(Slow)
    dispatched = []
    for _ in range(7):
        dispatched.append(stage.beat().dispatched)
        stage.settle()
    assert dispatched == [0, 0, 1, 0, 0, 1, 0]


def test_tick_on_load_asks_for_one_more_tick_and_never_for_two_at_a_beat(stage: Stage) -> None:
    class Eager(Quiet):
        TICK_MINUTES = 0.3
        TICK_ON_LOAD = True

    stage.next_beat = 1_000
    stage.load(Eager, stage.row("early"))
    first = stage.beat()
    stage.settle("early")
    stage.beat()
    stage.load(Eager, stage.row("at-due-beat"))
    due = stage.beat()
    stage.settle("at-due-beat")
    stage.settle("early")

    assert (first.dispatched, due.dispatched, due.missed) == (1, 2, 0)
    assert stage.beat().due == 0
    assert stage.facts("at-due-beat").ticks.count == 1


def test_facts_say_when_the_next_tick_is_due(stage: Stage) -> None:
    stage.load(Quiet)
    stage.clock.set_wall(6_000.0)
    stage.tick()
    ticks = stage.facts().ticks
    assert (ticks.last_at, ticks.next_at) == ("1970-01-01T01:40:00.000Z", "1970-01-01T01:40:06.000Z")
    assert ticks.last_duration_s == 0.0


def test_the_last_tick_that_went_well_is_told_apart_from_the_last_that_was_tried(stage: Stage) -> None:
    fails = False

    class Moody(Strategy):
        def on_tick(self) -> None:
            if fails:
                raise ValueError

    stage.load(Moody)
    stage.clock.set_wall(6_000.0)
    stage.tick()
    fails = True
    stage.advance(12.0)
    stage.tick()
    ticks = stage.facts().ticks
    assert (ticks.last_good_at, ticks.last_at) == ("1970-01-01T01:40:00.000Z", "1970-01-01T01:40:12.000Z")
    assert ticks.every_s == 6.0


def test_errors_and_missed_of_the_last_hour_are_counted_apart_from_the_totals(stage: Stage) -> None:
    busy, inside = stage.gate(), threading.Event()

    class Raises(Strategy):
        def on_tick(self) -> None:
            inside.set()
            busy.wait(60)
            raise ValueError

    def counts() -> tuple[int, int, int, int]:
        ticks = stage.facts().ticks
        return ticks.errors, ticks.errors_last_hour, ticks.missed, ticks.missed_last_hour

    stage.load(Raises)
    stage.beat()
    assert inside.wait(60)
    stage.beat()
    stage.beat()
    busy.set()
    stage.settle()
    assert counts() == (1, 1, 2, 2)
    stage.advance(3_000.0)
    stage.tick()
    assert counts() == (2, 2, 2, 2)
    stage.advance(1_000.0)
    assert counts() == (2, 1, 2, 0)
    stage.advance(3_600.0)
    assert counts() == (2, 0, 2, 0)


def test_neither_waiting_nor_telling_of_another_instance_counts_as_a_ticks_time(make_stage: MakeStage) -> None:
    """A worker that goes straight from one tick to the next reads the clock once; from anything else, anew."""

    def hear(report: object) -> None:
        if isinstance(report, HookFailed):
            stage.advance(3.0)

    stage = make_stage(HostOptions(workers=1), hear=hear)

    class Raises(Strategy):
        def on_tick(self) -> None:
            raise ValueError

    stage.load(Raises, stage.row("first"))
    stage.load(Quiet, stage.row("second"))
    stage.advance(6.0)
    stage.clock.set_wall(6_000.0)
    stage.beat()
    stage.settle("first")
    stage.settle("second")
    first, second = stage.facts("first").ticks, stage.facts("second").ticks
    assert (first.last_at, first.last_duration_s) == ("1970-01-01T01:40:00.000Z", 0.0)
    assert (second.last_at, second.last_duration_s) == ("1970-01-01T01:40:03.000Z", 0.0)


def test_a_beat_that_finds_the_last_tick_running_skips_it_and_counts_it_missed(stage: Stage) -> None:
    busy, inside = stage.gate(), threading.Event()

    class Busy(Strategy):
        def on_tick(self) -> None:
            inside.set()
            busy.wait(60)

    stage.load(Busy)
    stage.beat()
    assert inside.wait(60)
    second, third = stage.beat(), stage.beat()
    busy.set()
    stage.settle()

    assert (second.due, second.dispatched, second.missed) == (1, 0, 1)
    assert third.missed == 1
    assert (stage.facts().ticks.count, stage.facts().ticks.missed) == (1, 2)
    stage.tick()
    assert stage.facts().ticks.count == 2


def test_beats_passed_while_its_server_is_waited_for_are_not_missed(make_stage: MakeStage) -> None:
    here: set[str] = set()
    stage = make_stage(awaited=lambda: (lambda account_id: account_id not in here) if not here else None)

    class Eager(Quiet):
        TICK_ON_LOAD = True

    stage.load(Eager)
    reports = [stage.beat() for _ in range(5)]
    assert [(report.due, report.missed) for report in reports] == [(0, 0)] * 5
    here.add("main")
    stage.tick()
    assert (stage.facts().ticks.count, stage.facts().ticks.missed) == (1, 0)


def test_ticks_that_are_missed_for_long_are_told_once_and_so_is_their_end(stage: Stage) -> None:
    busy, inside = stage.gate(), threading.Event()

    class Slow(Strategy):
        def on_tick(self) -> None:
            inside.set()
            busy.wait(60)

    stage.load(Slow)
    stage.beat()
    assert inside.wait(60)
    for _ in range(9):
        stage.beat()
    assert (stage.told(TicksMissed), stage.host.lagging()) == ([], frozenset())
    for _ in range(90):
        stage.beat()
    assert stage.told(TicksMissed) == [TicksMissed("one", 10, 10)]
    assert stage.host.lagging() == {"one"}
    assert stage.facts().missed_lately is not None
    busy.set()
    stage.settle()
    for _ in range(60):
        stage.tick()
    assert stage.told(TicksKept) == [TicksKept("one")]
    assert (stage.host.lagging(), stage.facts().missed_lately) == (frozenset(), None)


def test_a_tick_missed_now_and_then_is_no_news(stage: Stage) -> None:
    busy: list[threading.Event] = []

    class Uneven(Strategy):
        def on_tick(self) -> None:
            if busy:
                busy.pop().wait(60)

    stage.load(Uneven)
    for _ in range(30):
        blocked = stage.gate()
        busy.append(blocked)
        stage.beat()
        stage.until(lambda: not busy, "the tick to begin")
        assert stage.beat().missed == 1
        blocked.set()
        stage.settle()
        stage.tick()
        stage.tick()
    assert stage.facts().ticks.missed == 30
    assert stage.told(TicksMissed) == []


def test_hooks_of_one_instance_never_overlap(stage: Stage) -> None:
    """Every hook of one instance, wanted from many threads at once, and none ever meets another."""
    inside = threading.Lock()
    overlaps: list[str] = []

    class Alone(Strategy):
        def _alone(self, hook: str) -> None:
            if not inside.acquire(blocking=False):
                overlaps.append(hook)
                return
            threading.Event().wait(0.0005)
            inside.release()

        def init(self) -> None:
            self._alone("init")

        def on_tick(self) -> None:
            self._alone("on_tick")

        def render(self) -> list[dict[str, object]]:
            self._alone("render")
            return []

        def on_unload(self) -> None:
            self._alone("on_unload")

    rows = [stage.row(), stage.row(config={"a": 1})]
    done = threading.Event()

    def beats() -> None:
        while not done.is_set():
            stage.beat()
            threading.Event().wait(0.0002)

    beating = threading.Thread(target=beats)
    beating.start()
    for turn in range(60):
        stage.ask(Alone, rows[turn % 2])
        if turn % 3 == 0:
            stage.until(lambda: stage.phase() is Phase.RUNNING)
    done.set()
    beating.join()
    assert overlaps == []
    assert len(stage.told(Loaded)) > 2


def test_invariant_1_never_two_running_instances_of_one_id(stage: Stage) -> None:
    """A successor waits until its predecessor has really ended, on_unload included."""
    alive: list[object] = []
    most: list[int] = []
    leaving, may_leave = threading.Event(), stage.gate()

    class Lives(Quiet):
        def init(self) -> None:
            alive.append(self)
            most.append(len(alive))

        def on_unload(self) -> None:
            leaving.set()
            may_leave.wait(60)
            alive.remove(self)

    stage.load(Lives)
    stage.ask(Lives, stage.row(config={"levels": 7}))
    stage.ask(Lives, stage.row(config={"levels": 8}))
    assert leaving.wait(60)
    assert stage.phase() is Phase.UNLOADING
    assert len(alive) == 1
    may_leave.set()
    stage.until(lambda: len(stage.told(Loaded)) == 2)

    assert most == [1, 1]
    view = stage.view()
    assert view is not None
    assert view.row.record.config == {"levels": 8}, "of those that wait, the latest is loaded"


def test_unload_waits_for_the_running_hook_and_a_queued_tick_is_dropped(stage: Stage) -> None:
    busy, inside = stage.gate(), threading.Event()
    seen: list[str] = []

    class Busy(Strategy):
        def on_tick(self) -> None:
            inside.set()
            busy.wait(60)
            seen.append("tick over")

        def on_unload(self) -> None:
            seen.append("unload")

    stage.load(Busy)
    stage.beat()
    assert inside.wait(60)
    stage.host.unload("one", "removed")
    assert stage.phase() is Phase.UNLOADING
    assert stage.facts().mode is Mode.OFF, "its gate is closed when unload returns"
    assert stage.beat().due == 0
    busy.set()
    stage.until(lambda: stage.view() is None)
    assert seen == ["tick over", "unload"]


def test_a_load_that_waits_is_lowered_with_its_predecessor(stage: Stage) -> None:
    may_leave = stage.gate()

    class Leaving(Quiet):
        def on_unload(self) -> None:
            may_leave.wait(60)

    stage.load(Leaving, stage.row(mode=Mode.ACTIVE))
    stage.ask(Leaving, stage.row(mode=Mode.ACTIVE, config={"levels": 7}))
    view = stage.view()
    assert view is not None
    assert view.mode is Mode.ACTIVE, "the plan must see what it may rise to"
    stage.host.set_mode("one", Mode.OBSERVE)
    may_leave.set()
    stage.until(lambda: stage.phase() is Phase.RUNNING)
    assert stage.facts().mode is Mode.OBSERVE


def test_a_load_whose_mode_fell_to_off_while_it_waited_never_begins(stage: Stage) -> None:
    may_leave = stage.gate()

    class Leaving(Quiet):
        def on_unload(self) -> None:
            may_leave.wait(60)

    stage.load(Leaving)
    stage.ask(Leaving, stage.row(config={"levels": 7}))
    stage.host.set_mode("one", Mode.OFF)
    may_leave.set()
    stage.until(lambda: stage.view() is None)
    stage.settle()
    assert len(stage.told(Loaded)) == 1


def test_set_mode_never_raises_one(stage: Stage) -> None:
    stage.load(Quiet)
    stage.host.set_mode("one", Mode.ACTIVE)
    assert stage.facts().mode is Mode.OBSERVE
    stage.host.set_mode("one", Mode.OFF)
    stage.host.set_mode("one", Mode.OBSERVE)
    assert stage.facts().mode is Mode.OFF
    assert stage.beat().due == 0, "off does not tick, loaded or not"


def test_an_update_applies_in_place(stage: Stage) -> None:
    seen: list[tuple[Strategy, str]] = []

    class Reads(Strategy):
        def on_tick(self) -> None:
            seen.append((self, self.context.instance.labels["team"]))

    stage.load(Reads)
    stage.tick()
    plain = stage.row(generation=2)
    row = replace(plain, record=replace(plain.record, labels={"team": "minors"}))
    stage.host.update(row)
    stage.tick()
    (before, _), (after, label) = seen
    assert before is after, "nothing was reloaded"
    assert label == "minors"
    view = stage.view()
    assert view is not None
    assert view.row is row
    assert stage.facts().generation == 2


def test_views_are_the_same_object_until_something_changes(stage: Stage) -> None:
    stage.load(Quiet)
    before = stage.host.views()
    stage.tick()
    assert stage.host.views() is before
    stage.host.set_mode("one", Mode.OFF)
    assert stage.host.views() is not before
    assert before["one"].mode is Mode.OBSERVE, "a snapshot does not change behind its reader"


def test_a_failed_init_is_told_with_a_retry_and_the_next_load_may_succeed(stage: Stage) -> None:
    failures = [ValueError("no such level"), KeyError("levels"), None]

    class Fickle(Quiet):
        def init(self) -> None:
            error = failures.pop(0)
            if error is not None:
                raise error

    stage.load(Fickle)
    view = stage.view()
    assert view is not None
    assert (view.phase, view.mode) == (Phase.FAILED, Mode.OFF)
    assert 0.8 <= view.retry_at_s <= 1.0
    stage.load(Fickle)
    first, second = stage.told(LoadFailed)
    assert (first.attempt, second.attempt) == (1, 2)
    assert 1.6 <= second.retry_in_s <= 2.0
    assert first.error.splitlines()[0] == "ValueError: no such level"
    stage.load(Fickle)
    assert stage.phase() is Phase.RUNNING
    assert stage.facts().load_attempts == 0


def test_an_instance_stays_failing_until_a_retry_has_succeeded(stage: Stage) -> None:
    retrying, inside = stage.gate(), threading.Event()
    failures = [ValueError("no such level")]

    class Fickle(Quiet):
        def init(self) -> None:
            if failures:
                raise failures.pop()
            inside.set()
            retrying.wait(60)

    stage.load(Fickle)
    stage.ask(Fickle, stage.row())
    assert inside.wait(60)
    view = stage.view()
    assert view is not None
    assert (view.phase, view.failing, stage.facts().failing) == (Phase.LOADING, True, True)
    retrying.set()
    stage.until(lambda: stage.phase() is Phase.RUNNING)
    view = stage.view()
    assert view is not None
    assert (view.failing, stage.facts().failing) == (False, False)


@pytest.mark.parametrize("change", ["config", "unloaded"])
def test_failed_loads_are_forgotten_with_new_config_and_when_unloaded(stage: Stage, change: str) -> None:
    began = threading.Semaphore(0)
    gates = [stage.gate(), stage.gate()]
    behaviours = iter([None, *gates])

    class Fickle(Quiet):
        def init(self) -> None:
            gate = next(behaviours)
            began.release()
            if gate is not None:
                gate.wait(60)
            raise ValueError("no such level")

    stage.load(Fickle)
    assert began.acquire(timeout=60)
    if change == "unloaded":
        stage.ask(Fickle, stage.row())
        assert began.acquire(timeout=60)
        stage.host.unload("one", "mode is off")
        gates[0].set()
        stage.until(lambda: stage.view() is None)
        stage.ask(Fickle, stage.row())
    else:
        stage.ask(Fickle, stage.row(config={"levels": 7}))
    assert began.acquire(timeout=60)
    view = stage.view()
    assert view is not None
    assert (view.phase, view.failing, stage.facts().load_attempts) == (Phase.LOADING, False, 0)


def test_an_instance_whose_init_fails_while_it_is_unloaded_is_simply_gone(stage: Stage) -> None:
    busy, inside = stage.gate(), threading.Event()

    class Fails(Quiet):
        def init(self) -> None:
            inside.set()
            busy.wait(60)
            raise ValueError("too late")

    stage.ask(Fails, stage.row())
    assert inside.wait(60)
    assert stage.phase() is Phase.LOADING
    stage.host.unload("one", "removed")
    busy.set()
    stage.until(lambda: stage.view() is None)
    assert stage.reports == [Unloaded("one")]


def test_a_failed_instance_is_unloaded_at_once(stage: Stage) -> None:
    class Fails(Quiet):
        def init(self) -> None:
            raise ValueError

    stage.load(Fails)
    stage.host.unload("one", "removed")
    assert stage.view() is None
    assert stage.told(Unloaded) == [Unloaded("one")]


def test_what_on_unload_raises_is_told_and_keeps_nothing_alive(stage: Stage) -> None:
    class Clings(Quiet):
        def on_unload(self) -> None:
            raise SystemExit("no")

    stage.load(Clings)
    stage.host.unload("one", "removed")
    stage.until(lambda: stage.view() is None)
    assert stage.told(Unloaded)[0].error.splitlines()[0] == "SystemExit: no"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit("x"), KeyboardInterrupt("x"), GeneratorExit("x")])
def test_whatever_a_tick_raises_becomes_a_report_a_fact_and_a_log_line(stage: Stage, error: BaseException) -> None:
    class Raises(Strategy):
        def on_tick(self) -> None:
            raise error

    stage.load(Raises)
    stage.tick()
    (report,) = stage.told(HookFailed)
    name = type(error).__name__
    assert (report.hook, report.consecutive) == ("on_tick", 1)
    assert report.error.startswith(f"{name}: x\n  strategies/probe.py:")
    facts = stage.facts()
    assert (facts.last_error, facts.ticks.errors, facts.failing) == (report.error, 1, True)
    assert (facts.logs[0].level, facts.logs[0].message) == ("error", report.error)


@pytest.mark.parametrize("hook", ["on_tick", "on_unload"])
def test_a_hook_that_cannot_even_be_looked_up_has_failed_and_no_worker_ends_with_it(stage: Stage, hook: str) -> None:
    def look(self: Strategy) -> object:
        raise SystemExit(f"no {hook}")

    stage.load(type("Hidden", (Quiet,), {hook: property(look)}))
    stage.tick()
    stage.host.unload("one", "removed")
    stage.until(lambda: stage.view() is None)
    told = [one.error for one in (*stage.told(HookFailed), *stage.told(Unloaded)) if one.error]
    assert [error.splitlines()[0] for error in told] == [f"SystemExit: no {hook}"]
    assert stage.host._crew.size == len(stage.host._crew.calls())


def test_endless_recursion_is_one_more_failure(stage: Stage) -> None:
    class Endless(Strategy):
        def on_tick(self) -> None:
            self.on_tick()

    stage.load(Endless)
    stage.tick()
    error = stage.told(HookFailed)[0].error
    assert error.startswith("RecursionError: ")
    assert len(error.splitlines()) < 12


def test_five_failed_ticks_in_a_row_quarantine(stage: Stage) -> None:
    class Raises(Strategy):
        def on_tick(self) -> None:
            raise ValueError("no")

    stage.load(Raises, stage.row(mode=Mode.ACTIVE))
    for _ in range(4):
        stage.tick()
    assert stage.told(Quarantined) == []
    stage.tick()
    (report,) = stage.told(Quarantined)
    assert report.was_active
    pause = stage.facts().pause
    assert pause is not None
    assert pause == ("engine", "5 failed ticks in a row: ValueError: no")
    assert stage.beat().due == 0
    assert stage.facts().ticks.count == 5


def test_a_tick_that_succeeds_starts_the_count_anew(stage: Stage) -> None:
    good = {5}
    ticks = iter(range(1, 100))

    class Fickle(Strategy):
        def on_tick(self) -> None:
            if next(ticks) not in good:
                raise ValueError

    stage.load(Fickle)
    for _ in range(9):
        stage.tick()
    assert stage.told(Quarantined) == []
    assert len(stage.told(Recovered)) == 1
    assert [r.consecutive for r in stage.told(HookFailed)] == [1, 2, 3, 4, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "error",
    [
        ExecUnavailable("no connection"),
        ExecRejected("no such market"),
        ExecUnknown("timed out"),
        CapabilityUnavailable("get_quote", "kraken"),
        StoreError("the disk is full"),
        StoreFenced("another engine took over"),
    ],
)
def test_what_a_strategy_cannot_help_does_not_count_towards_quarantine(stage: Stage, error: ReconcilerError) -> None:
    """Failures of exec-mcp, tools that its server lacks, and a database that cannot be used."""
    stage.market.error = error

    class Reads(Strategy):
        def on_tick(self) -> None:
            self.context.market.quote()

    stage.load(Reads)
    for _ in range(7):
        stage.tick()
    assert [report.consecutive for report in stage.told(HookFailed)] == [0] * 7
    assert stage.told(Quarantined) == []
    assert stage.facts().pause is None
    stage.market.error = None
    stage.tick()
    assert len(stage.told(Recovered)) == 1


def test_a_quarantine_ends_with_new_config_or_code_but_not_with_a_new_mode(stage: Stage) -> None:
    class Raises(Strategy):
        def on_tick(self) -> None:
            raise ValueError("no")

    for change in ({"config": {"levels": 7}}, {"code": "v2"}):
        stage.load(Raises, stage.row())
        stage.host.resume("one")
        for _ in range(5):
            stage.tick()
        stage.load_again(Raises, stage.row(mode=Mode.ACTIVE))
        assert stage.facts().pause is not None, "the same config and code failed: it stays paused"
        stage.load_again(Raises, stage.row(**change))
        assert stage.facts().pause is None
        stage.load_again(Raises, stage.row())


def test_an_operators_pause_is_lifted_only_by_resume(stage: Stage) -> None:
    stage.load(Quiet)
    stage.host.pause("one", "operator", "looking into it")
    assert stage.beat().due == 0
    stage.load_again(Quiet, stage.row(config={"levels": 7}, code="v2"))
    assert stage.facts().pause == ("operator", "looking into it")
    stage.host.unload("one", "mode is off")
    stage.until(lambda: stage.view() is None)
    stage.load(Quiet, stage.row())
    assert stage.beat().due == 0
    stage.host.resume("one")
    stage.tick()
    assert stage.facts().ticks.count == 1


def test_a_tick_in_the_queue_does_not_run_once_paused(make_stage: MakeStage) -> None:
    stage = make_stage(HostOptions(workers=1))
    busy, inside = stage.gate(), threading.Event()

    class Busy(Strategy):
        def on_tick(self) -> None:
            inside.set()
            busy.wait(60)

    stage.load(Busy, stage.row("busy"))
    stage.load(Quiet, stage.row("waits"))
    stage.beat()
    assert inside.wait(60)
    stage.host.pause("waits", "operator", "stop")
    busy.set()
    stage.settle("waits")
    assert stage.facts("waits").ticks.count == 0


def test_pausing_what_is_not_loaded_is_a_key_error(stage: Stage) -> None:
    with pytest.raises(KeyError):
        stage.host.pause("nobody", "operator", "x")
    with pytest.raises(KeyError):
        stage.host.resume("nobody")
    assert stage.host.facts("nobody") is None


def test_widgets_are_rendered_after_loading_and_after_ticks_but_not_too_often(stage: Stage) -> None:
    renders = iter(range(100))

    class Shows(Quiet):
        def render(self) -> list[dict[str, object]]:
            return [metric("n", "N", str(next(renders)))]

    def shown() -> str:
        return str(stage.facts().widgets[0]["value"])

    stage.load(Shows)
    assert shown() == "0"
    stage.tick()
    assert shown() == "0", "less than a second after the last"
    stage.advance(1.0)
    stage.tick()
    assert shown() == "1"


def test_a_failing_render_is_told_once_and_never_quarantines(stage: Stage) -> None:
    class Shows(Quiet):
        def render(self) -> list[dict[str, object]]:
            return [{"type": "nonsense"}]

    stage.load(Shows)
    for _ in range(7):
        stage.advance(1.0)
        stage.tick()
    (report,) = stage.told(HookFailed)
    assert (report.hook, report.consecutive) == ("render", 0)
    assert report.error.startswith("ValueError: ")
    assert stage.told(Quarantined) == []
    assert stage.facts().ticks.count == 7


def test_what_is_shown_says_when_it_was_drawn_though_it_cannot_be_drawn_again(stage: Stage) -> None:
    fails = False

    class Shows(Quiet):
        def render(self) -> list[dict[str, object]]:
            if fails:
                raise ValueError
            return [metric("n", "N", "1")]

    stage.clock.set_wall(6_000.0)
    stage.load(Quiet, stage.row("shows-nothing"))
    stage.load(Shows)
    assert stage.facts("shows-nothing").drawn_at is None
    fails = True
    stage.advance(12.0)
    stage.tick()
    assert stage.facts().drawn_at == "1970-01-01T01:40:00.000Z"
    assert stage.facts().widgets != ()


def _our_fault(*arguments: object) -> NoReturn:
    """Patched into the engine's way: a fault of its own."""
    raise RuntimeError("our own fault")


@pytest.mark.parametrize("where", ["gate_state.Gate.open", "performer.Desk"])
def test_a_load_where_the_engine_fails_is_a_failed_load_and_retried(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"reconciler.runtime.{where}", _our_fault)
        stage.load(Quiet)
        assert stage.phase() is Phase.FAILED
        (report,) = stage.told(LoadFailed)
        assert (report.error, report.attempt) == ("the engine failed: RuntimeError: our own fault", 1)
        assert stage.facts().last_error == report.error
    stage.load(Quiet)
    assert stage.phase() is Phase.RUNNING


def test_a_load_where_the_engine_fails_leaves_the_way_free_for_its_successor(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, inside = stage.gate(), threading.Event()

    class Fails(Quiet):
        def init(self) -> None:
            inside.set()
            gate.wait(60)
            raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr("reconciler.runtime.performer.describe", _our_fault)
        stage.ask(Fails, stage.row())
        assert inside.wait(60)
        stage.watch(lambda: stage.phase() is Phase.STUCK)
        stage.ask(Quiet, stage.row(config={"levels": 7}))
        gate.set()
        stage.until(lambda: stage.told(Loaded))
    assert [type(report) for report in stage.reports] == [Stuck, Unstuck, Unloaded, Loaded]


def test_an_unload_where_the_engine_fails_has_ended_all_the_same(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clings(Quiet):
        def on_unload(self) -> None:
            raise ValueError

    stage.load(Clings)
    monkeypatch.setattr("reconciler.runtime.performer.describe", _our_fault)
    stage.host.unload("one", "removed")
    stage.until(lambda: stage.view() is None)
    assert stage.told(Unloaded) == [Unloaded("one", "the engine failed: RuntimeError: our own fault")]


def test_a_tick_where_the_engine_fails_is_told_but_does_not_count(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ValueError("no")]

    class Fickle(Strategy):
        def on_tick(self) -> None:
            if faults:
                raise faults.pop()

    stage.load(Fickle)
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.runtime.performer.describe", _our_fault)
        stage.tick()
    error = "the engine failed: RuntimeError: our own fault"
    assert stage.told(HookFailed) == [HookFailed("one", "on_tick", error, 0)]
    assert stage.facts().failing
    stage.tick()
    assert stage.told(Recovered) == [Recovered("one")]

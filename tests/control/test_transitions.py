"""Since when a condition is as it is: the time of the change, to within a beat, not of somebody's look."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from reconciler.clock import FakeClock, iso
from reconciler.control import board as board_module
from reconciler.control.diagnosis import Finding, Lookout, Transitions
from reconciler.records.status import Condition, Obstacle

HALT = Obstacle("Halted", "account main is halted: margin call")
DOWN = Obstacle("ExecDown", "not connected")


def condition(fleet: Any, instance_id: str, name: str) -> Condition:
    conditions: dict[str, Condition] = {one.type: one for one in fleet.status(instance_id).conditions}
    return conditions[name]


def activate(fleet: Any, *ids: str) -> None:
    for mode in ("observe", "active"):
        for instance_id in ids:
            fleet.write(instance_id, mode=mode)
        fleet.settle()


def beat(fleet: Any) -> str:
    """A beat goes by, and what changed is looked at. The time of it."""
    fleet.clock.advance(6.0)
    fleet.board.look_around()
    return iso(fleet.clock.time())


def test_a_halt_holds_since_it_came_and_not_since_somebody_asked(fleet: Any) -> None:
    activate(fleet, "a")
    fleet.trading.obstructions = (HALT,)
    halted_at = beat(fleet)
    fleet.clock.advance(60.0)
    trading = condition(fleet, "a", "Trading")
    assert (trading.status, trading.reason, trading.last_transition_at) == (False, "Halted", halted_at)


def test_a_change_and_its_end_between_two_questions_still_show(fleet: Any) -> None:
    activate(fleet, "a")
    opened_at = condition(fleet, "a", "Trading").last_transition_at
    fleet.trading.obstructions = (DOWN,)
    beat(fleet)
    fleet.trading.obstructions = ()
    reopened_at = beat(fleet)
    fleet.clock.advance(60.0)
    trading = condition(fleet, "a", "Trading")
    assert (trading.status, trading.last_transition_at) == (True, reopened_at)
    assert opened_at < reopened_at


@pytest.mark.parametrize(
    ("attribute", "item", "reason"),
    [
        ("denials", {"instance_id": "a", "client_order_id": "x1", "message": "unknown order"}, "OrderMissing"),
        ("differences", {"account_id": "main", "difference": "EUR/USD: 1 there, 2 here"}, "PositionsDiffer"),
    ],
)
def test_what_the_exchange_says_otherwise_is_noted_when_it_says_so(
    fleet: Any, attribute: str, item: dict[str, Any], reason: str
) -> None:
    activate(fleet, "a")
    beat(fleet)
    getattr(fleet, attribute).append(item)
    at = beat(fleet)
    fleet.clock.advance(60.0)
    trading = condition(fleet, "a", "Trading")
    assert (trading.reason, trading.last_transition_at) == (reason, at)


def test_an_order_that_an_exchange_denies_counts_for_what_does_not_trade_as_the_mode_does(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    lowered_at = condition(fleet, "a", "Trading").last_transition_at
    fleet.denials.append({"instance_id": "a", "client_order_id": "x1", "message": "unknown order"})
    beat(fleet)
    trading = condition(fleet, "a", "Trading")
    assert (trading.reason, trading.last_transition_at) == ("Mode", lowered_at)


def test_a_pause_is_noted_at_the_beat_after_it(fleet: Any) -> None:
    fleet.write("a")
    fleet.settle()
    beat(fleet)
    fleet.host.pause("a", "operator", "a look at it")
    paused_at = beat(fleet)
    fleet.clock.advance(60.0)
    ready = condition(fleet, "a", "Ready")
    assert (ready.reason, ready.last_transition_at) == ("Paused", paused_at)


def test_only_what_may_have_changed_is_looked_at(fleet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    activate(fleet, "a", "b")
    fleet.write("c")
    fleet.settle()
    beat(fleet)
    looked: list[str] = []

    def accepted(case: Any) -> tuple[bool, str, str]:
        looked.append(case.row.id)
        return True, "Applied", ""

    monkeypatch.setattr(board_module, "accepted", accepted)
    beat(fleet)
    assert looked == []
    fleet.host.pause("c", "operator", "why")
    beat(fleet)
    assert looked == ["c"]
    looked.clear()
    fleet.trading.obstructions = (DOWN,)
    beat(fleet)
    assert looked == ["a", "b"]
    looked.clear()
    beat(fleet)
    assert looked == []


def test_an_instance_that_comes_back_has_no_past(fleet: Any) -> None:
    path, _ = fleet.write("a", mode="off"), fleet.write("b")
    fleet.settle()
    text, first_at = path.read_text(), condition(fleet, "a", "Loaded").last_transition_at
    path.unlink()
    fleet.settle_twice()
    beat(fleet)
    assert fleet.ids() == ["b"]
    path.write_text(text)
    fleet.settle()
    assert condition(fleet, "a", "Loaded").last_transition_at > first_at


def test_a_condition_keeps_its_time_while_only_its_message_changes(clock: FakeClock) -> None:
    transitions = Transitions(clock)

    def look(ready: Finding) -> tuple[Condition, ...]:
        clock.advance(6.0)
        return transitions.conditions("a", ((True, "Applied", ""), (True, "Loaded", ""), ready, (True, "Open", "")))

    def since(conditions: tuple[Condition, ...]) -> list[str]:
        return [one.last_transition_at for one in conditions]

    first = look((True, "Ticking", ""))
    assert since(first) == [iso(clock.time())] * 4
    assert [one.type for one in first] == ["Accepted", "Loaded", "Ready", "Trading"]
    assert look((True, "Ticking", "")) is first, "nothing is made anew where nothing is to be said"
    told = look((True, "Ticking", "well"))
    assert (told[2].message, since(told)) == ("well", since(first))
    changed = look((True, "RenderFailed", ""))
    assert changed[2].last_transition_at == iso(clock.time())
    assert [*since(changed)[:2], since(changed)[3]] == since(first)[:3], "the others are as they were"
    assert look((True, "Ticking", ""))[2].last_transition_at == iso(clock.time()), "and so it is when it comes back"
    transitions.forget_but({"b"})
    assert since(look((True, "Ticking", ""))) == [iso(clock.time())] * 4


def test_the_lookout_looks_once_an_interval_and_outlives_a_look_that_fails(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[float] = []
    looked = threading.Semaphore(0)

    def look() -> None:
        looks.append(clock.monotonic())
        looked.release()
        if len(looks) == 1:
            raise RuntimeError("no eyes")

    lookout = Lookout(clock, 6.0, look)
    lookout.start()
    started_s = clock.monotonic()
    for _ in range(2):
        wait_until_it_looked(clock, looked)
    lookout.stop()
    assert len(looks) == 2
    assert looks[0] - started_s >= 6.0
    assert looks[1] - looks[0] >= 6.0
    assert "no eyes" in caplog.text


def wait_until_it_looked(clock: FakeClock, looked: threading.Semaphore) -> None:
    """Let time pass in small steps until the next look; ten seconds of real time at most."""
    for _ in range(1_000):
        clock.advance(1.0)
        if looked.acquire(timeout=0.01):
            return
    raise AssertionError("it never looked")

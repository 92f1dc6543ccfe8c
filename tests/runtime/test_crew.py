"""Faults of the engine's own: a worker outlives them."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from reconciler.clock import FakeClock
from reconciler.runtime.crew import Crew
from reconciler.runtime.slot import HookCall, Slot

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeRow, Until


def outlives(call: HookCall, slot: Slot, error: BaseException) -> None:
    raise AssertionError("nobody failed")


def test_a_slot_that_is_being_worked_on_is_looked_at_again_and_by_one_worker_at_a_time(
    make_row: MakeRow, until: Until
) -> None:
    slot = Slot(make_row(), 1)
    seen: list[int | None] = []
    inside, go_on = threading.Event(), threading.Event()

    def work(call: HookCall, slot: Slot) -> None:
        seen.append(slot.beat)
        slot.beat = None
        inside.set()
        go_on.wait(60)

    crew = Crew(work, outlives, FakeClock().monotonic)
    crew.hire(2)
    slot.beat = 1
    crew.offer(slot)
    assert inside.wait(60)
    slot.beat = 2
    crew.offer(slot)
    assert crew.is_idle, "whoever works on it will look again; nobody else is asked"
    go_on.set()
    until(lambda: len(seen) == 2 and not slot.claimed)
    crew.dismiss(2)
    until(lambda: crew.calls() == [])
    assert seen == [1, 2]


def test_what_is_due_is_offered_together_and_what_is_still_at_its_last_tick_misses_it(make_row: MakeRow) -> None:
    crew = Crew(lambda call, slot: None, outlives, FakeClock().monotonic)
    free, busy, loading = (Slot(make_row(name), 1) for name in ("free", "busy", "loading"))
    busy.claimed, busy.beat = True, 1
    loading.claimed = True
    assert crew.offer_ticks([free, busy, loading], 2) == 1
    assert [(slot.beat, slot.missed, slot.claimed) for slot in (free, busy, loading)] == [
        (2, 0, True),
        (1, 1, True),
        (2, 0, True),
    ]
    assert list(crew._queue) == [free], "whoever works on the others will look again"


def test_everything_offered_together_is_worked_on_by_workers_that_wait(make_row: MakeRow, until: Until) -> None:
    """As many at a time as there are workers: each is woken, none of them does two things at once."""
    together = threading.Barrier(3)
    done: list[str] = []

    def work(call: HookCall, slot: Slot) -> None:
        together.wait(60)
        done.append(slot.id)
        slot.beat = None

    crew = Crew(work, outlives, FakeClock().monotonic)
    crew.hire(3)
    slots = [Slot(make_row(f"i-{n}"), 1) for n in range(6)]
    for beat in range(5):
        assert crew.offer_ticks(slots, beat) == 0
        until(lambda: not any(slot.claimed for slot in slots))
    crew.dismiss(3)
    until(lambda: crew.calls() == [])
    assert (crew.size, sorted(done)) == (0, sorted([slot.id for slot in slots] * 5))
    assert crew._turn.acquire(blocking=False), "whoever leaves gives it back"


class Moving(deque[Slot | None]):
    """A queue of which somebody takes: as long at one look after the other as `looks` say, after which so many slots in
    all are done; `then` at the last."""

    def __init__(self, *looks: tuple[int, int], then: Callable[[], object] = int) -> None:
        super().__init__()
        self.crew = Crew(lambda call, slot: None, outlives, FakeClock().monotonic)
        self.crew._queue = self
        self.looks = list(looks)
        self._then = then

    def __len__(self) -> int:
        length, self.crew._done = self.looks.pop(0)
        if not self.looks:
            self._then()
        return length


@pytest.mark.parametrize(
    ("queue", "is_wanted"),
    [
        (Moving((500, 100), (400, 200), (300, 200), (300, 200)), True),
        (Moving((500, 9), (491, 9)), True),
        (Moving((500, 0), (900, 0)), True),
        (Moving((500, 33), (500, 66), (0, 66)), False),
        (Moving((500, 100), (400, 500), (0, 500)), False),
        (Moving((1, 1), (0, 1)), False),
        (Moving((0, 0)), False),
    ],
    ids=[
        "it stands",
        "it moves, but hooks take long",
        "it grows",
        "what is done comes back, to be drawn",
        "it has been emptied",
        "the last is taken",
        "it was empty",
    ],
)
def test_who_stands_by_works_beside_the_one_that_has_the_turn_where_the_queue_is_held_up(
    queue: Moving, is_wanted: bool
) -> None:
    call = HookCall(0)
    with queue.crew._turn:
        assert queue.crew._is_wanted(call) is is_wanted
    assert (call.has_turn, queue.looks) == (False, []), "and it looked no more often than that"


def test_who_stands_by_has_the_turn_once_the_other_has_ended_it() -> None:
    call, other = HookCall(0), HookCall(1)
    queue = Moving((500, 100), (400, 200), then=lambda: queue.crew._end_turn(other))
    other.has_turn = queue.crew._turn.acquire()
    assert queue.crew._is_wanted(call)
    assert (call.has_turn, other.has_turn) == (True, False)


def test_who_works_beside_one_that_is_held_up_looks_now_and_then_whether_it_still_is(
    make_row: MakeRow, until: Until
) -> None:
    go_on = threading.Event()
    looks: list[HookCall] = []

    class Looked(Crew):
        def _is_wanted(self, call: HookCall) -> bool:
            looks.append(call)
            return super()._is_wanted(call)

    def work(call: HookCall, slot: Slot) -> None:
        if slot.id == "held":
            go_on.wait(60)
        slot.beat = None

    crew = Looked(work, outlives, FakeClock().monotonic)
    crew.hire(2)
    held, *others = slots = [Slot(make_row(name), 1) for name in ("held", *(f"i-{n}" for n in range(500)))]
    crew.offer_ticks(slots, 1)
    until(lambda: not any(slot.claimed for slot in others))
    assert held.claimed
    assert len(looks) >= 1 + 3, "one by who is held up; the other's first, and after each 200"
    go_on.set()
    crew.dismiss(2)
    until(lambda: crew.calls() == [])


def test_who_waits_for_the_world_leaves_the_turn_to_others(make_row: MakeRow, until: Until) -> None:
    world = World(most=2)
    world.crew.offer_ticks([Slot(make_row("one"), 1)], 1)
    until(lambda: world.inside == ["one"])
    assert world.crew._turn.acquire(blocking=False)
    world.crew._turn.release()
    world.answers.set()
    until(lambda: len(world.after) == 1)
    world.crew.dismiss(world.crew.size)
    until(lambda: world.crew.calls() == [])


def test_a_worker_outlives_a_fault_of_the_engine_logs_it_and_says_so(
    make_row: MakeRow, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where saying so fails; and what was asked of the slot meanwhile is done."""
    slot = Slot(make_row(), 1)
    beats: list[int | None] = []
    told: list[tuple[str, bool, int | None]] = []

    def work(call: HookCall, slot: Slot) -> None:
        beats.append(slot.beat)
        if slot.beat == 1:
            call.over = False
            raise RuntimeError("a fault of our own")
        slot.beat = None

    def failed(call: HookCall, slot: Slot, error: BaseException) -> None:
        told.append((str(error), call.over, slot.beat))
        slot.beat = 2
        raise RuntimeError("one more")

    crew = Crew(work, failed, FakeClock().monotonic)
    crew.hire(1)
    with caplog.at_level(logging.ERROR):
        slot.beat = 1
        crew.offer(slot)
        until(lambda: len(beats) == 2 and not slot.claimed)
    assert (beats, told) == ([1, 2], [("a fault of our own", True, None)])
    assert "a fault of our own" in caplog.text
    assert "one more" in caplog.text
    crew.dismiss(1)
    until(lambda: crew.calls() == [])


class World:
    """Work that waits for the world: each slot's name stands in `inside` while it does, in `after` once it went on."""

    def __init__(self, most: int, workers: int = 1) -> None:
        self.crew = Crew(self._work, outlives, FakeClock().monotonic, most=most)
        self.inside: list[str] = []
        self.after: list[tuple[str, int | None]] = []
        self.answers = threading.Event()
        self._lock = threading.Lock()
        self.crew.hire(workers)

    def _work(self, call: HookCall, slot: Slot) -> None:
        assert self.crew.step_aside(call)
        assert not self.crew.step_aside(call), "it has none to leave any more"
        self.inside.append(slot.id)
        self.answers.wait(10)
        self.crew.step_back(call)
        with self._lock:
            self.after.append((slot.id, slot.beat))
        slot.beat = None


def test_who_waits_for_the_world_has_a_spare_beside_it_at_once_and_the_rest_queue_in_order_of_their_beats(
    make_row: MakeRow, until: Until
) -> None:
    world = World(most=3)
    first, second = ([Slot(make_row(f"{beat}-{n}"), 1) for n in range(3)] for beat in (1, 2))
    assert world.crew.offer_ticks(first[:2], 1) == 0
    until(lambda: len(world.inside) == 2)
    assert world.crew.aside == world.crew.size == 2, "nothing is queued: nobody is hired ahead"
    world.crew.offer_ticks(first[2:], 1)
    until(lambda: len(world.inside) == 3)
    assert world.crew.offer_ticks(second, 2) == 0
    assert (world.crew.size, len(world.inside)) == (3, 3), "the bound"
    late = Slot(make_row("1-late"), 1)
    late.beat = 1
    world.crew.offer(late)
    assert [slot and slot.id for slot in world.crew._queue] == ["1-late", "2-0", "2-1", "2-2"]
    world.answers.set()
    until(lambda: len(world.after) == 7)
    assert [beat for _, beat in sorted(world.after, key=lambda one: one[1] or 0)] == [1] * 4 + [2] * 3
    assert world.inside[3] == "1-late"
    assert not any(slot.missed for slot in (*first, *second, late))
    world.crew.dismiss(world.crew.size)
    until(lambda: world.crew.calls() == [])


def test_of_those_who_were_answered_only_as_many_go_on_to_another_slot_as_there_are_places(
    make_row: MakeRow, until: Until
) -> None:
    busy: list[str] = []
    answers, hold = threading.Event(), threading.Event()

    def work(call: HookCall, slot: Slot) -> None:
        if slot.beat == 1:
            crew.step_aside(call)
            answers.wait(10)
            crew.step_back(call)
        else:
            busy.append(slot.id)
            hold.wait(10)
        slot.beat = None

    crew = Crew(work, outlives, FakeClock().monotonic, most=8)
    crew.hire(2)
    waiting = [Slot(make_row(f"w-{n}"), 1) for n in range(8)]
    crew.offer_ticks(waiting, 1)
    until(lambda: crew.aside == 8)
    others = [Slot(make_row(f"o-{n}"), 1) for n in range(20)]
    crew.offer_ticks(others, 2)
    answers.set()
    until(lambda: not any(slot.claimed for slot in waiting) and crew._parked == 6 and len(busy) == 2)
    assert busy == ["o-0", "o-1"], "six have no place, though much is queued"
    hold.set()
    until(lambda: not any(slot.claimed for slot in others))
    assert len(busy) == 20
    crew.dismiss(crew.size)
    until(lambda: crew.calls() == [])


def test_a_system_without_threads_is_no_concern_of_who_waits(
    make_row: MakeRow, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(most=3)
    one, other = Slot(make_row("one"), 1), Slot(make_row("other"), 1)
    world.crew.offer_ticks([one], 1)
    until(lambda: world.inside == ["one"])

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        world.crew.offer_ticks([other], 1)
    assert world.crew.size == 1
    world.crew.allow(1)
    until(lambda: world.inside == ["one", "other"])
    world.answers.set()
    until(lambda: len(world.after) == 2)
    world.crew.dismiss(world.crew.size)
    until(lambda: world.crew.calls() == [])

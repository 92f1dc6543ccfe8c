from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.runtime.roster import Schedule
from reconciler.runtime.slot import Slot

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeRow


def test_only_what_is_due_is_visited(make_row: MakeRow) -> None:
    schedule = Schedule()
    fast, slow = Slot(make_row("fast"), 1), Slot(make_row("slow"), 1)
    schedule.place(fast, 1)
    schedule.place(slow, 10)
    assert schedule.due(9) == [fast]
    assert set(schedule.due(10)) == {fast, slow}


def test_a_slot_is_scheduled_at_one_cadence_only(make_row: MakeRow) -> None:
    schedule = Schedule()
    slot = Slot(make_row(), 1)
    schedule.place(slot, 2)
    schedule.place(slot, 3)
    assert [beat for beat in range(7) if schedule.due(beat)] == [0, 3, 6]
    schedule.place(slot, 0)
    assert schedule.due(6) == []


def test_one_more_tick_comes_once_and_not_beside_a_due_one(make_row: MakeRow) -> None:
    schedule = Schedule()
    slot = Slot(make_row(), 1)
    schedule.place(slot, 3)
    schedule.place_once(slot)
    assert [schedule.due(beat) for beat in (1, 2, 3)] == [[slot], [], [slot]]
    schedule.place_once(slot)
    assert [schedule.due(beat) for beat in (6, 7)] == [[slot], []]


def test_who_must_wait_is_left_out_and_keeps_its_tick_on_load(make_row: MakeRow) -> None:
    schedule = Schedule()
    waiting, other = Slot(make_row("waiting"), 1), Slot(make_row("other"), 1)
    for slot in (waiting, other):
        schedule.place(slot, 3)
        schedule.place_once(slot)
    assert schedule.due(1, lambda slot: slot is waiting) == [other]
    assert schedule.due(2, lambda slot: slot is waiting) == []
    assert schedule.due(3, lambda slot: slot is waiting) == [other]
    assert schedule.due(4) == [waiting]
    assert schedule.due(5) == []


def test_what_may_not_tick_gets_no_tick_on_load_either(make_row: MakeRow) -> None:
    schedule = Schedule()
    slot = Slot(make_row(), 1)
    schedule.place_once(slot)
    schedule.place(slot, 3)
    schedule.place_once(slot)
    schedule.place(slot, 0)
    assert schedule.due(1) == []

"""Faults of the engine's own: a worker outlives them."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

import pytest

from reconciler.runtime.crew import Crew, Worker
from reconciler.runtime.slot import Slot

if TYPE_CHECKING:
    from tests.runtime.conftest import MakeRow, Until


def test_a_slot_that_is_being_worked_on_is_looked_at_again_and_by_one_worker_at_a_time(
    make_row: MakeRow, until: Until
) -> None:
    slot = Slot(make_row(), 1)
    seen: list[int | None] = []
    inside, go_on = threading.Event(), threading.Event()

    def work(worker: Worker, slot: Slot) -> None:
        seen.append(slot.beat)
        slot.beat = None
        inside.set()
        go_on.wait(10)

    crew = Crew(work)
    crew.hire(2)
    slot.beat = 1
    crew.offer(slot)
    assert inside.wait(10)
    slot.beat = 2
    crew.offer(slot)
    assert crew.is_idle, "whoever works on it will look again; nobody else is asked"
    go_on.set()
    until(lambda: len(seen) == 2 and not slot.claim.locked())
    crew.dismiss(2)
    until(lambda: crew.workers() == [])
    assert seen == [1, 2]


def test_a_worker_outlives_a_fault_of_the_engine_and_logs_it(
    make_row: MakeRow, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    slot = Slot(make_row(), 1)
    beats: list[int | None] = []

    def work(worker: Worker, slot: Slot) -> None:
        beats.append(slot.beat)
        if len(beats) == 1:
            raise RuntimeError("a fault of our own")
        slot.beat = None

    crew = Crew(work)
    crew.hire(1)
    with caplog.at_level(logging.ERROR):
        slot.beat = 1
        crew.offer(slot)
        until(lambda: len(beats) == 1 and not slot.claim.locked())
    assert "a fault of our own" in caplog.text
    slot.beat = 2
    crew.offer(slot)
    until(lambda: beats == [1, 2])
    crew.dismiss(1)
    until(lambda: crew.workers() == [])

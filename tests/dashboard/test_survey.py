"""The survey: what it counts, and how little it works."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.clock import FakeClock
from reconciler.dashboard.survey import MOST_CONCERNS, Surveyor
from reconciler.ports import InstanceFilter
from reconciler.records.accounts import Accounts
from reconciler.records.status import Health, InstanceStatus

if TYPE_CHECKING:
    from tests.dashboard.conftest import FakeStatus


def surveys(status: FakeStatus) -> int:
    return sum(what == "instances" for what, _ in status.asked)


def test_one_revision_is_surveyed_once(status: FakeStatus, clock: FakeClock) -> None:
    surveyor = Surveyor(status, Accounts(), clock)
    assert surveyor.survey() is surveyor.survey()
    status.revision_now = 2
    surveyor.survey()
    assert surveys(status) == 2


def test_a_survey_that_takes_long_is_taken_seldom(status: FakeStatus, clock: FakeClock) -> None:
    slow = SlowStatus(status, clock)
    surveyor = Surveyor(slow, Accounts(), clock)  # type: ignore[arg-type]
    for revision in range(1, 41):
        status.revision_now = revision
        surveyor.survey()
        clock.advance(0.25)
    assert 3 <= surveys(status) <= 4


class SlowStatus:
    """A large fleet: looking at all of it takes 0.3 s."""

    def __init__(self, status: FakeStatus, clock: FakeClock) -> None:
        self._status = status
        self._clock = clock

    def revision(self) -> int:
        return self._status.revision()

    def instances(self, wanted: InstanceFilter, limit: int, offset: int) -> tuple[Sequence[InstanceStatus], int]:
        self._clock.advance(0.3)
        return self._status.instances(wanted, limit, offset)


def test_nobody_waits_for_a_survey_that_another_is_taking(status: FakeStatus, clock: FakeClock) -> None:
    entered, release = threading.Event(), threading.Event()

    class Blocking(SlowStatus):
        blocks = False

        def instances(self, wanted: InstanceFilter, limit: int, offset: int) -> tuple[Sequence[InstanceStatus], int]:
            if self.blocks:
                entered.set()
                release.wait(10)
            return self._status.instances(wanted, limit, offset)

    blocking = Blocking(status, clock)
    surveyor = Surveyor(blocking, Accounts(), clock)  # type: ignore[arg-type]
    first = surveyor.survey()
    blocking.blocks, status.revision_now = True, 2
    other = threading.Thread(target=surveyor.survey)
    other.start()
    try:
        assert entered.wait(10)
        assert surveyor.survey() is first
    finally:
        release.set()
        other.join(10)
    assert surveyor.survey() is not first


def test_only_the_gravest_concerns_are_kept_and_the_rest_counted(status: FakeStatus, clock: FakeClock) -> None:
    one = status.fleet[0]
    status.fleet = [replace(one, id=f"p-{n:03}", health=Health.PAUSED) for n in range(200)]
    status.fleet.append(replace(one, id="z-stuck", health=Health.STUCK))
    survey = Surveyor(status, Accounts(), clock).survey()
    assert survey.concerns[0].subject == "z-stuck"
    assert len(survey.concerns) == MOST_CONCERNS
    assert survey.concern_count == 201

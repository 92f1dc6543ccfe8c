"""The survey: what it holds, how little it works, and whom it keeps waiting."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.clock import FakeClock, iso
from reconciler.dashboard.attention import MOST_CONCERNS, OLDEST_S, Survey, Surveyor
from reconciler.ports import EngineStatus, FleetSummary
from reconciler.records.accounts import Accounts
from reconciler.records.status import Health, InstanceStatus

if TYPE_CHECKING:
    from tests.dashboard.conftest import FakeStatus


def surveys(status: FakeStatus) -> int:
    return sum(what == "troubled" for what, _ in status.asked)


def test_one_revision_is_surveyed_once(status: FakeStatus, clock: FakeClock) -> None:
    surveyor = Surveyor(status, Accounts(), clock)
    assert surveyor.survey() is surveyor.survey()
    status.revision_now = 2
    surveyor.survey()
    assert surveys(status) == 2


def test_a_survey_that_is_quick_is_of_the_present_revision(status: FakeStatus, clock: FakeClock) -> None:
    surveyor = Surveyor(status, Accounts(), clock)
    assert surveyor.survey().fleet.total == 1
    status.fleet *= 2
    status.revision_now = 2
    assert surveyor.survey().fleet.total == 2


class SlowStatus:
    """A fleet of which very many are in trouble: looking at them takes 0.3 s, and as long as the test wants."""

    def __init__(self, status: FakeStatus, clock: FakeClock) -> None:
        self._status = status
        self._clock = clock
        self.entered = threading.Event()
        self.release = threading.Event()
        self.release.set()

    def revision(self) -> int:
        return self._status.revision()

    def troubled(self) -> Sequence[InstanceStatus]:
        self.entered.set()
        assert self.release.wait(10)
        self._clock.advance(0.3)
        return self._status.troubled()

    def summary(self) -> FleetSummary:
        return self._status.summary()

    def doubts(self) -> Sequence[Mapping[str, Any]]:
        return self._status.doubts()

    def engine(self) -> EngineStatus:
        return self._status.engine()


@pytest.fixture
def slow(status: FakeStatus, clock: FakeClock) -> SlowStatus:
    return SlowStatus(status, clock)


def next_survey(surveyor: Surveyor, last: Survey) -> Survey:
    """The one that is being taken elsewhere; waits ten seconds at most."""
    pause = threading.Event()
    for _ in range(10_000):
        if surveyor.survey() is not last:
            return surveyor.survey()
        pause.wait(0.001)
    raise AssertionError("no other survey was ever taken")


def test_a_survey_that_takes_long_is_taken_seldom(status: FakeStatus, slow: SlowStatus, clock: FakeClock) -> None:
    surveyor = Surveyor(slow, Accounts(), clock)  # type: ignore[arg-type]
    first = surveyor.survey()
    for revision in range(2, 12):
        status.revision_now = revision
        clock.advance(0.24)
        assert surveyor.survey() is first
    assert surveys(status) == 1
    clock.advance(0.2)
    surveyor.survey()
    assert next_survey(surveyor, first) is not first
    assert surveys(status) == 2


def test_who_comes_often_does_not_wait_for_a_survey_that_takes_long(
    status: FakeStatus, slow: SlowStatus, clock: FakeClock
) -> None:
    surveyor = Surveyor(slow, Accounts(), clock)  # type: ignore[arg-type]
    first = surveyor.survey()
    clock.advance(OLDEST_S - 1)
    status.revision_now = 2
    slow.entered.clear()
    slow.release.clear()
    try:
        assert surveyor.survey() is first
        assert slow.entered.wait(10)
        assert surveyor.survey() is first
    finally:
        slow.release.set()
    assert next_survey(surveyor, first) is not first


def test_who_comes_after_a_while_is_told_nothing_old_however_long_that_takes(
    status: FakeStatus, slow: SlowStatus, clock: FakeClock
) -> None:
    surveyor = Surveyor(slow, Accounts(), clock)  # type: ignore[arg-type]
    assert surveyor.survey().concerns == ()
    status.fleet = [replace(status.fleet[0], health=Health.STUCK)]
    status.revision_now = 2
    clock.advance(75)
    survey = surveyor.survey()
    assert [one.subject for one in survey.concerns] == ["btc-dca"]
    assert survey.as_of == iso(clock.time() - 0.3)


def test_who_waits_for_a_survey_gets_the_one_that_is_being_taken(
    status: FakeStatus, slow: SlowStatus, clock: FakeClock
) -> None:
    surveyor = Surveyor(slow, Accounts(), clock)  # type: ignore[arg-type]
    surveyor.survey()
    clock.advance(75)
    slow.entered.clear()
    slow.release.clear()
    found: list[Survey] = []
    people = [threading.Thread(target=lambda: found.append(surveyor.survey())) for _ in range(2)]
    for one in people:
        one.start()
    assert slow.entered.wait(10)
    assert found == []
    slow.release.set()
    for one in people:
        one.join(10)
    assert found[0] is found[1]
    assert surveys(status) == 2


def test_only_the_gravest_concerns_are_kept_and_the_rest_counted(status: FakeStatus, clock: FakeClock) -> None:
    one = status.fleet[0]
    status.fleet = [replace(one, id=f"p-{n:03}", health=Health.PAUSED) for n in range(200)]
    status.fleet.append(replace(one, id="z-stuck", health=Health.STUCK))
    survey = Surveyor(status, Accounts(), clock).survey()
    assert survey.concerns[0].subject == "z-stuck"
    assert len(survey.concerns) == MOST_CONCERNS
    assert survey.concern_count == 201

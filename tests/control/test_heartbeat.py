"""Each beat once, never twice, whatever the clock and the process do."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from reconciler.clock import FakeClock
from reconciler.control.heartbeat import Heartbeat
from reconciler.errors import StoreError

HEARTBEAT_S = 6.0
START_BEAT = 1000


class StoredBeats:
    """Remembers the last beat as the database would; `broken` refuses to commit."""

    def __init__(self, last: tuple[int, float] | None = None) -> None:
        self.stored = last
        self.broken = False

    def last(self) -> tuple[int, float] | None:
        return self.stored

    def fired(self, beat: int, heartbeat_s: float) -> None:
        if self.broken:
            raise StoreError("disk full")
        self.stored = (beat, heartbeat_s)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START_BEAT * HEARTBEAT_S + 1.0)


def heart(clock: FakeClock, beats: StoredBeats, fired: list[int]) -> Heartbeat:
    return Heartbeat(clock, HEARTBEAT_S, beats, fired.append)


def test_a_beat_is_committed_before_it_fires(clock: FakeClock) -> None:
    beats = StoredBeats()
    seen: list[tuple[int, float] | None] = []
    Heartbeat(clock, HEARTBEAT_S, beats, lambda beat: seen.append(beats.stored)).step()
    assert seen == [(START_BEAT, HEARTBEAT_S)]


def test_no_beat_fires_twice_in_one_process_or_after_a_restart(clock: FakeClock) -> None:
    beats = StoredBeats()
    fired: list[int] = []
    heartbeat = heart(clock, beats, fired)
    assert [heartbeat.step(), heartbeat.step()] == [True, False]
    assert heart(clock, beats, fired).step() is False
    assert fired == [START_BEAT]


def test_beats_lost_while_stopped_are_counted_and_not_replayed(clock: FakeClock) -> None:
    fired: list[int] = []
    heartbeat = heart(clock, StoredBeats((START_BEAT - 5, HEARTBEAT_S)), fired)
    heartbeat.step()
    assert (fired, heartbeat.lost) == ([START_BEAT], 4)


def test_a_first_start_has_lost_nothing(clock: FakeClock) -> None:
    heartbeat = heart(clock, StoredBeats(), [])
    heartbeat.step()
    assert heartbeat.lost == 0


def test_a_beat_that_cannot_be_committed_does_not_fire(clock: FakeClock) -> None:
    beats = StoredBeats()
    fired: list[int] = []
    beats.broken = True
    heartbeat = heart(clock, beats, fired)
    assert heartbeat.step() is False
    beats.broken = False
    assert heartbeat.step() is False
    assert (fired, heartbeat.lost) == ([], 1)


def test_a_clock_set_back_is_waited_out_visibly(clock: FakeClock) -> None:
    fired: list[int] = []
    heartbeat = heart(clock, StoredBeats(), fired)
    heartbeat.step()
    clock.set_wall((START_BEAT - 10) * HEARTBEAT_S)
    assert heartbeat.step() is False
    assert heartbeat.behind_s == 60.0
    clock.set_wall((START_BEAT + 1) * HEARTBEAT_S)
    assert heartbeat.step() is True
    assert (fired, heartbeat.behind_s) == ([START_BEAT, START_BEAT + 1], 0.0)


def test_a_changed_heartbeat_renumbers_what_was_stored(clock: FakeClock) -> None:
    stored = StoredBeats((START_BEAT * 2, 3.0))
    fired: list[int] = []
    assert heart(clock, stored, fired).step() is False
    clock.advance(HEARTBEAT_S)
    assert heart(clock, stored, fired).step() is True
    assert fired == [START_BEAT + 1]


def test_what_hangs_on_a_beat_may_fail_and_the_next_beat_comes(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(beat: int) -> None:
        raise RuntimeError("no room")

    heartbeat = Heartbeat(clock, HEARTBEAT_S, StoredBeats(), fail)
    assert heartbeat.step() is True
    assert "no room" in heartbeat.fault
    clock.advance(HEARTBEAT_S)
    assert heartbeat.step() is True
    assert "a beat was not carried out in full" in caplog.text


@pytest.fixture
def running(clock: FakeClock) -> Iterator[tuple[Heartbeat, list[int], threading.Semaphore]]:
    fired: list[int] = []
    came = threading.Semaphore(0)

    def fire(beat: int) -> None:
        fired.append(beat)
        came.release()

    heartbeat = Heartbeat(clock, HEARTBEAT_S, StoredBeats(), fire)
    heartbeat.start()
    yield heartbeat, fired, came
    heartbeat.stop()


def test_the_thread_fires_at_the_beginning_of_each_beat(
    clock: FakeClock, running: tuple[Heartbeat, list[int], threading.Semaphore]
) -> None:
    heartbeat, fired, came = running
    for _ in range(3):
        clock.advance(HEARTBEAT_S)
        assert came.acquire(timeout=5)
    assert fired == [START_BEAT + 1, START_BEAT + 2, START_BEAT + 3]
    clock.advance(1.5)
    assert heartbeat.age_s() == 1.5

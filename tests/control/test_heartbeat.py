"""Each beat once, never twice, whatever the clock and the process do."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace

import pytest

from reconciler.clock import FakeClock
from reconciler.control.heartbeat import LOOK_EVERY_S, Heartbeat
from reconciler.errors import StoreError
from reconciler.records.cadence import RUN_GAP, BeatMark, BeatRun

HEARTBEAT_S = 6.0
START_BEAT = 1000


class StoredBeats:
    """Remembers what fired as the database would; `broken` refuses to commit, `held` does not answer."""

    def __init__(self, last: tuple[int, float] | None = None) -> None:
        self.known: list[BeatRun] = [] if last is None else [BeatRun(last[0], last[0], last[1])]
        self.mark: BeatMark | None = None
        self.broken = False
        self.held: Future[None] | None = None

    def runs(self) -> Sequence[BeatRun]:
        return self.known

    def marked(self) -> BeatMark | None:
        return self.mark

    def fire(self, beat: int, heartbeat_s: float, mark: BeatMark) -> Future[None]:
        answer: Future[None] = Future()
        if self.held is not None:
            return self.held
        if self.broken:
            answer.set_exception(StoreError("disk full"))
            return answer
        answer.set_result(None)
        self.mark = mark
        latest = next((run for run in reversed(self.known) if not run.forgotten), None)
        if latest is not None and latest.last < beat <= latest.last + RUN_GAP:
            self.known[self.known.index(latest)] = replace(latest, last=beat)
        else:
            self.known.append(BeatRun(beat, beat, heartbeat_s))
        return answer

    def forget(self, mark: BeatMark) -> Sequence[BeatRun]:
        found = [run for run in self.known if not run.forgotten and run.last * run.heartbeat_s > mark.time_s]
        self.known = [replace(run, forgotten=True) if run in found else run for run in self.known]
        self.mark = mark if found else self.mark
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START_BEAT * HEARTBEAT_S + 1.0)


def heart(clock: FakeClock, beats: StoredBeats, fired: list[int]) -> Heartbeat:
    return Heartbeat(clock, HEARTBEAT_S, beats, fired.append)


def test_a_beat_is_committed_before_it_fires(clock: FakeClock) -> None:
    beats = StoredBeats()
    seen: list[list[BeatRun]] = []
    Heartbeat(clock, HEARTBEAT_S, beats, lambda beat: seen.append(list(beats.known))).step()
    assert seen == [[BeatRun(START_BEAT, START_BEAT, HEARTBEAT_S)]]


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
        assert came.acquire(timeout=60)
    assert fired == [START_BEAT + 1, START_BEAT + 2, START_BEAT + 3]
    clock.advance(1.5)
    assert heartbeat.age_s() == 1.5


def passing(clock: FakeClock, heartbeat: Heartbeat, duration_s: float) -> None:
    """Let time pass, and the heartbeat look as often as its thread would."""
    for _ in range(round(duration_s / 0.5)):
        clock.advance(0.5)
        heartbeat.step()


@pytest.fixture
def steady(clock: FakeClock) -> tuple[Heartbeat, list[int], StoredBeats]:
    """A heartbeat that has fired the beat under way."""
    fired: list[int] = []
    beats = StoredBeats()
    heartbeat = heart(clock, beats, fired)
    heartbeat.step()
    return heartbeat, fired, beats


Steady = tuple[Heartbeat, list[int], StoredBeats]
YEAR_S = 365 * 86_400.0


def test_a_clock_that_is_ahead_for_a_moment_costs_no_beat_once_it_is_right_again(
    clock: FakeClock, steady: Steady
) -> None:
    heartbeat, fired, _ = steady
    clock.set_wall(clock.time() + YEAR_S)
    passing(clock, heartbeat, 9.0)
    clock.set_wall(clock.time() - YEAR_S)
    passing(clock, heartbeat, HEARTBEAT_S)
    assert fired == [START_BEAT, START_BEAT + 1, START_BEAT + 2]
    assert (heartbeat.behind_s, heartbeat.lost) == (0.0, 0)


def test_a_clock_that_stays_ahead_counts_after_three_looks_of_the_monotonic_clock(
    clock: FakeClock, steady: Steady
) -> None:
    heartbeat, fired, _ = steady
    clock.set_wall(clock.time() + YEAR_S)
    passing(clock, heartbeat, 2 * HEARTBEAT_S - 0.5)
    assert fired == [START_BEAT]
    passing(clock, heartbeat, HEARTBEAT_S)
    ahead = START_BEAT + round(YEAR_S / HEARTBEAT_S)
    assert fired[1] in (ahead + 2, ahead + 3)
    assert heartbeat.lost == 0, "a clock that was set ahead lost no beats"


def test_a_clock_that_jumps_about_is_looked_at_from_the_beginning(clock: FakeClock, steady: Steady) -> None:
    heartbeat, fired, _ = steady
    for ahead_s in range(10):
        clock.set_wall(clock.time() + 1_000.0 + ahead_s * 100.0)
        passing(clock, heartbeat, 6.0)
    assert fired == [START_BEAT]


def test_a_small_step_ahead_counts_at_once(clock: FakeClock, steady: Steady) -> None:
    heartbeat, fired, _ = steady
    clock.set_wall(clock.time() + RUN_GAP * HEARTBEAT_S)
    assert heartbeat.step() is True
    assert fired == [START_BEAT, START_BEAT + RUN_GAP]


def test_a_machine_that_slept_beats_on_at_once(clock: FakeClock, steady: Steady) -> None:
    heartbeat, fired, _ = steady
    clock.sleep_machine(8 * 3_600.0)
    assert heartbeat.step() is True
    assert fired == [START_BEAT, START_BEAT + 4_800]


def test_a_restart_after_hours_beats_at_once_and_after_a_reboot_once_the_clock_was_looked_at(
    clock: FakeClock, steady: Steady
) -> None:
    _, fired, beats = steady
    clock.advance(3_600.0)
    assert heart(clock, beats, fired).step() is True
    clock.reboot()
    clock.advance(3_600.0)
    again = heart(clock, beats, fired)
    assert again.step() is False
    passing(clock, again, 2 * HEARTBEAT_S)
    assert len(fired) == 3


def test_a_start_by_a_clock_that_is_ahead_stores_nothing_until_the_clock_was_looked_at(
    clock: FakeClock, steady: Steady
) -> None:
    _, fired, beats = steady
    clock.set_wall(clock.time() + YEAR_S)
    again = heart(clock, beats, fired)
    passing(clock, again, LOOK_EVERY_S)
    clock.set_wall(clock.time() - YEAR_S)
    passing(clock, again, HEARTBEAT_S)
    assert [run.last for run in beats.known] == [fired[-1]] == [START_BEAT + 2]


def ran_ahead(clock: FakeClock, heartbeat: Heartbeat) -> None:
    """The clock was an hour ahead for five minutes, and is right again."""
    clock.set_wall(clock.time() + 3_600.0)
    passing(clock, heartbeat, 300.0)
    clock.set_wall(clock.time() - 3_600.0)


def test_forgetting_a_clock_that_was_ahead_lets_beats_go_on_and_fires_none_twice(
    clock: FakeClock, steady: Steady
) -> None:
    heartbeat, fired, _ = steady
    ran_ahead(clock, heartbeat)
    assert heartbeat.step() is False
    assert heartbeat.behind_s > 3_500.0
    (forgotten,), free_from_s = heartbeat.forget()
    assert free_from_s == clock.time()
    assert heartbeat.step() is True
    assert heartbeat.behind_s == 0.0
    passing(clock, heartbeat, 2 * 3_600.0)
    assert len(fired) == len(set(fired))
    skipped = set(range(forgotten.first, forgotten.last + 1))
    assert set(range(fired[-1] - 1_100, fired[-1] + 1)) <= {*fired, *skipped}
    assert all(number in fired for number in (forgotten.first - 1, forgotten.last + 1))


def test_what_was_forgotten_is_skipped_after_a_restart_too(clock: FakeClock, steady: Steady) -> None:
    heartbeat, fired, beats = steady
    ran_ahead(clock, heartbeat)
    heartbeat.forget()
    heartbeat.step()
    again = heart(clock, beats, fired)
    passing(clock, again, 2 * 3_600.0)
    assert len(fired) == len(set(fired))


def test_where_all_numbers_up_to_then_have_fired_forgetting_says_when_beats_go_on(
    clock: FakeClock, steady: Steady
) -> None:
    heartbeat, fired, _ = steady
    passing(clock, heartbeat, 600.0)
    last = fired[-1]
    clock.set_wall(clock.time() - 300.0)
    _, free_from_s = heartbeat.forget()
    assert free_from_s == (last + 1) * HEARTBEAT_S
    passing(clock, heartbeat, 306.0)
    assert fired[-1] == last + 1
    assert len(fired) == len(set(fired))


def test_with_nothing_ahead_there_is_nothing_to_forget(clock: FakeClock, steady: Steady) -> None:
    heartbeat, fired, _ = steady
    assert heartbeat.forget()[0] == []
    assert heartbeat.step() is False
    assert fired == [START_BEAT]


def test_while_a_commit_is_waited_for_the_rest_is_looked_at_and_then_the_beat_fires(clock: FakeClock) -> None:
    beats = StoredBeats()
    beats.held = Future()
    fired: list[int] = []
    looks: list[str] = []

    def look() -> None:
        looks.append(heartbeat.silence())
        assert beats.held is not None
        beats.held.set_result(None)

    heartbeat = Heartbeat(clock, HEARTBEAT_S, beats, fired.append, look=look)
    assert heartbeat.step() is True
    assert (fired, len(looks)) == ([START_BEAT], 1)


def test_what_needs_no_commit_goes_on_where_a_beat_cannot_be_committed(clock: FakeClock) -> None:
    beats = StoredBeats()
    beats.broken = True
    fired: list[int] = []
    went_on: list[int] = []
    heartbeat = Heartbeat(clock, HEARTBEAT_S, beats, fired.append, went_on.append)
    for _ in range(3):
        heartbeat.step()
        clock.advance(HEARTBEAT_S)
    assert (fired, went_on, heartbeat.lost) == ([], [START_BEAT, START_BEAT + 1, START_BEAT + 2], 3)


def started(clock: FakeClock, beats: StoredBeats) -> tuple[Heartbeat, threading.Semaphore]:
    """A heartbeat on its thread, and what is released each time it comes round."""
    rounds = threading.Semaphore(0)
    heartbeat = Heartbeat(clock, HEARTBEAT_S, beats, lambda beat: None, look=rounds.release)
    heartbeat.start()
    return heartbeat, rounds


def test_no_beat_for_three_heartbeats_is_told_with_its_reason(clock: FakeClock) -> None:
    def pass_half_a_second(happens: str) -> None:
        now_s = clock.time()
        clock.advance(0.5)
        if happens == "stands still":
            clock.set_wall(now_s)
        elif happens == "set back" and clock.time() >= START_BEAT * HEARTBEAT_S:
            clock.set_wall(clock.time() - 300.0)
        elif happens == "ahead":
            clock.set_wall(clock.time() + 1_000.0)

    def silence(happens: str) -> str:
        beats = StoredBeats((START_BEAT, HEARTBEAT_S))
        beats.broken = happens == "disk full"
        beats.mark = BeatMark(clock.time(), clock.uptime()[1], clock.uptime()[0])
        heartbeat, rounds = started(clock, beats)
        try:
            assert rounds.acquire(timeout=60)
            assert heartbeat.silence() == ""
            for _ in range(40):
                pass_half_a_second(happens)
                while not rounds.acquire(timeout=0.01):
                    pass_half_a_second(happens)  # the thread began to wait only after the clock was moved
            return heartbeat.silence()
        finally:
            heartbeat.stop()
            clock.set_wall(START_BEAT * HEARTBEAT_S + 1.0)

    assert "no beat can be committed: disk full" in silence("disk full")
    assert "the clock stands still, at 1970" in silence("stands still")
    assert "reconciler beats forget" in silence("set back")
    assert "the clock is far ahead" in silence("ahead")


def test_only_a_heartbeat_that_has_ended_or_hangs_is_one_that_a_restart_mends(clock: FakeClock) -> None:
    hanging = threading.Event()
    heartbeat = Heartbeat(clock, HEARTBEAT_S, StoredBeats(), lambda beat: None, look=lambda: hanging.wait(20))
    assert heartbeat.ended() == ""
    heartbeat.start()
    assert heartbeat.ended() == ""
    clock.advance(31.0)
    assert heartbeat.ended() == heartbeat.silence() == "the heartbeat hangs"
    hanging.set()
    heartbeat.stop()
    assert heartbeat.ended() == ""

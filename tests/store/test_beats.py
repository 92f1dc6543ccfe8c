"""The beats that fired: runs of them, and what is forgotten never fires again."""

from __future__ import annotations

from reconciler.records.cadence import BeatMark, BeatRun, free_from_s, last_fired
from reconciler.store import Store

HEARTBEAT_S = 6.0


def fire(store: Store, *beats: int) -> None:
    for beat in beats:
        store.beats.fired(beat, HEARTBEAT_S)


def at(beat: int) -> BeatMark:
    return BeatMark(beat * HEARTBEAT_S, 0.0, "boot")


def runs(store: Store) -> list[tuple[int, int, bool]]:
    return [(run.first, run.last, run.forgotten) for run in store.beats.runs()]


def test_beats_close_together_are_one_run_and_a_gap_begins_another(store: Store) -> None:
    fire(store, 100, 101, 111, 122)
    assert runs(store) == [(100, 111, False), (122, 122, False)]
    assert store.beats.last() == (122, HEARTBEAT_S)


def test_what_fired_ahead_is_forgotten_and_kept_and_the_run_before_goes_on(store: Store) -> None:
    fire(store, 100, 101, 9000, 9001)
    assert store.beats.forget(at(110)) == (BeatRun(9000, 9001, HEARTBEAT_S),)
    assert store.beats.last() == (101, HEARTBEAT_S)
    assert store.beats.marked() == at(110)
    fire(store, 111)
    assert runs(store) == [(100, 111, False), (9000, 9001, True)]


def test_clocks_that_were_ahead_one_after_the_other_are_forgotten_together(store: Store) -> None:
    fire(store, 100, 5000, 9000, 7_000_000)
    assert len(store.beats.forget(at(200))) == 3
    assert store.beats.last() == (100, HEARTBEAT_S)


def test_where_all_that_ever_fired_was_ahead_nothing_is_left_to_wait_for(store: Store) -> None:
    fire(store, 9000)
    store.beats.forget(at(110))
    assert store.beats.last() is None
    fire(store, 111)
    assert store.beats.last() == (111, HEARTBEAT_S)


def test_with_nothing_ahead_nothing_changes(store: Store) -> None:
    fire(store, 100, 101)
    assert store.beats.forget(at(101)) == ()
    assert runs(store) == [(100, 101, False)]
    assert store.beats.marked() is None


def test_what_is_forgotten_is_kept_until_its_time_is_over(store: Store) -> None:
    fire(store, 100, 9000, 9001)
    store.beats.forget(at(110))
    fire(store, 8999)
    assert (9000, 9001, True) in runs(store)
    fire(store, 9100)
    assert (9000, 9001, True) not in runs(store)


def test_the_mark_of_the_last_beat_survives(store: Store) -> None:
    store.beats.fired(100, HEARTBEAT_S, BeatMark(600.5, 42.0, "b"))
    assert store.beats.marked() == BeatMark(600.5, 42.0, "b")


def test_a_changed_heartbeat_counts_the_same_time_and_leaves_none_of_it_out() -> None:
    run = BeatRun(100, 199, 6.0)
    assert run.counted_in(6.0) is run
    assert run.counted_in(4.0) == BeatRun(150, 298, 4.0)
    assert run.counted_in(60.0) == BeatRun(10, 19, 60.0)
    assert last_fired([run, BeatRun(500, 500, 6.0, forgotten=True)], 4.0) == 298


def test_the_next_free_moment_is_after_whatever_has_fired() -> None:
    known = [BeatRun(0, 99, 6.0), BeatRun(100, 199, 6.0, forgotten=True), BeatRun(300, 399, 6.0, forgotten=True)]
    assert free_from_s(known, 700.0) == 1200.0
    assert free_from_s(known, 1300.0) == 1300.0
    assert free_from_s(known, 1900.0) == 2400.0

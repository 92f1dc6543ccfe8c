"""Events: written soon, counted rather than repeated, and never too many."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlite_utils import Database

from reconciler.clock import FakeClock, iso
from reconciler.errors import StoreError
from reconciler.records.event import EventType
from reconciler.store import Reader, Store, events


def test_an_event_is_written_with_its_time(store: Store, reader: Reader, clock: FakeClock) -> None:
    store.events.record("a", "Warning", "HookFailed", "on_tick raised")
    store.flush()
    assert reader.events() == (
        [
            {
                "id": 1,
                "instance_id": "a",
                "type": "Warning",
                "reason": "HookFailed",
                "message": "on_tick raised",
                "count": 1,
                "first_at": iso(clock.time()),
                "last_at": iso(clock.time()),
            }
        ],
        1,
    )


def test_an_event_that_repeats_the_last_one_is_counted_and_the_order_stays_readable(
    store: Store, reader: Reader, clock: FakeClock
) -> None:
    start_s = clock.time()
    for message in ("one", "two", "two", "one"):
        store.events.record("a", "Normal", "Loaded", message)
        clock.advance(1)
    store.flush()
    found, total = reader.events()
    assert total == 3
    assert [(event["message"], event["count"]) for event in found] == [("one", 1), ("two", 2), ("one", 1)]
    assert (found[1]["first_at"], found[1]["last_at"]) == (iso(start_s + 1), iso(start_s + 2))


@pytest.mark.parametrize(
    "other",
    [
        ("b", "Normal", "Loaded", "it"),
        (None, "Normal", "Loaded", "it"),
        ("a", "Warning", "Loaded", "it"),
        ("a", "Normal", "Unloaded", "it"),
        ("a", "Normal", "Loaded", "that"),
    ],
)
def test_an_event_that_differs_in_anything_is_another(
    store: Store, reader: Reader, other: tuple[str | None, EventType, str, str]
) -> None:
    store.events.record("a", "Normal", "Loaded", "it")
    store.events.record(*other)
    store.flush()
    assert [event["count"] for event in reader.events()[0]] == [1, 1]


def test_the_engines_own_events_are_counted_too(store: Store, reader: Reader) -> None:
    for _ in range(3):
        store.events.record(None, "Warning", "ExecDown", "no connection")
    store.flush()
    assert [event["count"] for event in reader.events()[0]] == [3]


def test_a_repetition_after_many_others_is_a_new_event(store: Store, reader: Reader) -> None:
    for message in ("first", *map(str, range(20)), "first"):
        store.events.record("a", "Normal", "Said", message)
    store.flush()
    assert [event["count"] for event in reader.events(instance_id="a")[0] if event["message"] == "first"] == [1, 1]


def test_only_the_newest_of_an_instance_are_kept(store: Store, reader: Reader, clock: FakeClock) -> None:
    store.events.record("quiet", "Normal", "Said", "still here")
    for number in range(250):
        clock.advance(1)
        store.events.record("chatty", "Normal", "Said", str(number))
    store.flush()
    found, total = reader.events(instance_id="chatty", limit=1000)
    assert total == 200
    assert [event["message"] for event in found] == [str(number) for number in range(249, 49, -1)]
    assert reader.events(instance_id="quiet")[1] == 1


def test_only_the_newest_of_all_are_kept(
    store: Store, reader: Reader, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT", 100)
    monkeypatch.setattr(events, "_PRUNED_EVERY", 50)
    for number in range(300):
        clock.advance(1)
        store.events.record(f"i{number}", "Normal", "Said", str(number))
    store.flush()
    found, total = reader.events(limit=1000)
    assert total == 100
    assert (found[0]["message"], found[-1]["message"]) == ("299", "200")


def test_recording_never_waits_for_the_database(store: Store, reader: Reader) -> None:
    release = threading.Event()
    held = store._writer.submit(lambda db: release.wait(10))
    for number in range(1000):
        store.events.record(f"i{number}", "Normal", "Said", "hello")
    assert not held.done()
    release.set()
    store.flush()
    assert reader.events()[1] == 1000


def test_what_could_not_be_written_is_written_with_the_next(store: Store, reader: Reader, path: Path) -> None:
    hog = sqlite3.connect(path, isolation_level=None)
    hog.execute("BEGIN IMMEDIATE")
    store.events.record("a", "Normal", "Said", "while locked")
    with pytest.raises(StoreError, match="locked"):
        store.flush()
    hog.execute("ROLLBACK")
    hog.close()
    store.events.record("a", "Normal", "Said", "later")
    store.flush()
    assert {event["message"] for event in reader.events()[0]} == {"while locked", "later"}


def test_events_of_a_transaction_that_failed_are_written_with_the_next(store: Store, reader: Reader) -> None:
    with a_commit_that_fails(store):
        store.events.record("a", "Normal", "Said", "first")
        store.events.record("a", "Normal", "Said", "second")
    assert reader.events()[1] == 0
    store.events.record("a", "Normal", "Said", "third")
    store.flush()
    assert [event["message"] for event in reader.events()[0]] == ["third", "second", "first"]
    assert [event["count"] for event in reader.events()[0]] == [1, 1, 1]


def test_of_what_a_failed_transaction_gives_back_the_newest_are_kept(
    store: Store, reader: Reader, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEPT", 3)
    small = events.Events(store._writer, clock)

    def say(*messages: str) -> None:
        for message in messages:
            small.record("a", "Normal", "Said", message)

    with a_commit_that_fails(store):
        say("a", "b", "c")
        store._writer.submit(lambda db: say("d", "e"))
    store.flush()
    assert [event["message"] for event in reader.events()[0]] == ["e", "d", "c"]


@contextmanager
def a_commit_that_fails(store: Store) -> Iterator[None]:
    """All that is submitted within forms one transaction, and its commit is refused."""
    started, released = threading.Event(), threading.Event()

    def hold(db: Database) -> None:
        started.set()
        released.wait(10)

    def break_a_promise(db: Database) -> None:
        db.execute("PRAGMA defer_foreign_keys = ON")
        db.execute(
            "INSERT INTO fills (client_order_id, exchange_fill_id, quantity, price, at) VALUES ('none', '', '', '', '')"
        )

    store._writer.submit(hold)
    assert started.wait(10)
    yield
    broken = store._writer.submit(break_a_promise)
    released.set()
    with pytest.raises(StoreError, match="FOREIGN KEY"):
        broken.result(10)


def test_text_that_is_no_unicode_is_written_escaped(store: Store, reader: Reader) -> None:
    store.events.record("a", "Warning", "Invalid", "file \udcff.yaml")
    store.flush()
    assert reader.events()[0][0]["message"] == "file \\udcff.yaml"
    assert store.fault == ""

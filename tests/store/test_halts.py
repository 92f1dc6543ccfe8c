"""Halts: in force at once, from memory, and kept until lifted."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.clock import FakeClock, iso
from reconciler.errors import StoreError
from reconciler.records.halt import Halt
from reconciler.store import Reader, Store


def test_a_halt_is_in_force_and_stored(store: Store, reader: Reader, clock: FakeClock) -> None:
    halt = store.halts.add("account", "main", True, "the feed looks wrong", "uid 1000")
    assert halt == Halt("account", "main", True, "the feed looks wrong", "uid 1000", iso(clock.time()))
    assert store.halts.active() == (halt,)
    assert reader.halts() == [halt.to_json()]


def test_a_halt_survives_the_engine(path: Path, clock: FakeClock) -> None:
    with Store.open(path, clock) as store:
        halt = store.halts.add("all", "", False, "drill", "uid 0")
    with Store.open(path, clock) as store:
        assert store.halts.active() == (halt,)


def test_lifting_ends_every_halt_of_that_scope_and_id_and_no_other(store: Store, reader: Reader) -> None:
    store.halts.add("instance", "a", False, "mine", "uid 1")
    store.halts.add("instance", "a", True, "quarantined", "engine")
    store.halts.add("instance", "b", False, "mine", "uid 1")
    store.halts.add("account", "a", False, "mine", "uid 1")
    lifted = store.halts.lift("instance", "a", "uid 2", "looked at it")
    assert [halt.reason for halt in lifted] == ["mine", "quarantined"]
    assert [(halt.scope, halt.id) for halt in store.halts.active()] == [("instance", "b"), ("account", "a")]
    assert reader.halts() == [halt.to_json() for halt in store.halts.active()]


def test_what_was_lifted_is_kept_with_who_lifted_it(store: Store, path: Path, clock: FakeClock) -> None:
    store.halts.add("all", "", False, "drill", "uid 1")
    clock.advance(60)
    store.halts.lift("all", "", "uid 2", "drill over")
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT reason, lifted_by, lift_reason, lifted_at FROM halts").fetchall()
    connection.close()
    assert found == [("drill", "uid 2", "drill over", iso(clock.time()))]


def test_lifting_what_is_not_halted_is_nothing(store: Store) -> None:
    assert store.halts.lift("all", "", "uid 1", "why not") == ()


def test_the_same_halt_again_is_not_a_second_one(store: Store, reader: Reader, clock: FakeClock) -> None:
    first = store.halts.add("all", "", False, "drill", "uid 1")
    clock.advance(1)
    assert store.halts.add("all", "", False, "drill", "uid 1") == first
    assert len(reader.halts()) == 1
    store.halts.add("all", "", True, "drill", "uid 1")
    assert len(reader.halts()) == 2, "a full halt is more than one that is not"


def test_halts_of_a_file_are_in_force_beside_the_others_and_never_stored(store: Store, reader: Reader) -> None:
    stored = store.halts.add("account", "main", False, "drill", "uid 1")
    declared = Halt("instance", "a", False, "holiday", "instances/_halt.yaml", "2026-01-31T12:00:00.000Z")
    store.halts.declare((declared,))
    assert store.halts.active() == (stored, declared)
    assert store.halts.lift("instance", "a", "uid 1", "mine to lift?") == ()
    later = store.halts.add("all", "", False, "drill", "uid 1")
    assert store.halts.active() == (stored, later, declared)
    store.halts.lift("account", "main", "uid 1", "over")
    assert store.halts.active() == (later, declared)
    assert reader.halts() == [later.to_json()]
    store.halts.declare(())
    assert store.halts.active() == (later,)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    hog = sqlite3.connect(path, isolation_level=None)
    hog.execute("BEGIN IMMEDIATE")
    yield
    hog.execute("ROLLBACK")
    hog.close()


def test_a_halt_that_cannot_be_stored_is_in_force_all_the_same(store: Store, path: Path) -> None:
    with (
        locked(path),
        pytest.raises(StoreError, match=r"halted, but the database does not take it: .*kept in halt-requests"),
    ):
        store.halts.add("all", "", False, "the disk is sick, too", "uid 1")
    assert [halt.scope for halt in store.halts.active()] == ["all"]


def test_a_lift_that_cannot_be_stored_lifts_nothing(store: Store, path: Path) -> None:
    store.halts.add("all", "", False, "drill", "uid 1")
    with locked(path), pytest.raises(StoreError, match="locked"):
        store.halts.lift("all", "", "uid 1", "over")
    assert len(store.halts.active()) == 1


def test_an_operators_action_is_recorded(store: Store, reader: Reader, clock: FakeClock) -> None:
    store.operators.record(1000, "pause", "instance a", "looks odd")
    store.operators.record(0, "resume", "instance a", "was fine")
    found, total = reader.operations()
    assert total == 2
    assert [entry["action"] for entry in found] == ["resume", "pause"]
    assert found[1] == {
        "id": 1,
        "at": iso(clock.time()),
        "uid": 1000,
        "action": "pause",
        "scope": "instance a",
        "reason": "looks odd",
    }


def test_a_halt_is_in_force_while_the_database_is_stuck_and_is_stored_after_that(store: Store, path: Path) -> None:
    stuck = threading.Event()
    store._writer.submit(lambda db: stuck.wait(10))
    store.halts.enforce("instance", "a", False, "turned up", "engine")
    (halt,) = store.halts.active()
    store.halts.store_pending()
    assert store.halts.unstored() == (halt,)
    stuck.set()
    store.flush()
    assert store.halts.unstored() == ()

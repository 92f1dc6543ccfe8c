"""The store in memory: the same tables and rules, committed on submit, on the one thread that has it."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterator

import pytest
from sqlite_utils import Database

from reconciler.clock import FakeClock
from reconciler.errors import StoreError
from reconciler.store.database import MigratedDatabase
from reconciler.store.store import Store


@pytest.fixture
def store() -> Iterator[Store]:
    with Store.in_memory(FakeClock(), "a seed") as made:
        yield made


def test_it_is_empty_and_its_tag_follows_from_its_seed(store: Store) -> None:
    (tag,) = store.ledger.tags
    assert re.fullmatch("[0-9][a-z0-9]{3}", tag)
    with Store.in_memory(FakeClock(), "a seed") as same, Store.in_memory(FakeClock(), "another") as other:
        assert same.ledger.tags == (tag,) != other.ledger.tags
    assert store.desired.rows() == {}
    assert store.ledger.newest_ids() == []


def test_two_of_them_know_nothing_of_each_other(store: Store) -> None:
    with Store.in_memory(FakeClock()) as other:
        other.beats.fired(7, 6.0)
        assert (store.beats.last(), other.beats.last()) == (None, (7, 6.0))


def test_what_is_submitted_is_committed_on_return_without_a_thread(store: Store) -> None:
    before = threading.active_count()
    firing = store.beats.fire(7, 6.0)
    assert firing.done()
    assert store.beats.last() == (7, 6.0)
    assert threading.active_count() == before


def test_a_job_that_raises_leaves_nothing_behind_and_is_its_callers_matter(store: Store) -> None:
    def wrong(db: Database) -> None:
        db.execute("UPDATE meta SET beat = 9, heartbeat_s = 6")
        raise KeyError("x")

    with pytest.raises(KeyError):
        store._writer.write(wrong)
    assert store.beats.last() is None
    with pytest.raises(StoreError, match="syntax error"):
        store._writer.write(lambda db: db.execute("DELETE FROM nothing"))
    assert store.fault != ""
    store.flush()
    assert store.fault == ""


def test_what_is_submitted_within_a_job_or_after_its_commit_comes_right_after_it(store: Store) -> None:
    seen: list[str] = []

    def first(db: Database) -> None:
        store._writer.submit(lambda db: seen.append("second"), lambda done: seen.append("told of the second"))
        seen.append("first")

    store._writer.write(first, lambda done: seen.append("told of the first"))
    assert seen == ["first", "told of the first", "second", "told of the second"]


def test_a_job_cannot_wait_for_another(store: Store) -> None:
    with pytest.raises(RuntimeError, match="a job cannot wait"):
        store._writer.write(lambda db: store.flush())


def test_a_halt_is_in_force_and_stored_at_once_and_is_lifted(store: Store) -> None:
    halt = store.halts.add("instance", "btc-1", False, "look", "ann")
    assert (store.halts.active(), store.halts.unstored()) == ((halt,), ())
    assert store.take_halt_requests() == ()
    assert store.halts.lift("instance", "btc-1", "ann", "seen") == (halt,)
    assert store.halts.active() == ()


def test_a_closed_one_says_so(store: Store) -> None:
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.flush()


def test_a_script_is_cut_where_statements_end_and_nothing_of_it_is_committed_by_itself() -> None:
    script = """
        CREATE TABLE told (what TEXT);  -- a comment; with a semicolon
        CREATE TRIGGER twice AFTER INSERT ON told WHEN new.what = ';' BEGIN
            INSERT INTO told VALUES ('one; two');
            INSERT INTO told VALUES ('three');
        END;
        INSERT INTO told VALUES (';');
        """
    with MigratedDatabase(memory=True, execute_plugins=False) as db:
        with db.atomic():
            db.executescript(script)
        assert [row["what"] for row in db.query("SELECT what FROM told")] == [";", "one; two", "three"]
        with pytest.raises(sqlite3.OperationalError), db.atomic():
            db.executescript("INSERT INTO told VALUES ('a'); INSERT INTO nowhere VALUES ('b')")
        assert db.table("told").count == 3

"""Opening: the folder, the files, the lock, the epoch; and what cannot be opened, in words."""

from __future__ import annotations

import importlib.util
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlite_utils import Database

from reconciler.clock import FakeClock
from reconciler.errors import StoreError, StoreFenced, StoreLocked
from reconciler.records.record import Row, RowChange
from reconciler.store import Store, examine

MakeRow = Callable[..., Row]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folder_and_every_file_are_for_their_owner_only(store: Store, path: Path) -> None:
    assert mode_of(path.parent) == 0o700
    assert {file.name: mode_of(file) for file in path.parent.iterdir()} == {
        "reconciler.db": 0o600,
        "reconciler.db-shm": 0o600,
        "reconciler.db-wal": 0o600,
        "reconciler.db.id": 0o600,
        "reconciler.db.lock": 0o600,
    }


def test_a_lock_that_is_a_link_is_refused_and_what_it_leads_to_left_alone(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    diary = path.with_name("diary")
    diary.write_text("dear diary")
    path.with_name("reconciler.db.lock").symlink_to(diary)
    with pytest.raises(StoreError, match=r"reconciler\.db\.lock: expected a file of its own, was a link: remove"):
        Store.open(path, clock)
    assert diary.read_text() == "dear diary"


def begun(path: Path, clock: FakeClock) -> list[tuple[str, str, str]]:
    """What a start says of a database that it makes, as events."""
    with Store.open(path, clock) as store:
        store.tell_opened(path)
        store.flush()
        found = store.ledger._reads.query("SELECT type, reason, message FROM events ORDER BY id DESC")
    return [(item["type"], item["reason"], item["message"]) for item in found]


def test_a_database_that_is_made_is_told_and_one_that_was_there_is_not(path: Path, clock: FakeClock) -> None:
    what = f"a new, empty database was made: {path}: it knows no orders and no positions of before"
    assert begun(path, clock) == [("Normal", "DatabaseMade", what)]
    assert len(begun(path, clock)) == 1


def test_a_database_that_is_made_in_the_place_of_one_that_is_gone_says_so(path: Path, clock: FakeClock) -> None:
    with Store.open(path, clock) as store:
        tag = store.ledger.tags[0]
    path.unlink()
    ((kind, _, message),) = begun(path, clock)
    assert (kind, message.partition("; ")[2]) == (
        "Warning",
        f"the one that was here ({tag}) is gone: to go on with it, restore a backup",
    )


def test_a_database_that_was_emptied_is_not_begun_anew(path: Path, clock: FakeClock) -> None:
    Store.open(path, clock).close()
    os.truncate(path, 0)
    with pytest.raises(StoreError, match=r"reconciler\.db: expected the database \w{4}, was an empty file: restore a"):
        Store.open(path, clock)
    assert path.stat().st_size == 0
    path.with_name("reconciler.db.id").unlink()  # as a first start leaves it that was killed at once
    Store.open(path, clock).close()


def left_by_a_kill(path: Path, clock: FakeClock, commits: int) -> Path:
    """The files as a killed engine leaves them, elsewhere."""
    left = path.with_name("left") / path.name
    left.parent.mkdir(parents=True)
    with Store.open(path, clock) as store:
        for number in range(commits):
            store.beats.fired(283_333_333 + number, 6.0)
        for end in ("", "-wal"):
            subprocess.run(["cp", f"{path}{end}", f"{left}{end}"], check=True)
    return left


def test_a_log_that_a_killed_engine_left_is_read_and_no_damage(path: Path, clock: FakeClock) -> None:
    left = left_by_a_kill(path, clock, 5)
    size = os.stat(f"{left}-wal").st_size
    os.truncate(f"{left}-wal", size - 5_000)  # a loss of power may leave the last transaction so
    assert examine(left).faults == ()
    with Store.open(left, clock) as store:
        assert store.tell_opened(left) == []
        assert store.beats.last() is not None


def test_a_log_that_is_damaged_in_its_middle_is_told_before_sqlite_drops_the_rest(path: Path, clock: FakeClock) -> None:
    left = left_by_a_kill(path, clock, 20)
    with open(f"{left}-wal", "r+b") as log:
        log.seek(os.stat(f"{left}-wal").st_size // 2)
        log.write(b"x")
    (fault,) = examine(left).faults
    assert re.search(r"its log is damaged at byte \d+, and the \d+ transactions behind that are lost", fault)
    with Store.open(left, clock) as store:
        (told,) = store.tell_opened(left)
        assert told.startswith(f"{left}: its log is damaged at byte ")
        store.flush()
        (event,) = store.ledger._reads.query("SELECT type, reason FROM events")
        assert event == {"type": "Warning", "reason": "LogDamaged"}


def test_another_ledger_in_the_place_of_ours_is_refused(path: Path, clock: FakeClock) -> None:
    Store.open(path, clock).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE tags SET tag = '0zzz'")
    db.close()
    with pytest.raises(StoreError, match=r"expected the database \w{4}, which was here before, was 0zzz"):
        Store.open(path, clock)
    path.with_name("reconciler.db.id").unlink()
    with Store.open(path, clock) as meant:
        assert meant.ledger.tags == ("0zzz",)


def test_the_database_is_in_wal_mode_synchronous_full_and_strict(store: Store) -> None:
    def look(db: Database) -> tuple[object, ...]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        pragmas = [db.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
        lax = db.execute(
            "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict"
            " AND name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlite_%'"
        ).fetchall()
        return (*pragmas, lax)

    assert store._writer.write(look) == ("wal", 2, 1, [])


def test_a_second_engine_is_refused_and_told_who_holds_the_database(store: Store, path: Path, clock: FakeClock) -> None:
    with pytest.raises(StoreLocked, match=rf"another engine \(pid {os.getpid()}\) holds this database: stop it first"):
        Store.open(path, clock)


def test_the_lock_ends_with_its_holder(path: Path, clock: FakeClock) -> None:
    Store.open(path, clock).close()
    with Store.open(path, clock) as again:
        assert again.epoch == 2


def test_an_engine_that_was_taken_over_writes_no_more(store: Store, path: Path, clock: FakeClock) -> None:
    """The lock file was lost, as on a file system that is not local: the epoch still keeps them apart."""
    path.with_name("reconciler.db.lock").unlink()
    with Store.open(path, clock) as successor:
        with pytest.raises(StoreFenced):
            store.beats.fired(1, 6.0)
        successor.beats.fired(2, 6.0)
        assert successor.beats.last() == (2, 6.0)
        assert store.fault
        assert not successor.fault


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    path.write_bytes(b"dear diary, " * 100)
    with pytest.raises(StoreError, match=r"reconciler\.db: file is not a database: name another file"):
        Store.open(path, clock)
    assert path.read_bytes() == b"dear diary, " * 100


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE bookmarks (url TEXT)")
    other.commit()
    with pytest.raises(StoreError, match="expected an engine's database, was another program's"):
        Store.open(path, clock)
    assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("bookmarks",)]
    other.close()


def test_a_database_of_a_newer_version_is_refused_by_name(path: Path, clock: FakeClock) -> None:
    Store.open(path, clock).close()
    newer = sqlite3.connect(path)
    newer.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('strategy-reconciler', '0099_from_the_future', '')"
    )
    newer.commit()
    newer.close()
    with pytest.raises(StoreError, match="written by a newer version, whose 0099_from_the_future this one"):
        Store.open(path, clock)


def test_rows_of_the_first_version_come_from_no_template(path: Path, clock: FakeClock, make_row: MakeRow) -> None:
    with Store.open(path, clock) as store:
        store.desired.apply([RowChange(make_row("a"), "created", "")])
    older = sqlite3.connect(path)
    older.executescript(
        "ALTER TABLE instances DROP COLUMN template_path; ALTER TABLE instances DROP COLUMN template_digest;"
        "DELETE FROM _sqlite_migrations WHERE name = '0002_templates'"
    )
    older.close()
    with Store.open(path, clock) as store:
        assert store.desired.rows() == {"a": make_row("a")}


def test_a_stop_in_the_middle_of_the_first_migration_is_no_obstacle(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    unfinished = sqlite3.connect(path)
    unfinished.execute(
        "CREATE TABLE _sqlite_migrations (id INTEGER PRIMARY KEY, migration_set TEXT, name TEXT, applied_at TEXT)"
    )
    unfinished.close()
    with Store.open(path, clock) as store:
        assert store.desired.rows() == {}


def test_what_cannot_be_opened_leaves_no_lock_and_no_thread_behind(path: Path, clock: FakeClock) -> None:
    path.parent.mkdir()
    path.write_bytes(b"dear diary, " * 100)
    before = set(threading.enumerate())
    for _ in range(2):
        with pytest.raises(StoreError, match="not a database"):
            Store.open(path, clock)
    assert not [thread for thread in {*threading.enumerate()} - before if thread.name == "store-writer"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"file/.reconciler: cannot be made: Not a directory"):
        Store.open(tmp_path / "file" / ".reconciler" / "reconciler.db", clock)


def test_after_closing_everything_is_refused_and_closing_again_is_nothing(path: Path, clock: FakeClock) -> None:
    store = Store.open(path, clock)
    store.close()
    store.close()
    with pytest.raises(StoreError, match="was closed"):
        store.beats.fired(1, 6.0)
    with pytest.raises(StoreError, match="was closed"):
        store.beats.last()
    store.events.record(None, "Normal", "Late", "this is not an error")
    assert not path.with_name("reconciler.db-wal").exists(), "everything is in the one file"


def test_the_last_beat_survives_the_process(path: Path, clock: FakeClock) -> None:
    with Store.open(path, clock) as store:
        assert store.beats.last() is None
        store.beats.fired(283_333_333, 6.0)
    with Store.open(path, clock) as store:
        assert store.beats.last() == (283_333_333, 6.0)


def restored_in_place(path: Path, backup: bytes) -> None:
    """As `cp backup reconciler.db` does, and the log removed, as one is told to."""
    source = path.with_name("backup")
    source.write_bytes(backup)
    subprocess.run(["cp", source, path], check=True)  # not here: closing the file would give up SQLite's locks on it
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink()


def test_what_was_restored_over_a_running_engines_database_is_left_as_it_is(
    path: Path, clock: FakeClock, make_row: MakeRow
) -> None:
    with Store.open(path, clock) as store:
        store.halts.add("all", "", True, "before the backup", "uid 0")
    backup = path.read_bytes()
    store = Store.open(path, clock)
    store.halts.add("all", "", True, "after it", "uid 0")
    restored_in_place(path, backup)
    with pytest.raises(StoreFenced):
        store.flush()
    store.close()
    assert path.read_bytes() == backup


def test_what_was_restored_in_an_idle_moment_is_left_as_it_is_too(path: Path, clock: FakeClock) -> None:
    with Store.open(path, clock):
        pass
    backup = path.read_bytes()
    store = Store.open(path, clock)
    store.halts.add("all", "", True, "after it", "uid 0")
    restored_in_place(path, backup)
    store.close()
    assert path.read_bytes() == backup


def test_a_store_that_was_closed_leaves_one_whole_file_behind(path: Path, clock: FakeClock) -> None:
    with Store.open(path, clock) as store:
        store.halts.add("all", "", True, "stop", "uid 0")
    assert [file.name for file in path.parent.iterdir() if file.name.startswith("reconciler.db-")] == []
    with Store.open(path, clock) as store:
        assert [halt.reason for halt in store.halts.active()] == ["stop"]


def test_the_store_brings_no_pandas_and_leaves_it_to_who_wants_it() -> None:
    """sqlite-utils imports it where it is installed: half of what a command takes to start."""
    for name in ("pandas", "numpy"):
        assert importlib.util.find_spec(name) is not None, "otherwise this proves nothing"
    told = (
        "import sys, reconciler.store\n"
        "assert not {'pandas', 'numpy'} & set(sys.modules), sorted(sys.modules)\n"
        "import numpy\n"
        "print(numpy.int64(5))"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "5"), done.stderr

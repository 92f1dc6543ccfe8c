"""The writer on a real database: groups, savepoints, the epoch, and what a sick database does to it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlite_utils import Database

from reconciler.errors import StoreError, StoreFenced
from reconciler.store import files
from reconciler.store.database import open_writable
from reconciler.store.writer import CHECKPOINT_COMMITS, GroupWriter

DEADLINE_S = 60


def insert(number: int) -> Any:
    def job(db: Database) -> int:
        db.execute("INSERT INTO operations VALUES (?, '', 0, '', '', '')", [number])
        return number

    return job


def stored(writer: GroupWriter) -> list[int]:
    return writer.write(lambda db: [row["id"] for row in db.query("SELECT id FROM operations ORDER BY id")])


def held(writer: GroupWriter) -> threading.Event:
    """Keeps the writer busy until the event is set, so that what is submitted meanwhile forms one group."""
    busy, release = threading.Event(), threading.Event()

    def job(db: Database) -> None:
        busy.set()
        release.wait(DEADLINE_S)

    writer.submit(job)
    assert busy.wait(DEADLINE_S)
    return release


def result(future: Future[Any]) -> Any:
    return future.result(DEADLINE_S)


def other(path: Path) -> sqlite3.Connection:
    """Another program's connection."""
    return sqlite3.connect(path, timeout=0, isolation_level=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where `writer` keeps its database."""
    return tmp_path / "reconciler.db"


def test_jobs_that_wait_share_one_commit(writer: GroupWriter) -> None:
    release = held(writer)
    futures = [writer.submit(insert(number)) for number in range(1, 51)]
    release.set()
    assert [result(future) for future in futures] == list(range(1, 51))
    assert writer.commits == 2, "the one that held the writer, and all the others together"
    assert stored(writer) == list(range(1, 51))


def test_appends_of_many_threads_all_return_committed(writer: GroupWriter, path: Path) -> None:
    seen: list[bool] = []

    def append(number: int) -> None:
        writer.write(insert(number))
        connection = sqlite3.connect(path)
        found = connection.execute("SELECT count(*) FROM operations WHERE id = ?", [number]).fetchone()[0]
        connection.close()
        seen.append(found == 1)

    release = held(writer)
    threads = [threading.Thread(target=append, args=[number]) for number in range(1, 21)]
    for thread in threads:
        thread.start()
    release.set()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert seen == [True] * 20
    assert stored(writer) == list(range(1, 21))


def test_a_job_that_raises_undoes_only_itself(writer: GroupWriter) -> None:
    def broken(db: Database) -> None:
        insert(2)(db)
        raise KeyError("mine")

    release = held(writer)
    before, failed, after = writer.submit(insert(1)), writer.submit(broken), writer.submit(insert(3))
    release.set()
    assert (result(before), result(after)) == (1, 3)
    with pytest.raises(KeyError, match="mine"):
        result(failed)
    assert stored(writer) == [1, 3]
    assert writer.fault == ""


def test_a_broken_rule_of_the_tables_is_its_callers_error_and_no_fault(writer: GroupWriter) -> None:
    writer.write(insert(1))
    with pytest.raises(StoreError, match="UNIQUE constraint failed"):
        writer.write(insert(1))
    assert writer.fault == ""
    assert stored(writer) == [1]


def test_a_result_is_told_only_after_its_commit(writer: GroupWriter, path: Path) -> None:
    counts: list[int] = []

    def look(_: Future[int]) -> None:
        connection = other(path)
        counts.append(connection.execute("SELECT count(*) FROM operations").fetchone()[0])
        connection.close()

    release = held(writer)
    writer.submit(insert(1)).add_done_callback(look)
    release.set()
    writer.write(insert(2))
    assert counts[0] >= 1


def test_what_is_kept_in_memory_follows_each_commit_in_its_order_before_anybody_learns_of_it(
    writer: GroupWriter,
) -> None:
    followed: list[int] = []
    release = held(writer)
    futures = [writer.submit(insert(n), followed.append) for n in (3, 1, 2)]
    failing = writer.submit(insert(3), followed.append)  # that id is used: nothing of it may be followed
    seen = [future.result for future in futures]
    assert followed == []
    release.set()
    assert [result(DEADLINE_S) for result in seen] == followed == [3, 1, 2]
    assert isinstance(failing.exception(DEADLINE_S), StoreError)
    assert followed == [3, 1, 2]


def test_a_fault_in_following_a_commit_is_its_callers_and_the_writer_lives_on(writer: GroupWriter) -> None:
    def follow(number: int) -> None:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        writer.write(insert(1), follow)
    assert stored(writer) == [1]


def test_an_epoch_that_moved_on_fences_everything_from_then_on(writer: GroupWriter, path: Path) -> None:
    writer.write(insert(1))
    connection = other(path)
    connection.execute("UPDATE meta SET epoch = epoch + 1")
    futures = [writer.submit(insert(number)) for number in (2, 3)]
    for future in futures:
        with pytest.raises(StoreFenced, match="another engine took this database over"):
            result(future)
    connection.execute("UPDATE meta SET epoch = epoch - 1")
    with pytest.raises(StoreFenced):
        writer.write(insert(4))
    assert "took this database over" in writer.fault
    assert connection.execute("SELECT id FROM operations").fetchall() == [(1,)]
    connection.close()


def test_each_writer_has_a_higher_epoch_than_the_one_before(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        db = open_writable(tmp_path / "reconciler.db", busy_timeout_s=0.05)
        writer = GroupWriter(db, tmp_path / "reconciler.db")
        epochs.append(writer.epoch)
        writer.close()
        db.close()
    assert epochs == [1, 2, 3]


def test_a_locked_database_is_an_error_and_the_writer_lives_on(writer: GroupWriter, path: Path) -> None:
    connection = other(path)
    connection.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"reconciler\.db: database is locked: another program is writing to it"):
        writer.write(insert(1))
    assert "database is locked" in writer.fault
    connection.execute("ROLLBACK")
    connection.close()
    writer.write(insert(2))
    assert writer.fault == ""
    assert stored(writer) == [2]


def test_a_full_disk_is_an_error_for_the_whole_group_and_the_writer_lives_on(writer: GroupWriter) -> None:
    def fill(db: Database) -> None:
        db.execute("INSERT INTO operations VALUES (2, ?, 0, '', '', '')", ["x" * 1_000_000])

    def limit(pages: int) -> None:
        writer.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchone())

    pages = writer.write(lambda db: int(db.execute("PRAGMA page_count").fetchone()[0]))
    limit(pages + 2)
    release = held(writer)
    innocent, guilty = writer.submit(insert(1)), writer.submit(fill)
    release.set()
    with pytest.raises(StoreError, match="full: make room on the disk"):
        result(guilty)
    told = innocent.exception(DEADLINE_S)
    assert (told is None) == (stored(writer) == [1]), "what is told is what is stored"
    limit(1_000_000)
    writer.write(insert(3))
    assert writer.fault == ""
    assert 3 in stored(writer)
    assert 2 not in stored(writer)


def test_a_rollback_by_sqlite_itself_fails_the_whole_group(writer: GroupWriter) -> None:
    writer.write(
        lambda db: db.execute(
            "CREATE TRIGGER poison BEFORE INSERT ON operations WHEN new.id = 2"
            " BEGIN SELECT RAISE(ROLLBACK, 'all is lost'); END"
        )
    )
    release = held(writer)
    futures = [writer.submit(insert(number)) for number in (1, 2, 3)]
    release.set()
    for future in futures:
        with pytest.raises(StoreError, match="all is lost"):
            result(future)
    writer.write(insert(4))
    assert stored(writer) == [4]


def test_close_finishes_what_was_submitted_and_refuses_what_comes_later(writer: GroupWriter, path: Path) -> None:
    release = held(writer)
    futures = [writer.submit(insert(number)) for number in range(1, 11)]
    closing = threading.Thread(target=writer.close)
    closing.start()
    release.set()
    closing.join(DEADLINE_S)
    assert [result(future) for future in futures] == list(range(1, 11))
    with pytest.raises(StoreError, match="was closed"):
        writer.write(insert(11))
    assert sqlite3.connect(path).execute("SELECT count(*) FROM operations").fetchone()[0] == 10


def replaced(path: Path) -> None:
    path.rename(path.with_suffix(".old"))
    open_writable(path, busy_timeout_s=0.05).close()


def remove(*ends: str) -> Callable[[Path], None]:
    """Removes those of the database's files."""

    def lose(path: Path) -> None:
        for end in ends:
            Path(f"{path}{end}").unlink()

    return lose


def restore(path: Path) -> None:
    """Puts a backup in its place as `cp` does: into the same file, its log left where it is."""
    backup = path.with_suffix(".backup")
    connection = sqlite3.connect(backup)
    connection.execute("CREATE TABLE meta (epoch INTEGER)")
    connection.close()
    subprocess.run(["cp", backup, path], check=True)  # not here: closing the file would give up SQLite's locks on it


def restore_vacuumed(path: Path) -> None:
    """A copy of just now, in which everything stands elsewhere: the log that is left belongs to other pages."""
    backup = path.with_suffix(".vacuumed")
    other(path).execute(f"VACUUM INTO '{backup}'")
    subprocess.run(["cp", backup, path], check=True)


def restore_without_the_log(path: Path) -> None:
    restore(path)
    remove("-wal", "-shm")(path)


def touch_the_log_anew(path: Path) -> None:
    remove("-wal", "-shm")(path)
    other(path).execute("SELECT * FROM meta").fetchall()


@pytest.mark.parametrize(
    ("lose", "why"),
    [
        (Path.unlink, "the database was removed or replaced while the engine ran"),
        (replaced, "the database was removed or replaced while the engine ran"),
        (
            lambda path: path.parent.rename(path.parent.with_name("moved")),
            "the database was removed or replaced while the engine ran",
        ),
        (remove("-wal", "-shm"), r"the database's log \(its -wal and -shm files\) was removed or replaced"),
        (remove("-wal"), "the database's log"),
        (remove("-shm"), "the database's log"),
        (touch_the_log_anew, "the database's log"),
        (restore, "the database was written over by another program"),
        (restore_without_the_log, "the database was written over by another program"),
        (restore_vacuumed, "the database was written over by another program"),
        (lambda path: os.truncate(path, 0), "the database was written over by another program"),
    ],
    ids=[
        "removed",
        "replaced",
        "folder moved",
        "log removed",
        "wal removed",
        "shm removed",
        "log made anew",
        "restored in place",
        "restored in place without its log",
        "restored in place from a vacuumed copy",
        "truncated",
    ],
)
def test_a_database_that_is_not_there_any_more_fences_the_engine_before_anybody_learns_of_it(
    tmp_path: Path, lose: Callable[[Path], object], why: str
) -> None:
    path = tmp_path / "state" / "reconciler.db"
    path.parent.mkdir()
    db = open_writable(path, busy_timeout_s=0.05)
    writer = GroupWriter(db, path)
    told: list[str] = []
    writer.on_fenced = told.append
    writer.write(insert(1))
    lose(path)
    for number in (2, 3):
        with pytest.raises(StoreFenced, match=why):
            writer.write(insert(number))
    assert len(told) == 1
    assert writer.fault == told[0]
    writer.close()
    db.close()


FAR = 40
"""So many commits leave a log of more than a few pages."""


def written_over(end: str, start: float, length: int) -> Callable[[Path], None]:
    """Writes over that file from `start` (a part of it) on, keeping what it is and how long; not by way of SQLite."""

    def damage(path: Path) -> None:
        file = f"{path}{end}"
        at = int(os.stat(file).st_size * start)
        words = ["dd", "if=/dev/urandom", f"of={file}", "bs=1", f"seek={at}", f"count={length}", "conv=notrunc"]
        subprocess.run(words, check=True, capture_output=True)  # not here: closing it would give up SQLite's locks

    return damage


def some_more(writer: GroupWriter) -> None:
    for number in range(1000, 1008):
        writer.write(insert(number))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: os.truncate(f"{path}-wal", 0), "the database's log .* was cut or written over"),
        (lambda path: os.truncate(f"{path}-wal", 20_000), "the database's log .* was cut or written over"),
        (written_over("-wal", 0, 32), "the database's log .* was cut or written over"),
        (written_over("-wal", 0.3, 1), "the database's log .* was cut or written over"),
        (written_over("-wal", 0.5, 5_000), "the database's log .* was cut or written over"),
        (written_over("", 0.5, 5_000), "the database was written over by another program"),
    ],
    ids=["emptied", "cut", "head", "a byte", "pages", "pages of the database"],
)
def test_damage_within_the_files_fences_the_engine_within_some_commits_and_is_not_written_back(
    tmp_path: Path, damage: Callable[[Path], object], why: str
) -> None:
    path = tmp_path / "reconciler.db"
    db = open_writable(path, busy_timeout_s=0.05)
    writer = GroupWriter(db, path)
    told: list[str] = []
    writer.on_fenced = told.append
    for number in range(FAR):
        writer.write(insert(number))
    damage(path)
    whole = path.read_bytes()
    with pytest.raises(StoreFenced, match=why):
        some_more(writer)
    assert len(told) == 1
    writer.close()
    db.close()
    assert path.read_bytes() == whole


def test_who_wrote_into_the_log_is_found_out_before_anything_more_is_committed(tmp_path: Path) -> None:
    path = tmp_path / "reconciler.db"
    db = open_writable(path, busy_timeout_s=0.05)
    writer = GroupWriter(db, path)
    for number in range(FAR):
        writer.write(insert(number))
    written_over("-wal", 0.3, 1)(path)
    ran: list[int] = []
    with pytest.raises(StoreFenced, match="was cut or written over"):
        writer.write(lambda _: ran.append(1))
    assert ran == []
    writer.close()
    db.close()


def test_all_of_the_log_is_read_again_now_and_then_though_its_time_tells_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_READ_AGAIN_NS", 0)
    path = tmp_path / "reconciler.db"
    log = Path(f"{path}-wal")
    db = open_writable(path, busy_timeout_s=0.05)
    writer = GroupWriter(db, path)
    for number in range(FAR):
        writer.write(insert(number))
    at = log.stat()
    written_over("-wal", 0.3, 1)(path)
    os.utime(log, ns=(at.st_atime_ns, at.st_mtime_ns))
    with pytest.raises(StoreFenced, match="was cut or written over"):
        writer.write(insert(1000))
    writer.close()
    db.close()


@pytest.mark.parametrize("damage", [written_over("-wal", 0.3, 1), written_over("-wal", 0.5, 5_000)])
def test_a_log_that_was_damaged_in_an_idle_moment_is_not_written_back_either(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    path = tmp_path / "reconciler.db"
    db = open_writable(path, busy_timeout_s=0.05)
    writer = GroupWriter(db, path)
    for number in range(FAR):
        writer.write(insert(number))
    damage(path)
    whole = path.read_bytes()
    writer.close()
    db.close()
    assert path.read_bytes() == whole


@pytest.mark.parametrize("how", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
def test_however_another_program_writes_the_log_back_it_is_no_damage(writer: GroupWriter, path: Path, how: str) -> None:
    for number in range(2 * FAR):
        writer.write(insert(number))
        if number % 3:
            other(path).execute(f"PRAGMA wal_checkpoint({how})").fetchall()
        if number % 7 == 0:
            other(path).execute("UPDATE operations SET reason = 'by hand'")
    assert writer.fault == ""


@pytest.mark.parametrize("lose", [Path.unlink, remove("-wal", "-shm"), restore], ids=["removed", "log", "restored"])
def test_what_was_committed_to_a_file_that_went_in_between_is_not_told_as_written(
    writer: GroupWriter, path: Path, lose: Callable[[Path], object]
) -> None:
    def lost_meanwhile(db: Database) -> None:
        insert(1)(db)
        lose(path)

    with pytest.raises(StoreFenced):
        writer.write(lost_meanwhile)


def test_what_was_committed_to_a_log_that_is_gone_is_brought_home(writer: GroupWriter, path: Path) -> None:
    for number in (1, 2):
        writer.write(insert(number))
    remove("-wal", "-shm")(path)
    with pytest.raises(StoreFenced):
        writer.write(insert(3))
    assert other(path).execute("SELECT id FROM operations").fetchall() == [(1,), (2,)]


def test_the_log_is_written_back_now_and_then_and_that_is_no_strangers_doing(writer: GroupWriter, path: Path) -> None:
    def write(first: int) -> tuple[int, int]:
        """So many commits that it is written back once; when it was, and how long the log is then."""
        for number in range(first, first + CHECKPOINT_COMMITS):
            writer.write(insert(number))
        writer.write(lambda db: None)
        return path.stat().st_mtime_ns, Path(f"{path}-wal").stat().st_size

    first_at, length = write(0)
    again_at, later = write(1000)
    assert first_at < again_at
    assert later < 1.5 * length, "it is used anew from its beginning"
    assert writer.fault == ""


def test_the_log_may_be_written_back_by_another_program(writer: GroupWriter, path: Path) -> None:
    """A row changed by hand may do it, when its log is long; programs that replicate databases do it all the time."""
    for number in range(3):
        writer.write(insert(number))
        other(path).execute("PRAGMA wal_checkpoint").fetchall()
        other(path).execute("UPDATE operations SET reason = 'by hand'")
        other(path).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for number in range(1000, 1000 + 2 * CHECKPOINT_COMMITS):
        writer.write(insert(number))
    assert writer.fault == ""


def test_a_reader_in_the_way_of_writing_the_log_back_is_no_stranger(writer: GroupWriter, path: Path) -> None:
    """What it leaves over is written back later, by whomever."""
    writer.write(insert(0))
    with closing(other(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM operations").fetchall()
        for number in range(1000, 1000 + CHECKPOINT_COMMITS):
            writer.write(insert(number))
        writer.write(insert(1))
        reader.execute("ROLLBACK")
        reader.execute("PRAGMA wal_checkpoint").fetchall()
    writer.write(insert(2))
    assert writer.fault == ""


def test_the_log_is_looked_for_beside_the_file_that_a_link_leads_to(tmp_path: Path) -> None:
    real, path = tmp_path / "disk" / "real.db", tmp_path / "reconciler.db"
    real.parent.mkdir()
    path.symlink_to(real)
    db = open_writable(path, busy_timeout_s=0.05)
    writer = GroupWriter(db, path)
    writer.write(insert(1))
    remove("-wal", "-shm")(real)
    with pytest.raises(StoreFenced, match="the database's log"):
        writer.write(insert(2))
    writer.close()


def test_readers_and_other_programs_that_only_read_are_no_strangers(writer: GroupWriter, path: Path) -> None:
    look = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('SELECT * FROM meta').fetchall()"
    for number in range(3):
        writer.write(insert(number))
        connection = other(path)
        assert len(connection.execute("SELECT id FROM operations").fetchall()) == number + 1
        connection.close()
        subprocess.run([sys.executable, "-c", look, str(path)], check=True)
    assert writer.fault == ""


def test_what_comes_while_the_files_are_looked_at_goes_along(
    writer: GroupWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, late = writer._require_ours, [insert(2)]
    futures: list[Future[Any]] = []

    def looked(*, is_written: bool = False) -> None:
        look(is_written=is_written)
        if late:
            futures.append(writer.submit(late.pop()))

    monkeypatch.setattr(writer, "_require_ours", looked)
    before = writer.commits
    writer.write(insert(1))
    assert result(futures[0]) == 2
    assert writer.commits == before + 1
    monkeypatch.undo()
    assert stored(writer) == [1, 2]

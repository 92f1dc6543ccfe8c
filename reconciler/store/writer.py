"""The writer: one thread, one connection, through which every write goes, in groups that share a commit.

Where nothing is to outlive the process, `InlineWriter` commits each write at once, on the thread that asks for it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlite_utils import Database

from reconciler.errors import StoreError, StoreFenced
from reconciler.store.database import IN_MEMORY, explained, explanation, open_read_only
from reconciler.store.files import LOG_DAMAGED, LOG_LOST, Files

CHECKPOINT_COMMITS = 100
"""So often the log is written back into the database, between commits: who waits for one does not wait for that."""

T = TypeVar("T")
Job = Callable[[Database], T]

_log = logging.getLogger(__name__)


def _nothing(result: object) -> None:
    """Nothing is kept in memory beside what was written."""


class Writer(Protocol):
    """What writes to the database. Runs jobs one after the other, in the order they were submitted.

    A job that raises undoes only itself. What is kept in memory beside the database follows it in `committed`: called
    with the job's result, in the order of the commits, before anybody learns of the commit. `commits` counts
    transactions. `fault` is the last error of the database itself, empty where the last transaction went well; a job
    that broke a rule (a duplicate id) is its caller's matter, not a fault.
    """

    fault: str
    commits: int
    epoch: int
    on_fenced: Callable[[str], object]

    def submit(self, job: Job[T], committed: Callable[[T], object] = _nothing) -> Future[T]:
        """Run `job` soon. Never blocks or raises: whatever goes wrong is in the future.

        That is StoreError where the database or a rule of the tables refused, else what `job` or `committed` raised.
        """
        ...

    def write(self, job: Job[T], committed: Callable[[T], object] = _nothing) -> T:
        """Run `job` and return its result once it is committed. Not from within a job."""
        ...

    def close(self) -> None:
        """Finish what was submitted, refuse what comes later. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class _Task:
    job: Job[Any]
    committed: Callable[[Any], object]
    future: Future[Any] = field(default_factory=Future)


class GroupWriter:
    """Implements `Writer`, on a thread of its own.

    All jobs that wait form one transaction, each in a savepoint of its own. Futures resolve after the commit, so what
    they tell is on the disk. `committed` is called on the writer's thread.

    Each transaction checks that the epoch is still ours, and before and after it that the database and its log are
    still the files that `path` names, and as we left them: what is written to others is lost. Where any of it is not
    so, everything is refused from then on with StoreFenced, and `on_fenced` is told why, once, on the writer's
    thread, before anybody else is.
    """

    def __init__(self, db: Database, path: Path) -> None:
        """Takes over `db` and, by raising the epoch, the database. Raises StoreError."""
        self.fault = ""
        self.commits = 0
        self._db = db
        self._path = path
        self._waiting: list[_Task] = []
        self._wake = threading.Condition()
        self._closing = False
        self._fenced = ""
        self.on_fenced: Callable[[str], object] = lambda why: None
        with explained(path):
            db.execute("PRAGMA wal_autocheckpoint = 0")  # within a commit, it would look like a stranger's writing
            self.epoch: int = next(iter(db.query("UPDATE meta SET epoch = epoch + 1 RETURNING epoch")))["epoch"]
            self._stamp: int = db.execute("PRAGMA user_version").fetchone()[0] + 1
            _stamp(db, self._stamp)
            db.execute("PRAGMA wal_checkpoint").fetchall()
            self._witness = _witness(path, self.epoch)
        self._checkpointed_at = 0
        self._files = Files(path)
        self._files.checkpointed(self._stamp)
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, job: Job[T], committed: Callable[[T], object] = _nothing) -> Future[T]:
        """As `Writer.submit` says."""
        task = _Task(job, committed)
        with self._wake:
            if not self._closing:
                self._waiting.append(task)
                self._wake.notify()
                return task.future
        task.future.set_exception(StoreError(f"{self._path}: expected an open database, was closed"))
        return task.future

    def write(self, job: Job[T], committed: Callable[[T], object] = _nothing) -> T:
        """As `Writer.write` says."""
        return self.submit(job, committed).result()

    def close(self) -> None:
        """Finish what was submitted, refuse what comes later, end the thread, close the database. Idempotent.

        Whoever closes the last connection writes the log back into the database. Where that is somebody else's by now,
        a backup put in its place, that must not be the writing one.
        """
        with self._wake:
            if self._closing:
                return
            self._closing = True
            self._wake.notify()
        self._thread.join()
        connections = [self._witness, self._db]
        for connection in connections if self._owns_database() else reversed(connections):
            connection.close()
        self._files.close()

    def _owns_database(self) -> bool:
        try:
            return not self._files.database_change() and self._files.change(thorough=True) in ("", LOG_LOST)
        except StoreError:
            return False

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                if not self._waiting:
                    return
            self._commit()
            if self.commits - self._checkpointed_at >= CHECKPOINT_COMMITS:
                self._checkpoint_surviving()

    def _taken(self) -> list[_Task]:
        """Those that wait now, and that nobody has given up."""
        with self._wake:
            group, self._waiting = self._waiting, []
        return [task for task in group if task.future.set_running_or_notify_cancel()]

    def _commit(self) -> None:
        """Run a group in one transaction, then resolve its futures. The thread outlives whatever happens here.

        It is taken as late as that can be, so that what comes meanwhile goes along: a commit costs more than a job.
        """
        tasks: list[_Task] = []
        try:
            self._require_ours()
            with self._transaction():
                tasks = self._taken()
                # Alone, a job needs no savepoint: where it fails, the transaction is undone with it.
                alone = len(tasks) == 1
                attempts = [(tasks[0].job(self._db), None)] if alone else [self._attempt(task.job) for task in tasks]
            self._require_ours(is_written=True)  # removed in between, it was committed to a file that is gone
        except Exception as error:  # noqa: BLE001 - the boundary: what failed is told to everyone who waits for it
            self._note_fault(error)
            for task in tasks or self._taken():
                task.future.set_exception(self._told(error))
            return
        self.commits += 1
        self.fault = ""
        for task, (result, failure) in zip(tasks, attempts, strict=True):
            if failure is None:
                self._resolve(task, result)
            else:
                self._note_fault(failure)
                task.future.set_exception(self._told(failure))

    def _checkpoint_surviving(self, stamp: bool = True) -> None:
        """Write the log back. The boundary to what goes wrong with it: nothing is lost, and it is tried again."""
        self._checkpointed_at = self.commits
        try:
            if self._files.database_change() or self._files.change(thorough=True) == LOG_DAMAGED:
                return  # it is not ours to be written to, or not ours what would be: the next commit tells
            try:
                if stamp:
                    with self._transaction():
                        _stamp(self._db, self._stamp + 1)
                    self._stamp += 1
                self._db.execute("PRAGMA wal_checkpoint").fetchall()
            finally:
                self._files.checkpointed(self._stamp)
        except Exception as error:  # noqa: BLE001 - nobody waits for it; what it is is told as the database's fault
            self._note_fault(error)

    def _resolve(self, task: _Task, result: Any) -> None:
        try:
            task.committed(result)
        except Exception as error:  # noqa: BLE001 - a boundary: it is on the disk, and the others are to be told
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction that holds the write lock from its start, so that none of its reads can be outdated."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            if self._db.conn.execute("SELECT epoch FROM meta").fetchone() != (self.epoch,):
                raise self._fence(f"another engine took this database over (epoch {self.epoch} is past)")
            yield
            self._db.commit()
        except BaseException:
            self._db.rollback()
            raise

    def _attempt(self, job: Job[Any]) -> tuple[Any, Exception | None]:
        """The boundary around one job: its result, or what it raised with all it wrote undone.

        Where SQLite gave up the whole transaction (a full disk), that is raised, for the others are undone too.
        """
        try:
            with self._db.atomic():
                return job(self._db), None
        except Exception as error:
            if not self._db.conn.in_transaction:
                raise
            return None, error

    def _note_fault(self, error: Exception) -> None:
        if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError):
            self.fault = str(explanation(self._path, error))
        elif isinstance(error, StoreFenced):
            self.fault = str(error)
        else:
            return
        _log.error("database write failed", extra={"error": self.fault})

    def _told(self, error: Exception) -> Exception:
        """An exception for one caller: each its own, because raising writes a traceback into it."""
        if isinstance(error, StoreFenced):
            return self._fencing()
        if isinstance(error, sqlite3.Error):
            told = explanation(self._path, error)
            told.__cause__ = error
            return told
        return error

    def _require_ours(self, *, is_written: bool = False) -> None:
        """Raises StoreFenced where the database is not ours any more, or not there."""
        if self._fenced:
            raise self._fencing()
        if why := self._files.change(is_written=is_written):
            fencing = self._fence(why)
            if why == LOG_LOST:
                # What was committed is still in the log that we have open: bring it home.
                self._checkpoint_surviving(stamp=False)
            raise fencing

    def _fence(self, why: str) -> StoreFenced:
        self._fenced = why
        self.on_fenced(str(self._fencing()))
        return self._fencing()

    def _fencing(self) -> StoreFenced:
        return StoreFenced(f"{self._path}: {self._fenced}: this engine writes no more, stop it")


def _stamp(db: Database, number: int) -> None:
    db.execute(f"PRAGMA user_version = {number & 0x7FFF_FFFF}")


def _witness(path: Path, epoch: int) -> Database:
    """A reading connection to what `path` names, which must be what was just written to. Raises sqlite3.Error.

    It stays open: while it is, closing the writing connection does not write the log back; its own closing never does.
    """
    db = open_read_only(path)
    try:
        if list(db.query("SELECT epoch FROM meta")) != [{"epoch": epoch}]:
            raise StoreError(f"{path}: expected epoch {epoch}: the database was replaced while the engine started")
    except BaseException:
        db.close()
        raise
    return db


class InlineWriter:
    """Implements `Writer` on a database in memory: commits on submit, on the calling thread, which must be one.

    What is submitted while a job runs, or what follows its commit, is written right after it.
    """

    def __init__(self, db: Database) -> None:
        self.fault = ""
        self.commits = 0
        self.epoch = 1
        self.on_fenced: Callable[[str], object] = lambda why: None
        self.db = db
        self._waiting: deque[_Task] = deque()
        self._is_busy = False
        self._is_closed = False

    def submit(self, job: Job[T], committed: Callable[[T], object] = _nothing) -> Future[T]:
        """As `Writer.submit` says."""
        task = _Task(job, committed)
        if self._is_closed:
            task.future.set_exception(StoreError(f"{IN_MEMORY}: expected an open database, was closed"))
            return task.future
        self._waiting.append(task)
        if not self._is_busy:
            self._is_busy = True
            try:
                while self._waiting:
                    self._commit(self._waiting.popleft())
            finally:
                self._is_busy = False
        return task.future

    def write(self, job: Job[T], committed: Callable[[T], object] = _nothing) -> T:
        """As `Writer.write` says."""
        if self._is_busy:
            raise RuntimeError("a job cannot wait for another one: submit it")
        return self.submit(job, committed).result()

    def close(self) -> None:
        """As `Writer.close` says."""
        if not self._is_closed:
            self._is_closed = True
            self.db.close()

    def _commit(self, task: _Task) -> None:
        """One transaction. The boundary: what failed is told to who waits for it."""
        connection = self.db.conn
        try:
            connection.execute("BEGIN")
            try:
                result = task.job(self.db)
                connection.execute("COMMIT")
            except BaseException:
                connection.rollback()
                raise
            self.commits += 1
            self.fault = ""
            task.committed(result)
        except sqlite3.Error as error:
            told = explanation(IN_MEMORY, error)
            told.__cause__ = error
            if not isinstance(error, sqlite3.IntegrityError):
                self.fault = str(told)
            task.future.set_exception(told)
        except Exception as error:  # noqa: BLE001 - as above
            task.future.set_exception(error)
        else:
            task.future.set_result(result)

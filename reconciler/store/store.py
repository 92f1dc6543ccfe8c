"""The store: the engine's own handle on its database. One engine per database; it alone writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from sqlite_utils import Database

from reconciler.clock import Clock, iso
from reconciler.ending import in_children, let_go_files
from reconciler.records.accounts import KnownTools
from reconciler.records.cadence import RUN_GAP, BeatMark, BeatRun
from reconciler.records.event import EventReason
from reconciler.records.halt import Halt
from reconciler.store.columns import add_tag, seeded_tag
from reconciler.store.database import ReadPool, Reads, ReadsOf, make_folder, open_in_memory, open_writable
from reconciler.store.desired import Desired
from reconciler.store.events import Events
from reconciler.store.files import EngineLock, Lineage, broken
from reconciler.store.following import Following
from reconciler.store.halt_requests import HALT_REQUESTS, HaltRequests, NoRequests
from reconciler.store.halts import Halts
from reconciler.store.ledger import Ledger
from reconciler.store.scope_book import ScopeBook
from reconciler.store.writer import GroupWriter, InlineWriter, Writer
from reconciler.visible import storable

_RUNS_KEPT = 100
"""A run is told apart from the one before by a time in which the engine did not run, or by a clock that jumped."""


class Beats:
    """What blocks raises StoreError."""

    def __init__(self, writer: Writer, reads: Reads) -> None:
        self._writer = writer
        self._reads = reads

    def last(self) -> tuple[int, float] | None:
        """The last beat fired and the heartbeat in seconds it was counted with; None where none ever was.

        What is forgotten does not count.
        """
        return read_last(self._reads)

    def runs(self) -> tuple[BeatRun, ...]:
        """All runs of beats that are still known, the forgotten ones too, in the order in which they fired."""
        found = self._reads.query("SELECT * FROM beat_runs ORDER BY id")
        return tuple(_run(columns) for columns in found)

    def marked(self) -> BeatMark | None:
        """When the last beat fired, or the clock was said to be right; None where nothing is known."""
        (meta,) = self._reads.query("SELECT beat_time_s, beat_uptime_s, beat_boot FROM meta")
        if meta["beat_time_s"] is None:
            return None
        return BeatMark(meta["beat_time_s"], meta["beat_uptime_s"], meta["beat_boot"])

    def fired(self, beat: int, heartbeat_s: float, mark: BeatMark | None = None) -> None:
        """Write down that `beat` fires; committed on return."""
        self.fire(beat, heartbeat_s, mark).result()

    def fire(self, beat: int, heartbeat_s: float, mark: BeatMark | None = None) -> Future[None]:
        """As `fired`, but waits for nothing: it is committed once the future is done."""

        def job(db: Database) -> None:
            db.execute("UPDATE meta SET beat = ?, heartbeat_s = ?", [beat, heartbeat_s])
            if mark is not None:
                _set_mark(db, mark)
            latest = db.execute(
                "SELECT id FROM beat_runs WHERE id = (SELECT max(id) FROM beat_runs WHERE NOT is_forgotten)"
                " AND heartbeat_s = ? AND last < ? AND last >= ?",
                [heartbeat_s, beat, beat - RUN_GAP],
            ).fetchone()
            if latest is not None:
                db.execute("UPDATE beat_runs SET last = ? WHERE id = ?", [beat, latest[0]])
                return
            db.execute("INSERT INTO beat_runs (first, last, heartbeat_s) VALUES (?, ?, ?)", [beat, beat, heartbeat_s])
            db.execute("DELETE FROM beat_runs WHERE is_forgotten AND last * heartbeat_s < ?", [beat * heartbeat_s])
            db.execute(
                "DELETE FROM beat_runs WHERE id IN"
                " (SELECT id FROM beat_runs WHERE NOT is_forgotten ORDER BY id DESC LIMIT -1 OFFSET ?)",
                [_RUNS_KEPT],
            )

        return self._writer.submit(job)

    def forget(self, mark: BeatMark) -> tuple[BeatRun, ...]:
        """Wait no more for the beats that fired ahead of `mark`, which is now and right. Committed on return.

        Returns the runs they are in. They are kept: their numbers never fire again.
        """

        def job(db: Database) -> list[BeatRun]:
            ahead = "NOT is_forgotten AND last * heartbeat_s > ?"
            found = [_run(c) for c in db.query(f"SELECT * FROM beat_runs WHERE {ahead} ORDER BY id", [mark.time_s])]
            if not found:
                return []
            db.execute(f"UPDATE beat_runs SET is_forgotten = 1 WHERE {ahead}", [mark.time_s])
            db.execute(
                "UPDATE meta SET (beat, heartbeat_s) = (SELECT last, heartbeat_s FROM"
                " (SELECT last, heartbeat_s, 1 AS known, id FROM beat_runs WHERE NOT is_forgotten"
                "  UNION ALL SELECT NULL, NULL, 0, 0) ORDER BY known DESC, last * heartbeat_s DESC LIMIT 1)"
            )
            _set_mark(db, mark)
            return found

        return tuple(self._writer.write(job))


def read_last(reads: Reads) -> tuple[int, float] | None:
    (meta,) = reads.query("SELECT beat, heartbeat_s FROM meta")
    return None if meta["beat"] is None else (meta["beat"], meta["heartbeat_s"])


def _set_mark(db: Database, mark: BeatMark) -> None:
    db.execute(
        "UPDATE meta SET beat_time_s = ?, beat_uptime_s = ?, beat_boot = ?", [mark.time_s, mark.uptime_s, mark.boot]
    )


def _run(columns: dict[str, Any]) -> BeatRun:
    return BeatRun(columns["first"], columns["last"], columns["heartbeat_s"], bool(columns["is_forgotten"]))


class Operators:
    """The `operations` table, as the engine writes it."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock

    def record(self, uid: int, action: str, scope: str, reason: str) -> None:
        """Write an operator's action down; committed on return. Raises StoreError.

        `action` is the command's word (`pause`, `halt`, `prune`), `scope` what it was done to.
        """
        at = iso(self._clock.time())

        def job(db: Database) -> None:
            db.execute(
                "INSERT INTO operations (at, uid, action, scope, reason) VALUES (?, ?, ?, ?, ?)",
                [at, uid, action, storable(scope), storable(reason)],
            )

        self._writer.write(job)


log = logging.getLogger(__name__)


class Tools:
    """The `tools` table, known from memory. Thread-safe."""

    def __init__(self, writer: Writer, reads: Reads, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._known = read_known(reads)

    def known(self, server: str) -> KnownTools | None:
        """The server's tools as they were last kept, None where they never were."""
        return self._known.get(server)

    def keep(self, server: str, tools: KnownTools) -> None:
        """Known at once, written down soon, before any order that is placed from now on. Never waits, never raises."""
        self._known = {**self._known, server: tools}
        at = iso(self._clock.time())

        def job(db: Database) -> None:
            db.execute(
                "INSERT OR REPLACE INTO tools (server, mapping, shape, changed, at) VALUES (?, ?, ?, ?, ?)",
                [storable(server), tools.mapping, json.dumps(tools.shape), storable(tools.changed), at],
            )

        self._writer.submit(job).add_done_callback(_note_failure)


def read_known(reads: Reads) -> dict[str, KnownTools]:
    """By server."""
    return {
        columns["server"]: KnownTools(columns["mapping"], json.loads(columns["shape"]), columns["changed"])
        for columns in reads.query("SELECT server, mapping, shape, changed FROM tools")
    }


def _note_failure(written: Future[None]) -> None:
    if (error := written.exception()) is not None:
        log.error("exec-mcp tools not remembered", extra={"error": str(error)})


BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another program that holds the database."""


class Store:
    """Everything the engine keeps. Thread-safe; its parts say which of their methods block.

    Reads go through connections of their own and see the last commit; they never wait for the writer. One in memory
    belongs to one thread instead.
    """

    def __init__(
        self,
        writer: Writer,
        reads: Reads,
        clock: Clock,
        held: ExitStack,
        requests: HaltRequests | NoRequests,
        memory: Lineage | None = None,
        damage: str = "",
    ) -> None:
        """Use `open`, or `in_memory`. `held` closes what the store stands on, `damage` says what was wrong with the log
        it was left."""
        self._writer = writer
        self._held = held
        self._memory = memory
        self._damage = damage
        self.events = Events(writer, clock)
        self.ledger = Ledger(writer, reads, clock)
        self.desired = Desired(writer, reads, self.ledger.shadow_books_ended)
        self.scopes = ScopeBook(writer, reads, clock)
        self.halts = Halts(writer, reads, clock, requests)
        self.beats = Beats(writer, reads)
        self.operators = Operators(writer, clock)
        self.tools = Tools(writer, reads, clock)
        self.following = Following(writer, reads)

    @classmethod
    def open(cls, path: Path, clock: Clock, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Store:
        """Take over the database at `path`, making it (0600) and its folder (0700) where missing.

        Raises StoreLocked where another engine holds it, StoreError where it cannot be used: no database,
        not ours, newer than this version, or a disk that refuses.
        """
        held = ExitStack()
        try:
            make_folder(path.parent)
            held.callback(EngineLock(path.with_name(f"{path.name}.lock")).release)
            held.enter_context(in_children(lambda: let_go_files(path.parent)))
            memory = Lineage(path)
            damage = _damage(path)
            db = open_writable(path, busy_timeout_s)
            held.callback(db.close)
            writer = GroupWriter(db, path)
            held.callback(writer.close)
            reads = ReadPool(path)
            held.callback(reads.close)
            store = cls(writer, reads, clock, held, HaltRequests(path.parent, clock), memory, damage)
            memory.compare(store.ledger.tags[0])
            held.callback(store.halts.close)
            store.take_halt_requests()
            return store
        except BaseException:
            held.close()
            raise

    @classmethod
    def in_memory(cls, clock: Clock, seed: str = "") -> Store:
        """An empty one that ends with this object: no file, no thread, no waiting; every write is committed on return.

        For one thread. The ids of its orders carry what `seed` makes: the same one, the same ids at the same times.
        """
        held = ExitStack()
        writer = InlineWriter(open_in_memory(seeded_tag(seed)))
        held.callback(writer.close)
        return cls(writer, ReadsOf(writer.db), clock, held, NoRequests())

    def tell_opened(self, path: Path) -> list[str]:
        """What of this opening somebody should know, as events and in sentences: that it began a new database, or found
        its log damaged. None of it where the database was as it was left.
        """
        told = []
        if self._memory is not None and self._memory.is_begun:
            lost = self._memory.lost
            what = f"a new, empty database was made: {path}: it knows no orders and no positions of before"
            if lost:
                what += f"; the one that was here ({lost}) is gone: to go on with it, restore a backup"
            self.events.record(None, "Warning" if lost else "Normal", EventReason.DATABASE_MADE, what)
            told.append(what)
        if self._damage:
            what = f"{path}: {self._damage}: accounts are compared, and real money waits where rows are missing"
            self.events.record(None, "Warning", EventReason.LOG_DAMAGED, what)
            told.append(what)
        return told

    @property
    def epoch(self) -> int:
        """Which opening of this database this is; the next engine's is higher."""
        return self._writer.epoch

    @property
    def fault(self) -> str:
        """The last error of the database itself, empty where the last write went well. For `/readyz`."""
        return self._writer.fault

    def when_fenced(self, tell: Callable[[str], object]) -> None:
        """Have `tell` called, once, with the reason, when this engine may write no more: it must end.

        On the writer's thread, and before anybody learns that a write failed.
        """
        self._writer.on_fenced = tell

    def take_halt_requests(self) -> tuple[Halt, ...]:
        """Halts that no engine answered: in force on return, stored and told soon. Returns them. Waits for nothing."""
        taken = self.halts.take_requests()
        for halt in taken:
            about = halt.id if halt.scope == "instance" else None
            message = f"{halt.told}: {halt.reason} ({halt.by}, through {HALT_REQUESTS})"
            self.events.record(about, "Warning", EventReason.HALTED, message)
        return taken

    def renew(self) -> None:
        """Give the ledger one more tag, for the orders of the next engine: rows after those it has may be lost."""
        self._writer.write(add_tag)

    def flush(self) -> None:
        """Wait until everything submitted before is committed. Raises StoreError where the database refuses."""
        self._writer.write(lambda db: None)

    def close(self) -> None:
        """Finish what was submitted, then let the database go. What is asked of it later is a StoreError."""
        self._held.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _damage(path: Path) -> str:
    """What is wrong with the log that was left beside the database, before SQLite drops it; empty where nothing is."""
    try:
        found = broken(f"{path.resolve()}-wal")
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"
    return "" if found is None else str(found)

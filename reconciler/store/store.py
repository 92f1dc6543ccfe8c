"""The store: the engine's own handle on its database. One engine per database; it alone writes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from reconciler.clock import Clock
from reconciler.forks import in_children, let_go_files
from reconciler.records.halt import Halt
from reconciler.store.beats import Beats
from reconciler.store.connection import ReadPool, make_folder, open_writable
from reconciler.store.desired import Desired
from reconciler.store.events import Events
from reconciler.store.halt_requests import HALT_REQUESTS, HaltRequests
from reconciler.store.halts import Halts
from reconciler.store.ledger import Ledger
from reconciler.store.lineage import Memory, add_tag
from reconciler.store.lock import EngineLock
from reconciler.store.operators import Operators
from reconciler.store.tools import Tools
from reconciler.store.wal import broken
from reconciler.store.writer import Writer

BUSY_TIMEOUT_S = 5.0
"""How long a write waits for another program that holds the database."""


class Store:
    """Everything the engine keeps. Thread-safe; its parts say which of their methods block.

    Reads go through connections of their own and see the last commit; they never wait for the writer.
    """

    def __init__(
        self,
        writer: Writer,
        reads: ReadPool,
        clock: Clock,
        held: ExitStack,
        memory: Memory,
        requests: HaltRequests,
        damage: str,
    ) -> None:
        """Use `open`. `held` closes what the store stands on, `damage` says what was wrong with the log it was left."""
        self._writer = writer
        self._held = held
        self._memory = memory
        self._damage = damage
        self.events = Events(writer, clock)
        self.ledger = Ledger(writer, reads, clock)
        memory.compare(self.ledger.tags[0])
        self.desired = Desired(writer, reads, self.ledger.shadow_books_ended)
        self.halts = Halts(writer, reads, clock, requests)
        self.beats = Beats(writer, reads)
        self.operators = Operators(writer, clock)
        self.tools = Tools(writer, reads, clock)

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
            memory = Memory(path)
            damage = _damage(path)
            db = open_writable(path, busy_timeout_s)
            held.callback(db.close)
            writer = Writer(db, path)
            held.callback(writer.close)
            reads = ReadPool(path)
            held.callback(reads.close)
            store = cls(writer, reads, clock, held, memory, HaltRequests(path.parent, clock), damage)
            held.callback(store.halts.close)
            store.take_halt_requests()
            return store
        except BaseException:
            held.close()
            raise

    def tell_opened(self, path: Path) -> list[str]:
        """What of this opening somebody should know, as events and in sentences: that it began a new database, or found
        its log damaged. None of it where the database was as it was left.
        """
        told = []
        if self._memory.is_begun:
            lost = self._memory.lost
            what = f"a new, empty database was made: {path}: it knows no orders and no positions of before"
            if lost:
                what += f"; the one that was here ({lost}) is gone: to go on with it, restore a backup"
            self.events.record(None, "Warning" if lost else "Normal", "DatabaseMade", what)
            told.append(what)
        if self._damage:
            what = f"{path}: {self._damage}: accounts are compared, and real money waits where rows are missing"
            self.events.record(None, "Warning", "LogDamaged", what)
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
            self.events.record(about, "Warning", "Halted", message)
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

"""Halts: the kill switch, in force from memory, kept in the database until lifted."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from sqlite_utils import Database

from reconciler.clock import Clock, iso
from reconciler.errors import StoreError
from reconciler.records.halt import Cancelling, Halt, HaltScope, shortened
from reconciler.store.database import Reads
from reconciler.store.halt_requests import HALT_REQUESTS, HaltRequests, NoRequests
from reconciler.store.writer import Writer
from reconciler.visible import storable

STORED_WITHIN_S = 2.0
"""How long who halts waits for the database, before the halt is written elsewhere."""

log = logging.getLogger(__name__)


class HaltNotStored(StoreError):
    """It is in force, and the database has not taken it yet. `kept`: it is on the disk all the same."""

    def __init__(self, why: str, kept: bool) -> None:
        where = (
            f"it is kept in {HALT_REQUESTS} and stored as soon as the database takes it"
            if kept
            else "it is in memory only and ends with the engine, unless the database takes it before that"
        )
        super().__init__(f"halted, but the database does not take it: {why}; {where}")
        self.kept = kept


@dataclass(eq=False, slots=True)
class _Unstored:
    """A halt that is in force and not in the database yet; the last try, where one was made."""

    halt: Halt
    writing: Future[None] | None = None


class Halts:
    """Every halt in force. Thread-safe. While an engine runs, all halts go through its `Halts`.

    Nobody waits for the database while holding what changes memory: what is halted is halted at once, and
    `store_pending` writes down what could not be.
    """

    def __init__(self, writer: Writer, reads: Reads, clock: Clock, requests: HaltRequests | NoRequests) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock
        self._requests = requests
        self._changing = threading.Lock()
        self._writing = threading.Lock()  # its own: a writer in memory commits, and tells of it, within the submit
        self._active = read_active(reads)
        self._unstored: list[_Unstored] = []
        self._lifting: tuple[Halt, ...] = ()
        self._trouble = ""
        self._lifts = threading.Lock()
        self._declared: tuple[Halt, ...] = ()
        self._in_force = self._active
        self.cancels: Callable[[], None] = lambda: None
        """Called where a halt came into force that cancels something. Waits for nothing."""

    def active(self) -> tuple[Halt, ...]:
        """Those in force now, declared ones last. Costs nothing: asked for every order."""
        return self._in_force

    def unstored(self) -> tuple[Halt, ...]:
        """Those in force that the database has not taken yet."""
        return tuple(one.halt for one in tuple(self._unstored))

    def declare(self, halts: tuple[Halt, ...]) -> None:
        """Put the halts of a file in force, instead of those it declared before. They are not stored."""
        with self._changing:
            known, self._declared = self._declared, halts
            self._in_force = (*self._active, *halts)
        if halts != known:
            self._tell_cancelling(halts)

    def add(
        self,
        scope: HaltScope,
        id: str,
        full: bool,
        reason: str,
        by: str,
        cancel: Cancelling = Cancelling.NOTHING,
        collar: Decimal | None = None,
    ) -> Halt:
        """Halt, in force at once and committed on return. The same halt again changes nothing.

        It is in force even where the database does not take it soon: HaltNotStored then says where it is kept.
        """
        halt = Halt(scope, id, full, shortened(storable(reason)), by, iso(self._clock.time()), cancel, collar)
        halt, unstored = self._put_in_force(halt)
        self._tell_cancelling((halt,))
        if unstored is None:
            return halt
        try:
            self._write(unstored).result(STORED_WITHIN_S)
        except (StoreError, TimeoutError) as error:
            why = str(error) or "it does not answer"
            raise HaltNotStored(why, self._keep(halt)) from error
        return halt

    def enforce(self, scope: HaltScope, id: str, full: bool, reason: str, by: str) -> None:
        """As `add`, in force at once, but written down only with `store_pending`. Waits for nothing."""
        self._put_in_force(Halt(scope, id, full, shortened(storable(reason)), by, iso(self._clock.time())))

    def begin(self, scope: HaltScope, id: str, full: bool, reason: str, by: str) -> bool:
        """As `add`, but waits for nothing: in force on return, stored soon. False where it was in force already."""
        halt = Halt(scope, id, full, shortened(storable(reason)), by, iso(self._clock.time()))
        known, unstored = self._put_in_force(halt)
        if unstored is not None:
            self._write(unstored)
        return known is halt

    def take_requests(self) -> tuple[Halt, ...]:
        """Put in force what is asked for in the file, and begin to store it; returns what is newly in force.

        Waits for nothing. Cheap where nothing is asked for. What cannot be read is logged.
        """
        try:
            if not self._requests.has_news():
                return ()
            asked = self._requests.read()
        except StoreError as error:
            self._complain("halt requests cannot be read", error)
            return ()
        found: list[Halt] = []
        for halt in asked:
            known, unstored = self._put_in_force(halt)
            if unstored is not None and known is halt:
                found.append(halt)
        self._tell_cancelling(found)
        self.store_pending()
        return tuple(found)

    def keep_reserve(self) -> None:
        """See to it that a halt finds room on a disk that gets full later, and is read where files cannot be opened.

        Raises nothing.
        """
        self._requests.keep_reserve()
        self._requests.hold()

    def close(self) -> None:
        """Last of all."""
        self._requests.close()

    def store_pending(self) -> None:
        """Try once more what the database has not taken. Waits for nothing."""
        with self._changing:
            waiting = [one for one in self._unstored if one.writing is None or one.writing.done()]
        for one in waiting:
            self._write(one)
        if not self._unstored:
            self._forget_requests()

    def lift(self, scope: HaltScope, id: str, by: str, reason: str) -> tuple[Halt, ...]:
        """Lift every halt of exactly that scope and id; committed on return. Returns what was lifted.

        Where the database refuses, StoreError is raised and the halts stay in force.
        """
        at = iso(self._clock.time())

        def job(db: Database) -> None:
            db.execute(
                "UPDATE halts SET lifted_by = ?, lift_reason = ?, lifted_at = ?"
                " WHERE lifted_at IS NULL AND scope = ? AND target = ?",
                [by, storable(reason), at, scope, id],
            )

        self.take_requests()
        with self._lifts:
            with self._changing:
                lifted = tuple(halt for halt in self._active if (halt.scope, halt.id) == (scope, id))
                if not lifted:
                    return ()
                self._lifting = lifted
                writing = self._writer.submit(job)  # here: who halts anew from now on is written after it
            try:
                writing.result()
                self._requests.drop(lifted)
                with self._changing:
                    self._active = tuple(halt for halt in self._active if not _is_one_of(halt, lifted))
                    self._unstored = [one for one in self._unstored if not _is_one_of(one.halt, lifted)]
                    self._in_force = (*self._active, *self._declared)
            finally:
                self._lifting = ()
        return lifted

    def lifted_since(self, since: datetime, by: str) -> dict[str, datetime]:
        """When the last halt of an instance that `by` made was lifted, by instance; of those lifted from then on."""
        found = self._reads.query(
            "SELECT target, max(lifted_at) AS at FROM halts WHERE scope = 'instance' AND halted_by = ?"
            " AND lifted_at >= ? GROUP BY target",
            [by, iso(since.timestamp())],
        )
        return {columns["target"]: datetime.fromisoformat(columns["at"]) for columns in found}

    def _tell_cancelling(self, halts: Iterable[Halt]) -> None:
        if any(halt.cancel is not Cancelling.NOTHING for halt in halts):
            self.cancels()

    def _put_in_force(self, halt: Halt) -> tuple[Halt, _Unstored | None]:
        """The halt, or the same one that is in force already; and what is to be written of it, None where it is."""
        with self._changing:
            for known in self._active:
                if replace(known, at=halt.at) == halt and not _is_one_of(known, self._lifting):
                    return known, next((one for one in self._unstored if one.halt is known), None)
            unstored = _Unstored(halt)
            self._active = (*self._active, halt)
            self._in_force = (*self._active, *self._declared)
            self._unstored.append(unstored)
            return halt, unstored

    def _write(self, unstored: _Unstored) -> Future[None]:
        """Have it stored, unless that is under way."""
        with self._writing:
            if unstored.writing is None or (unstored.writing.done() and unstored.writing.exception() is not None):
                halt = unstored.halt
                unstored.writing = self._writer.submit(
                    lambda db: _insert(db, halt), lambda stored: self._stored(unstored)
                )
            return unstored.writing

    def _stored(self, unstored: _Unstored) -> None:
        """On the writer's thread, after the commit."""
        with self._changing:
            self._unstored = [one for one in self._unstored if one is not unstored]

    def _forget_requests(self) -> None:
        """Everything in force is stored: what is asked for in the file is done. Left there, it does no harm."""
        try:
            if not self._requests.is_empty():
                self._requests.drop(self._active)
                self.keep_reserve()
            self._trouble = ""
        except StoreError as error:
            self._complain("halt requests are stored, and stay in their file", error)

    def _complain(self, what: str, error: StoreError) -> None:
        """Once, until it is something else: it is looked at twice a second."""
        if self._trouble != f"{what}: {error}":
            self._trouble = f"{what}: {error}"
            log.error(what, extra={"error": str(error)})

    def _keep(self, halt: Halt) -> bool:
        """On the disk, if not in the database. False where neither takes it."""
        try:
            self._requests.append(halt)
        except StoreError as error:
            log.error("a halt is in memory only", extra={"halt": halt.told, "error": str(error)})
            return False
        return True


def _is_one_of(halt: Halt, halts: tuple[Halt, ...]) -> bool:
    """The very same: an equal one that came later is another."""
    return any(halt is one for one in halts)


def read_active(reads: Reads) -> tuple[Halt, ...]:
    found = reads.query("SELECT * FROM halts WHERE lifted_at IS NULL ORDER BY id")
    return tuple(
        Halt(
            scope=columns["scope"],
            id=columns["target"],
            full=bool(columns["is_full"]),
            reason=columns["reason"],
            by=columns["halted_by"],
            at=columns["halted_at"],
            cancel=Cancelling(columns["cancels"]),
            collar=None if columns["collar"] is None else Decimal(columns["collar"]),
        )
        for columns in found
    )


def _insert(db: Database, halt: Halt) -> None:
    db.execute(
        "INSERT INTO halts (scope, target, is_full, reason, halted_by, halted_at, cancels, collar)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            halt.scope,
            halt.id,
            int(halt.full),
            halt.reason,
            halt.by,
            halt.at,
            halt.cancel.value,
            None if halt.collar is None else str(halt.collar),
        ],
    )
    if halt.uid is not None:
        db.execute(
            "INSERT INTO operations (at, uid, action, scope, reason) VALUES (?, ?, 'halt', ?, ?)",
            [halt.at, halt.uid, halt.told, halt.reason],
        )

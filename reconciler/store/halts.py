"""Halts: the kill switch, in force from memory, kept in the database until lifted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlite_utils import Database

from reconciler.clock import Clock, iso
from reconciler.errors import StoreError
from reconciler.records.halt import Halt, HaltScope
from reconciler.records.text import storable
from reconciler.store.connection import ReadPool
from reconciler.store.writer import Writer


class Halts:
    """Every halt in force. Thread-safe. While an engine runs, all halts go through its `Halts`."""

    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._changing = threading.Lock()
        self._active = read_active(reads)
        self._declared: tuple[Halt, ...] = ()
        self._in_force = self._active

    def active(self) -> tuple[Halt, ...]:
        """Those in force now, declared ones last. Costs nothing: asked for every order."""
        return self._in_force

    @contextmanager
    def steady(self) -> Iterator[tuple[Halt, ...]]:
        """Those in force, which stay as they are while inside: who halts meanwhile waits until this is left."""
        with self._changing:
            yield self._in_force

    def declare(self, halts: tuple[Halt, ...]) -> None:
        """Put the halts of a file in force, instead of those it declared before. They are not stored."""
        with self._changing:
            self._declared = halts
            self._in_force = (*self._active, *halts)

    def add(self, scope: HaltScope, id: str, full: bool, reason: str, by: str) -> Halt:
        """Halt, in force at once and committed on return. The same halt again changes nothing.

        It is in force even where the database refuses it: StoreError then says that it ends with the engine.
        """
        halt = Halt(scope, id, full, storable(reason), by, iso(self._clock.time()))
        with self._changing:
            for known in self._active:
                if replace(known, at=halt.at) == halt:
                    return known
            self._active = (*self._active, halt)
            self._in_force = (*self._active, *self._declared)
            try:
                self._writer.write(lambda db: _insert(db, halt))
            except StoreError as error:
                raise StoreError(f"halted, but it could not be stored and ends with the engine: {error}") from error
        return halt

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

        with self._changing:
            lifted = tuple(halt for halt in self._active if (halt.scope, halt.id) == (scope, id))
            if lifted:
                self._writer.write(job)
                self._active = tuple(halt for halt in self._active if halt not in lifted)
                self._in_force = (*self._active, *self._declared)
        return lifted


def read_active(reads: ReadPool) -> tuple[Halt, ...]:
    found = reads.query("SELECT * FROM halts WHERE lifted_at IS NULL ORDER BY id")
    return tuple(
        Halt(
            scope=columns["scope"],
            id=columns["target"],
            full=bool(columns["is_full"]),
            reason=columns["reason"],
            by=columns["halted_by"],
            at=columns["halted_at"],
        )
        for columns in found
    )


def _insert(db: Database, halt: Halt) -> None:
    db.execute(
        "INSERT INTO halts (scope, target, is_full, reason, halted_by, halted_at) VALUES (?, ?, ?, ?, ?, ?)",
        [halt.scope, halt.id, int(halt.full), halt.reason, halt.by, halt.at],
    )

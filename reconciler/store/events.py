"""Events: what happened, for people to read. Recorded without waiting, counted rather than repeated, bounded."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from sqlite_utils import Database

from reconciler.clock import Clock, iso
from reconciler.errors import StoreError
from reconciler.records.event import EventType
from reconciler.store.writer import Writer
from reconciler.visible import storable

KEPT = 10_000
KEPT_PER_INSTANCE = 200
_LOOKED_BACK = 1
"""How many of an instance's last events a new one may repeat: the order of what happened must stay readable."""
_PRUNED_EVERY = 500
"""After how many new events the oldest of all go: the table may exceed KEPT by that many."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Event:
    instance_id: str | None
    type: EventType
    reason: str
    message: str
    at: str


class Events:
    """The `events` table, as the engine writes it. Thread-safe."""

    def __init__(self, writer: Writer, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._waiting: deque[_Event] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._is_submitted = False
        self._since_pruned = 0

    def record(self, instance_id: str | None, type: EventType, reason: str, message: str) -> None:
        """Write it down soon; never waits, never raises. `instance_id` None is the engine itself.

        `reason` is an `EventReason`, stored as its word. What repeats the instance's last event is
        counted there. The newest 10,000 are kept, and the newest 200 of each instance.
        """
        event = _Event(instance_id, type, reason, storable(message), iso(self._clock.time()))
        with self._lock:
            self._waiting.append(event)
            if self._is_submitted:
                return
            self._is_submitted = True
        taken: list[_Event] = []
        self._writer.submit(partial(self._write, taken)).add_done_callback(partial(self._written, taken))

    def _write(self, taken: list[_Event], db: Database) -> None:
        with self._lock:
            taken.extend(self._waiting)
            self._waiting.clear()
            self._is_submitted = False
        for event in taken:
            if not _counted(db, event):
                self._insert(db, event)

    def _written(self, taken: list[_Event], written: Future[None]) -> None:
        """The boundary where the failure to write events ends, for nobody waits for them.

        What the database refused goes back to wait for the next event, in its place, as far as there is room.
        """
        error = written.exception()
        if error is None:
            return
        with self._lock:
            self._is_submitted = False
            if isinstance(error, StoreError):
                room = KEPT - len(self._waiting)
                self._waiting.extendleft(reversed(taken[-room:] if room else []))
        _log.warning("events could not be written", extra={"error": str(error)})

    def _insert(self, db: Database, event: _Event) -> None:
        db.execute(
            "INSERT INTO events (instance_id, type, reason, message, count, first_at, last_at)"
            " VALUES (?, ?, ?, ?, 1, ?, ?)",
            [event.instance_id, event.type, event.reason, event.message, event.at, event.at],
        )
        db.execute(
            "DELETE FROM events WHERE id IN (SELECT id FROM events WHERE instance_id = ?"
            " ORDER BY last_at DESC, id DESC LIMIT -1 OFFSET ?)",
            [event.instance_id, KEPT_PER_INSTANCE],
        )
        self._since_pruned += 1
        if self._since_pruned >= _PRUNED_EVERY:
            self._since_pruned = 0
            db.execute(
                "DELETE FROM events WHERE id IN (SELECT id FROM events ORDER BY last_at DESC, id DESC"
                " LIMIT -1 OFFSET ?)",
                [KEPT],
            )


def _counted(db: Database, event: _Event) -> bool:
    """Count `event` on one of the instance's last events where it repeats it."""
    changed = db.execute(
        "UPDATE events SET count = count + 1, last_at = max(last_at, ?) WHERE id = (SELECT id FROM"
        " (SELECT * FROM events WHERE instance_id IS ? ORDER BY last_at DESC, id DESC LIMIT ?)"
        " WHERE type = ? AND reason = ? AND message = ? LIMIT 1)",
        [event.at, event.instance_id, _LOOKED_BACK, event.type, event.reason, event.message],
    )
    return changed.rowcount > 0

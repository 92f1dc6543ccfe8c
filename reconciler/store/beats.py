"""The beats that fired, so that none fires twice, whatever happens to the process or the clock."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from sqlite_utils import Database

from reconciler.records.cadence import RUN_GAP, BeatRun, Mark
from reconciler.store.connection import ReadPool
from reconciler.store.writer import Writer

_RUNS_KEPT = 100
"""A run is told apart from the one before by a time in which the engine did not run, or by a clock that jumped."""


class Beats:
    """What blocks raises StoreError."""

    def __init__(self, writer: Writer, reads: ReadPool) -> None:
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

    def marked(self) -> Mark | None:
        """When the last beat fired, or the clock was said to be right; None where nothing is known."""
        (meta,) = self._reads.query("SELECT beat_time_s, beat_uptime_s, beat_boot FROM meta")
        if meta["beat_time_s"] is None:
            return None
        return Mark(meta["beat_time_s"], meta["beat_uptime_s"], meta["beat_boot"])

    def fired(self, beat: int, heartbeat_s: float, mark: Mark | None = None) -> None:
        """Write down that `beat` fires; committed on return."""
        self.fire(beat, heartbeat_s, mark).result()

    def fire(self, beat: int, heartbeat_s: float, mark: Mark | None = None) -> Future[None]:
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

    def forget(self, mark: Mark) -> tuple[BeatRun, ...]:
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


def read_last(reads: ReadPool) -> tuple[int, float] | None:
    (meta,) = reads.query("SELECT beat, heartbeat_s FROM meta")
    return None if meta["beat"] is None else (meta["beat"], meta["heartbeat_s"])


def _set_mark(db: Database, mark: Mark) -> None:
    db.execute(
        "UPDATE meta SET beat_time_s = ?, beat_uptime_s = ?, beat_boot = ?", [mark.time_s, mark.uptime_s, mark.boot]
    )


def _run(columns: dict[str, Any]) -> BeatRun:
    return BeatRun(columns["first"], columns["last"], columns["heartbeat_s"], bool(columns["is_forgotten"]))

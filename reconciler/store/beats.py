"""The last beat fired, so that none fires twice, whatever happens to the process or the clock."""

from __future__ import annotations

from sqlite_utils import Database

from reconciler.store.connection import ReadPool
from reconciler.store.writer import Writer


class Beats:
    """Blocks; raises StoreError."""

    def __init__(self, writer: Writer, reads: ReadPool) -> None:
        self._writer = writer
        self._reads = reads

    def last(self) -> tuple[int, float] | None:
        """The last beat fired and the heartbeat in seconds it was counted with; None where none ever was."""
        return read_last(self._reads)

    def fired(self, beat: int, heartbeat_s: float) -> None:
        """Write down that `beat` fires; committed on return."""

        def job(db: Database) -> None:
            db.execute("UPDATE meta SET beat = ?, heartbeat_s = ?", [beat, heartbeat_s])

        self._writer.write(job)


def read_last(reads: ReadPool) -> tuple[int, float] | None:
    (meta,) = reads.query("SELECT beat, heartbeat_s FROM meta")
    return None if meta["beat"] is None else (meta["beat"], meta["heartbeat_s"])

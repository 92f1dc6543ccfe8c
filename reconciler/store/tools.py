"""The tools of exec-mcp servers as they were when the engine first saw them, or an operator accepted them."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future

from sqlite_utils import Database

from reconciler.clock import Clock, iso
from reconciler.records.text import storable
from reconciler.records.tools import KnownTools
from reconciler.store.connection import ReadPool
from reconciler.store.writer import Writer

log = logging.getLogger(__name__)


class Tools:
    """The `tools` table, known from memory. Thread-safe."""

    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
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


def read_known(reads: ReadPool) -> dict[str, KnownTools]:
    """By server."""
    return {
        columns["server"]: KnownTools(columns["mapping"], json.loads(columns["shape"]), columns["changed"])
        for columns in reads.query("SELECT server, mapping, shape, changed FROM tools")
    }


def _note_failure(written: Future[None]) -> None:
    if (error := written.exception()) is not None:
        log.error("exec-mcp tools not remembered", extra={"error": str(error)})

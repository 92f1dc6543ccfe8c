"""The probes: `/livez`, is there nothing that only a restart mends; `/readyz`, can it read, write and beat.

An orchestrator kills what is not live. A halt, or a lowered mode, may be in memory only while the disk is full: so
nothing that a restart does not mend makes the engine look dead.
"""

from __future__ import annotations

from typing import Final

from reconciler.clock import Clock
from reconciler.dashboard.heartbeat import heartbeat_age_s
from reconciler.dashboard.refusal import Refusal
from reconciler.dashboard.render import to_json
from reconciler.ports import StatusReader

BLOCKED_SAID_S: Final = 60.0
BLOCKED_S: Final = 600.0
"""For so long what was merged may wait for git to end what it does; then the source does not work."""


class Probes:
    """Each method is the body of one probe, or a `Refusal` 503. They answer anybody, so they tell no detail."""

    def __init__(self, status: StatusReader, clock: Clock) -> None:
        self._status = status
        self._clock = clock

    def live(self) -> bytes:
        """That this is answered at all says that the main loop turns."""
        engine, now_s = self._status.engine(), self._clock.time()
        if engine.heartbeat_ended:
            raise Refusal(503, f"{engine.heartbeat_ended}: restart the engine", code="heartbeat_ended")
        return to_json({"status": "ok", "heartbeat_age_s": round(heartbeat_age_s(engine, now_s), 3)})

    def ready(self) -> bytes:
        engine = self._status.engine()
        blocked_s = engine.source_blocked_s
        source = engine.source_error or ("blocked" if blocked_s >= BLOCKED_S else "")
        checks = {"source": source, "database": engine.database_error, "heartbeat": engine.no_beat}
        faulty = [name for name, error in checks.items() if error]
        if faulty:
            raise Refusal(503, f"{' and '.join(faulty)} faulty; the fleet page says why", code="not_ready")
        told = dict.fromkeys(checks, "ok") | ({"source": "blocked"} if blocked_s >= BLOCKED_SAID_S else {})
        return to_json({"status": "ok", "checks": told})

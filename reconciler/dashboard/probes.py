"""The probes: `/livez`, does the heart beat; `/readyz`, can files be read and rows be written."""

from __future__ import annotations

from reconciler.clock import Clock
from reconciler.dashboard.heartbeat import heartbeat_age_s, heartbeat_fault
from reconciler.dashboard.refusal import Refusal
from reconciler.dashboard.render import to_json
from reconciler.ports import StatusReader


class Probes:
    """Each method is the body of one probe, or a `Refusal` 503. They answer anybody, so they tell no detail."""

    def __init__(self, status: StatusReader, clock: Clock) -> None:
        self._status = status
        self._clock = clock

    def live(self) -> bytes:
        engine, now_s = self._status.engine(), self._clock.time()
        fault = heartbeat_fault(engine, now_s)
        if fault:
            raise Refusal(503, fault, code="heartbeat_late")
        return to_json({"status": "ok", "heartbeat_age_s": round(heartbeat_age_s(engine, now_s), 3)})

    def ready(self) -> bytes:
        engine = self._status.engine()
        checks = {"source": engine.source_error, "database": engine.database_error}
        faulty = [name for name, error in checks.items() if error]
        if faulty:
            raise Refusal(503, f"{' and '.join(faulty)} faulty; the fleet page says why", code="not_ready")
        return to_json({"status": "ok", "checks": dict.fromkeys(checks, "ok")})

"""Whether the heart still beats, as the probe, the page and the metrics all judge it. Pure."""

from __future__ import annotations

from reconciler.clock import from_iso
from reconciler.dashboard.render import duration
from reconciler.ports import EngineStatus

LATE_BEATS = 5


def heartbeat_age_s(engine: EngineStatus, now_s: float) -> float:
    """Seconds since the last beat, or since the start where none has fired yet."""
    if engine.heartbeat_age_s is not None:
        return engine.heartbeat_age_s
    return max(0.0, now_s - from_iso(engine.started_at))


def heartbeat_fault(engine: EngineStatus, now_s: float) -> str:
    """Why the heartbeat is not well, empty where it is.

    A clock that was set back is waited out on purpose: no beat fires, and a restart would not help.
    """
    age_s = heartbeat_age_s(engine, now_s)
    limit_s = LATE_BEATS * engine.heartbeat_s
    if age_s <= limit_s or engine.clock_behind_s > 0:
        return ""
    return f"no beat for {duration(age_s)}, expected one every {engine.heartbeat_s:g} s"

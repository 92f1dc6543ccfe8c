"""Whether the heart still beats, as the page and the metrics judge it. Pure."""

from __future__ import annotations

from reconciler.clock import from_iso
from reconciler.dashboard.render import duration
from reconciler.ports import EngineStatus


def heartbeat_age_s(engine: EngineStatus, now_s: float) -> float:
    """Seconds since the last beat, or since the start where none has fired yet."""
    if engine.heartbeat_age_s is not None:
        return engine.heartbeat_age_s
    return max(0.0, now_s - from_iso(engine.started_at))


def heartbeat_fault(engine: EngineStatus, now_s: float) -> str:
    """Since when no beat has fired, and why; empty where one has within three heartbeats."""
    if not engine.no_beat:
        return ""
    age_s = heartbeat_age_s(engine, now_s)
    return f"no beat for {duration(age_s)}, expected one every {engine.heartbeat_s:g} s: {engine.no_beat}"

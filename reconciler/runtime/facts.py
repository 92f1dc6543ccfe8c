"""What a host can say of one instance, and of one beat. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.records.mode import Mode
from reconciler.records.plan import Phase
from reconciler.records.status import Ticks
from reconciler.runtime.gate import Pause
from reconciler.runtime.logs import LogLine


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """How one id is doing. Times ISO 8601.

    `phase` is None, and `mode` off, where nothing is loaded any more; counts, log and pause remain.
    `generation` and `loaded_at` are those of what is loaded. `last_error` may have several lines; it stays
    after a recovery, `failing` says whether it still holds. `stuck_hook` names the hook that outlived its
    deadline. `logs` are newest first.
    """

    id: str
    phase: Phase | None
    mode: Mode
    pause: Pause | None
    generation: int | None
    loaded_at: str | None
    last_error: str
    last_error_at: str | None
    failing: bool
    consecutive_failures: int
    stuck_hook: str | None
    stuck_at: str
    load_attempts: int
    ticks: Ticks
    widgets: tuple[Mapping[str, Any], ...]
    logs: tuple[LogLine, ...]
    render_error: str = ""
    """Why what it shows is old: its last `render` failed."""
    missed_lately: tuple[int, int] | None = None
    """How many of how many ticks it missed, where those are most of them; None where it keeps them."""
    drawn_at: str | None = None
    """When `render` last gave what it shows, None where it shows nothing."""


@dataclass(frozen=True, slots=True)
class BeatReport:
    """What one beat did: `due` = `dispatched` + `missed`, instances that may not tick left out."""

    beat: int
    due: int
    dispatched: int
    missed: int

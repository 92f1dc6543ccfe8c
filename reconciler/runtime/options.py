"""How a host works: frozen options. The settings make them; nothing here reads a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.runtime.hook import Hook


@dataclass(frozen=True, slots=True)
class HostOptions:
    """Seconds throughout. A worker busy for longer than `patience_s` gets a spare beside it, up to `max_workers`.

    A hook that outlives its deadline is Stuck. `quarantine_after` failed ticks in a row pause an instance. A
    failed load is retried after `retry_first_s`, doubling up to `retry_max_s`. Widgets are rendered after a
    tick, at most every `render_interval_s`; `log_lines` are kept of each instance's log.
    """

    workers: int = 4
    max_workers: int = 64
    patience_s: float = 1.0
    init_deadline_s: float = 30.0
    tick_deadline_s: float = 30.0
    render_deadline_s: float = 5.0
    unload_deadline_s: float = 10.0
    quarantine_after: int = 5
    retry_first_s: float = 1.0
    retry_max_s: float = 300.0
    render_interval_s: float = 1.0
    log_lines: int = 200

    def deadlines_s(self) -> Mapping[Hook, float]:
        """The deadline of each hook."""
        return {
            "init": self.init_deadline_s,
            "on_tick": self.tick_deadline_s,
            "render": self.render_deadline_s,
            "on_unload": self.unload_deadline_s,
        }

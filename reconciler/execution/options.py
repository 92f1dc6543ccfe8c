"""How one exec-mcp server is reached, as frozen options. The settings make them; nothing here connects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

PAPER = "paper"
"""The name of the embedded paper exchange where the settings name no server."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """One server and its transport. Secrets in `headers` and `env` are already resolved, and never printed.

    `kind` http needs `url`; stdio needs `command`; paper needs nothing. `timeout_s` bounds every call.
    Reconnecting waits `reconnect_min_s`, doubling to `reconnect_max_s`. A connection that was silent for
    `probe_after_s` is probed, so that a dead server is noticed before the next order is meant for it.
    """

    name: str
    kind: Literal["paper", "http", "stdio"]
    url: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout_s: float = 5.0
    reconnect_min_s: float = 0.25
    reconnect_max_s: float = 10.0
    probe_after_s: float = 15.0


def embedded() -> ServerOptions:
    """What holds where there are no settings: the paper exchange alone."""
    return ServerOptions(PAPER, "paper")

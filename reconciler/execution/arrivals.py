"""Which exec-mcp servers have answered since the start: until its own has, an instance waits, though not for ever."""

from __future__ import annotations

from reconciler.clock import Clock
from reconciler.execution.readiness import Readiness
from reconciler.execution.servers import Servers

WAIT_S = 30.0
"""From when the servers are connected to on. Then instances tick, whoever has not answered."""


class Arrivals:
    """Thread-safe to read. A server has arrived once it was connected, and its accounts were compared with the ledger.

    One that is lost later has arrived all the same: strategies are told of that as failures of their calls.
    """

    def __init__(self, servers: Servers, readiness: Readiness, clock: Clock) -> None:
        self._servers = servers
        self._readiness = readiness
        self._clock = clock
        self._arrived: frozenset[str] = frozenset()
        self._until_s: float | None = None

    def begin(self) -> None:
        """From now on the servers are connected to."""
        self._until_s = self._clock.monotonic() + WAIT_S

    def awaited(self) -> frozenset[str]:
        """The servers that are waited for."""
        if self._until_s is not None and self._clock.monotonic() >= self._until_s:
            return frozenset()
        missing = [status for status in self._servers.statuses() if status.name not in self._arrived]
        here = [one.name for one in missing if one.connections and not self._readiness.is_pending_for(one)]
        if here:
            self._arrived = self._arrived.union(here)
        return frozenset(one.name for one in missing if one.name not in here)

    def unheard(self) -> frozenset[str]:
        """The servers that were never connected, and are waited for no more."""
        if self._until_s is None or self._clock.monotonic() < self._until_s:
            return frozenset()
        return frozenset(status.name for status in self._servers.statuses() if not status.connections)

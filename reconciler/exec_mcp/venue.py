"""A venue: where orders are executed, spoken to in the contract's words, whatever stands behind it.

A server that is reached over MCP, a scripted one, an exchange in the same process: all the same to the gateway. It
stands here and not among the ports, for whoever makes one and whoever uses one stands at this row or above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.refusals import RateLimits


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How a connection is doing. `since` (ISO 8601) is when `connected` last changed.

    `tools` are the contract's tools that can be used there, `missing` says of the others why not, where that was not
    meant. `mismatches` are all that the mapping and the server disagree in, a sentence each; `offered` the server's
    own tools. `hindrances` are those of the mismatches that leave no tool out, and that can never come about. `changed`
    says what changed in the tools since the engine looked first, empty where nothing did.
    `connections` counts those made so far, the one in use included.
    """

    name: str
    connected: bool
    since: str
    tools: tuple[str, ...]
    last_error: str
    missing: Mapping[str, str] = field(default_factory=dict)
    mismatches: tuple[str, ...] = ()
    hindrances: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    changed: str = ""
    connections: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "connected": self.connected,
            "since": self.since,
            "tools": list(self.tools),
            "last_error": self.last_error,
            "mismatches": list(self.mismatches),
            "changed": self.changed,
        }


class Venue(Protocol):
    """`call` belongs to the loop, `on_connected` is called there; all else may be read from any thread."""

    on_connected: Callable[[], None] | None
    """Called whenever a connection was made."""

    @property
    def name(self) -> str: ...

    @property
    def status(self) -> ServerStatus: ...

    @property
    def limits(self) -> RateLimits: ...

    @property
    def timeout_s(self) -> float:
        """How long a call may take."""
        ...

    @property
    def starting_s(self) -> float:
        """How long it may take until it is there."""
        ...

    @property
    def murmur(self) -> tuple[str, ...]:
        """The last lines that it wrote beside its answers."""
        ...

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        handover: Handover | None = None,
    ) -> dict[str, Any]:
        """Call the contract's `tool` with the contract's arguments, and give the contract's answer.

        Beside the contract's own, orders are cancelled and looked up with `symbol` and `order_id`, the exchange's,
        where these are known: some servers ask for them. It claims `handover` right before anything is done, does
        nothing where it cannot, and finishes it, whatever comes.

        Raises CapabilityUnavailable where there is no such tool, ExecRejected where it said no (`OrderNotFound`
        where it knows no such order), ExecUnavailable where it is certain that it did not act (`Unsayable` where its
        words do not reach), ExecUnknown where it may have.
        """
        ...

    def accept(self) -> None:
        """Somebody has looked: its tools, as they are now, are what it is judged by from now on."""
        ...

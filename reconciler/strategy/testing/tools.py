"""Which exec-mcp tools the pretended server lacks, so that a test can see a strategy do without."""

from __future__ import annotations

from reconciler.errors import CapabilityUnavailable


class Tools:
    """Every tool is there until it is withdrawn."""

    def __init__(self) -> None:
        self._withdrawn: set[str] = set()

    def withdraw(self, tool: str) -> None:
        """From now on what needs `tool` raises CapabilityUnavailable."""
        self._withdrawn.add(tool)

    def require(self, tool: str) -> None:
        if tool in self._withdrawn:
            raise CapabilityUnavailable(tool, "fake")

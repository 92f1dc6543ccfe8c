"""What is behind every stub server: orders by our id, and a fault that a test may ask for."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp_types import CallToolResult, TextContent

Fault = Literal["", "refuse", "hang", "timeout"]
OPENED_MS = 1_767_225_600_000
"""Midnight of the first of January 2026: where the stubs' candles begin, one a minute."""


@dataclass
class Book:
    """The orders of one stub. `refuse` refuses new ones, `hang` never answers them, `timeout` says it timed out."""

    fault: Fault = ""
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, client_order_id: str, order: dict[str, Any]) -> dict[str, Any]:
        """Keep the order; a fault that hangs keeps it, too."""
        self.orders[client_order_id] = {**order, "exchange_id": f"x-{len(self.orders) + 1}", "cancelled": False}
        if self.fault == "hang":
            await self.release.wait()
        return self.orders[client_order_id]

    def by_exchange_id(self, exchange_id: str) -> dict[str, Any] | None:
        return next((order for order in self.orders.values() if order["exchange_id"] == exchange_id), None)


def quiet(name: str) -> MCPServer[Any]:
    """A server that leaves the root logger as it is."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    server: MCPServer[Any] = MCPServer(name)
    logging.getLogger().removeHandler(handler)
    return server


def told(text: str, *, structured: dict[str, Any] | None = None, failed: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured, is_error=failed)

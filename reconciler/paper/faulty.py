"""An MCP server beset by `Faults`, and the tools that set them. Imports the SDK: import this lazily."""

from __future__ import annotations

import json
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, TextContent
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import TypedDict

from reconciler.paper.faults import ANY_TOOL, FaultOnDemand, FaultRule, Faults

_NONSENSE: tuple[Any, ...] = (
    {},
    {"status": "sideways", "order_id": 7},
    {"status": None, "filled_quantity": "lots", "fills": "none", "orders": {"0": None}},
    {"bid": "NaN", "ask": "-1", "last": [], "as_of": "yesterday"},
    {"orders": [7], "positions": "flat", "balances": [None], "candles": [{"open": {}}]},
    None,
)
"""Structured content that fits no tool; None: not even that, and a text that breaks off."""


class FaultsAnswer(TypedDict):
    """The faults that may still strike."""

    faults: list[dict[str, Any]]


class FaultTools:
    """The tools that set faults. Only `down` strikes them, too."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def set_fault(
        self,
        kind: str,
        tool: str = ANY_TOOL,
        probability: float = 1.0,
        seconds: float = 1.0,
        times: int | None = None,
    ) -> FaultsAnswer:
        """Let calls go wrong, for tests. `kind` is slow, drop, error, garbage or down; `tool` a name, or * for any.

        `seconds` is how long it is slow or down, `times` how often it strikes; without it, until cleared.
        """
        rule = {"kind": kind, "tool": tool, "probability": probability, "seconds": seconds, "times": times}
        try:
            self._faults.add(FaultRule.read(rule))
        except ValueError as error:
            raise ToolError(str(error)) from None
        return self._answer()

    async def clear_faults(self) -> FaultsAnswer:
        """From now on all goes well."""
        self._faults.clear()
        return self._answer()

    def _answer(self) -> FaultsAnswer:
        return {"faults": [rule.to_json() for rule in self._faults.rules]}


_CONTROLS = (FaultTools.set_fault.__name__, FaultTools.clear_faults.__name__)


class FaultyServer(MCPServer[Any]):
    """An `MCPServer` whose calls go wrong as `faults` say."""

    def __init__(self, name: str, faults: Faults, about: str) -> None:
        super().__init__(name, instructions=about)
        self._faults = faults

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        async def done() -> CallToolResult | InputRequiredResult:
            return await super(FaultyServer, self).call_tool(name, arguments, context)

        if name in _CONTROLS:
            return await done()
        try:
            return await self._faults.around(name, done, _garbage)
        except FaultOnDemand as fault:
            raise ToolError(f"rejected: {fault}") from None


class Outage:
    """In front of an ASGI app: while the server is down, no request gets through."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._faults.is_down():
            await PlainTextResponse("down: a fault on demand", 503)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _garbage(number: int) -> CallToolResult:
    """An answer that makes no sense, another for every `number`."""
    nonsense = _NONSENSE[number % len(_NONSENSE)]
    text = '{"order_id": "pap' if nonsense is None else json.dumps(nonsense)
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=nonsense)

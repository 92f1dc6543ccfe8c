"""A plain client of the official SDK, such as anybody would write."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mcp.client.client import Client
from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

WHO = {"account_id": "main", "client_id": "a"}
BUY = {**WHO, "client_order_id": "o1", "symbol": "BTC/USD", "side": "buy", "type": "market", "quantity": "0.5"}


class PlainClient:
    """Calls tools and gives what they answered, however little sense it makes."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def result(self, tool: str, /, **arguments: Any) -> CallToolResult:
        request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
        return await self._client.session.send_request(request, CallToolResult)

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The structured answer; AssertionError with the reason where it is an error."""
        answer = await self.result(tool, **arguments)
        assert not answer.is_error, text_of(answer)
        assert isinstance(answer.structured_content, dict)
        return answer.structured_content

    async def tools(self) -> set[str]:
        return {tool.name for tool in (await self._client.list_tools()).tools}


def text_of(answer: CallToolResult) -> str:
    return "".join(block.text for block in answer.content if block.type == "text")


def json_of(answer: CallToolResult) -> Any:
    return json.loads(text_of(answer))


@asynccontextmanager
async def connected(transport: Any) -> AsyncIterator[PlainClient]:
    """`transport` is a URL, or a transport of the SDK."""
    async with Client(transport) as client:
        yield PlainClient(client)

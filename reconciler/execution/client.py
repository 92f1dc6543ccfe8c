"""The connection to one exec-mcp server: owned by one task, which replaces it when it is lost.

Lives on the main loop. It knows nothing of orders but this: a call is sent once or not at all, and
every failure says whether it may have happened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from reconciler.clock import Clock, iso
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.execution.handover import CURRENT, Handover
from reconciler.execution.options import ServerOptions

if TYPE_CHECKING:
    from mcp.client.session import ClientSession

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How a connection is doing. `since` (ISO 8601) is when `connected` last changed."""

    name: str
    connected: bool
    since: str
    tools: tuple[str, ...]
    last_error: str

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "connected": self.connected,
            "since": self.since,
            "tools": list(self.tools),
            "last_error": self.last_error,
        }


class ExecServer:
    """One exec-mcp server. `run` is the task that owns the connection; `call` uses it.

    `status` may be read from any thread; all else belongs to the loop.
    """

    def __init__(self, options: ServerOptions, clock: Clock) -> None:
        self.options = options
        self._clock = clock
        self._session: ClientSession | None = None
        self._lost = asyncio.Event()
        self._answered_s = 0.0
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.status = ServerStatus(options.name, False, iso(clock.time()), (), "not connected yet")

    @property
    def name(self) -> str:
        return self.options.name

    async def run(self) -> None:
        """Connect, and connect again whenever the connection is lost, until cancelled."""
        delay_s = self.options.reconnect_min_s
        while True:
            was_connected = await self._live()
            if is_told_to_stop():
                raise asyncio.CancelledError
            delay_s = self.options.reconnect_min_s if was_connected else min(delay_s * 2, self.options.reconnect_max_s)
            await self._clock.sleep(delay_s * random.uniform(0.8, 1.2))

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        handover: Handover | None = None,
    ) -> dict[str, Any]:
        """Call `tool` and give its answer as a JSON object.

        Raises CapabilityUnavailable where the server lists no such tool, ExecRejected where it said no,
        ExecUnavailable where it is certain that it did not act, ExecUnknown where it may have.
        """
        handover = handover or Handover()
        timeout_s = timeout_s or self.options.timeout_s
        try:
            session = self._session
            if session is None:
                raise ExecUnavailable(f"exec-mcp server {self.name!r} is not connected: {self.status.last_error}")
            if tool not in self.status.tools:
                raise CapabilityUnavailable(tool, self.name)
            if not handover.claim():
                raise ExecUnavailable("given up before it was sent")
            return await self._exchange(session, tool, arguments, timeout_s, handover)
        finally:
            handover.finish()

    async def _exchange(
        self, session: ClientSession, tool: str, arguments: Mapping[str, Any], timeout_s: float, handover: Handover
    ) -> dict[str, Any]:
        # Not `call_tool`, neither the client's nor the session's: the first resends calls (mismatched headers,
        # requested input), the second fails a call that succeeded where its answer does not fit its schema.
        from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

        token = CURRENT.set(handover)
        self._calls += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(timeout_s):
                request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=dict(arguments)))
                result = await session.send_request(request, CallToolResult)
        except Exception as error:
            raise self._verdict(error, timeout_s, handover) from error
        finally:
            CURRENT.reset(token)
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        self._answered_s = self._clock.monotonic()
        return _answer(tool, result)

    def _verdict(self, error: Exception, timeout_s: float, handover: Handover) -> ExecError:
        """What `error` says of the call: the boundary to whatever the SDK raises."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION
        from pydantic import ValidationError

        refused = (METHOD_NOT_FOUND, INVALID_PARAMS, HEADER_MISMATCH, UNSUPPORTED_PROTOCOL_VERSION)
        if isinstance(error, TimeoutError):
            return ExecUnknown(f"no answer from {self.name!r} within {timeout_s:g} s")
        if isinstance(error, MCPError) and error.code in refused:
            return ExecRejected(f"{self.name!r} refused the call: {error}")
        if isinstance(error, ValidationError):
            return ExecUnknown(f"{self.name!r} answered with something that is no tool result")
        why = handover.not_delivered or handover.trouble or flat(error)
        self._lose(why)
        if handover.is_possibly_sent:
            return ExecUnknown(f"the connection to {self.name!r} failed while it was asked: {why}")
        return ExecUnavailable(f"{self.name!r} could not be reached: {why}")

    async def _live(self) -> bool:
        """One connection, from its making to its loss; True where it was made. The boundary to the transport."""
        connected = False
        try:
            from mcp.client.client import Client

            from reconciler.execution.wire import open_transport

            self._lost.clear()
            async with Client(open_transport(self.options), cache=None) as client:
                await self._list_tools(client.session)
                self._session, connected = client.session, True
                self._set_status(connected=True, tools=self.status.tools)
                log.info("exec-mcp connected", extra={"server": self.name, "tools": len(self.status.tools)})
                await self._until_lost(client.session)
                self._session = None
                await self._drain()
        except Exception as error:  # noqa: BLE001 - whatever a server makes the SDK raise is a lost connection
            self._lose(flat(error))
        finally:
            # The transport's task group cancels this task when it fails: the session is gone whichever way we leave.
            self._session = None
        if connected:
            log.warning("exec-mcp connection lost", extra={"server": self.name, "error": self.status.last_error})
        return connected

    async def _until_lost(self, session: ClientSession) -> None:
        """Return when a call has found the connection broken. A silent connection is probed."""
        self._answered_s = self._clock.monotonic()
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(self.options.probe_after_s):
                    await self._lost.wait()
            except TimeoutError:
                if self._clock.monotonic() - self._answered_s >= self.options.probe_after_s:
                    await self._list_tools(session)

    async def _list_tools(self, session: ClientSession) -> None:
        from mcp_types import PaginatedRequestParams

        names: list[str] = []
        cursor: str | None = None
        async with asyncio.timeout(self.options.timeout_s):
            while True:
                page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
                names.extend(tool.name for tool in page.tools)
                cursor = page.next_cursor
                if cursor is None:
                    break
        self._answered_s = self._clock.monotonic()
        self._set_status(connected=self.status.connected, tools=tuple(names))

    async def _drain(self) -> None:
        """Let calls that are still under way come to their end before the connection is closed."""
        try:
            async with asyncio.timeout(self.options.timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("calls abandoned on a lost connection", extra={"server": self.name, "calls": self._calls})

    def fail(self, error: str) -> None:
        """There is no connection, for what it would lead to cannot be had. The same again is not told again."""
        if error != self.status.last_error:
            log.error("exec-mcp cannot be had", extra={"server": self.name, "error": error})
        self._lose(error)

    def _lose(self, error: str) -> None:
        self._session = None
        self._set_status(connected=False, tools=self.status.tools, error=error)
        self._lost.set()

    def _set_status(self, *, connected: bool, tools: tuple[str, ...], error: str = "") -> None:
        same = self.status.connected is connected
        since = self.status.since if same else iso(self._clock.time())
        self.status = ServerStatus(self.name, connected, since, tools, error)


def is_told_to_stop() -> bool:
    """True where this task was told to stop, though a failing transport may have swallowed the exception that said so.

    A task group whose children failed raises their errors in place of a cancellation that came meanwhile.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _answer(tool: str, result: Any) -> dict[str, Any]:
    """The JSON object a tool answered with. Raises ExecRejected for a failure, ExecUnknown for what says nothing."""
    text = "\n".join(block.text for block in result.content if block.type == "text")
    if result.is_error:
        if text == f"Error executing tool {tool}":
            raise ExecUnknown(f"{tool} crashed on the server")
        raise ExecRejected(text.removeprefix(f"Error executing tool {tool}: ") or f"{tool} failed without a reason")
    answer = result.structured_content if result.structured_content is not None else _parsed(tool, text)
    if not isinstance(answer, dict):
        answer = {"result": answer}
    if (error := answer.get("error")) not in (None, "", False):
        raise ExecRejected(error if isinstance(error, str) else json.dumps(error, default=str))
    if answer.get("success") is False:
        raise ExecRejected(str(answer.get("message") or answer.get("reason") or f"{tool} was not successful"))
    return answer


def _parsed(tool: str, text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        raise ExecUnknown(f"{tool} answered neither structured content nor JSON: {text[:200]!r}") from None


def flat(error: BaseException) -> str:
    """The first real error inside nested exception groups, as one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"

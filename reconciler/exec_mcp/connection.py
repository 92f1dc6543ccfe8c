"""The connection to one exec-mcp server: owned by one task, which replaces it when it is lost.

Lives on the main loop. It knows nothing of orders but this: a call is sent once or not at all, and
every failure says whether it may have happened. Tools are called by the server's own names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from reconciler.clock import Clock, iso
from reconciler.errors import ExecError, ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp import refusals
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.bridge import CURRENT, Handover, flat
from reconciler.exec_mcp.fit import Offer
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.reply import Reply
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.validation.secrets import scrub_values

if TYPE_CHECKING:
    from mcp.client.session import ClientSession

    from reconciler.exec_mcp.wire import ShortWay

log = logging.getLogger(__name__)

_KEPT: Final = 20
_A_MINUTE: Final = 60
"""So many lines a minute go to the log; of the others only how many there were."""
_MINUTE_S: Final = 60.0
_LONGEST: Final = 500


class Murmur:
    """What a server on standard input and output writes to its standard error: marked, bounded, its last lines kept.

    On the main loop; `last` from any thread. `scrubbed` takes secrets out of a text."""

    def __init__(self, server: str, clock: Clock, scrubbed: Callable[[str], str]) -> None:
        self._server = server
        self._clock = clock
        self._scrubbed = scrubbed
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._since_s = -_MINUTE_S
        self._told = 0
        self._left_out = 0

    def heard(self, line: str) -> None:
        line = self._scrubbed(line.rstrip())[:_LONGEST]
        if not line:
            return
        self._lines.append(line)
        now_s = self._clock.monotonic()
        if now_s - self._since_s >= _MINUTE_S:
            if self._left_out:
                log.info("exec-mcp server wrote more", extra={"server": self._server, "lines": self._left_out})
            self._since_s, self._told, self._left_out = now_s, 0, 0
        if self._told >= _A_MINUTE:
            self._left_out += 1
            return
        self._told += 1
        log.info("exec-mcp server wrote", extra={"server": self._server, "line": line})

    def last(self) -> tuple[str, ...]:
        return tuple(self._lines)


NOT_YET = "not connected yet"
"""The error of a connection that was not tried yet."""

_MOST_TOOLS = 2_000
_GIVEN_UP = "given up before it was sent"
_TELLING_S: Final = 0.5
"""How long it may take until it is on its way that a call is given up."""


Judge = Callable[[Mapping[str, Offer]], Mapping[str, Any]]
"""What the tools that a server lists, by name, mean for its status: the fields that are to be set."""


def _as_offered(listed: Mapping[str, Offer]) -> Mapping[str, Any]:
    """Nobody judges them."""
    return {"offered": tuple(listed)}


class Connection:
    """One server's connection. `run` is the task that owns it; `ask` uses it.

    `status` may be read from any thread; all else belongs to the loop.
    """

    on_connected: Callable[[], None] | None = None
    """Called on the loop whenever a connection was made."""

    def __init__(self, options: ServerOptions, clock: Clock, judge: Judge = _as_offered) -> None:
        """`judge` is asked whenever the server's tools have been listed."""
        self.options = options
        self._judge = judge
        self._clock = clock
        self._session: ClientSession | None = None
        self._lost = asyncio.Event()
        self._stirred = asyncio.Event()
        self._answered_s = 0.0
        self._looked_s = 0.0
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._secrets: tuple[str, ...] = ()
        self._short_way: ShortWay | None = None
        self._mirrored: frozenset[str] = frozenset()
        """The tools some of whose arguments are told in headers, too."""
        self._murmur = Murmur(options.name, clock, self.scrubbed)
        self.words = options.words
        """The mapping with the secrets that its constants refer to, as they were read for this connection."""
        self.status = ServerStatus(options.name, False, iso(clock.time()), (), NOT_YET)

    @property
    def starting_s(self) -> float:
        """How long the server may take until it is there; one that has to be started may take longer."""
        most_s = self.options.start_timeout_s if self.options.kind == "stdio" else 0.0
        return max(self.options.timeout_s, most_s)

    @property
    def murmur(self) -> tuple[str, ...]:
        """The last lines that the server wrote to its standard error."""
        return self._murmur.last()

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

    async def ask(self, tool: str, arguments: Mapping[str, Any], timeout_s: float, handover: Handover) -> Reply:
        """Call the server's own `tool` and give what came back, whatever it says.

        Raises ExecRejected where the server refused the call as such, ExecUnavailable where it is certain that it
        did not act, ExecUnknown where it may have.
        """
        try:
            session = self._session
            if session is None:
                raise ExecUnavailable(f"exec-mcp server {self.name!r} is not connected: {self.status.last_error}")
            if not handover.is_open:
                raise ExecUnavailable(_GIVEN_UP)
            return await self._exchange(session, tool, arguments, timeout_s, handover)
        finally:
            handover.finish()

    async def _exchange(
        self, session: ClientSession, tool: str, arguments: Mapping[str, Any], timeout_s: float, handover: Handover
    ) -> Reply:
        # Not `call_tool`, neither the client's nor the session's: the first resends calls (mismatched headers,
        # requested input), the second fails a call that succeeded where its answer does not fit its schema.
        from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

        from reconciler.exec_mcp.reception import replied

        token = CURRENT.set(handover)
        self._calls += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(timeout_s) as limit:
                now = asyncio.get_running_loop().time
                handover.on_withheld = lambda: limit.reschedule(now())
                short, reply = self._short_way, None
                if short is not None and short.is_open and tool not in self._mirrored:
                    reply = await short.call(tool, arguments, handover)
                if reply is None:  # or an answer that the SDK has to read
                    request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=dict(arguments)))
                    reply = replied(await session.send_request(request, CallToolResult))
        except Exception as error:
            if isinstance(error, TimeoutError) and handover.request_id is not None and handover.is_possibly_sent:
                await self._tell_cancel(session, handover.request_id)
            if (said := _own_word(error, handover)) is None:
                raise self._verdict(error, timeout_s, handover) from error
            self._answered_s = self._clock.monotonic()
            return Reply(True, None, said)
        finally:
            CURRENT.reset(token)
            self._calls -= 1
            if not self._calls:
                self._idle.set()
        self._answered_s = self._clock.monotonic()
        return reply

    async def _tell_cancel(self, session: ClientSession, request_id: int) -> None:
        """Tell the server that nobody waits for its answer any more, as the SDK does of what it asked itself."""
        from mcp_types import CancelledNotification, CancelledNotificationParams

        params = CancelledNotificationParams(request_id=request_id, reason="no answer in time")
        with contextlib.suppress(Exception):  # it may be gone, and may not care
            async with asyncio.timeout(_TELLING_S):
                await session.send_notification(CancelledNotification(params=params))

    def _verdict(self, error: Exception, timeout_s: float, handover: Handover) -> ExecError:
        """What `error` says of the call: the boundary to whatever the SDK raises."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, METHOD_NOT_FOUND, UNSUPPORTED_PROTOCOL_VERSION
        from pydantic import ValidationError

        from reconciler.exec_mcp.reception import UNREADABLE

        refused = (METHOD_NOT_FOUND, INVALID_PARAMS, HEADER_MISMATCH, UNSUPPORTED_PROTOCOL_VERSION)
        if isinstance(error, MCPError) and error.code == UNREADABLE:
            return Unreadable(self.scrubbed(f"{self.name!r} {error}"))
        if isinstance(error, TimeoutError) and handover.is_abandoned:
            return ExecUnavailable(_GIVEN_UP)
        if isinstance(error, TimeoutError):
            return ExecUnknown(f"no answer from {self.name!r} within {timeout_s:g} s")
        if isinstance(error, MCPError) and error.code in refused and not handover.not_delivered:
            if error.code != INVALID_PARAMS or refusals.says_call_refused(str(error)):
                return ExecRejected(self.scrubbed(f"{self.name!r} refused the call: {error}"))
            return ExecUnknown(self.scrubbed(f"{self.name!r} answered what does not say that it did nothing: {error}"))
        if isinstance(error, ValidationError):
            return Unreadable(f"{self.name!r} answered with something that is no tool result")
        if handover.is_abandoned and not handover.not_delivered:
            return ExecUnavailable(_GIVEN_UP)
        why = self.scrubbed(handover.not_delivered or handover.trouble or flat(error))
        if handover.limited is not None:
            return ExecUnknown(f"{self.name!r} was asked too often: {why}")  # it is there, and the connection, too
        self._lose(why)
        if handover.is_possibly_sent:
            return ExecUnknown(f"the connection to {self.name!r} failed while it was asked: {why}")
        return ExecUnavailable(f"{self.name!r} could not be reached: {why}")

    async def _live(self) -> bool:
        """One connection, from its making to its loss; True where it was made. The boundary to the transport."""
        connected = False
        try:
            from mcp.client.client import Client

            from reconciler.exec_mcp.wire import open_transport

            self._lost.clear()
            options, self._secrets = self.options.opened()
            self.words = options.words
            transport, self._short_way = open_transport(options, self._murmur.heard)
            client_of = Client(transport, cache=None, message_handler=self._note)
            async with contextlib.AsyncExitStack() as stack:
                async with self._starting() as start_s:
                    client = await stack.enter_async_context(client_of)
                    await self._list_tools(client.session, start_s)
                self._session, connected = client.session, True
                self._set_status(connected=True)
                if self.on_connected is not None:
                    self.on_connected()
                log.info("exec-mcp connected", extra={"server": self.name, "tools": len(self.status.tools)})
                await self._until_lost(client.session)
                self._session = None
                await self._drain()
        except Exception as error:  # noqa: BLE001 - whatever a server makes the SDK raise is a lost connection
            last = self.murmur[-1:] if self.options.kind == "stdio" and not connected else ()
            self._lose("; it wrote last: ".join((flat(error), *last)))
        finally:
            # The transport's task group cancels this task when it fails: the session is gone whichever way we leave.
            self._session = None
        if connected:
            log.warning("exec-mcp connection lost", extra={"server": self.name, "error": self.status.last_error})
        return connected

    @asynccontextmanager
    async def _starting(self) -> AsyncIterator[float]:
        """How long a server may take until it is there. Raises ExecUnavailable, which says what to do, past that."""
        is_child, most_s = self.options.kind == "stdio", self.starting_s
        what, setting = ("was still starting", "start_timeout_s") if is_child else ("did not answer", "timeout_s")
        try:
            async with asyncio.timeout(most_s):
                yield most_s
        except TimeoutError:
            where = f"exec_mcp.{self.name}.{setting}"
            raise ExecUnavailable(f"it {what} after {most_s:g} s: raise {where} where it needs longer") from None

    async def _until_lost(self, session: ClientSession) -> None:
        """Return when a call has found the connection broken.

        A silent connection is probed, and the server's tools are looked at again, every so often and when it says so.
        """
        self._answered_s = self._clock.monotonic()
        while not self._lost.is_set():
            told = await self._is_stirred()
            now_s = self._clock.monotonic()
            silent = now_s - self._answered_s >= self.options.probe_after_s
            stale = now_s - self._looked_s >= self.options.look_every_s
            if not self._lost.is_set() and (told or silent or stale):
                await self._list_tools(session)

    async def _is_stirred(self) -> bool:
        """Wait, for so long as a connection may be silent; True where there was something to wake up for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.options.probe_after_s):
                await self._stirred.wait()
        stirred = self._stirred.is_set()
        self._stirred.clear()
        return stirred

    async def _note(self, message: Any) -> None:
        """What the server says unasked: only that its tools changed is of interest."""
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self._stirred.set()

    async def _list_tools(self, session: ClientSession, most_s: float | None = None) -> None:
        from mcp.shared.exceptions import MCPError
        from mcp.shared.inbound import X_MCP_HEADER_KEY
        from mcp_types import PaginatedRequestParams

        from reconciler.exec_mcp.reception import UNREADABLE

        listed: dict[str, Offer] = {}
        mirrored: set[str] = set()
        cursor: str | None = None
        most_s = most_s or self.options.timeout_s
        try:
            async with asyncio.timeout(most_s):
                while True:
                    page = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
                    listed |= {tool.name: Offer(tool.input_schema, tool.output_schema) for tool in page.tools}
                    mirrored |= {tool.name for tool in page.tools if X_MCP_HEADER_KEY in json.dumps(tool.input_schema)}
                    cursor = page.next_cursor
                    if cursor is None:
                        break
                    if len(listed) > _MOST_TOOLS:
                        raise ExecUnavailable(f"it lists more than {_MOST_TOOLS} tools, and has not come to an end")
        except TimeoutError:
            raise ExecUnavailable(f"its list of tools was not there within {most_s:g} s") from None
        except MCPError as error:
            if error.code != UNREADABLE:
                raise
            raise ExecUnavailable(f"its list of tools cannot be read: it {error}") from None
        self._mirrored = frozenset(mirrored)
        self._answered_s = self._looked_s = self._clock.monotonic()
        self.note(self._judge(listed))

    def note(self, news: Mapping[str, Any]) -> None:
        """Set these fields of the status, all in one: other threads read it at any time."""
        self._set_status(connected=self.status.connected, **news)

    async def _drain(self) -> None:
        """Let calls that are still under way come to their end before the connection is closed."""
        try:
            async with asyncio.timeout(self.options.timeout_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("calls abandoned on a lost connection", extra={"server": self.name, "calls": self._calls})

    def fail(self, error: str) -> None:
        """There is no connection, for what it would lead to cannot be had. The same again is not told again."""
        error = self.scrubbed(error)
        if error != self.status.last_error:
            log.error("exec-mcp cannot be had", extra={"server": self.name, "error": error})
        self._lose(error)

    def scrubbed(self, said: Any) -> Any:
        """What is said, a text or JSON-ready values, without the server's secrets: somebody may have said them back."""
        return scrub_values(said, self._secrets) if self._secrets else said

    def _lose(self, error: str) -> None:
        self._session = None
        self._set_status(connected=False, last_error=self.scrubbed(error))
        self._lost.set()
        self._stirred.set()

    def _set_status(self, *, connected: bool, **more: Any) -> None:
        same = self.status.connected is connected
        since = self.status.since if same else iso(self._clock.time())
        made = self.status.connections + (connected and not same)
        news = {"connected": connected, "since": since, "last_error": "", "connections": made, **more}
        self.status = replace(self.status, **news)


def _own_word(error: Exception, handover: Handover) -> str | None:
    """What the server answered the call with, where that is an error of JSON-RPC: many do so where a tool fails, and it
    says no less than the text of a tool that failed. None where the error is another.

    That a call, or a session, is none is judged by its code; what the SDK makes of a broken line looks alike.
    """
    from mcp.shared.exceptions import MCPError
    from mcp_types import (
        CONNECTION_CLOSED,
        HEADER_MISMATCH,
        INVALID_PARAMS,
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        PARSE_ERROR,
        REQUEST_TIMEOUT,
        UNSUPPORTED_PROTOCOL_VERSION,
    )

    from reconciler.exec_mcp.reception import UNREADABLE

    judged = {INVALID_REQUEST, INVALID_PARAMS, METHOD_NOT_FOUND, PARSE_ERROR, REQUEST_TIMEOUT, UNREADABLE}
    judged |= {HEADER_MISMATCH, UNSUPPORTED_PROTOCOL_VERSION}
    if not isinstance(error, MCPError) or error.code in judged or handover.not_delivered or handover.trouble:
        return None
    is_closed = error.code == CONNECTION_CLOSED and str(error) == "Connection closed"
    is_withheld = handover.is_abandoned or not handover.is_possibly_sent
    return None if is_closed or is_withheld else str(error)


def is_told_to_stop() -> bool:
    """True where this task was told to stop, though a failing transport may have swallowed the exception that said so.

    A task group whose children failed raises their errors in place of a cancellation that came meanwhile.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

"""One exec-mcp server, spoken to in the contract's words, whatever its own are."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecUnavailable
from reconciler.execution.connection import Connection, ServerStatus, flat, is_told_to_stop
from reconciler.execution.handover import Handover
from reconciler.execution.mapping.answer import answered
from reconciler.execution.mapping.check import Schema, fit
from reconciler.execution.mapping.contract import DATA, LOOK_UP, PLACE, TOOLS
from reconciler.execution.mapping.request import request
from reconciler.execution.mapping.words import ServerWords, ToolWords
from reconciler.execution.options import ServerOptions

__all__ = ["ExecServer", "ServerStatus", "flat", "is_told_to_stop"]

log = logging.getLogger(__name__)

_DATA_AT_ONCE = 8
"""Questions for data under way at a time: no crowd of them stands between an order and the server."""


class ExecServer(Connection):
    """A connection, and the mapping that it is used through.

    The server's tools are held against the mapping whenever they are listed. Where those that the mapping uses change
    under a running engine, no order leaves any more until `accept`, or the next start: cancels and look-ups still do.
    It is kept in memory alone, for a start looks at everything anew, and is somebody's doing.
    """

    def __init__(self, options: ServerOptions, clock: Clock) -> None:
        super().__init__(options, clock)
        self.on_change: Callable[[str, str], None] | None = None
        """Told once, with the server's name and a sentence, when its tools are found changed."""
        self._first: Mapping[str, str] | None = None
        self._listed: Mapping[str, Schema] = {}
        self._data_turns = asyncio.Semaphore(_DATA_AT_ONCE)

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
        where these are known: some servers ask for them.

        Raises CapabilityUnavailable where the server has no such tool, ExecRejected where it said no (`OrderNotFound`
        where it knows no such order), ExecUnavailable where it is certain that it did not act (`Unsayable` where its
        words do not reach), ExecUnknown where it may have.
        """
        handover = handover or Handover()
        try:
            words = self._words(tool)
            if words.args.get("order_id") and arguments.get("order_id") is None:
                arguments = {**arguments, "order_id": await self._order_id(tool, arguments)}
            sent = request(tool, words, arguments)
            async with AsyncExitStack() as turn:
                if tool in DATA:
                    await turn.enter_async_context(self._data_turns)
                reply = await self.ask(words.name, sent, timeout_s or self.options.timeout_s, handover)
        finally:
            handover.finish()
        return answered(tool, words, arguments, reply, utc(self._clock.time()))

    def accept(self) -> None:
        """Somebody has looked: the server's tools, as they are now, are what it is judged by from now on."""
        self._first = None
        self.status = replace(self.status, changed="")
        self._note_tools(self._listed)

    def _words(self, tool: str) -> ToolWords:
        if not self.status.connected:
            raise ExecUnavailable(f"exec-mcp server {self.name!r} is not connected: {self.status.last_error}")
        words = self.options.words.tool(tool)
        if words is None or tool not in self.status.tools:
            raise CapabilityUnavailable(tool, self.name, self.status.missing.get(tool, ""))
        return words

    async def _order_id(self, tool: str, arguments: Mapping[str, Any]) -> str | None:
        """The exchange's own id of the order, asked for: this server wants it, and the caller did not know it."""
        return None if tool == LOOK_UP else (await self.call(LOOK_UP, arguments)).get("order_id")

    def _note_tools(self, listed: Mapping[str, Schema]) -> None:
        self._listed = listed
        found, digests = fit(self.options.words, listed, self.options.accounts), _digests(self.options.words, listed)
        if self._first is None:
            self._first = digests
            for mismatch in found.mismatches:
                log.warning("exec-mcp mapping does not fit", extra={"server": self.name, "mismatch": str(mismatch)})
        # What changed and changed back has been something else meanwhile: somebody is to look all the same.
        changed = _difference(self._first, digests) or self.status.changed
        if changed and not self.status.changed:
            log.error("exec-mcp tools changed: no order leaves", extra={"server": self.name, "changed": changed})
            if self.on_change is not None:
                self.on_change(self.name, changed)
        missing = {tool: found.why_not(tool) for tool in TOOLS if tool not in found.tools}
        if changed:
            missing[PLACE] = f"its tools changed while the engine ran, and nobody has looked: {changed}"
        # All in one: other threads read it at any time.
        self._set_status(
            connected=self.status.connected,
            offered=tuple(listed),
            tools=tuple(tool for tool in found.tools if tool not in missing),
            missing=missing,
            mismatches=tuple(map(str, found.mismatches)),
            changed=changed,
        )


def _digests(words: ServerWords, listed: Mapping[str, Schema]) -> dict[str, str]:
    """The tools that the mapping uses, by the server's names, and what they take; empty for one that is not there."""
    used = {spoken.name for tool in TOOLS if (spoken := words.tool(tool)) is not None}
    return {name: _digest(listed[name]) if name in listed else "" for name in sorted(used)}


def _digest(schema: Schema) -> str:
    return hashlib.sha256(json.dumps(schema, sort_keys=True, default=str).encode()).hexdigest()


def _difference(first: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed, in words."""
    return ", ".join(
        f"{name} {'is gone' if not now[name] else 'takes other arguments' if was else 'is new'}"
        for name, was in first.items()
        if now[name] != was
    )

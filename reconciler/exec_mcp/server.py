"""One exec-mcp server, spoken to in the contract's words, whatever its own are."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Protocol

from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.connection import Connection, Judge
from reconciler.exec_mcp.contract import DATA, LOOK_UP, PLACE, TOOLS
from reconciler.exec_mcp.fit import Offer, difference, fit, shape
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.refusals import DATA as DATA_HOLD
from reconciler.exec_mcp.refusals import RateLimits, asked_s, retry_after_s, says_too_often
from reconciler.exec_mcp.reply import NotListed, OrderNotFound, answered, understood
from reconciler.exec_mcp.request import chosen, confirming, request
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.exec_mcp.words import ToolWords
from reconciler.records.accounts import KnownTools


class ToolMemory(Protocol):
    """The engine's is the store. Neither method waits."""

    def known(self, server: str) -> KnownTools | None:
        """The server's tools as they were last kept, None where they never were."""
        ...

    def keep(self, server: str, tools: KnownTools) -> None: ...


class Recollection:
    """A memory that ends with the process: of a look at servers, and of the exchange that the engine embeds."""

    def __init__(self, known: Mapping[str, KnownTools] | None = None) -> None:
        self._known = dict(known or {})

    def known(self, server: str) -> KnownTools | None:
        return self._known.get(server)

    def keep(self, server: str, tools: KnownTools) -> None:
        self._known[server] = tools


log = logging.getLogger(__name__)

_SHORTEST_S = 0.1
"""How long the second of two calls is waited for at least, however long the first one took."""
_DATA_AT_ONCE = 8
"""Questions for data under way at a time: no crowd of them stands between an order and the server."""


class ExecServer:
    """Implements `Venue`: a connection to a server, and the mapping that it is used through.

    `run` is the task that keeps it connected.

    The server's tools are held against the mapping whenever they are listed. Where those that the mapping uses are
    not what `memory` knows of them, no order leaves any more until `accept`: cancels and look-ups still do. A restart
    is nobody's looking, another mapping is.
    """

    def __init__(
        self,
        options: ServerOptions,
        clock: Clock,
        memory: ToolMemory | None = None,
        connect: Callable[[ServerOptions, Clock, Judge], Connection] = Connection,
    ) -> None:
        self.connection = connect(options, clock, self._judged)
        self.run = self.connection.run
        self._clock = clock
        self.on_change: Callable[[str, str], None] | None = None
        """Told once, with the server's name and a sentence, when its tools are found changed."""
        self._memory = memory or Recollection()
        self._is_told = False
        self._listed: Mapping[str, Offer] = {}
        self._data_turns = asyncio.Semaphore(_DATA_AT_ONCE)
        self._limits = RateLimits(clock)

    @property
    def name(self) -> str:
        return self.options.name

    @property
    def options(self) -> ServerOptions:
        return self.connection.options

    @property
    def status(self) -> ServerStatus:
        return self.connection.status

    @property
    def limits(self) -> RateLimits:
        return self._limits

    @property
    def timeout_s(self) -> float:
        return self.options.timeout_s

    @property
    def starting_s(self) -> float:
        return self.connection.starting_s

    @property
    def murmur(self) -> tuple[str, ...]:
        return self.connection.murmur

    @property
    def on_connected(self) -> Callable[[], None] | None:
        return self.connection.on_connected

    @on_connected.setter
    def on_connected(self, told: Callable[[], None] | None) -> None:
        self.connection.on_connected = told

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        timeout_s: float | None = None,
        handover: Handover | None = None,
    ) -> dict[str, Any]:
        """As `Venue.call` says."""
        handover = handover or Handover()
        limited = DATA_HOLD if tool in DATA else str(arguments.get("account_id", ""))
        try:
            if tool in DATA and (told := self.limits.told(DATA_HOLD)):
                raise ExecUnavailable(f"{self.name!r} is not asked for data: {told}")
            words = chosen(tool, self._words(tool), arguments)
            timeout_s = timeout_s or self.options.timeout_s
            if words.elsewhere:
                answer = await self._anywhere(tool, words, arguments, timeout_s)
            else:
                answer = await self._once(tool, words, arguments, timeout_s, handover)
        except ExecError as error:
            error.args = (self.connection.scrubbed(str(error)),)
            self._note_limit(limited, error, handover)
            raise
        finally:
            handover.finish()
        if tool in DATA or tool == PLACE:
            self.limits.passed(limited)
        return {**answer, "reason": self.connection.scrubbed(answer["reason"])} if "reason" in answer else answer

    def _note_limit(self, limited: str, error: ExecError, handover: Handover) -> None:
        """Heed what failed because there were too many requests."""
        if handover.limited is not None:
            self.limits.hit(limited, str(error), retry_after_s(handover.limited, self._clock.time()))
        elif not isinstance(error, (ExecUnavailable, OrderNotFound)) and says_too_often(str(error)):
            self.limits.hit(limited, str(error), asked_s(str(error)))

    async def _once(
        self, tool: str, words: ToolWords, arguments: Mapping[str, Any], timeout_s: float, handover: Handover
    ) -> dict[str, Any]:
        """One tool asked, and asked to confirm where it only asks whether that is meant."""
        if words.args.get("order_id") and arguments.get("order_id") is None:
            arguments = {**arguments, "order_id": await self._order_id(tool, arguments)}
        sent = request(tool, words, arguments)
        if words.confirm is not None:
            sent, timeout_s = await self._staged(tool, words, arguments, sent, timeout_s, handover)
            words = replace(words, name=words.confirm.name)
        async with AsyncExitStack() as turn:
            if tool in DATA:
                await turn.enter_async_context(self._data_turns)
            reply = await self.connection.ask(words.name, sent, timeout_s, handover)
        return answered(tool, words, arguments, reply, utc(self._clock.time()))

    async def _staged(
        self,
        tool: str,
        words: ToolWords,
        arguments: Mapping[str, Any],
        sent: Mapping[str, Any],
        timeout_s: float,
        handover: Handover,
    ) -> tuple[dict[str, Any], float]:
        """What the confirming call is sent, and how long it may take. `handover` is that call's: it is the order.

        The first call leaves only where the second may, and the last look is taken for each. What becomes of the first
        is unknown, too, where that is lost: who places without being asked again would have placed it.
        """
        assert words.confirm is not None
        begun_s = self._clock.monotonic()
        try:
            reply = await self.connection.ask(words.name, sent, timeout_s, handover.ahead())
            found = understood(tool, words, arguments, reply)
            confirmed = confirming(words.confirm, found, arguments)
            if confirmed is None:
                where = ", ".join(map(str, words.confirm.args.values()))
                raise ExecUnknown(f"{words.name} asked for no confirmation: there is nothing at {where}")
        except ExecUnknown:
            handover.lost()
            raise
        return confirmed, max(timeout_s - (self._clock.monotonic() - begun_s), _SHORTEST_S)

    async def _anywhere(
        self, tool: str, words: ToolWords, arguments: Mapping[str, Any], timeout_s: float
    ) -> dict[str, Any]:
        """The order, from the first place that knows it. It is not found only where every place says that it has none.

        A list that does not show orders that are over says so of those that are not: that counts beside a place that
        says it of all others. In that order: what ends meanwhile goes from the first to the last.
        """
        absences: list[ExecError] = []
        trouble: ExecError | None = None
        for place in (replace(words, elsewhere=()), *words.elsewhere):
            try:
                return await self._once(tool, place, arguments, timeout_s, Handover())
            except (OrderNotFound, NotListed) as error:
                absences.append(error)
            except ExecError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble
        raise next((one for one in absences if isinstance(one, OrderNotFound)), absences[0])

    def accept(self) -> None:
        """As `Venue.accept` says."""
        self._memory.keep(self.name, KnownTools(self.options.mapping_id, shape(self.options.words, self._listed)))
        self.connection.note({"changed": ""})
        self.connection.note(self._judged(self._listed))

    def _words(self, tool: str) -> ToolWords:
        if not self.status.connected:
            raise ExecUnavailable(f"exec-mcp server {self.name!r} is not connected: {self.status.last_error}")
        words = self.connection.words.tool(tool)
        if words is None or tool not in self.status.tools:
            raise CapabilityUnavailable(tool, self.name, self.status.missing.get(tool, ""))
        return words

    async def _order_id(self, tool: str, arguments: Mapping[str, Any]) -> str | None:
        """The exchange's own id of the order, asked for: this server wants it, and the caller did not know it."""
        return None if tool == LOOK_UP else (await self.call(LOOK_UP, arguments)).get("order_id")

    def _judged(self, listed: Mapping[str, Offer]) -> Mapping[str, Any]:
        """What the tools that were just listed mean for the status."""
        self._listed, scrubbed = listed, self.connection.scrubbed
        words, memory = self.options.words, self._memory
        takes = {name: offer.takes for name, offer in listed.items()}
        gives = {name: offer.gives for name, offer in listed.items()}
        found = fit(words, takes, self.options.accounts, gives)
        if not self._is_told:
            self._is_told = True
            for mismatch in found.mismatches:
                log.warning("exec-mcp mapping does not fit", extra={"server": self.name, "mismatch": str(mismatch)})
        now, known = shape(words, listed), memory.known(self.name)
        if known is None or known.mapping != self.options.mapping_id:
            known = KnownTools(self.options.mapping_id, now)
            memory.keep(self.name, known)
        # What changed and changed back has been something else meanwhile: somebody is to look all the same.
        changed = scrubbed(difference(known.shape, now)) or known.changed
        if changed and not self.status.changed:
            log.error("exec-mcp tools changed: no order leaves", extra={"server": self.name, "changed": changed})
            memory.keep(self.name, replace(known, changed=changed))
            if self.on_change is not None:
                self.on_change(self.name, changed)
        missing = {tool: found.why_not(tool) for tool in TOOLS if tool not in found.tools}
        if changed:
            missing[PLACE] = f"its tools changed, and nobody has looked: {changed}"
        return {
            "offered": tuple(listed),
            "tools": tuple(tool for tool in found.tools if tool not in missing),
            "missing": scrubbed(missing),
            "mismatches": scrubbed(tuple(map(str, found.mismatches))),
            "hindrances": scrubbed(found.hindrances),
            "changed": changed,
        }


POSITIONS = "get_positions"


def unseen(status: ServerStatus) -> str:
    """Why lost rows cannot be seen on the accounts of a connected server; empty where they can, or it is not there."""
    if not status.connected or POSITIONS in status.tools:
        return ""
    why = status.missing.get(POSITIONS) or "it has no such tool"
    return f"rows that its ledger lost cannot be seen, but for open orders: {status.name} tells no positions ({why})"

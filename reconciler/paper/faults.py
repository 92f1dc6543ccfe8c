"""Faults on demand: what a real exchange does on a bad day, for the tests of whoever trades on this one.

| fault | the call |
|---|---|
| slow | is done after `seconds`, even where the client has given up by then |
| drop | is done, and never answered |
| error | is not done, and answered with an error |
| garbage | is done, and answered with something that makes no sense |
| down | and every HTTP request for `seconds` is answered with 503, and not done; over stdio it never strikes |

Which calls are hit follows from the seed and their order. Faults know of exchanges but their tools' names.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from reconciler.clock import Clock
from reconciler.documents.wording import did_you_mean
from reconciler.ports import CONTRACT_TOOLS

T = TypeVar("T")
ANY_TOOL = "*"

Done = Callable[[], Awaitable[T]]
"""Does what was asked for, and gives its answer."""


class Fault(StrEnum):
    SLOW = "slow"
    DROP = "drop"
    ERROR = "error"
    GARBAGE = "garbage"
    DOWN = "down"


class FaultOnDemand(Exception):
    """The answer of an `error` fault. Nothing was done."""


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault: on which tool (`*`: any), how likely (0 to 1), how long, and how many times (None: for ever)."""

    kind: Fault
    tool: str = ANY_TOOL
    probability: float = 1.0
    seconds: float = 1.0
    times: int | None = None

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> FaultRule:
        """The rule that `values` describe, as settings, options and tools write it. Raises ValueError."""
        known = {field.name for field in fields(cls)}
        if strange := set(values) - known:
            raise ValueError(f"expected {', '.join(sorted(known))}, was {', '.join(sorted(strange))}")
        try:
            kind = Fault(str(values.get("kind")))
        except ValueError:
            raise ValueError(f"kind: expected one of {', '.join(Fault)}, was {values.get('kind')!r}") from None
        try:
            probability, seconds = float(values.get("probability", 1)), float(values.get("seconds", 1))
            times = None if values.get("times") is None else int(values["times"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"probability, seconds, times: expected numbers: {error}") from None
        if not 0 <= probability <= 1:
            raise ValueError(f"probability: expected 0 to 1, was {probability:g}")
        if not 0 <= seconds <= 3_600:
            raise ValueError(f"seconds: expected 0 to 3600, was {seconds:g}")
        if times is not None and times < 1:
            raise ValueError(f"times: expected at least 1, was {times}")
        tool = str(values.get("tool", ANY_TOOL))
        if tool not in (ANY_TOOL, *CONTRACT_TOOLS):
            hint = did_you_mean(tool, CONTRACT_TOOLS) or f"expected one of {', '.join(CONTRACT_TOOLS)}"
            raise ValueError(f"tool: expected a tool of the exchange, was {tool!r:.60}; {hint}")
        if kind is Fault.DOWN and tool != ANY_TOOL:
            raise ValueError(f"tool: expected none, for the whole server is down, was {tool!r}")
        return cls(kind, tool, probability, seconds, times)

    def to_json(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Faults:
    """The faults of one server. Belongs to one event loop."""

    def __init__(self, clock: Clock, rules: Iterable[FaultRule] = (), seed: str = "paper") -> None:
        self._clock = clock
        self._rules = list(rules)
        self._luck = random.Random(seed)
        self._down_until_s = float("-inf")
        self._late: set[asyncio.Task[Any]] = set()

    @property
    def rules(self) -> tuple[FaultRule, ...]:
        """Those that may still strike."""
        return tuple(self._rules)

    def add(self, rule: FaultRule) -> None:
        self._rules.append(rule)

    def clear(self) -> None:
        """From now on all goes well."""
        self._rules.clear()
        self._down_until_s = float("-inf")

    def is_down(self) -> bool:
        """True where this request finds the server down, perhaps from now on for a while."""
        now_s = self._clock.monotonic()
        if now_s >= self._down_until_s and (rule := self._strike(ANY_TOOL, [Fault.DOWN])):
            self._down_until_s = now_s + rule.seconds
        return now_s < self._down_until_s

    async def around(self, tool: str, done: Done[T], garbage: Callable[[int], T]) -> T:
        """What becomes of a call of `tool`, which `done` does. `garbage` makes nonsense out of any number.

        Raises FaultOnDemand.
        """
        rule = self._strike(tool, [Fault.SLOW, Fault.DROP, Fault.ERROR, Fault.GARBAGE])
        if rule is None:
            return await done()
        if rule.kind is Fault.ERROR:
            raise FaultOnDemand("fault on demand: nothing was done")
        if rule.kind is Fault.SLOW:
            late = asyncio.create_task(self._after(rule.seconds, done))
            self._late.add(late)
            late.add_done_callback(self._over)
            return await asyncio.shield(late)
        answer = await done()
        if rule.kind is Fault.DROP:
            await asyncio.Event().wait()
        return garbage(self._luck.getrandbits(16)) if rule.kind is Fault.GARBAGE else answer

    @contextlib.asynccontextmanager
    async def ending(self) -> AsyncIterator[None]:
        """What is late is given up when this is left."""
        try:
            yield
        finally:
            for late in self._late:
                late.cancel()

    async def _after(self, delay_s: float, done: Done[T]) -> T:
        await self._clock.sleep(delay_s)
        return await done()

    def _over(self, late: asyncio.Task[Any]) -> None:
        self._late.discard(late)
        if not late.cancelled():
            late.exception()  # whoever asked has given up, perhaps: then nobody else would look at it

    def _strike(self, tool: str, kinds: list[Fault]) -> FaultRule | None:
        """The first rule that hits this call of `tool`, counted."""
        for index, rule in enumerate(self._rules):
            if rule.kind in kinds and rule.tool in (ANY_TOOL, tool) and self._luck.random() < rule.probability:
                if rule.times is not None and rule.times <= 1:
                    del self._rules[index]
                elif rule.times is not None:
                    self._rules[index] = replace(rule, times=rule.times - 1)
                return rule
        return None

"""What there is to choose about a paper exchange, as frozen options. Money as exact decimals.

And faults on demand: what a real exchange does on a bad day, for the tests of whoever trades on this one.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from reconciler.clock import Clock
from reconciler.documents.wording import did_you_mean
from reconciler.exact import exactly, multiple, quotient
from reconciler.orders.filling import Liquidity
from reconciler.orders.order import decimal_text
from reconciler.paper.paper_order import Ticket

ANY_SYMBOL = "*"
_DEPTHS = 1_000
"""An order may be this many times as large as the depth at one price: it would be filled bit by bit for hours."""
_FINEST = Decimal("0.00000001")
"""The step of a suggested quantity where the market has none."""
T = TypeVar("T")
ANY_TOOL = "*"
TOOLS = (
    "place_order",
    "cancel_order",
    "cancel_all",
    "cancel_all_after",
    "get_order",
    "list_orders",
    "get_positions",
    "get_balances",
    "get_quote",
    "get_candles",
    "get_rules",
)
"""What can be hit: the tools of the exec-mcp contract."""

Done = Callable[[], Awaitable[T]]
"""Does what was asked for, and gives its answer."""


@dataclass(frozen=True, slots=True)
class MarketRules:
    """The rules of one market; None: no such rule. Quantities in the base currency, prices in the quote currency.

    `depth` is what trades at one price in one price step; None: any quantity trades at the best price.
    """

    price_step: Decimal | None = None
    quantity_step: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    depth: Decimal | None = None

    def faults(self, ticket: Ticket, touch: Decimal) -> Iterator[str]:
        """Everything about `ticket` that the market does not let through; `touch` is what a market order would pay."""
        request = ticket.request
        for name, price in (("limit_price", request.limit_price), ("stop_price", request.stop_price)):
            if price is not None and self.price_step is not None:
                yield from _off_step(name, price, self.price_step, self.price_step)
        yield from self._quantity_faults(request.quantity)
        price = request.limit_price or request.stop_price or touch
        with exactly():
            notional = request.quantity * price
        if self.min_notional is not None and notional < self.min_notional:
            yield (
                f"notional: expected at least {_text(self.min_notional)} {ticket.quote}, was {_text(notional)}"
                f" ({_text(request.quantity)} × {_text(price)}); smallest quantity: {_text(self._smallest(price))}"
            )

    def _quantity_faults(self, quantity: Decimal) -> Iterator[str]:
        if self.min_quantity is not None and quantity < self.min_quantity:
            yield f"quantity: expected at least {_text(self.min_quantity)}, was {_text(quantity)}"
        elif self.quantity_step is not None:
            least = multiple(self.min_quantity or self.quantity_step, self.quantity_step, ROUND_CEILING)
            yield from _off_step("quantity", quantity, self.quantity_step, least)
        if self.depth is not None:
            with exactly():
                most = self.depth * _DEPTHS
            if quantity > most:
                expected = f"at most {_text(most)}, for no more than {_text(self.depth)} trade at a price"
                yield f"quantity: expected {expected}, was {_text(quantity)}"

    def _smallest(self, price: Decimal) -> Decimal:
        """The smallest quantity whose notional is enough."""
        assert self.min_notional is not None
        return multiple(quotient(self.min_notional, price), self.quantity_step or _FINEST, ROUND_CEILING)


@dataclass(frozen=True, slots=True)
class Markets:
    """The rules by symbol; those under `*` hold for every symbol that is not named."""

    by_symbol: Mapping[str, MarketRules] = field(default_factory=dict)

    def of(self, symbol: str) -> MarketRules:
        return self.by_symbol.get(symbol) or self.by_symbol.get(ANY_SYMBOL) or _FREE


_FREE = MarketRules()


def _off_step(name: str, value: Decimal, step: Decimal, least: Decimal) -> Iterator[str]:
    nearest = max(least, multiple(value, step, ROUND_HALF_UP))
    with exactly():
        if value % step:
            yield f"{name}: expected a multiple of {_text(step)}, was {_text(value)}; nearest: {_text(nearest)}"


_text = decimal_text


STARTING = {currency: Decimal(100_000) for currency in ("USD", "EUR", "GBP", "CHF", "JPY", "USDT", "USDC")}


@dataclass(frozen=True, slots=True)
class PaperOptions:
    """What the exchange charges, gives and lets through. Fees are fractions of the notional.

    `fees_in` is what they are taken in: `quote`, or `received`, out of what the trade brings in: of a purchase, out of
    what is bought.

    Every account begins with `starting` of each currency named there, and with `default_starting` of any
    other when it first buys with it and has never had any. With `shorts`, more may be sold than is held. `priced_in`
    names the quote currency of symbols that are not BASE/QUOTE; no others are known.

    `fills` says when an order that comes in is tried first: `at_once`, or with the `next` price, the first that whoever
    placed it did not know.
    """

    maker_fee: Decimal = Decimal("0.001")
    taker_fee: Decimal = Decimal("0.001")
    fees_in: Literal["quote", "received"] = "quote"
    default_starting: Decimal = Decimal(100_000)
    starting: Mapping[str, Decimal] = field(default_factory=lambda: STARTING)
    shorts: bool = False
    priced_in: Mapping[str, str] = field(default_factory=dict)
    markets: Markets = field(default_factory=Markets)
    fills: Literal["at_once", "next"] = "at_once"

    def fee_rate(self, liquidity: Liquidity) -> Decimal:
        return self.maker_fee if liquidity is Liquidity.MAKER else self.taker_fee


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Where prices come from: `prices` is a CSV file to replay, None for the example rates.

    Prices of the pairs that the file lacks are made up, and follow from `seed`. Without `speed` the file is
    replayed a row a step; with it, in its own time, that many times as fast. Its first row holds at `begin_s`,
    seconds since the epoch.
    """

    prices: Path | None = None
    seed: str = "paper"
    speed: float | None = None
    begin_s: float = 0.0


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
        if tool not in (ANY_TOOL, *TOOLS):
            hint = did_you_mean(tool, TOOLS) or f"expected one of {', '.join(TOOLS)}"
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

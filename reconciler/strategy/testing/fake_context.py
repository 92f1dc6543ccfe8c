"""The fake context: the strategy's door, opening onto what the test set up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType

from reconciler.clock import Clock, FakeClock, from_iso, utc
from reconciler.errors import CapabilityUnavailable
from reconciler.orders.market import TIMEFRAMES_S, Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.order import Order, to_decimal
from reconciler.records.mode import Mode
from reconciler.strategy.testing.orders import FakeOrders


class FakeTools:
    """Every tool is there until it is withdrawn."""

    def __init__(self) -> None:
        self._withdrawn: set[str] = set()

    def withdraw(self, tool: str) -> None:
        """From now on what needs `tool` raises CapabilityUnavailable."""
        self._withdrawn.add(tool)

    def require(self, tool: str) -> None:
        if tool in self._withdrawn:
            raise CapabilityUnavailable(tool, "fake")


class FakeAccount:
    """Implements `strategy.context.Account`. Independent of the instance's own orders, as a shared account is."""

    def __init__(self, tools: FakeTools) -> None:
        self._tools = tools
        self._positions: dict[str, Position] = {}
        self._balances: dict[str, Balance] = {}

    def set_position(self, symbol: str, quantity: str | Decimal, average_price: str | Decimal | None = None) -> None:
        price = None if average_price is None else to_decimal(average_price, "average_price")
        self._positions[symbol] = Position(symbol, to_decimal(quantity, "quantity"), price)

    def set_balance(self, asset: str, total: str | Decimal, available: str | Decimal | None = None) -> None:
        """`available` is the total where left out."""
        whole = to_decimal(total, "total")
        self._balances[asset] = Balance(
            asset, whole, whole if available is None else to_decimal(available, "available")
        )

    def positions(self) -> Sequence[Position]:
        self._tools.require("get_positions")
        return tuple(self._positions.values())

    def balances(self) -> Sequence[Balance]:
        self._tools.require("get_balances")
        return tuple(self._balances.values())


class FakeMarket:
    """Implements `strategy.context.Market`."""

    def __init__(self, symbol: str, clock: Clock, tools: FakeTools) -> None:
        self._symbol = symbol
        self._clock = clock
        self._tools = tools
        self._quote: Quote | None = None
        self._candles: dict[str, tuple[Candle, ...]] = {}
        self._rules = InstrumentRules()

    def set_quote(
        self, bid: str | Decimal, ask: str | Decimal | None = None, last: str | Decimal | None = None
    ) -> None:
        """The quote from now on; `ask` and `last` are the bid where left out."""
        low = to_decimal(bid, "bid")
        high = low if ask is None else to_decimal(ask, "ask")
        if not 0 < low <= high:
            raise ValueError(f"expected 0 < bid ≤ ask, was bid {bid}, ask {ask}")
        price = low if last is None else to_decimal(last, "last")
        self._quote = Quote(self._symbol, low, high, price, utc(self._clock.time()))

    def set_candles(self, timeframe: str, candles: Iterable[Candle]) -> None:
        """The closed candles of a timeframe from now on, oldest first."""
        self._candles[_known(timeframe)] = tuple(candles)

    def set_closes(self, timeframe: str, closes: Iterable[str | Decimal]) -> None:
        """Flat candles with these closes, the last one closed just now."""
        self.set_candles(timeframe, candles_of(closes, timeframe, utc(self._clock.time())))

    def has_quote(self) -> bool:
        return self._quote is not None

    def quote(self) -> Quote:
        self._tools.require("get_quote")
        if self._quote is None:
            raise AssertionError("the test has set no quote: call context.market.set_quote(bid, ask)")
        return self._quote

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        self._tools.require("get_candles")
        known = self._candles.get(_known(timeframe))
        if known is None:
            raise AssertionError(
                f"the test has set no {timeframe} candles: call context.market.set_closes or set_candles"
            )
        return known[-limit:] if limit > 0 else ()

    def set_rules(self, **rules: str | Decimal) -> None:
        """What the market lets through from now on: `price_step`, `quantity_step`, `min_quantity`, `min_notional`,
        `contract_size`; what is left out the server does not tell."""
        self._rules = InstrumentRules(**{name: to_decimal(value, name) for name, value in rules.items()})

    def rules(self) -> InstrumentRules:
        self._tools.require("get_rules")
        return self._rules


def candles_of(closes: Iterable[str | Decimal], timeframe: str, end: datetime) -> tuple[Candle, ...]:
    """A candle for each close, flat, volume 1, aligned to the clock; the last one closed at or before `end`."""
    length = timedelta(seconds=TIMEFRAMES_S[_known(timeframe)])
    prices = [to_decimal(close, "close") for close in closes]
    last_close = utc(end.timestamp() // length.total_seconds() * length.total_seconds())
    first_open = last_close - len(prices) * length
    return tuple(Candle(first_open + i * length, p, p, p, p, Decimal(1)) for i, p in enumerate(prices))


def _known(timeframe: str) -> str:
    if timeframe not in TIMEFRAMES_S:
        raise ValueError(f"timeframe: expected one of {', '.join(TIMEFRAMES_S)}, was {timeframe!r}")
    return timeframe


@dataclass(frozen=True, slots=True)
class FakeInstance:
    """Implements `strategy.context.InstanceInfo`."""

    id: str = "under-test"
    strategy_type: str = "under_test"
    account_id: str = "main"
    client_id: str = "desk-a"
    market: str = "BTC/USD"
    mode: str = "observe"
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if self.mode not in (Mode.OBSERVE, Mode.ACTIVE):
            raise ValueError(f"mode: expected observe or active (off runs nothing), was {self.mode!r}")


class FakeLog:
    """Implements `strategy.context.Log`. `lines` are (level, message), oldest first."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, message: str) -> None:
        self.lines.append(("info", message))

    def warning(self, message: str) -> None:
        self.lines.append(("warning", message))

    def error(self, message: str) -> None:
        self.lines.append(("error", message))


class FakeContext:
    """Implements `strategy.context.Context`. Time stands still until `advance`."""

    def __init__(
        self,
        *,
        market: str = "BTC/USD",
        mode: str = "observe",
        now: str = "2026-01-05T12:00:00Z",
        id: str = "under-test",
        strategy_type: str = "under_test",
        account_id: str = "main",
        client_id: str = "desk-a",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.clock = FakeClock(from_iso(now))
        self._instance = FakeInstance(
            id, strategy_type, account_id, client_id, market, mode, MappingProxyType(dict(labels or {}))
        )
        tools = FakeTools()
        self.withdraw = tools.withdraw
        self.market = FakeMarket(market, self.clock, tools)
        self.account = FakeAccount(tools)
        self.orders = FakeOrders(self)
        self.log = FakeLog()

    @property
    def instance(self) -> FakeInstance:
        """Replace it to change the mode: whatever ends the shadow book then ends it."""
        return self._instance

    @instance.setter
    def instance(self, instance: FakeInstance) -> None:
        changed = instance.mode != self._instance.mode
        self._instance = instance
        if changed:
            self.orders.mode_changed()

    def now(self) -> datetime:
        return utc(self.clock.time())

    def advance(self, *, minutes: float = 0, seconds: float = 0) -> None:
        """Carry time forward. Quotes and candles stay as they were set."""
        self.clock.advance(minutes * 60 + seconds)

    def fill(self, order: Order, *, price: str | Decimal | None = None, quantity: str | Decimal | None = None) -> Order:
        """Fill an open order, wholly or by `quantity`, at `price` or else its limit or the quote."""
        return self.orders.fill(order, price, quantity)

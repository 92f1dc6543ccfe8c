"""The fake context: the strategy's door, opening onto what the test set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType

from reconciler.clock import FakeClock, from_iso, utc
from reconciler.records.mode import Mode
from reconciler.records.order import Order
from reconciler.strategy.testing.account import FakeAccount
from reconciler.strategy.testing.market import FakeMarket
from reconciler.strategy.testing.orders import FakeOrders
from reconciler.strategy.testing.tools import Tools


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
        tools = Tools()
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

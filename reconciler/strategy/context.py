"""The strategy's only door to the world, as protocols. The engine and the public fakes both implement them.

It is a boundary against mistakes, not against malice: Python code that wants out gets out. What these
objects do not hold (the engine, the database, the exec-mcp client) cannot be reached by accident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from reconciler.records.market import Balance, Candle, Position, Quote
from reconciler.records.order import Order


class InstanceInfo(Protocol):
    """Who this instance is. Read-only."""

    @property
    def id(self) -> str: ...
    @property
    def strategy_type(self) -> str: ...
    @property
    def account_id(self) -> str: ...
    @property
    def client_id(self) -> str: ...
    @property
    def market(self) -> str: ...
    @property
    def mode(self) -> str:
        """`observe` or `active`: the mode in force now."""
        ...

    @property
    def labels(self) -> Mapping[str, str]: ...


class Market(Protocol):
    """The instance's own market."""

    def quote(self) -> Quote: ...

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        """The last `limit` closed candles, oldest first, each step once. Timeframes: 1m 5m 15m 30m 1h 4h 1d.

        A step that the server does not tell is missing, and not made up: `reconciler.strategy.gaps` says where.
        """
        ...


class Account(Protocol):
    """The whole account, shared with whoever else trades it."""

    def positions(self) -> Sequence[Position]: ...
    def balances(self) -> Sequence[Balance]: ...


class Orders(Protocol):
    """This instance's own orders, across reloads and restarts; in observe, its shadow book."""

    def place(
        self,
        side: str,
        quantity: str | Decimal,
        *,
        type: str = "market",
        limit_price: str | Decimal | None = None,
        stop_price: str | Decimal | None = None,
        time_in_force: str = "gtc",
        reduce_only: bool = False,
    ) -> Order:
        """Place an order; the answer is an `Order` for every outcome, so look at its `outcome`.

        Only from `on_tick`, on its own thread, within its deadline: `TradingClosed` otherwise. A float is
        a TypeError; a quantity or price that is not positive is a ValueError.
        """
        ...

    def cancel(self, client_order_id: str) -> Order:
        """Cancel an own order; possible in every mode. KeyError where it is not this instance's."""
        ...

    def open(self) -> Sequence[Order]:
        """Oldest first."""
        ...

    def recent(self, limit: int = 20) -> Sequence[Order]:
        """Newest first, whatever became of them."""
        ...

    def position(self) -> Position:
        """What the instance's own fills add up to; in observe, on top of what it really held when it began."""
        ...


class Log(Protocol):
    """Lines for the instance's page; the last 200 are kept."""

    def info(self, message: str) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, message: str) -> None: ...


class Context(Protocol):
    """What `self.context` is."""

    @property
    def instance(self) -> InstanceInfo: ...
    @property
    def market(self) -> Market: ...
    @property
    def account(self) -> Account: ...
    @property
    def orders(self) -> Orders: ...
    @property
    def log(self) -> Log: ...

    def now(self) -> datetime:
        """The engine's time, UTC."""
        ...

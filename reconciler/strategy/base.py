"""The class a strategy author subclasses, and its only door to the world: the context, as protocols.

The engine and the public fakes both implement them. It is a boundary against mistakes, not against malice: Python code
that wants out gets out. What these objects do not hold (the engine, the database, the exec-mcp client) cannot be
reached by accident. Both make an `OrderRequest` of the arguments of `orders.place` here: strictly, so that a typo never
becomes an order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, Final, Protocol, TypeVar

from reconciler.documents.wording import did_you_mean
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.order import Order, OrderRequest, OrderType, Side, TimeInForce, to_decimal


class InstanceInfo(Protocol):
    """Who this instance is. Read-only."""

    @property
    def id(self) -> str:
        """The record's id, for ever."""
        ...

    @property
    def strategy_type(self) -> str:
        """The name of the module."""
        ...

    @property
    def account_id(self) -> str:
        """The account that every order of it is for."""
        ...

    @property
    def client_id(self) -> str:
        """Whose orders they are."""
        ...

    @property
    def market(self) -> str:
        """The symbol, as the exec-mcp server spells it."""
        ...

    @property
    def mode(self) -> str:
        """`observe` or `active`: the mode in force now."""
        ...

    @property
    def labels(self) -> Mapping[str, str]:
        """Those of the record, as they were when it was loaded."""
        ...


class Market(Protocol):
    """One market: the instance's own, or one that it may only read."""

    def quote(self) -> Quote:
        """The best prices, asked for once a beat. Raises where the server cannot be reached: no error of yours."""
        ...

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        """The last `limit` closed candles, oldest first, each step once. Timeframes: 1m 5m 15m 30m 1h 4h 1d.

        A step that the server does not tell is missing, and not made up: `reconciler.strategy.gaps` says where.
        """
        ...

    def rules(self) -> InstrumentRules:
        """Steps and minimums of price and quantity, as far as the server tells; what it does not is None.

        Asked for once a connection. Raises CapabilityUnavailable where the server has no such tool.
        """
        ...


class Account(Protocol):
    """The whole account, shared with whoever else trades it."""

    def positions(self) -> Sequence[Position]:
        """What the exchange says the account holds, by symbol: all instances', and what people trade by hand."""
        ...

    def balances(self) -> Sequence[Balance]:
        """What the account has of each asset, and how much of it is not tied up."""
        ...


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
        """Those to which something may still happen, oldest first."""
        ...

    def recent(self, limit: int = 20) -> Sequence[Order]:
        """Newest first, whatever became of them."""
        ...

    def position(self) -> Position:
        """What the instance's own fills add up to; in observe, on top of what it really held when it began."""
        ...


class Log(Protocol):
    """Lines for the instance's page; the last 200 are kept."""

    def info(self, message: str) -> None:
        """What is worth knowing."""
        ...

    def warning(self, message: str) -> None:
        """What somebody should look at one day."""
        ...

    def error(self, message: str) -> None:
        """What went wrong. It does not make the instance Degraded; an exception does."""
        ...


class Context(Protocol):
    """What `self.context` is."""

    @property
    def instance(self) -> InstanceInfo:
        """Who this instance is."""
        ...

    @property
    def market(self) -> Market:
        """Quotes and candles of its market."""
        ...

    def market_of(self, symbol: str) -> Market:
        """Quotes and candles of another market, one of its record's `data_markets`, or of its own. ValueError else."""
        ...

    @property
    def account(self) -> Account:
        """Positions and balances of the whole account."""
        ...

    @property
    def orders(self) -> Orders:
        """Its own orders and position."""
        ...

    @property
    def log(self) -> Log:
        """Lines for its page and `reconciler logs`."""
        ...

    @property
    def random(self) -> Random:
        """Chance that can be repeated: seeded anew each beat, by the instance's id, its generation and the beat."""
        ...

    def now(self) -> datetime:
        """The engine's time, UTC."""
        ...


def chance(seed: str, instance_id: str, generation: int, beat: int) -> Random:
    """What `context.random` is at that beat."""
    return Random(f"{seed}/{instance_id}/{generation}/{beat}")


def not_a_data_market(symbol: str, market: str, data_markets: Sequence[str]) -> str:
    """What `market_of` says of a symbol that its record does not name."""
    known = ", ".join(dict.fromkeys((market, *data_markets)))
    named = ", ".join((*data_markets, str(symbol)))
    return f"market_of: expected one of {known}, was {symbol!r}; name it in the record: `data_markets: [{named}]`"


_Word = TypeVar("_Word", bound=StrEnum)

_LIMITED = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_STOPPED = (OrderType.STOP, OrderType.STOP_LIMIT)


def order_request(
    side: str,
    quantity: str | Decimal,
    type: str = "market",
    limit_price: str | Decimal | None = None,
    stop_price: str | Decimal | None = None,
    time_in_force: str = "gtc",
    reduce_only: bool = False,
) -> OrderRequest:
    """The request these arguments spell out.

    Raises TypeError for a float or another wrong type; ValueError for an unknown word, for a quantity or
    price that is not positive, and for a price that the order's type needs and lacks, or has no use for.
    """
    order_type = _word(OrderType, type, "type")
    if not isinstance(reduce_only, bool):
        raise TypeError(f"reduce_only: expected a bool, was {reduce_only.__class__.__name__}")
    return OrderRequest(
        side=_word(Side, side, "side"),
        type=order_type,
        quantity=_positive(quantity, "quantity"),
        limit_price=_price(limit_price, "limit_price", order_type, _LIMITED),
        stop_price=_price(stop_price, "stop_price", order_type, _STOPPED),
        time_in_force=_word(TimeInForce, time_in_force, "time_in_force"),
        reduce_only=reduce_only,
    )


def _word(words: type[_Word], given: str, name: str) -> _Word:
    if not isinstance(given, str):
        raise TypeError(f"{name}: expected a str, was {given.__class__.__name__}")
    try:
        return words(given)
    except ValueError:
        hint = did_you_mean(given, list(words))
        known = ", ".join(words)
        raise ValueError(f"{name}: expected one of {known}, was {given!r}" + (f"; {hint}" if hint else "")) from None


def _positive(given: str | Decimal, name: str) -> Decimal:
    number = to_decimal(given, name)
    if number <= 0:
        raise ValueError(f"{name}: expected more than 0, was {given}")
    return number


def _price(
    given: str | Decimal | None, name: str, order_type: OrderType, takers: tuple[OrderType, ...]
) -> Decimal | None:
    if order_type in takers:
        if given is None:
            raise ValueError(f"{name}: expected a price, as a {order_type} order needs one, was missing")
        return _positive(given, name)
    if given is not None:
        raise ValueError(f"{name}: expected none, as a {order_type} order has no use for it, was {given}")
    return None


class Strategy:
    """One running strategy. Subclass it, once per module, and override the hooks.

    `context` and `config` are set before `init` runs and are gone with the instance: state that must
    outlive a reload is read back from `context.orders`.
    """

    TICK_MINUTES: ClassVar[float]
    """Minutes between ticks, at least 0.1; beats are a tenth of a minute."""
    CONFIG_SCHEMA: ClassVar[Mapping[str, Any]]
    """JSON Schema 2020-12 of `config`, `"type": "object"`; defaults are filled in before `init`."""
    TICK_ON_LOAD: ClassVar[bool] = False
    """True asks for one more tick at the first beat after each load."""

    context: Context
    config: Mapping[str, Any]

    def init(self) -> None:
        """Runs once after loading. May read the market and the book; may not place."""

    def on_tick(self) -> None:
        """Runs at the cadence. The only hook that may place orders."""
        raise NotImplementedError

    def on_order(self, order: Order) -> None:
        """Runs before the next `on_tick`, within its deadline, once for each change of an own order since the last.

        `order` is as it was after that change, the oldest change first: what `place` and `cancel` answered, too. May
        not place. What changed before this instance was loaded is in `context.orders.recent`.
        """

    def render(self) -> Sequence[Mapping[str, Any]]:
        """Widgets for the instance's page, made by the functions of this package. Runs after ticks."""
        return ()

    def on_unload(self) -> None:
        """Runs once before the instance is dropped."""


def frozen(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """`config` as a strategy sees it: mappings are `MappingProxyType`, lists are tuples.

    Parts that hold no list or mapping are not copied; the record's values are never changed in place.
    """
    return MappingProxyType(_contents(config))


def _contents(values: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(values, dict) and not any(isinstance(item, (dict, list)) for item in values.values()):
        return values
    return {key: _frozen(item) for key, item in values.items()}


def _frozen(value: Any) -> Any:
    match value:
        case Mapping():
            return frozen(value)
        case list() | tuple():
            return tuple(_frozen(item) for item in value)
    return value


AMOUNT: Final = r"^(0\.[0-9]*[1-9][0-9]*|[1-9][0-9]*(\.[0-9]+)?)$"
"""A positive decimal in plain digits, `"0.05"` or `"1000"`: read it with `Decimal`, never with `float`."""

FRACTION: Final = r"^0\.[0-9]*[1-9][0-9]*$"
"""A decimal between 0 and 1, `"0.005"` for half a percent."""

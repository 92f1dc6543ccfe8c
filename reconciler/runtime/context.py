"""What `self.context` really is: the protocols of `strategy.base` on top of the ports.

A capability, not a sandbox: no attribute of these objects leads to the engine. What they stand on, the
`Desk`, is behind one closure, so that nobody comes upon it by accident; Python code that wants out gets out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from random import Random
from types import MappingProxyType
from typing import TypeAlias

from reconciler.clock import utc
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.order import Order
from reconciler.runtime.desk import Desk
from reconciler.strategy.base import Context, not_a_data_market, order_request
from reconciler.validation.secrets import scrub

_Reach: TypeAlias = Callable[[], Desk]


def context_at(desk: Desk) -> Context:
    """The context of the instance at this desk."""
    return _Context(lambda: desk)


class _Context:
    __slots__ = ("_reach", "account", "instance", "log", "market", "orders")

    def __init__(self, reach: _Reach) -> None:
        self._reach = reach
        self.instance = _InstanceInfo(reach)
        self.market = _Market(reach)
        self.account = _Account(reach)
        self.orders = _Orders(reach)
        self.log = _Log(reach)

    @property
    def random(self) -> Random:
        return self._reach().random

    def market_of(self, symbol: str) -> _Market:
        record = self._reach().door.row.record
        if symbol == record.identity.market:
            return self.market
        if symbol not in record.data_markets:
            raise ValueError(not_a_data_market(symbol, record.identity.market, record.data_markets))
        return _Market(self._reach, symbol)

    def now(self) -> datetime:
        return utc(self._reach().world.now_s())


class _Part:
    __slots__ = ("_reach",)

    def __init__(self, reach: _Reach) -> None:
        self._reach = reach


class _InstanceInfo(_Part):
    __slots__ = ()

    @property
    def id(self) -> str:
        return self._reach().door.row.id

    @property
    def strategy_type(self) -> str:
        return self._reach().identity.strategy_type

    @property
    def account_id(self) -> str:
        return self._reach().identity.account_id

    @property
    def client_id(self) -> str:
        return self._reach().identity.client_id

    @property
    def market(self) -> str:
        return self._reach().identity.market

    @property
    def mode(self) -> str:
        return str(self._reach().door.mode)

    @property
    def labels(self) -> Mapping[str, str]:
        return MappingProxyType(dict(self._reach().door.row.record.labels))


class _Market(_Part):
    """Of `symbol`, or of the instance's own market where that is empty."""

    __slots__ = ("_symbol",)

    def __init__(self, reach: _Reach, symbol: str = "") -> None:
        super().__init__(reach)
        self._symbol = symbol

    def quote(self) -> Quote:
        desk = self._reach()
        identity = desk.identity
        with desk.world.asked() as world:
            return world.market.quote(identity.account_id, self._symbol or identity.market, desk.beat)

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        desk = self._reach()
        identity, symbol = desk.identity, self._symbol or desk.identity.market
        with desk.world.asked() as world:
            return world.market.candles(identity.account_id, symbol, timeframe, limit, desk.beat)

    def rules(self) -> InstrumentRules:
        desk = self._reach()
        identity = desk.identity
        with desk.world.asked() as world:
            return world.market.rules(identity.account_id, self._symbol or identity.market)


class _Account(_Part):
    __slots__ = ()

    def positions(self) -> Sequence[Position]:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.market.positions(desk.identity.account_id, desk.identity.client_id, desk.beat)

    def balances(self) -> Sequence[Balance]:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.market.balances(desk.identity.account_id, desk.identity.client_id, desk.beat)


class _Orders(_Part):
    __slots__ = ()

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
        desk = self._reach()
        permit = desk.permit_for_order()
        request = order_request(side, quantity, type, limit_price, stop_price, time_in_force, reduce_only)
        with desk.world.asked():
            return desk.door.place(request, permit.beat, permit.deadline_s)

    def cancel(self, client_order_id: str) -> Order:
        desk = self._reach()
        with desk.world.asked():
            return desk.door.cancel(client_order_id)

    def open(self) -> Sequence[Order]:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.gateway.open(desk.door.row.id, shadow=desk.shadow)

    def recent(self, limit: int = 20) -> Sequence[Order]:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.gateway.recent(desk.door.row.id, limit, shadow=desk.shadow)

    def position(self) -> Position:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.gateway.position(desk.door.row.id, desk.identity.market, shadow=desk.shadow)


class _Log(_Part):
    __slots__ = ()

    def info(self, message: str) -> None:
        self._append("info", message)

    def warning(self, message: str) -> None:
        self._append("warning", message)

    def error(self, message: str) -> None:
        self._append("error", message)

    def _append(self, level: str, message: str) -> None:
        desk = self._reach()
        desk.log.append(desk.world.now_s(), level, scrub(str(message), desk.secrets))

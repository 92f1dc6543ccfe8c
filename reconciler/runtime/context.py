"""What `self.context` really is: the protocols of `strategy.context` on top of the ports.

A capability, not a sandbox: no attribute of these objects leads to the engine. What they stand on, the
`Desk`, is behind one closure, so that nobody comes upon it by accident; Python code that wants out gets out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import TypeAlias

from reconciler import forks
from reconciler.clock import Clock, utc
from reconciler.errors import TradingClosed
from reconciler.ports import MarketData, OrderGateway
from reconciler.records.cadence import beat_at
from reconciler.records.market import Balance, Candle, InstrumentRules, Position, Quote
from reconciler.records.mode import Mode
from reconciler.records.order import Order
from reconciler.records.record import Identity
from reconciler.records.scrub import scrub
from reconciler.runtime.at_work import AtWork
from reconciler.runtime.gate import Gate, TickGate
from reconciler.runtime.hook import WORKER, HookCall
from reconciler.runtime.logs import LogRing
from reconciler.strategy.context import Context
from reconciler.strategy.placing import order_request


@dataclass(frozen=True, slots=True)
class World:
    """What all instances of a host share."""

    clock: Clock
    gateway: OrderGateway
    market: MarketData
    heartbeat_s: float
    at_work: AtWork = field(default_factory=AtWork)

    @contextmanager
    def asked(self) -> Iterator[World]:
        """Foreign code asks for something: until it is answered, it is not its code that runs."""
        back = self.at_work.engine_works()
        try:
            yield self
        finally:
            if back is not None:
                back()


class Desk:
    """What one instance's context stands on. `permit` is the `on_tick` under way, None between ticks."""

    __slots__ = ("_has_strayed", "gate", "loaded_mode", "log", "permit", "secrets", "world")

    def __init__(self, world: World, gate: Gate, log: LogRing) -> None:
        self.world = world
        self.gate = gate
        self.log = log
        self.secrets: tuple[str, ...] = ()
        self.loaded_mode = gate.row.mode
        self.permit: HookCall | None = None
        self._has_strayed = False

    @property
    def identity(self) -> Identity:
        return self.gate.row.record.identity

    @property
    def beat(self) -> int:
        """The tick's own beat, so that all it reads is of one moment; between ticks the beat under way."""
        permit = self.permit
        if permit is not None:
            return permit.beat
        return beat_at(self.world.clock.time(), self.world.heartbeat_s)

    @property
    def shadow(self) -> bool:
        """Which book is the instance's own. While it is unloaded its gate is shut, but not its book."""
        mode = self.gate.mode
        return (self.loaded_mode if mode is Mode.OFF else mode) is not Mode.ACTIVE

    def gate_for_order(self) -> tuple[TickGate, int]:
        """The gate that an order meets now, and the beat to place for. Raises TradingClosed where none may be."""
        permit = self.permit
        if forks.is_child:
            raise TradingClosed("orders are placed by the engine's own process: this is a child of it")
        if permit is None or permit.over or threading.get_ident() != permit.thread:
            self._refuse_strays()
        if permit is None or permit.over:
            raise TradingClosed("orders are placed from on_tick: expected it to be running, it is not")
        if threading.get_ident() != permit.thread:
            raise TradingClosed("orders are placed from on_tick's own thread: this is another one")
        if self.world.clock.monotonic() >= permit.deadline_s:
            limit_s = permit.deadline_s - permit.started_s
            raise TradingClosed(f"on_tick has outlived its deadline of {limit_s:g} s: it may place nothing more")
        return TickGate(self.gate, self.world.clock, permit.deadline_s), permit.beat

    def _refuse_strays(self) -> None:
        """Told as what it is, and the first time in the instance's log: nobody sees what a thread of its own raises."""
        thread = threading.current_thread()
        if thread.name == WORKER or thread is threading.main_thread():
            return
        whose = f"{thread.name!r} is another one, which the strategy started"
        message = f"orders are placed from on_tick's own thread, while it runs: {whose}"
        if not self._has_strayed:
            self._has_strayed = True
            self.log.append(self.world.clock.time(), "warning", scrub(f"an order was refused: {message}", self.secrets))
        raise TradingClosed(message)


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

    def now(self) -> datetime:
        return utc(self._reach().world.clock.time())


class _Part:
    __slots__ = ("_reach",)

    def __init__(self, reach: _Reach) -> None:
        self._reach = reach


class _InstanceInfo(_Part):
    __slots__ = ()

    @property
    def id(self) -> str:
        return self._reach().gate.row.id

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
        return str(self._reach().gate.mode)

    @property
    def labels(self) -> Mapping[str, str]:
        return MappingProxyType(dict(self._reach().gate.row.record.labels))


class _Market(_Part):
    __slots__ = ()

    def quote(self) -> Quote:
        desk = self._reach()
        identity = desk.identity
        with desk.world.asked() as world:
            return world.market.quote(identity.account_id, identity.market, desk.beat)

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        desk = self._reach()
        identity = desk.identity
        with desk.world.asked() as world:
            return world.market.candles(identity.account_id, identity.market, timeframe, limit, desk.beat)

    def rules(self) -> InstrumentRules:
        desk = self._reach()
        return desk.world.market.rules(desk.identity.account_id, desk.identity.market)


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
        gate, beat = desk.gate_for_order()
        request = order_request(side, quantity, type, limit_price, stop_price, time_in_force, reduce_only)
        with desk.world.asked() as world:
            return world.gateway.place(gate, request, beat)

    def cancel(self, client_order_id: str) -> Order:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.gateway.cancel(desk.gate, client_order_id)

    def open(self) -> Sequence[Order]:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.gateway.open(desk.gate.row.id, shadow=desk.shadow)

    def recent(self, limit: int = 20) -> Sequence[Order]:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.gateway.recent(desk.gate.row.id, limit, shadow=desk.shadow)

    def position(self) -> Position:
        desk = self._reach()
        with desk.world.asked() as world:
            return world.gateway.position(desk.gate.row.id, desk.identity.market, shadow=desk.shadow)


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
        desk.log.append(desk.world.clock.time(), level, scrub(str(message), desk.secrets))

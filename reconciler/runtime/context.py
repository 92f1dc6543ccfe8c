"""What `self.context` really is: the protocols of `strategy.base` on top of the ports. And the instance that has it.

A capability, not a sandbox: no attribute of these objects leads to the engine. What they stand on, the
`Desk`, is behind one closure, so that nobody comes upon it by accident; Python code that wants out gets out.

This is the side of a host that runs foreign code. The roster, the gates and the ledger are on the other side, and know
nothing of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from random import Random
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

from reconciler import ending as forks
from reconciler.clock import utc
from reconciler.errors import TradingClosed
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position, Quote
from reconciler.orders.order import Order
from reconciler.records.cadence import beat_at
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, Values
from reconciler.runtime.gate_state import Door
from reconciler.runtime.process import AtWork, step_aside
from reconciler.runtime.protocol import WORKER, World
from reconciler.strategy.base import Context, Strategy, chance, frozen, not_a_data_market, order_request
from reconciler.strategy.definition import Definition
from reconciler.validation.secrets import scrub


class _Asked:
    """While it is entered, the engine is at work; and a worker, which may have to wait, occupies no place."""

    __slots__ = ("_at_work", "_back", "_step_back")

    def __init__(self, at_work: AtWork) -> None:
        self._at_work = at_work
        self._back: Callable[[], None] | None = None
        self._step_back: Callable[[], None] | None = None

    def __enter__(self) -> None:
        self._back = self._at_work.engine_works()
        self._step_back = step_aside()

    def __exit__(self, *raised: object) -> None:
        if self._step_back is not None:
            self._step_back()
        if self._back is not None:
            self._back()


class Overdue(BaseException):
    """A hook asked more often than it may: no strategy's `except Exception` is to go on after it."""


class Allowance:
    """How often the hook under way may still ask its context for something; without bound where `most` is None."""

    __slots__ = ("_left", "_most")

    def __init__(self, most: int | None) -> None:
        self._most = most
        self._left = most or 0

    def renew(self) -> None:
        """Another hook begins."""
        self._left = self._most or 0

    def take(self) -> None:
        """It asks once more. Raises Overdue where that is once too often."""
        if self._most is None:
            return
        self._left -= 1
        if self._left < 0:
            raise Overdue(f"it asked its context for more than {self._most:,} things: does it wait for time to pass?")


class Ground(NamedTuple):
    """What all desks of a performer share. `limit_s` is how long a tick may take."""

    world: World
    allowance: Allowance
    limit_s: float


class Permit(NamedTuple):
    """To place orders from the tick of `beat`; `until_s` is monotonic."""

    beat: int
    until_s: float


class Desk:
    """What one instance's context stands on. `permitted` is the beat of the `on_tick` under way, None between ticks;
    its orders are placed on `thread` and nowhere else, and before `until_s`, monotonic."""

    __slots__ = (
        "_drawn_for",
        "_has_strayed",
        "_random",
        "door",
        "ground",
        "is_telling",
        "loaded_mode",
        "permitted",
        "secrets",
        "thread",
        "until_s",
    )

    def __init__(self, ground: Ground, door: Door) -> None:
        self.ground = ground
        self.door = door
        self.secrets: tuple[str, ...] = ()
        self.loaded_mode = door.row.mode
        self.permitted: int | None = None
        self.thread = 0
        self.until_s = 0.0
        self.is_telling = False
        """True while `on_order` runs, which is a part of the tick and may not place."""
        self._has_strayed = False
        self._drawn_for: tuple[int, bool] | None = None
        self._random: Random | None = None

    def asked(self) -> _Asked:
        """Foreign code asks for something: until it is answered, it is not its code that runs."""
        self.ground.allowance.take()
        return _Asked(self.ground.world.at_work)

    def now_s(self) -> float:
        """Wall time, for foreign code."""
        self.ground.allowance.take()
        return self.ground.world.clock.time()

    def note(self, level: str, message: str) -> None:
        """Add a line to the instance's log, free of its secrets."""
        self.door.log(self.ground.world.clock.time(), level, scrub(message, self.secrets))

    @property
    def identity(self) -> Identity:
        return self.door.row.record.identity

    @property
    def beat(self) -> int:
        """The tick's own beat, so that all it reads is of one moment; between ticks the beat under way."""
        beat = self.permitted
        if beat is not None:
            return beat
        return beat_at(self.ground.world.clock.time(), self.ground.world.heartbeat_s)

    @property
    def shadow(self) -> bool:
        """Which book is the instance's own. While it is unloaded its gate is shut, but not its book."""
        mode = self.door.mode
        return (self.loaded_mode if mode is Mode.OFF else mode) is not Mode.ACTIVE

    @property
    def random(self) -> Random:
        """The same for a beat and generation, whatever was drawn before; a tick begins anew, whatever `init` drew."""
        drawn_for = (self.beat, self.permitted is not None)
        if self._random is None or self._drawn_for != drawn_for:
            row = self.door.row
            self._random = chance(self.ground.world.seed, row.id, row.generation, drawn_for[0])
            self._drawn_for = drawn_for
        return self._random

    def permit_for_order(self) -> Permit:
        """The tick that an order is placed from now. Raises TradingClosed where none may be."""
        beat, until_s, is_elsewhere = self.permitted, self.until_s, threading.get_ident() != self.thread
        if forks.is_child:
            raise TradingClosed("orders are placed by the engine's own process: this is a child of it")
        if beat is None or is_elsewhere:
            self._refuse_strays()
        if beat is None:
            raise TradingClosed("orders are placed from on_tick: expected it to be running, it is not")
        if self.is_telling:
            raise TradingClosed("orders are placed from on_tick: on_order runs before it, and only hears of them")
        if is_elsewhere:
            raise TradingClosed("orders are placed from on_tick's own thread: this is another one")
        if self.ground.world.clock.monotonic() >= until_s:
            raise TradingClosed(
                f"on_tick has outlived its deadline of {self.ground.limit_s:g} s: it may place nothing more"
            )
        return Permit(beat, until_s)

    def _refuse_strays(self) -> None:
        """Told as what it is, and the first time in the instance's log: nobody sees what a thread of its own raises."""
        thread = threading.current_thread()
        if thread.name == WORKER or thread is threading.main_thread():
            return
        whose = f"{thread.name!r} is another one, which the strategy started"
        message = f"orders are placed from on_tick's own thread, while it runs: {whose}"
        if not self._has_strayed:
            self._has_strayed = True
            self.note("warning", f"an order was refused: {message}")
        raise TradingClosed(message)


class RunningInstance:
    """One loaded strategy and what is kept beside it. `number` is what marks it as at work, in `AtWork`.

    Making one runs the strategy's constructor, which is foreign code.
    """

    __slots__ = (
        "definition",
        "desk",
        "hears",
        "number",
        "strategy",
    )

    def __init__(self, definition: Definition, config: Values, desk: Desk, context: Context, number: int) -> None:
        self.definition = definition
        self.desk = desk
        self.number = number
        self.hears = definition.cls.on_order is not Strategy.on_order
        if self.hears:
            desk.door.listen()
        self.strategy = definition.cls()
        self.strategy.config = frozen(config)
        self.strategy.context = context

    def tick(self) -> None:
        """Foreign code, the look for `on_tick` too: it may be made by code of the strategy's."""
        if self.hears:
            self._hear()
        self.strategy.on_tick()

    def _hear(self) -> None:
        """Tell it what became of its orders, of those that it sees. What it fails at is not told again."""
        self.desk.is_telling = True
        try:
            while (order := self.desk.door.next_change()) is not None:
                if (order.provenance.mode is not Mode.ACTIVE) is self.desk.shadow:
                    self.strategy.on_order(order)
        finally:
            self.desk.is_telling = False

    def unload(self) -> None:
        """Foreign code, as `tick` is."""
        self.strategy.on_unload()


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
        return utc(self._reach().now_s())


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
        with desk.asked():
            return desk.ground.world.market.quote(identity.account_id, self._symbol or identity.market, desk.beat)

    def candles(self, timeframe: str, limit: int) -> Sequence[Candle]:
        desk = self._reach()
        identity, symbol = desk.identity, self._symbol or desk.identity.market
        with desk.asked():
            return desk.ground.world.market.candles(identity.account_id, symbol, timeframe, limit, desk.beat)

    def rules(self) -> InstrumentRules:
        desk = self._reach()
        identity = desk.identity
        with desk.asked():
            return desk.ground.world.market.rules(identity.account_id, self._symbol or identity.market)


class _Account(_Part):
    __slots__ = ()

    def positions(self) -> Sequence[Position]:
        desk = self._reach()
        with desk.asked():
            return desk.ground.world.market.positions(desk.identity.account_id, desk.identity.client_id, desk.beat)

    def balances(self) -> Sequence[Balance]:
        desk = self._reach()
        with desk.asked():
            return desk.ground.world.market.balances(desk.identity.account_id, desk.identity.client_id, desk.beat)


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
        with desk.asked():
            return desk.door.place(request, permit.beat, permit.until_s)

    def cancel(self, client_order_id: str) -> Order:
        desk = self._reach()
        with desk.asked():
            return desk.door.cancel(client_order_id)

    def open(self) -> Sequence[Order]:
        desk = self._reach()
        with desk.asked():
            return desk.door.open(desk.shadow)

    def recent(self, limit: int = 20) -> Sequence[Order]:
        desk = self._reach()
        with desk.asked():
            return desk.door.recent(limit, desk.shadow)

    def position(self) -> Position:
        desk = self._reach()
        with desk.asked():
            return desk.door.position(desk.shadow)


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
        desk.ground.allowance.take()
        desk.note(level, str(message))

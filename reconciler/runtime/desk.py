"""The desk: what an instance stands on, and the instance itself. The side of a host that runs foreign code.

The roster, the gates and the ledger are on the other side, and know nothing of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from reconciler import ending as forks
from reconciler.clock import Clock
from reconciler.errors import TradingClosed
from reconciler.orders.order import OrderChanges
from reconciler.ports import MarketData, OrderGateway
from reconciler.records.cadence import beat_at
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, Values
from reconciler.runtime.gate import Door
from reconciler.runtime.process import AtWork, Surroundings, step_aside
from reconciler.runtime.protocol import WORKER, LogRing
from reconciler.runtime.slot import HookCall
from reconciler.strategy.base import Context, Strategy, chance, frozen
from reconciler.strategy.definition import Definition
from reconciler.validation.secrets import scrub


@dataclass(frozen=True, slots=True)
class World:
    """What all instances of a host share.

    `seed` makes another chance of everybody's `context.random`, and of retries. `surroundings` are put back after hooks
    that set them, where there are any. `allowance` is how often a hook may ask, where hooks are given no time.
    """

    clock: Clock
    gateway: OrderGateway
    market: MarketData
    heartbeat_s: float
    at_work: AtWork = field(default_factory=AtWork)
    seed: str = ""
    surroundings: Surroundings | None = None
    allowance: Allowance | None = None

    def asked(self) -> _Asked:
        """Foreign code asks for something: until it is answered, it is not its code that runs."""
        if self.allowance is not None:
            self.allowance.take()
        return _Asked(self)

    def now_s(self) -> float:
        """Wall time, for foreign code."""
        if self.allowance is not None:
            self.allowance.take()
        return self.clock.time()


class _Asked:
    """While it is entered, the engine is at work; and a worker, which may have to wait, occupies no place."""

    __slots__ = ("_back", "_step_back", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._back: Callable[[], None] | None = None
        self._step_back: Callable[[], None] | None = None

    def __enter__(self) -> World:
        self._back = self._world.at_work.engine_works()
        self._step_back = step_aside()
        return self._world

    def __exit__(self, *raised: object) -> None:
        if self._step_back is not None:
            self._step_back()
        if self._back is not None:
            self._back()


class Overdue(BaseException):
    """A hook asked more often than it may: no strategy's `except Exception` is to go on after it."""


class Allowance:
    """How often the hook under way may still ask its context for something."""

    __slots__ = ("_left", "_most")

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def renew(self) -> None:
        """Another hook begins."""
        self._left = self._most

    def take(self) -> None:
        """It asks once more. Raises Overdue where that is once too often."""
        self._left -= 1
        if self._left < 0:
            raise Overdue(f"it asked its context for more than {self._most:,} things: does it wait for time to pass?")


class Desk:
    """What one instance's context stands on. `permit` is the `on_tick` under way, None between ticks."""

    __slots__ = (
        "_drawn_for",
        "_has_strayed",
        "_random",
        "door",
        "is_telling",
        "loaded_mode",
        "log",
        "permit",
        "secrets",
        "world",
    )

    def __init__(self, world: World, door: Door, log: LogRing) -> None:
        self.world = world
        self.door = door
        self.log = log
        self.secrets: tuple[str, ...] = ()
        self.loaded_mode = door.row.mode
        self.permit: HookCall | None = None
        self.is_telling = False
        """True while `on_order` runs, which is a part of the tick and may not place."""
        self._has_strayed = False
        self._drawn_for: tuple[int, bool] | None = None
        self._random: Random | None = None

    @property
    def identity(self) -> Identity:
        return self.door.row.record.identity

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
        mode = self.door.mode
        return (self.loaded_mode if mode is Mode.OFF else mode) is not Mode.ACTIVE

    @property
    def random(self) -> Random:
        """The same for a beat and generation, whatever was drawn before; a tick begins anew, whatever `init` drew."""
        drawn_for = (self.beat, self.permit is not None)
        if self._random is None or self._drawn_for != drawn_for:
            row = self.door.row
            self._random = chance(self.world.seed, row.id, row.generation, drawn_for[0])
            self._drawn_for = drawn_for
        return self._random

    def permit_for_order(self) -> HookCall:
        """The tick that an order is placed from now. Raises TradingClosed where none may be."""
        permit = self.permit
        if forks.is_child:
            raise TradingClosed("orders are placed by the engine's own process: this is a child of it")
        if permit is None or permit.over or threading.get_ident() != permit.thread:
            self._refuse_strays()
        if permit is None or permit.over:
            raise TradingClosed("orders are placed from on_tick: expected it to be running, it is not")
        if self.is_telling:
            raise TradingClosed("orders are placed from on_tick: on_order runs before it, and only hears of them")
        if threading.get_ident() != permit.thread:
            raise TradingClosed("orders are placed from on_tick's own thread: this is another one")
        if self.world.clock.monotonic() >= permit.deadline_s:
            limit_s = permit.deadline_s - permit.started_s
            raise TradingClosed(f"on_tick has outlived its deadline of {limit_s:g} s: it may place nothing more")
        return permit

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


class RunningInstance:
    """One loaded strategy and what is kept beside it. `render_at_s` is when it may be rendered again, monotonic.

    Making one runs the strategy's constructor, which is foreign code.
    """

    __slots__ = (
        "definition",
        "desk",
        "news",
        "render_at_s",
        "renders",
        "strategy",
    )

    def __init__(self, definition: Definition, config: Values, desk: Desk, context: Context) -> None:
        self.definition = definition
        self.desk = desk
        self.renders = definition.cls.render is not Strategy.render
        self.render_at_s = 0.0
        hears = definition.cls.on_order is not Strategy.on_order
        self.news = desk.world.gateway.listen(desk.door.row.id) if hears else None
        self.strategy = definition.cls()
        self.strategy.config = frozen(config)
        self.strategy.context = context

    def tick(self) -> None:
        """Foreign code, the look for `on_tick` too: it may be made by code of the strategy's."""
        if self.news is not None:
            self._hear(self.news)
        self.strategy.on_tick()

    def _hear(self, news: OrderChanges) -> None:
        """Tell it what became of its orders, of those that it sees. What it fails at is not told again."""
        self.desk.is_telling = True
        try:
            while (order := news.take()) is not None:
                if (order.provenance.mode is not Mode.ACTIVE) is self.desk.shadow:
                    self.strategy.on_order(order)
        finally:
            self.desk.is_telling = False

    def unload(self) -> None:
        """Foreign code, as `tick` is."""
        self.strategy.on_unload()

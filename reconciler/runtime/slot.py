"""The place of one id in a host, for as long as the process lives: reloads come and go within it.

And what stands in it: the running instance, the desk that its context reaches, the world behind that.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING, Any

from reconciler import ending as forks
from reconciler.clock import Clock, iso
from reconciler.errors import TradingClosed
from reconciler.orders.order import OrderChanges
from reconciler.ports import MarketData, OrderGateway
from reconciler.records.cadence import beat_at, beat_time, next_due
from reconciler.records.mode import Mode
from reconciler.records.plan import LoadKey, Phase, Running, load_key
from reconciler.records.record import Identity, Row, Values
from reconciler.records.status import Ticks
from reconciler.runtime.at_work import AtWork
from reconciler.runtime.gate import Gate, TickGate
from reconciler.runtime.protocol import WORKER, Hook, LogRing, RuntimeFacts
from reconciler.runtime.surroundings import Surroundings
from reconciler.strategy.base import Strategy, frozen
from reconciler.strategy.context import Context, chance
from reconciler.strategy.definition import Definition
from reconciler.validation.secrets import scrub

if TYPE_CHECKING:
    from reconciler.runtime.protocol import LoadSpec


class RunningInstance:
    """One loaded strategy and what the host keeps beside it. `loaded_at_s` is wall time, `render_at_s` monotonic.

    Making one runs the strategy's constructor, which is foreign code.
    """

    __slots__ = (
        "definition",
        "desk",
        "drawn_at_s",
        "loaded_at_s",
        "news",
        "render_at_s",
        "render_error",
        "renders",
        "strategy",
        "widgets",
    )

    def __init__(
        self, definition: Definition, config: Values, desk: Desk, context: Context, loaded_at_s: float
    ) -> None:
        self.definition = definition
        self.desk = desk
        self.loaded_at_s = loaded_at_s
        self.renders = definition.cls.render is not Strategy.render
        self.render_at_s = 0.0
        self.render_error = ""
        self.drawn_at_s: float | None = None  # wall time
        self.widgets: tuple[Mapping[str, Any], ...] = ()
        hears = definition.cls.on_order is not Strategy.on_order
        self.news = desk.world.gateway.listen(desk.gate.row.id) if hears else None
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


class LastHour:
    """How often something happened within the last hour, to the minute. One thread notes at a time; any may ask."""

    __slots__ = ("_minutes",)

    def __init__(self) -> None:
        self._minutes: tuple[tuple[int, int], ...] = ()

    def note(self, now_s: float) -> None:
        """It happened once more; `now_s` is monotonic."""
        minute, kept = int(now_s // 60), self._minutes
        count = 1
        if kept and kept[-1][0] == minute:
            count, kept = kept[-1][1] + 1, kept[:-1]
        self._minutes = (*(one for one in kept if one[0] > minute - 60), (minute, count))

    def count(self, now_s: float) -> int:
        """How often until `now_s`."""
        first = int(now_s // 60) - 60
        return sum(count for minute, count in self._minutes if minute > first)


_LAG_MISSED, _LAG_TICKS = 10, 40
"""So many ticks must be missed, of at most so many, before it is told."""


class Slot:
    """What runs under one id, what is wanted of it next, and how it has been doing.

    `claimed` while it is in the queue or worked on: that is why hooks of one instance never overlap, see
    `Crew`. What is wanted (`ending`, `wanted`, `beat`) is written down first, then a claim is tried; who
    sets it free looks again. Only who works on it runs hooks and counts ticks; the roster changes
    everything else, under its lock.
    """

    __slots__ = (
        "attempt",
        "beat",
        "ceiling",
        "claimed",
        "consecutive",
        "count",
        "ending",
        "errors",
        "errors_last_hour",
        "failed",
        "failing",
        "gate",
        "good_at_s",
        "id",
        "instance",
        "key",
        "lag_from",
        "last_at_s",
        "last_duration_s",
        "last_error",
        "last_error_at_s",
        "loading",
        "log",
        "missed",
        "missed_last_hour",
        "number",
        "retry_at_s",
        "steps",
        "stuck",
        "wanted",
    )

    def __init__(self, row: Row, log_lines: int) -> None:
        self.id = row.id
        self.claimed = False
        self.gate = Gate(row)
        self.log = LogRing(log_lines)
        self.key: LoadKey = load_key(row)
        # What runs, and what is wanted next.
        self.instance: RunningInstance | None = None
        self.loading: LoadSpec | None = None
        self.wanted: LoadSpec | None = None
        self.ceiling = Mode.OFF  # what `wanted` may rise to
        self.ending = False
        self.number = 0  # what marks it as at work
        self.stuck: HookCall | None = None
        self.steps = 0  # the cadence it is scheduled at, 0 where it must not tick
        self.beat: int | None = None  # the tick that is queued or under way
        # Loads that failed.
        self.failed = False
        self.attempt = 0
        self.retry_at_s = 0.0
        # How its ticks went.
        self.count = 0
        self.errors = 0
        self.missed = 0
        self.lag_from = (0, 0)  # missed and count at which it was begun to be watched
        self.errors_last_hour: LastHour | None = None  # made where there is any
        self.missed_last_hour: LastHour | None = None
        self.consecutive = 0
        self.failing = False
        self.last_at_s: float | None = None
        self.good_at_s: float | None = None
        self.last_duration_s: float | None = None
        self.last_error = ""
        self.last_error_at_s: float | None = None

    @property
    def phase(self) -> Phase | None:
        """Where it is on its way; None where nothing is there and nothing is coming."""
        if self.stuck is not None:
            return Phase.STUCK
        if self.ending:
            return Phase.UNLOADING
        if self.instance is not None:
            return Phase.RUNNING
        if self.loading is not None or self.wanted is not None:
            return Phase.LOADING
        return Phase.FAILED if self.failed else None

    @property
    def is_occupied(self) -> bool:
        """True while something is there that must end before anything else is loaded."""
        return self.instance is not None or self.loading is not None

    @property
    def is_failing(self) -> bool:
        """True where its last tick or load failed; while a load is tried again, too."""
        return self.failing or self.failed or self.attempt > 0

    def end(self) -> None:
        """From now on it is on its way out, and its gate shut."""
        self.ending = True
        self.gate.lower(Mode.OFF)

    def ended(self) -> None:
        """Nothing is there any more, and loads that failed are forgotten."""
        self.instance = None
        self.ending = False
        self.beat = None
        self.failed = False
        self.attempt = 0

    def count_error(self, now_s: float) -> None:
        """A tick failed; `now_s` is monotonic."""
        self.errors += 1
        self.errors_last_hour = self.errors_last_hour or LastHour()
        self.errors_last_hour.note(now_s)

    def count_missed(self, now_s: float) -> None:
        """A due tick was skipped; `now_s` is monotonic."""
        self.missed += 1
        self.missed_last_hour = self.missed_last_hour or LastHour()
        self.missed_last_hour.note(now_s)
        missed, due = self.lag
        if due >= _LAG_TICKS:  # half of what is known is forgotten: what was long ago counts ever less
            self.lag_from = (self.missed - missed // 2, self.count - (due - missed) // 2)

    @property
    def lag(self) -> tuple[int, int]:
        """How many ticks it has missed lately, and of how many."""
        missed_before, count_before = self.lag_from
        missed = self.missed - missed_before
        return missed, missed + self.count - count_before

    @property
    def is_lagging(self) -> bool:
        """True where it misses half of its ticks or more, and not only once or twice."""
        missed, due = self.lag
        return missed >= _LAG_MISSED and 2 * missed >= due

    def remake(self, row: Row) -> None:
        """It is made from `row` next. New config or code ends the engine's own pause, and counts failures afresh."""
        before, self.key = self.key, load_key(row)
        if (before.config_digest, before.code_digest) != (self.key.config_digest, self.key.code_digest):
            self.gate.engine_pause = None
            self.failing = False
            self.consecutive = 0
            self.attempt = 0

    def due_steps(self) -> int:
        """The cadence it ought to be scheduled at, 0 where it must not tick."""
        if self.instance is None or self.ending or self.gate.pause or self.gate.mode is Mode.OFF:
            return 0
        return self.instance.definition.cadence_steps

    def view(self) -> Running | None:
        """What the plan must know. The mode of one that waits for its predecessor is what it may rise to."""
        phase = self.phase
        if phase is None:
            return None
        mode = self.gate.mode if self.wanted is None else self.ceiling
        if self.wanted is not None and not self.is_occupied:
            key, row = load_key(self.wanted.row), self.wanted.row
        else:
            key, row = self.key, self.gate.row
        retry_at_s = self.retry_at_s if phase is Phase.FAILED else 0.0
        return Running(self.id, phase, mode, key, row, retry_at_s, self.gate.pause is not None, self.is_failing)

    def facts(self, now_s: float, steady_s: float, heartbeat_s: float) -> RuntimeFacts:
        """How it is doing; `now_s` is wall time, `steady_s` monotonic."""
        instance = self.instance
        widgets: tuple[Mapping[str, Any], ...] = () if instance is None else instance.widgets
        return RuntimeFacts(
            id=self.id,
            phase=self.phase,
            mode=self.gate.mode,
            pause=self.gate.pause,
            generation=None if instance is None else self.gate.row.generation,
            loaded_at=None if instance is None else iso(instance.loaded_at_s),
            last_error=self.last_error,
            last_error_at=None if self.last_error_at_s is None else iso(self.last_error_at_s),
            failing=self.is_failing,
            consecutive_failures=self.consecutive,
            stuck_hook=None if self.stuck is None else self.stuck.hook,
            stuck_at="" if self.stuck is None else self.stuck.stands_at(),
            load_attempts=self.attempt,
            ticks=Ticks(
                count=self.count,
                errors=self.errors,
                missed=self.missed,
                last_at=None if self.last_at_s is None else iso(self.last_at_s),
                last_duration_s=self.last_duration_s,
                next_at=self._next_at(now_s, heartbeat_s),
                last_good_at=None if self.good_at_s is None else iso(self.good_at_s),
                every_s=None if instance is None else instance.definition.cadence_steps * heartbeat_s,
                errors_last_hour=0 if self.errors_last_hour is None else self.errors_last_hour.count(steady_s),
                missed_last_hour=0 if self.missed_last_hour is None else self.missed_last_hour.count(steady_s),
            ),
            widgets=widgets,
            logs=self.log.newest_first(),
            render_error="" if instance is None else instance.render_error,
            missed_lately=self.lag if self.is_lagging else None,
            drawn_at=None if instance is None or instance.drawn_at_s is None else iso(instance.drawn_at_s),
        )

    def _next_at(self, now_s: float, heartbeat_s: float) -> str | None:
        if not self.steps or self.stuck is not None:
            return None
        return _due_at(beat_at(now_s, heartbeat_s), self.steps, heartbeat_s)


@lru_cache(256)
def _due_at(beat: int, steps: int, heartbeat_s: float) -> str:
    """When what ticks every `steps` beats is due after `beat`: one answer for a whole fleet."""
    return iso(beat_time(next_due(beat, steps), heartbeat_s))


class HookCall:
    """What one worker is at: which hook of which slot, since when and until when (monotonic seconds).

    A worker has one for as long as it lives, and writes it anew for every hook: nothing is made per tick. While
    `on_tick` runs it is also the instance's permit to place orders for `beat`, on `thread` and nowhere else.

    `over` is unset last when a hook begins, and set before its end is timed. So whoever sees a late call that is
    not over knows that its end will be seen as late too. `ended_s` is when the worker was last free: a tick taken
    from the queue at once starts then, so that the clock is read once per tick.
    """

    __slots__ = (
        "beat",
        "deadline_s",
        "ended_s",
        "hook",
        "over",
        "place",
        "slot",
        "started_s",
        "thread",
    )
    slot: Slot
    hook: Hook
    beat: int
    started_s: float
    deadline_s: float
    ended_s: float

    def __init__(self, thread: int, place: int = 0) -> None:
        """`place` is that of the thread in `AtWork`."""
        self.thread = thread
        self.place = place
        self.over = True

    def stands_at(self) -> str:
        """Where the hook is: `strategies/grid.py:31 in on_tick`, and in what it waits. Empty once it is over."""
        innermost = frame = sys._current_frames().get(self.thread)
        made_from = self.slot.instance or self.slot.loading
        if innermost is None or made_from is None or self.over:
            return ""
        definition = made_from.definition
        while frame is not None and frame.f_globals.get("__name__") != definition.cls.__module__:
            frame = frame.f_back
        within = f"{innermost.f_globals.get('__name__')}:{innermost.f_lineno} in {innermost.f_code.co_name}"
        if frame is None:
            return within
        own = f"{definition.path}:{frame.f_lineno} in {frame.f_code.co_name}"
        return own if frame is innermost else f"{own}, waiting in {within}"


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
    """While it is entered, the engine is at work."""

    __slots__ = ("_back", "_world")

    def __init__(self, world: World) -> None:
        self._world = world
        self._back: Callable[[], None] | None = None

    def __enter__(self) -> World:
        self._back = self._world.at_work.engine_works()
        return self._world

    def __exit__(self, *raised: object) -> None:
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
        "gate",
        "is_telling",
        "loaded_mode",
        "log",
        "permit",
        "secrets",
        "world",
    )

    def __init__(self, world: World, gate: Gate, log: LogRing) -> None:
        self.world = world
        self.gate = gate
        self.log = log
        self.secrets: tuple[str, ...] = ()
        self.loaded_mode = gate.row.mode
        self.permit: HookCall | None = None
        self.is_telling = False
        """True while `on_order` runs, which is a part of the tick and may not place."""
        self._has_strayed = False
        self._drawn_for: tuple[int, bool] | None = None
        self._random: Random | None = None

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

    @property
    def random(self) -> Random:
        """The same for a beat and generation, whatever was drawn before; a tick begins anew, whatever `init` drew."""
        drawn_for = (self.beat, self.permit is not None)
        if self._random is None or self._drawn_for != drawn_for:
            row = self.gate.row
            self._random = chance(self.world.seed, row.id, row.generation, drawn_for[0])
            self._drawn_for = drawn_for
        return self._random

    def gate_for_order(self) -> tuple[TickGate, int]:
        """The gate that an order meets now, and the beat to place for. Raises TradingClosed where none may be."""
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

"""The place of one id in a host, for as long as the process lives: reloads come and go within it.

The engine's side: facts and values. What runs there is on the other side of the host, and may as well be in another
process.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from reconciler.clock import iso
from reconciler.records.cadence import beat_at, beat_time, next_due
from reconciler.records.mode import Mode
from reconciler.records.plan import LoadKey, Phase, Running, load_key
from reconciler.records.record import Row
from reconciler.records.status import Ticks
from reconciler.runtime.gate_state import Gate, LogRing
from reconciler.runtime.protocol import Hook, Made, RuntimeFacts, Shown

if TYPE_CHECKING:
    from reconciler.runtime.protocol import LoadSpec


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
        "code",
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
        "key",
        "lag_from",
        "last_at_s",
        "last_duration_s",
        "last_error",
        "last_error_at_s",
        "loading",
        "log",
        "made",
        "missed",
        "missed_last_hour",
        "render_at_s",
        "retry_at_s",
        "shown",
        "steps",
        "stuck",
        "undrawn",
        "wanted",
    )

    def __init__(self, row: Row, log_lines: int) -> None:
        self.id = row.id
        self.claimed = False
        self.gate = Gate(row)
        self.log = LogRing(log_lines)
        self.key: LoadKey = load_key(row)
        # What runs, and what is wanted next.
        self.made: Made | None = None
        self.shown = Shown()
        self.code = ("", "")  # the module of its code, and the path
        self.loading: LoadSpec | None = None
        self.wanted: LoadSpec | None = None
        self.ceiling = Mode.OFF  # what `wanted` may rise to
        self.ending = False
        self.render_at_s = 0.0  # before which it is not rendered again, monotonic
        self.undrawn = False  # loaded, and to be rendered once others are loaded, too
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
        if self.made is not None:
            return Phase.RUNNING
        if self.loading is not None or self.wanted is not None:
            return Phase.LOADING
        return Phase.FAILED if self.failed else None

    @property
    def is_occupied(self) -> bool:
        """True while something is there that must end before anything else is loaded."""
        return self.made is not None or self.loading is not None

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
        self.made = None
        self.shown = Shown()
        self.undrawn = False
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
        if self.made is None or self.ending or self.gate.pause or self.gate.mode is Mode.OFF:
            return 0
        return self.made.cadence_steps

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
        made, shown = self.made, self.shown
        return RuntimeFacts(
            id=self.id,
            phase=self.phase,
            mode=self.gate.mode,
            pause=self.gate.pause,
            generation=None if made is None else self.gate.row.generation,
            loaded_at=None if made is None else iso(made.loaded_at_s),
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
                every_s=None if made is None else made.cadence_steps * heartbeat_s,
                errors_last_hour=0 if self.errors_last_hour is None else self.errors_last_hour.count(steady_s),
                missed_last_hour=0 if self.missed_last_hour is None else self.missed_last_hour.count(steady_s),
            ),
            widgets=shown.widgets,
            logs=self.log.newest_first(),
            render_error=shown.error,
            missed_lately=self.lag if self.is_lagging else None,
            drawn_at=None if shown.drawn_at_s is None else iso(shown.drawn_at_s),
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

    A worker has one for as long as it lives, and writes it anew for every hook: nothing is made per tick.

    `over` is unset last when a hook begins, and set before its end is timed. So whoever sees a late call that is
    not over knows that its end will be seen as late too. `ended_s` is when the worker was last free: a tick taken
    from the queue at once starts then, so that the clock is read once per tick. `is_aside` while its hook waits in a
    context call: then it occupies no place of its crew. `has_turn` where it keeps the others of its crew waiting.
    """

    __slots__ = (
        "deadline_s",
        "ended_s",
        "has_turn",
        "hook",
        "is_aside",
        "over",
        "place",
        "slot",
        "started_s",
        "thread",
    )
    slot: Slot
    hook: Hook
    started_s: float
    deadline_s: float
    ended_s: float

    def __init__(self, thread: int, place: int = 0) -> None:
        """`place` is that of the thread in `AtWork`."""
        self.thread = thread
        self.place = place
        self.over = True
        self.is_aside = False
        self.has_turn = False

    def stands_at(self) -> str:
        """Where the hook is: `strategies/grid.py:31 in on_tick`, and in what it waits. Empty once it is over."""
        innermost = frame = sys._current_frames().get(self.thread)
        module, path = self.slot.code
        if innermost is None or not self.slot.is_occupied or self.over:
            return ""
        while frame is not None and frame.f_globals.get("__name__") != module:
            frame = frame.f_back
        within = f"{innermost.f_globals.get('__name__')}:{innermost.f_lineno} in {innermost.f_code.co_name}"
        if frame is None:
            return within
        own = f"{path}:{frame.f_lineno} in {frame.f_code.co_name}"
        return own if frame is innermost else f"{own}, waiting in {within}"

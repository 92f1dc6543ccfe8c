"""Progress: what workers and the watchdog have to say of a slot, and where that leaves it. Nothing of it blocks.

And the turns that workers take: the next thing that is wanted of a slot is asked of the other side of the host, where
its hooks run. A tick that goes well makes no progress, and no value.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from reconciler.clock import Clock
from reconciler.records.mode import Mode
from reconciler.runtime.protocol import (
    Disturbed,
    Done,
    Hook,
    HookFailed,
    HostOptions,
    Loaded,
    LoadFailed,
    LoadSpec,
    Made,
    Performing,
    Quarantined,
    Recovered,
    Stuck,
    Unloaded,
    Unstuck,
)
from reconciler.runtime.roster import Roster
from reconciler.runtime.slot import HookCall, Slot

_JITTER = 0.2


@lru_cache(256)
def _code(module: str, path: str) -> tuple[str, str]:
    """The same object for a whole fleet: there are many slots."""
    return module, path


def retry_in_s(first_s: float, most_s: float, attempt: int, instance_id: str, random_seed: str) -> float:
    """Seconds until the next try after failed attempt number `attempt`, counted from 1.

    `first_s`, doubling up to `most_s`, less up to a fifth of it: instances that failed together do not come
    back together. The same seed, id and attempt give the same delay, in whatever order loads fail.
    """
    longest_s = min(most_s, first_s * 2.0 ** min(attempt - 1, 60))
    return longest_s * (1 - _JITTER * random.Random(f"{random_seed}:{instance_id}:{attempt}").random())


class Progress:
    """Changes slots under the roster's lock. A worker speaks only of a slot whose claim it holds.

    Where a gate is closed, the caller settles it afterwards.
    """

    def __init__(self, clock: Clock, options: HostOptions, roster: Roster, random_seed: str) -> None:
        self._clock = clock
        self._options = options
        self._roster = roster
        self._board = roster.board
        self._outbox = roster.outbox
        self._random_seed = random_seed

    def load_begins(self, slot: Slot) -> LoadSpec | None:
        """What is to be loaded now, its gate open; None where there is nothing any more."""
        with self._roster.changing():
            spec, slot.wanted = slot.wanted, None
            if spec is None:
                return None
            slot.beat = None
            slot.failed = False
            if slot.ceiling is Mode.OFF:
                self._ended(slot, "")
                spec = None
            else:
                slot.remake(spec.row)
                slot.loading = spec
                slot.code = _code(spec.definition.cls.__module__, spec.definition.path)
                slot.gate.open(spec.row, slot.ceiling)
            self._board.refresh(slot)
            return spec

    def load_succeeded(self, slot: Slot, made: Made) -> None:
        with self._roster.changing():
            slot.loading = None
            slot.made = made
            slot.attempt = 0
            self._board.refresh(slot)
            if not slot.ending:
                if made.ticks_on_load:
                    self._board.schedule.place_once(slot)
                self._outbox.put(Loaded(slot.id, slot.gate.row.generation))

    def load_failed(self, slot: Slot, error: str) -> None:
        with self._roster.changing():
            slot.loading = None
            slot.gate.lower(Mode.OFF)
            self._note(slot, error)
            if slot.ending:
                self._ended(slot, "")
            else:
                slot.failed = True
                slot.attempt += 1
                options = self._options
                delay_s = retry_in_s(
                    options.retry_first_s, options.retry_max_s, slot.attempt, slot.id, self._random_seed
                )
                slot.retry_at_s = self._clock.monotonic() + delay_s
                self._outbox.put(LoadFailed(slot.id, error, slot.attempt, delay_s))
            self._board.refresh(slot)

    def unloaded(self, slot: Slot, error: str) -> None:
        with self._roster.changing():
            if error:
                self._note(slot, error)
            self._ended(slot, error)
            self._board.refresh(slot)

    def hook_failed(self, slot: Slot, hook: str, error: str) -> None:
        """A failure that does not count towards quarantine."""
        with self._roster.changing():
            self._note(slot, error)
            self._outbox.put(HookFailed(slot.id, hook, error, slot.consecutive))

    def tick_failed(self, slot: Slot, error: str, counts: bool) -> bool:
        """True where this one put the instance into quarantine."""
        with self._roster.changing():
            slot.count_error(self._clock.monotonic())
            slot.failing = True
            if counts:
                slot.consecutive += 1
            self._note(slot, error)
            self._board.refresh(slot)
            self._outbox.put(HookFailed(slot.id, "on_tick", error, slot.consecutive))
            if slot.consecutive < self._options.quarantine_after or slot.gate.engine_pause is not None:
                return False
            self._outbox.put(Quarantined(slot.id, error, slot.gate.mode is Mode.ACTIVE))
            slot.gate.engine_pause = f"{slot.consecutive} failed ticks in a row: {error.splitlines()[0]}"
            self._board.refresh(slot)
            return True

    def tick_recovered(self, slot: Slot) -> None:
        with self._roster.changing():
            slot.failing = False
            slot.consecutive = 0
            self._board.refresh(slot)
            self._outbox.put(Recovered(slot.id))

    def disturbed(self, slot: Slot, hook: str, changed: Sequence[str], others: Sequence[str]) -> None:
        """A hook set something for the whole process."""
        with self._roster.changing():
            message = f"{hook} changed the process, which was put back: {', '.join(changed)}"
            slot.log.append(self._clock.time(), "warning", message)
            self._outbox.put(Disturbed(slot.id, hook, tuple(changed), tuple(others)))

    def load_barred(self, slot: Slot, why: str) -> None:
        """It is not to be loaded, until it changes or somebody resumes it."""
        with self._roster.changing():
            was_active = slot.gate.mode is Mode.ACTIVE
            slot.loading = None
            slot.gate.lower(Mode.OFF)
            self._note(slot, why)
            if slot.ending:
                self._ended(slot, "")
            else:
                slot.failed = True
                slot.retry_at_s = math.inf
                slot.gate.engine_pause = why
                self._outbox.put(Quarantined(slot.id, why, was_active, is_barred=True))
            self._board.refresh(slot)

    def mark_stuck(self, call: HookCall, now_s: float) -> None:
        """`call` was late at `now_s`; it is Stuck unless it has ended since, whatever its worker is at by now."""
        with self._roster.changing():
            if call.over or now_s < call.deadline_s or call.slot.stuck is not None:
                return
            slot = call.slot
            slot.stuck = call
            slot.gate.stuck = True
            self._board.refresh(slot)
            self._outbox.put(Stuck(slot.id, call.hook, call.deadline_s - call.started_s, call.stands_at()))

    def late_call_over(self, call: HookCall) -> None:
        """`call`, which ended late, is no longer Stuck, where it was."""
        slot = call.slot
        with self._roster.changing():
            if slot.stuck is not call:
                return
            slot.stuck = None
            slot.gate.stuck = False
            self._board.refresh(slot)
            self._outbox.put(Unstuck(slot.id, call.hook, call.ended_s - call.started_s))

    def engine_failed(self, call: HookCall, slot: Slot, error: BaseException) -> None:
        """The engine itself failed while `call`'s worker was at `slot`: what was under way is over, and has failed."""
        text = f"the engine failed: {type(error).__name__}: {error}"
        if slot.stuck is call:
            self.late_call_over(call)
        if slot.made is None:
            self.load_failed(slot, text)
        elif slot.ending:
            self.unloaded(slot, text)
        else:
            self.tick_failed(slot, text, counts=False)

    # The rest is called with the lock held.

    def _ended(self, slot: Slot, error: str) -> None:
        slot.ended()
        self._outbox.put(Unloaded(slot.id, error))

    def _note(self, slot: Slot, error: str) -> None:
        slot.last_error = error
        slot.last_error_at_s = self._clock.time()
        slot.log.append(slot.last_error_at_s, "error", error)


class Turns:
    """What a worker does with a slot. Called by whoever holds the slot's claim, so never twice at once for one.

    `written` waits until what was claimed of an instance is written, where its gate was closed; `busy` tells what all
    workers are at.
    """

    def __init__(
        self,
        clock: Clock,
        options: HostOptions,
        progress: Progress,
        performing: Performing,
        written: Callable[[str], object],
        busy: Callable[[], Sequence[HookCall]],
    ) -> None:
        self._monotonic = clock.monotonic
        self._time = clock.time
        self._epoch_s = 0.0
        self._deadlines_s: Mapping[Hook, float] = options.deadlines_s()
        self._tick_deadline_s = options.tick_deadline_s
        self._render_interval_s = options.render_interval_s
        self._progress = progress
        self._performing = performing
        self._tick = performing.tick
        self._written = written
        self._busy = busy

    def work(self, call: HookCall, slot: Slot) -> None:
        """Tick it, or do what is wanted of it more urgently. What that leaves undone, it is called for again.

        This is what every tick goes through. It does what `_call` does for the other hooks, but all in one frame.
        """
        made, beat = slot.made, slot.beat
        if made is None or beat is None or not slot.steps:
            self._turn(call, slot)
            return
        call.slot = slot
        call.hook = "on_tick"
        call.started_s = started_s = call.ended_s
        call.deadline_s = deadline_s = started_s + self._tick_deadline_s
        call.over = False
        slot.last_at_s = started_s + self._epoch_s
        done = self._tick(slot.id, beat, deadline_s, call.place)
        if done is None or done.failure is None:
            slot.good_at_s = slot.last_at_s
        call.over = True
        call.ended_s = ended_s = self._monotonic()
        slot.last_duration_s = ended_s - started_s
        slot.count += 1
        slot.beat = None
        if done is not None or slot.failing or made.renders or ended_s >= deadline_s:
            self._ticked(call, slot, made, done or Done())

    def look_at_the_clocks(self) -> None:
        """How far wall time is ahead, looked at once per beat: ticks read monotonic time only."""
        self._epoch_s = self._time() - self._monotonic()

    def _turn(self, call: HookCall, slot: Slot) -> None:
        """Carry on with a slot that must not tick now. The worker's time starts afresh before and after."""
        if slot.ending:
            self._unload(call, slot)
        elif slot.wanted is not None:
            self._load(call, slot)
        elif slot.undrawn:
            self._render(call, slot)
        elif not slot.steps:
            slot.beat = None
        call.ended_s = self._monotonic()

    def _load(self, call: HookCall, slot: Slot) -> None:
        spec = self._progress.load_begins(slot)
        if spec is None:
            return
        done = self._call(call, slot, "init", lambda: self._performing.load(spec, call.place))
        if done.made is None:
            if done.failure is None:
                self._progress.load_barred(slot, done.barred)
            else:
                self._progress.load_failed(slot, done.failure.text)
            return
        slot.undrawn = done.made.renders  # at the end of the queue: a fleet that starts is loaded first, and then drawn
        self._progress.load_succeeded(slot, done.made)

    def _ticked(self, call: HookCall, slot: Slot, made: Made, done: Done) -> None:
        """What is to be said of a tick that did not simply go well, and what is to be shown after one."""
        self._tell_changed(call, done)
        if call.ended_s >= call.deadline_s:
            self._progress.late_call_over(call)
        if done.failure is not None:
            if self._progress.tick_failed(slot, done.failure.text, done.failure.counts):
                self._written(slot.id)
        elif slot.failing:
            self._progress.tick_recovered(slot)
        if made.renders and not slot.ending and self._monotonic() >= slot.render_at_s:
            self._render(call, slot)
        call.ended_s = self._monotonic()

    def _render(self, call: HookCall, slot: Slot) -> None:
        """Keep what `render` gives; what fails to render leaves the widgets as they were, told once per error."""
        before = slot.shown
        slot.undrawn = False
        done = self._call(call, slot, "render", lambda: self._performing.render(slot.id, call.place))
        slot.render_at_s = self._monotonic() + self._render_interval_s
        if done.shown is not None:
            slot.shown = done.shown
        if done.failure is None:
            return
        if done.failure.text != before.error:
            self._progress.hook_failed(slot, "render", done.failure.text)
        slot.shown = before._replace(error=done.failure.text)

    def _unload(self, call: HookCall, slot: Slot) -> None:
        done = Done()
        if slot.made is not None:
            done = self._call(call, slot, "on_unload", lambda: self._performing.unload(slot.id, call.place))
        self._progress.unloaded(slot, "" if done.failure is None else done.failure.text)

    def _call(self, call: HookCall, slot: Slot, hook: Hook, perform: Callable[[], Done]) -> Done:
        """Have one hook run under the watchdog's eyes."""
        started_s = self._monotonic()
        call.slot = slot
        call.hook = hook
        call.started_s = started_s
        call.deadline_s = started_s + self._deadlines_s[hook]
        call.over = False
        done = perform()
        call.over = True
        call.ended_s = self._monotonic()
        if call.ended_s >= call.deadline_s:
            self._progress.late_call_over(call)
        self._tell_changed(call, done)
        return done

    def _tell_changed(self, call: HookCall, done: Done) -> None:
        """What the hook that just ended set for the whole process was put back, and is told."""
        if done.changed:
            others = [other.slot.id for other in self._busy() if other is not call and not other.over]
            self._progress.disturbed(call.slot, call.hook, done.changed, others)

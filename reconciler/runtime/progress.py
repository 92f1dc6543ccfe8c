"""Progress: what workers and the watchdog have to say of a slot, and where that leaves it.

No hook runs here, nothing blocks, and a tick that goes well never comes by.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from reconciler.clock import Clock
from reconciler.records.mode import Mode
from reconciler.runtime.protocol import (
    Disturbed,
    HookFailed,
    HostOptions,
    Loaded,
    LoadFailed,
    LoadSpec,
    Quarantined,
    Recovered,
    Stuck,
    Unloaded,
    Unstuck,
)
from reconciler.runtime.roster import Roster
from reconciler.runtime.slot import HookCall, Made, Slot

_JITTER = 0.2


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
                slot.code = (spec.definition.cls.__module__, spec.definition.path)
                slot.gate.open(spec.row, slot.ceiling)
            self._board.refresh(slot)
            return spec

    def load_succeeded(self, slot: Slot, instance: object, made: Made, ticks_on_load: bool) -> None:
        """`instance` is theirs who make it run: it is handed back to them."""
        with self._roster.changing():
            slot.loading = None
            slot.instance = instance
            slot.made = made
            slot.attempt = 0
            self._board.refresh(slot)
            if not slot.ending:
                if ticks_on_load:
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

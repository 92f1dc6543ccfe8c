"""The roster: every id a host has ever had, and where it is on its way. All its transitions, under one lock.

No hook runs here, nothing blocks, and a tick that goes well never comes by. What is to be told is queued
under the lock and told outside it, one report at a time and in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from reconciler.clock import Clock
from reconciler.records.mode import Mode, lowers
from reconciler.records.plan import Running, load_key
from reconciler.records.record import Row
from reconciler.runtime.board import Board
from reconciler.runtime.gate import Gate, PausedBy
from reconciler.runtime.hook import HookCall
from reconciler.runtime.instance import RunningInstance
from reconciler.runtime.load_spec import LoadSpec
from reconciler.runtime.options import HostOptions
from reconciler.runtime.outbox import Outbox
from reconciler.runtime.outcome import (
    HookFailed,
    Loaded,
    LoadFailed,
    Quarantined,
    Recovered,
    Report,
    Stuck,
    Unloaded,
    Unstuck,
)
from reconciler.runtime.retry import retry_in_s
from reconciler.runtime.slot import Slot


class Roster:
    """Slots by id; views and schedule on the board always agree with them.

    The first group of methods carries out what is asked of the host, the second is what workers and the
    watchdog have to say. Where a gate is closed, the caller settles it afterwards.
    """

    def __init__(self, clock: Clock, options: HostOptions, report: Callable[[Report], None], random_seed: int) -> None:
        self._clock = clock
        self._options = options
        self._random_seed = random_seed
        self._lock = threading.Lock()
        self._slots: dict[str, Slot] = {}
        self._board = Board()
        self._outbox = Outbox(report)
        self.is_closing = False
        self.empty = self._board.empty

    def slot(self, instance_id: str) -> Slot | None:
        return self._slots.get(instance_id)

    def gates(self) -> list[Gate]:
        """The gate of every id there has ever been."""
        with self._lock:
            return [slot.gate for slot in self._slots.values()]

    def views(self) -> Mapping[str, Running]:
        """What there is, by id: a snapshot, the same object until something changes."""
        with self._lock:
            return self._board.views()

    def due(self, beat: int) -> list[Slot]:
        with self._lock:
            return self._board.schedule.due(beat)

    # What is asked of the host.

    def ask_load(self, spec: LoadSpec) -> Slot | None:
        """Want `spec` loaded, once what is there has ended; it is asked to. None where the host is stopping."""
        with self._changing():
            if self.is_closing:
                return None
            slot = self._slots.get(spec.row.id)
            if slot is None:
                slot = self._slots[spec.row.id] = Slot(spec.row, self._options.log_lines)
            slot.wanted = spec
            slot.ceiling = spec.row.mode
            if slot.is_occupied:
                self._end(slot)
            self._board.refresh(slot)
            return slot

    def ask_unload(self, instance_id: str) -> Slot | None:
        """Want nothing there. None where there is nothing."""
        with self._changing():
            slot = self._slots.get(instance_id)
            if slot is None or slot.phase is None:
                return None
            slot.wanted = None
            if slot.is_occupied:
                self._end(slot)
            else:
                slot.failed = False
                slot.attempt = 0
                self._outbox.put(Unloaded(slot.id))
            self._board.refresh(slot)
            return slot

    def close(self) -> list[str]:
        """From now on nothing is loaded. Returns the ids of what is there."""
        with self._lock:
            self.is_closing = True
            return list(self._board.views())

    def update(self, row: Row) -> None:
        with self._changing():
            slot = self._slots.get(row.id)
            if slot is not None and slot.is_occupied:
                slot.gate.row = row
                self._board.refresh(slot)

    def lower(self, instance_id: str, mode: Mode) -> Slot | None:
        with self._changing():
            slot = self._slots.get(instance_id)
            if slot is not None:
                slot.gate.lower(mode)
                if lowers(slot.ceiling, mode):
                    slot.ceiling = mode
                self._board.refresh(slot)
            return slot

    def pause(self, instance_id: str, by: PausedBy, reason: str) -> Slot:
        """Raises KeyError where nothing is loaded under that id."""
        with self._changing():
            slot = self._slots.get(instance_id)
            if slot is None or slot.phase is None:
                raise KeyError(instance_id)
            self._pause(slot, by, reason)
            return slot

    def resume(self, instance_id: str) -> None:
        """Raises KeyError for an id that was never loaded."""
        with self._changing():
            slot = self._slots[instance_id]
            slot.gate.operator_pause = slot.gate.engine_pause = None
            slot.consecutive = 0
            self._board.refresh(slot)

    # What workers and the watchdog have to say. A worker speaks only of a slot whose claim it holds.

    def load_begins(self, slot: Slot) -> LoadSpec | None:
        """What is to be loaded now, its gate open; None where there is nothing any more."""
        with self._changing():
            spec, slot.wanted = slot.wanted, None
            if spec is None:
                return None
            slot.beat = None
            slot.failed = False
            if slot.ceiling is Mode.OFF:
                self._outbox.put(Unloaded(slot.id))
                spec = None
            else:
                self._key_changes(slot, spec.row)
                slot.loading = spec
                slot.gate.open(spec.row, slot.ceiling)
            self._board.refresh(slot)
            return spec

    def load_succeeded(self, slot: Slot, instance: RunningInstance) -> None:
        with self._changing():
            slot.loading = None
            slot.instance = instance
            slot.attempt = 0
            self._board.refresh(slot)
            if not slot.ending:
                if instance.definition.tick_on_load:
                    self._board.schedule.place_once(slot)
                self._outbox.put(Loaded(slot.id, slot.gate.row.generation))

    def load_failed(self, slot: Slot, error: str) -> None:
        with self._changing():
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
        with self._changing():
            if error:
                self._note(slot, error)
            self._ended(slot, error)
            self._board.refresh(slot)

    def hook_failed(self, slot: Slot, hook: str, error: str) -> None:
        """A failure that does not count towards quarantine."""
        with self._changing():
            self._note(slot, error)
            self._outbox.put(HookFailed(slot.id, hook, error, slot.consecutive))

    def tick_failed(self, slot: Slot, error: str, counts: bool) -> bool:
        """True where this one put the instance into quarantine."""
        with self._changing():
            slot.errors += 1
            slot.failing = True
            if counts:
                slot.consecutive += 1
            self._note(slot, error)
            self._board.refresh(slot)
            self._outbox.put(HookFailed(slot.id, "on_tick", error, slot.consecutive))
            if slot.consecutive < self._options.quarantine_after or slot.gate.engine_pause is not None:
                return False
            self._outbox.put(Quarantined(slot.id, error, slot.gate.mode is Mode.ACTIVE))
            self._pause(slot, "engine", f"{slot.consecutive} failed ticks in a row: {error.splitlines()[0]}")
            return True

    def tick_recovered(self, slot: Slot) -> None:
        with self._changing():
            slot.failing = False
            slot.consecutive = 0
            self._board.refresh(slot)
            self._outbox.put(Recovered(slot.id))

    def mark_stuck(self, call: HookCall, now_s: float) -> None:
        """`call` was late at `now_s`; it is Stuck unless it has ended since, whatever its worker is at by now."""
        with self._changing():
            if call.over or now_s < call.deadline_s or call.slot.stuck is not None:
                return
            slot = call.slot
            slot.stuck = call
            slot.gate.stuck = True
            self._board.refresh(slot)
            self._outbox.put(Stuck(slot.id, call.hook, call.deadline_s - call.started_s))

    def late_call_over(self, call: HookCall) -> None:
        """`call`, which ended late, is no longer Stuck, where it was."""
        slot = call.slot
        with self._changing():
            if slot.stuck is not call:
                return
            slot.stuck = None
            slot.gate.stuck = False
            self._board.refresh(slot)
            self._outbox.put(Unstuck(slot.id, call.hook, call.ended_s - call.started_s))

    # The rest is called with the lock held.

    def _end(self, slot: Slot) -> None:
        slot.ending = True
        slot.gate.lower(Mode.OFF)

    def _ended(self, slot: Slot, error: str) -> None:
        slot.instance = None
        slot.ending = False
        slot.beat = None
        self._outbox.put(Unloaded(slot.id, error))

    def _key_changes(self, slot: Slot, row: Row) -> None:
        """New config or code ends the engine's own pause, and counts its failures afresh."""
        before, slot.key = slot.key, load_key(row)
        if (before.config_digest, before.code_digest) != (slot.key.config_digest, slot.key.code_digest):
            slot.gate.engine_pause = None
            slot.failing = False
            slot.consecutive = 0
            slot.attempt = 0

    def _pause(self, slot: Slot, by: PausedBy, reason: str) -> None:
        if by == "operator":
            slot.gate.operator_pause = reason
        else:
            slot.gate.engine_pause = reason
        self._board.refresh(slot)

    def _note(self, slot: Slot, error: str) -> None:
        slot.last_error = error
        slot.last_error_at_s = self._clock.time()
        slot.log.append(slot.last_error_at_s, "error", error)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock, then tell what happened. Never tells while holding it: who listens may ask back."""
        with self._lock:
            yield
        self._outbox.send()

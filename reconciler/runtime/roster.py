"""The roster: every id a host has ever had, and what is asked of it. One lock for all that changes.

No hook runs here and nothing blocks. What workers say of it is in `progress`. What is to be told is queued under
the lock and told outside it, one report at a time and in order. The schedule says what is due.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from reconciler.records.cadence import is_due, next_due
from reconciler.records.mode import Mode, lowers
from reconciler.records.plan import Running
from reconciler.records.record import Row
from reconciler.runtime.gate_state import PausedBy
from reconciler.runtime.protocol import LoadSpec, Report, Unloaded
from reconciler.runtime.slot import Slot


class Schedule:
    """Slots by cadence. Not thread-safe: the roster's lock guards it."""

    def __init__(self) -> None:
        self._groups: dict[int, dict[Slot, None]] = {}
        self._once: dict[Slot, None] = {}

    def place(self, slot: Slot, steps: int) -> None:
        """Schedule `slot` every `steps` beats from now on, and no longer at any other cadence; 0 takes it out."""
        if slot.steps == steps:
            return
        if slot.steps:
            group = self._groups[slot.steps]
            del group[slot]
            if not group:
                del self._groups[slot.steps]
            self._once.pop(slot, None)
        if steps:
            self._groups.setdefault(steps, {})[slot] = None
        slot.steps = steps

    def place_once(self, slot: Slot) -> None:
        """One more tick for a scheduled slot, at the next beat."""
        if slot.steps:
            self._once[slot] = None

    def next_due(self, beat: int) -> int | None:
        """The first beat after `beat` at which anybody ticks, None where nobody does."""
        if self._once:
            return beat + 1
        return min([next_due(beat, steps) for steps in self._groups], default=None)

    def due(self, beat: int, waits: Callable[[Slot], bool] | None = None) -> list[Slot]:
        """Who ticks at `beat`, each slot once. Forgets whom `place_once` asked for, but those that must wait."""
        due: list[Slot] = []
        for steps, group in self._groups.items():
            if is_due(beat, steps):
                due.extend(group)
        if self._once:
            due.extend(slot for slot in self._once if not is_due(beat, slot.steps))
            self._once = {} if waits is None else {slot: None for slot in self._once if waits(slot)}
        return due if waits is None else [slot for slot in due if not waits(slot)]


class Board:
    """Not thread-safe: the roster's lock guards it. `empty` is set while there is nothing to see."""

    def __init__(self) -> None:
        self.schedule = Schedule()
        self.empty = threading.Event()
        self.empty.set()
        self._views: dict[str, Running] = {}
        self._shown: Mapping[str, Running] | None = None

    def refresh(self, slot: Slot) -> None:
        """Show `slot` as it is now."""
        self._shown = None
        view = slot.view()
        if view is None:
            self._views.pop(slot.id, None)
        else:
            self._views[slot.id] = view
        self.schedule.place(slot, slot.due_steps())
        if not self._views:
            self.empty.set()
        elif self.empty.is_set():
            self.empty.clear()

    def views(self) -> Mapping[str, Running]:
        """Everything by id: a snapshot, the same object until something changes."""
        if self._shown is None:
            self._shown = MappingProxyType(self._views.copy())
        return self._shown


class Outbox:
    """Put reports in where they come about, under whatever lock; send them once that lock is free."""

    def __init__(self, listener: Callable[[Report], None]) -> None:
        self._listener = listener
        self._reports: deque[Report] = deque()
        self._sending = threading.Lock()

    def put(self, report: Report) -> None:
        self._reports.append(report)

    def send(self) -> None:
        """Send what is there, unless another thread is at it: that one looks again. Hold no lock here."""
        while self._reports and self._sending.acquire(blocking=False):
            try:
                while self._reports:
                    self._listener(self._reports.popleft())
            finally:
                self._sending.release()


_GLANCE_S = 1e-6


class BriefLock:
    """A lock, not reentrant, to hold for a few microseconds and never while blocking.

    An ordinary lock is handed to a thread that waits for it while another one runs the interpreter. That one
    soon wants the lock too and has to stop, and from then on all of them take turns, one switch of threads per
    section. Who finds this one taken lets go of it, and takes it only when it gets to run.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        while not self._lock.acquire(timeout=_GLANCE_S):
            pass

    def __exit__(self, *raised: object) -> None:
        self._lock.release()


class Roster:
    """Slots by id; views and schedule on the board always agree with them.

    Where a gate is closed, the caller settles it afterwards. `log_lines` are kept of each id's log.
    """

    def __init__(self, report: Callable[[Report], None], log_lines: int) -> None:
        self._log_lines = log_lines
        self._lock = BriefLock()
        self._slots: dict[str, Slot] = {}
        self.board = Board()
        self.outbox = Outbox(report)
        self.is_closing = False
        self.empty = self.board.empty

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock, then tell what happened. Never tells while holding it: who listens may ask back."""
        with self._lock:
            yield
        self.outbox.send()

    def slot(self, instance_id: str) -> Slot | None:
        return self._slots.get(instance_id)

    def slots(self) -> list[Slot]:
        """The slot of every id there has ever been."""
        with self._lock:
            return list(self._slots.values())

    def views(self) -> Mapping[str, Running]:
        """What there is, by id: a snapshot, the same object until something changes."""
        with self._lock:
            return self.board.views()

    def due(self, beat: int, waits: Callable[[Slot], bool] | None = None) -> list[Slot]:
        """Who ticks at `beat`, but those that `waits` is true of."""
        with self._lock:
            return self.board.schedule.due(beat, waits)

    def next_due(self, beat: int) -> int | None:
        """The first beat after `beat` at which anybody ticks, None where nobody does."""
        with self._lock:
            return self.board.schedule.next_due(beat)

    def ask_loads(self, specs: Sequence[LoadSpec]) -> list[tuple[Slot, bool]]:
        """Want `specs` loaded, each once what is there has ended; it is asked to. None of them where the host is
        stopping. With each slot, whether it is a new one."""
        asked: list[tuple[Slot, bool]] = []
        with self.changing():
            for spec in () if self.is_closing else specs:
                slot = self._slots.get(spec.row.id)
                is_new = slot is None
                if slot is None:
                    slot = self._slots[spec.row.id] = Slot(spec.row, self._log_lines)
                slot.wanted = spec
                slot.ceiling = spec.row.mode
                if slot.is_occupied:
                    slot.end()
                self.board.refresh(slot)
                asked.append((slot, is_new))
        return asked

    def ask_unload(self, instance_id: str) -> Slot | None:
        """Want nothing there. None where there is nothing."""
        with self.changing():
            slot = self._slots.get(instance_id)
            if slot is None or slot.phase is None:
                return None
            slot.wanted = None
            if slot.is_occupied:
                slot.end()
            else:
                slot.ended()
                self.outbox.put(Unloaded(slot.id))
            self.board.refresh(slot)
            return slot

    def close(self) -> list[str]:
        """From now on nothing is loaded, and every gate is closed. Returns the ids of what is there."""
        with self._lock:
            self.is_closing = True
            ids = list(self.board.views())
            for instance_id in ids:
                slot = self._slots[instance_id]
                slot.gate.lower(Mode.OFF)
                self.board.refresh(slot)
            return ids

    def update(self, row: Row) -> None:
        with self.changing():
            slot = self._slots.get(row.id)
            if slot is not None and slot.is_occupied:
                slot.gate.row = row
                self.board.refresh(slot)

    def lower(self, instance_id: str, mode: Mode) -> Slot | None:
        with self.changing():
            slot = self._slots.get(instance_id)
            if slot is not None:
                slot.gate.lower(mode)
                if lowers(slot.ceiling, mode):
                    slot.ceiling = mode
                self.board.refresh(slot)
            return slot

    def pause(self, instance_id: str, by: PausedBy, reason: str) -> Slot:
        """Raises KeyError where nothing is loaded under that id."""
        with self.changing():
            slot = self._slots.get(instance_id)
            if slot is None or slot.phase is None:
                raise KeyError(instance_id)
            if by == "operator":
                slot.gate.operator_pause = reason
            else:
                slot.gate.engine_pause = reason
            self.board.refresh(slot)
            return slot

    def resume(self, instance_id: str) -> None:
        """Raises KeyError for an id that was never loaded."""
        with self.changing():
            slot = self._slots[instance_id]
            slot.gate.operator_pause = slot.gate.engine_pause = None
            slot.consecutive = 0
            slot.retry_at_s = 0.0  # one that was not to be loaded may be
            self.board.refresh(slot)

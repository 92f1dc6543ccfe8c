"""Who ticks when: instances grouped by cadence, so that a beat visits only what is due. No time, no threads."""

from __future__ import annotations

from collections.abc import Callable

from reconciler.records.cadence import is_due
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

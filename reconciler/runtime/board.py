"""The board: a fleet as others see it, kept up to date slot by slot: views for the plan, due slots for the beat."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType

from reconciler.records.plan import Running
from reconciler.runtime.schedule import Schedule
from reconciler.runtime.slot import Slot


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

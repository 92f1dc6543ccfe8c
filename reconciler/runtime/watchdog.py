"""The watchdog: one thread that knows every hook's deadline, because it looks at every worker. O(workers)."""

from __future__ import annotations

import logging
import threading

from reconciler.clock import Clock
from reconciler.runtime.crew import Crew
from reconciler.runtime.options import HostOptions
from reconciler.runtime.progress import Progress

log = logging.getLogger(__name__)

_GLANCES = 4
"""How many times it looks within the shortest time that it must notice."""


class Watchdog:
    """Replaces workers that are busy too long, and marks instances whose hook outlived its deadline as stuck."""

    def __init__(self, clock: Clock, options: HostOptions, crew: Crew, progress: Progress) -> None:
        self._clock = clock
        self._options = options
        self._crew = crew
        self._progress = progress
        self._stopping = threading.Event()
        self._interval_s = options.patience_s / _GLANCES
        self._fault = ""
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        """True from `start` until it is stopped, unless its thread ended by itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._clock.wait(self._stopping, self._interval_s):
            self._survive_looking()

    def _survive_looking(self) -> None:
        """The boundary to the engine's own faults, and to a system without threads to hire: told once, not per look."""
        try:
            self.look()
        except Exception as error:
            fault = repr(error)
            if fault != self._fault:
                log.exception("the watchdog failed and will look again")
            self._fault = fault
        else:
            self._fault = ""

    def look(self) -> None:
        """One glance at every worker; glances take turns."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        now_s = self._clock.monotonic()
        overdue = 0
        for call in self._crew.calls():
            if call.over:
                continue
            if now_s - call.started_s >= self._options.patience_s:
                overdue += 1
            if now_s >= call.deadline_s:
                self._progress.mark_stuck(call, now_s)
        self._keep_hands_free(overdue)

    def _keep_hands_free(self, overdue: int) -> None:
        """As many workers as ever beside the overdue ones, up to the bound; spares go when the rush is over."""
        lacking = min(self._options.workers + overdue, self._options.max_workers) - self._crew.size
        if lacking > 0:
            self._crew.hire(lacking)
        elif lacking < 0 and self._crew.is_idle:
            self._crew.dismiss(-lacking)

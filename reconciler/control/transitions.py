"""Since when the conditions of instances are as they are: noted whenever somebody looks, and by a look once a beat."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container

from reconciler.clock import Clock, iso
from reconciler.records.status import ConditionType

log = logging.getLogger(__name__)


class Transitions:
    """When each condition's status or reason was first seen as it is now. Of this process; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, ConditionType], tuple[bool, str, str]] = {}

    def since(self, instance_id: str, name: ConditionType, status: bool, reason: str) -> str:
        """Since when it is so (ISO 8601); now, where it was otherwise when it was looked at last."""
        with self._lock:
            known = self._known.get((instance_id, name))
            if known is None or known[:2] != (status, reason):
                known = self._known[instance_id, name] = (status, reason, iso(self._clock.time()))
            return known[2]

    def forget_but(self, ids: Container[str]) -> None:
        """Keep those of `ids` only."""
        with self._lock:
            for key in [key for key in self._known if key[0] not in ids]:
                del self._known[key]


class Lookout:
    """Calls `look` every `interval_s`, on a thread of its own: whether beats fire or not, and off the event loop."""

    def __init__(self, clock: Clock, interval_s: float, look: Callable[[], None]) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._look = look
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lookout", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        """True from `start` until it is stopped, unless its thread ended by itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Look no more. Returns once a look under way has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._clock.wait(self._stopping, self._interval_s):
            self._look_surviving()

    def _look_surviving(self) -> None:
        """The boundary that keeps it looking: only times of transitions depend on it, so a failure is logged."""
        try:
            self._look()
        except Exception:
            log.exception("what changed could not be looked at")

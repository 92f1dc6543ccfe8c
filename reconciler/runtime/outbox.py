"""Reports on their way to whoever listens: one at a time, in the order they were put in. Thread-safe."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from reconciler.runtime.outcome import Report


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

"""How many orders an account may still send this minute, over all its instances."""

from __future__ import annotations

import threading
from collections import deque

from reconciler.clock import Clock

_MINUTE_S = 60.0


class OrderRate:
    """Counts orders handed over per account. Thread-safe. Starts empty with the process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent_s: dict[str, deque[float]] = {}

    def take(self, account_id: str, most: int | None) -> bool:
        """Count one order, where fewer than `most` (None: any number) were sent in the last minute."""
        if most is None:
            return True
        now_s = self._clock.monotonic()
        with self._lock:
            sent = self._sent_s.setdefault(account_id, deque())
            while sent and sent[0] <= now_s - _MINUTE_S:
                sent.popleft()
            if len(sent) >= most:
                return False
            sent.append(now_s)
            return True

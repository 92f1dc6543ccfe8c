"""How many orders an account may still send this minute, over all its instances."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from datetime import datetime, timedelta

from reconciler.clock import Clock, utc

_MINUTE_S = 60.0
MINUTE = timedelta(seconds=_MINUTE_S)


class OrderRate:
    """Counts what is handed over, per account, over the last sixty seconds. Thread-safe.

    Cancels go before orders: they use the same minute up, and are never kept waiting for it.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent_s: dict[str, deque[float]] = {}

    def take(self, account_id: str, most: int | None) -> bool:
        """Count one order, where fewer than `most` (None: any number) calls were counted in the last minute."""
        with self._lock:
            sent = self._last_minute(account_id)
            if most is not None and len(sent) >= most:
                return False
            sent.append(self._clock.monotonic())
            return True

    def remember(self, sent: Iterable[tuple[str, datetime]]) -> None:
        """Take up where the last engine stopped: account and time of what it sent, oldest first. Before all else."""
        now, now_s = utc(self._clock.time()), self._clock.monotonic()
        with self._lock:
            for account_id, at in sent:
                ago_s = max(0.0, (now - at).total_seconds())
                self._sent_s.setdefault(account_id, deque()).append(now_s - ago_s)

    def take_cancel(self, account_id: str) -> None:
        """Count one cancel. It may always leave."""
        with self._lock:
            self._last_minute(account_id).append(self._clock.monotonic())

    def give_back(self, account_id: str) -> None:
        """What was taken last was certainly not sent after all."""
        with self._lock:
            sent = self._last_minute(account_id)
            if sent:
                sent.pop()

    def _last_minute(self, account_id: str) -> deque[float]:
        """The times of what was counted, oldest first, without what is too long ago. The caller holds the lock."""
        sent = self._sent_s.setdefault(account_id, deque())
        since_s = self._clock.monotonic() - _MINUTE_S
        while sent and sent[0] <= since_s:
            sent.popleft()
        return sent

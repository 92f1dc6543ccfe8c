"""The last lines of one instance's log: bounded in number and length. No I/O."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, NamedTuple

from reconciler.clock import iso
from reconciler.records.text import storable

MESSAGE_LENGTH = 1_000
"""Characters of a message that are kept."""


class LogLine(NamedTuple):
    """One line. `at_s` is seconds since the epoch, `level` one of info, warning, error."""

    at_s: float
    level: str
    message: str

    def to_json(self) -> dict[str, Any]:
        return {"at": iso(self.at_s), "level": self.level, "message": self.message}


class LogRing:
    """Keeps the last `length` lines. Thread-safe; costs next to nothing until the first line."""

    __slots__ = ("_length", "_lines", "_lock")

    def __init__(self, length: int) -> None:
        self._length = length
        self._lines: deque[LogLine] | None = None
        self._lock = threading.Lock()

    def append(self, at_s: float, level: str, message: str) -> None:
        """Add a line; the oldest falls out, a long message is cut, and what UTF-8 cannot hold is escaped."""
        message = storable(message)
        if len(message) > MESSAGE_LENGTH:
            message = message[: MESSAGE_LENGTH - 1] + "…"
        with self._lock:
            if self._lines is None:
                self._lines = deque(maxlen=self._length)
            self._lines.append(LogLine(at_s, level, message))

    def newest_first(self) -> tuple[LogLine, ...]:
        with self._lock:
            return () if self._lines is None else tuple(reversed(self._lines))

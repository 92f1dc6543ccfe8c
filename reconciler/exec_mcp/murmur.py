"""What a server on standard input and output writes to its standard error: marked, bounded, its last lines kept."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from reconciler.clock import Clock

log = logging.getLogger(__name__)


_KEPT: Final = 20


_A_MINUTE: Final = 60
"""So many lines a minute go to the log; of the others only how many there were."""


_MINUTE_S: Final = 60.0


_LONGEST: Final = 500


class Murmur:
    """On the main loop; `last` from any thread. `scrubbed` takes secrets out of a text."""

    def __init__(self, server: str, clock: Clock, scrubbed: Callable[[str], str]) -> None:
        self._server = server
        self._clock = clock
        self._scrubbed = scrubbed
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._since_s = -_MINUTE_S
        self._told = 0
        self._left_out = 0

    def heard(self, line: str) -> None:
        line = self._scrubbed(line.rstrip())[:_LONGEST]
        if not line:
            return
        self._lines.append(line)
        now_s = self._clock.monotonic()
        if now_s - self._since_s >= _MINUTE_S:
            if self._left_out:
                log.info("exec-mcp server wrote more", extra={"server": self._server, "lines": self._left_out})
            self._since_s, self._told, self._left_out = now_s, 0, 0
        if self._told >= _A_MINUTE:
            self._left_out += 1
            return
        self._told += 1
        log.info("exec-mcp server wrote", extra={"server": self._server, "line": line})

    def last(self) -> tuple[str, ...]:
        return tuple(self._lines)

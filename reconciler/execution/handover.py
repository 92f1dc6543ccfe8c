"""The handing over of one call to the transport, seen from both threads. Holds no I/O.

An order may leave only while its gate's lock is held, so the worker that holds it must learn when the
main loop has written the order; and whoever gives up must know whether anything left.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar


class Handover:
    """One call on its way. Decided exactly once: either the loop claims it and writes it, or it is never written.

    `is_possibly_sent` is False only while it is certain that nothing was, or ever will be, sent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._claimed = False
        self._abandoned = False
        self.not_delivered = ""
        """Why it is certain that the server did not act, although the call was on its way."""
        self.trouble = ""
        """What went wrong on the way, where that leaves it open whether the server acted."""
        self.limited: str | None = None
        """What the server, asked too often, said of when to ask again (`Retry-After`, which may be empty)."""

    @property
    def is_possibly_sent(self) -> bool:
        return self._claimed and not self.not_delivered

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned

    @property
    def is_open(self) -> bool:
        """True while it can still be claimed."""
        return not (self._claimed or self._abandoned or self._over.is_set())

    def claim(self) -> bool:
        """Called on the loop, right before writing, when nothing is left to wait for. True once, for the first.

        False where the worker has given up, or the call came to its end otherwise.
        """
        with self._lock:
            first = self.is_open
            self._claimed = self._claimed or first
            return first

    def abandon(self) -> bool:
        """Called by the worker that waits no longer; True where it is now certain that nothing will be sent."""
        with self._lock:
            if not self._claimed:
                self._abandoned = True
            return self._abandoned

    def finish(self) -> None:
        """The call was written, or never will be. Idempotent."""
        with self._lock:
            self._over.set()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until `finish`; False where `timeout_s` passed first."""
        return self._over.wait(timeout_s)


CURRENT: ContextVar[Handover | None] = ContextVar("reconciler_handover", default=None)
"""The call that the running task makes. The SDK carries the context along to the task that does the HTTP."""

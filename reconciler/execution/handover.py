"""The handing over of one call to the transport, seen from both threads. Holds no I/O.

An order may leave only while its gate's lock is held, so the worker that holds it must learn when the
main loop has handed the order to the transport; and whoever gives up must know whether anything left.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar


class Handover:
    """One call on its way. Decided exactly once: either the loop claims it and sends, or the worker abandons it.

    `is_possibly_sent` is False only while it is certain that nothing was, or ever will be, sent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._claimed = False
        self._abandoned = False
        self._posted = False
        self.not_delivered = ""
        """Why it is certain that the server did not act, although the call was handed to the transport."""
        self.trouble = ""
        """What went wrong on the way, where that leaves it open whether the server acted."""

    @property
    def is_possibly_sent(self) -> bool:
        return self._claimed and not self.not_delivered

    def claim(self) -> bool:
        """Called on the loop, right before writing; False where the worker has given up."""
        with self._lock:
            if self._abandoned:
                return False
            self._claimed = True
            return True

    def abandon(self) -> bool:
        """Called by the worker that waits no longer; True where it is now certain that nothing will be sent."""
        with self._lock:
            if not self._claimed:
                self._abandoned = True
            return self._abandoned

    def post(self) -> bool:
        """Called for each HTTP request that carries the call; False for all but the first."""
        with self._lock:
            first = not self._posted
            self._posted = True
            return first

    def finish(self) -> None:
        """The call was handed to the transport, or never will be. Idempotent."""
        self._over.set()

    def wait(self, timeout_s: float) -> bool:
        """Block until `finish`; False where `timeout_s` passed first."""
        return self._over.wait(timeout_s)


CURRENT: ContextVar[Handover | None] = ContextVar("reconciler_handover", default=None)
"""The call that the running task makes. The SDK carries the context along to the task that does the HTTP."""

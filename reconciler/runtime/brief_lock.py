"""A lock for what takes microseconds: cheap for many threads of one interpreter that take it all the time."""

from __future__ import annotations

import threading

_GLANCE_S = 1e-6


class BriefLock:
    """A lock, not reentrant, to hold for a few microseconds and never while blocking.

    An ordinary lock is handed to a thread that waits for it while another one runs the interpreter. That one
    soon wants the lock too and has to stop, and from then on all of them take turns, one switch of threads per
    section. Who finds this one taken lets go of it, and takes it only when it gets to run.
    """

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        while not self._lock.acquire(timeout=_GLANCE_S):
            pass

    def __exit__(self, *raised: object) -> None:
        self._lock.release()

"""How worker threads call coroutines on the main loop: submit, wait with a time-out, cancelled at shutdown."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from reconciler.errors import ExecUnavailable, ExecUnknown

T = TypeVar("T")

GRACE_S = 1.0
"""How much longer than the call itself a thread waits for it, so that the call's own error reaches it."""


class Bridge:
    """From any thread to the loop it was created on.

    Work is given as a function that makes the coroutine, so that none is made where the loop is gone.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._closed = False

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Run `work` on the loop. Raises ExecUnavailable after `close`: nothing was started."""
        if threading.get_ident() == self._loop_thread:
            raise RuntimeError("the main loop cannot wait for itself: call from a worker thread")
        with self._lock:
            if self._closed:
                raise ExecUnavailable("the engine is stopping")
            future = asyncio.run_coroutine_threadsafe(_run(work), self._loop)
            self._running.add(future)
        future.add_done_callback(self._forget)
        return future

    def call(self, work: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        """`start`, and wait for the result. Raises ExecUnknown after `timeout_s`, ExecUnavailable at shutdown."""
        return wait(self.start(work), timeout_s)

    def close(self) -> None:
        """Cancel what runs, refuse what comes. Threads that wait are released at once."""
        with self._lock:
            self._closed = True
            running = tuple(self._running)
        for future in running:
            future.cancel()

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._running.discard(future)


def wait(future: Future[T], timeout_s: float) -> T:
    """The result of `future`. Raises ExecUnknown after `timeout_s`, ExecUnavailable where it was cancelled."""
    try:
        return future.result(timeout_s)
    except CancelledError:
        raise ExecUnavailable("the engine is stopping") from None
    except TimeoutError:
        if future.done():
            raise
        future.cancel()
        raise ExecUnknown(f"no answer within {timeout_s:g} s") from None


async def _run(work: Callable[[], Awaitable[T]]) -> T:
    return await work()

"""How those who may wait call coroutines: submit, wait with a time-out, cancelled at shutdown.

A `Handover` decides, once, whether a call is still on its way to being sent, or never will be.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from reconciler.errors import ExecUnavailable, ExecUnknown, ReconcilerError

T = TypeVar("T")

GRACE_S = 1.0
"""How much longer than the call itself a thread waits for it, so that the call's own error reaches it."""


class Bridge(Protocol):
    """From who may wait to where coroutines run: a loop on a thread of its own, or inline.

    Work is given as a function that makes the coroutine, so that none is made where the loop is gone.
    """

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """Have `work` run. Raises ExecUnavailable after `close`: nothing was started."""
        ...

    def call(self, work: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        """`start`, and wait for the result. Raises ExecUnknown after `timeout_s`, ExecUnavailable at shutdown."""
        ...

    def close(self) -> None:
        """Cancel what runs, refuse what comes. Who waits is released at once."""
        ...


class LoopBridge:
    """Implements `Bridge`: from any thread to the loop it was created on."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._running: set[Future[Any]] = set()
        self._closed = False

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """As `Bridge.start` says, on the loop."""
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
        """As `Bridge.call` says."""
        return wait(self.start(work), timeout_s)

    def close(self) -> None:
        """As `Bridge.close` says."""
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


_MEANT = {
    "Timeout": "it took too long",
    "Read": "the connection broke before the answer was there",
    "Write": "the connection broke while it was written to",
    "Protocol": "the server broke off, or does not speak HTTP",
    "Closed": "the connection was closed",
    "Broken": "the connection was closed",
    "Connect": "it cannot be connected to",
}
"""What errors of transports mean that say nothing themselves, by a part of their names."""


def flat(error: BaseException) -> str:
    """The first real error inside nested exception groups, as one line; our own speak for themselves.

    Of one that says nothing, what it came of says more, or what its kind means.
    """
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kind, said, cause = type(error).__name__, str(error), error.__cause__ or error.__context__
    while not said and cause is not None:
        said, cause = str(cause), cause.__cause__ or cause.__context__
    said = said or next((words for part, words in _MEANT.items() if part in kind), "it says no more")
    return said if isinstance(error, ReconcilerError) else f"{kind}: {said}"

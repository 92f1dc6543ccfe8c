"""How those who may wait call coroutines: submit, wait with a time-out, cancelled at shutdown; or inline, on the spot.

A `Handover` decides, once, whether a call is still on its way to being sent, or never will be. The last look at what
may forbid it is taken at that moment; whoever forbids something waits, holding nothing, for the calls that were claimed
before and are still being written.
"""

from __future__ import annotations

import asyncio
import threading
from asyncio import events, tasks
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
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

    def result(self, future: Future[T]) -> T:
        """What came of something that coroutines have a part in, however long that takes."""
        ...

    async def within(self, work: Awaitable[T], timeout_s: float) -> T:
        """What `work` gives, where coroutines run. Raises ExecUnknown after `timeout_s`."""
        ...

    @property
    def claims(self) -> Claims:
        """The calls that are being written."""
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
        self._claims = Claims(self._loop_thread)

    @property
    def claims(self) -> Claims:
        return self._claims

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """As `Bridge.start` says, on the loop; from any thread."""
        with self._lock:
            if self._closed:
                raise ExecUnavailable("the engine is stopping")
            future = asyncio.run_coroutine_threadsafe(_run(work), self._loop)
            self._running.add(future)
        future.add_done_callback(self._forget)
        return future

    def call(self, work: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        """As `Bridge.call` says."""
        self._require_worker()
        return wait(self.start(work), timeout_s)

    def result(self, future: Future[T]) -> T:
        """As `Bridge.result` says."""
        self._require_worker()
        return future.result()

    async def within(self, work: Awaitable[T], timeout_s: float) -> T:
        """As `Bridge.within` says."""
        try:
            async with asyncio.timeout(timeout_s):
                return await work
        except TimeoutError:
            raise ExecUnknown(f"no answer within {timeout_s:g} s") from None

    def close(self) -> None:
        """As `Bridge.close` says."""
        with self._lock:
            self._closed = True
            running = tuple(self._running)
        for future in running:
            future.cancel()

    def _require_worker(self) -> None:
        if threading.get_ident() == self._loop_thread:
            raise RuntimeError("the main loop cannot wait for itself: call from a worker thread")

    def _forget(self, future: Future[Any]) -> None:
        with self._lock:
            self._running.discard(future)


class InlineLoop:
    """An event loop without time, files or threads: what is ready runs, in its order, while somebody completes a task.

    What is given to an executor is done at once. Tasks, futures, `gather` and semaphores work as in any other loop.
    """

    def __init__(self) -> None:
        self._ready: deque[asyncio.Handle] = deque()
        self._depth = 0

    def complete(self, work: Awaitable[T]) -> T:
        """Run `work` to its end, and what it set off. Raises RuntimeError where it waits for what never comes.

        May be called from within what runs here: a hook of an executor's job may ask for more.
        """
        loop: Any = self  # all that tasks and futures ask of one is here
        before, task = events._get_running_loop(), asyncio.current_task(loop) if self._depth else None
        events._set_running_loop(loop)
        if task is not None:
            tasks._leave_task(loop, task)
        self._depth += 1
        try:
            result = self._driven(work.__await__())
            while self._depth == 1 and self._ready:
                self._step()
            return result
        finally:
            self._depth -= 1
            if task is not None:
                tasks._enter_task(loop, task)
            events._set_running_loop(before)

    def _driven(self, steps: Generator[Any, Any, T]) -> T:
        while True:
            try:
                awaited = steps.send(None)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if awaited is None:  # it lets others go first
                self._step()
                continue
            awaited._asyncio_future_blocking = False
            while not awaited.done():
                if not self._step():
                    steps.close()
                    raise RuntimeError("inline, nothing can be waited for that does not come by itself")

    def _step(self) -> bool:
        if not self._ready:
            return False
        handle = self._ready.popleft()
        if not handle.cancelled():
            handle._run()
        return True

    # What tasks and futures ask of a loop.

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        loop: Any = self
        handle = asyncio.Handle(callback, args, loop, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def create_future(self) -> asyncio.Future[Any]:
        loop: Any = self
        return asyncio.Future(loop=loop)

    def create_task(
        self, work: Coroutine[Any, Any, T], *, name: str | None = None, context: Any = None
    ) -> asyncio.Task[T]:
        loop: Any = self
        return asyncio.Task(work, loop=loop, name=name, context=context)

    def run_in_executor(self, executor: Any, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Done at once, whatever it was to be done by."""
        future = self.create_future()
        try:
            future.set_result(work(*args))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody waits for must not be lost here: there is no log that a test would look at."""
        error = context.get("exception")
        raise error if isinstance(error, BaseException) else RuntimeError(context.get("message"))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._depth > 0

    def is_closed(self) -> bool:
        return False


class InlineBridge:
    """Implements `Bridge` on the calling thread: whatever is started has ended on return, so no time can pass in it."""

    def __init__(self) -> None:
        self._loop = InlineLoop()
        self._is_closed = False
        self._claims = Claims()

    @property
    def claims(self) -> Claims:
        return self._claims

    def start(self, work: Callable[[], Awaitable[T]]) -> Future[T]:
        """As `Bridge.start` says; it is done on return."""
        future: Future[T] = Future()
        try:
            future.set_result(self.call(work))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if self._is_closed:
                raise
            future.set_exception(error)
        return future

    def call(self, work: Callable[[], Awaitable[T]], timeout_s: float = 0.0) -> T:
        """As `Bridge.call` says; it takes no time."""
        if self._is_closed:
            raise ExecUnavailable("the engine is stopping")
        return self._loop.complete(work())

    def result(self, future: Future[T]) -> T:
        """As `Bridge.result` says; it is there."""
        return future.result(0)

    async def within(self, work: Awaitable[T], timeout_s: float) -> T:
        """As `Bridge.within` says; it takes no time."""
        return await work

    def close(self) -> None:
        """As `Bridge.close` says."""
        self._is_closed = True


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


class Claims:
    """The calls that are being written now, each with the id of the instance it is for. Thread-safe.

    No lock is held from a last look to its writing. A call first enters here and then looks; whoever closes something
    first closes it and then waits for whoever is in here: either the one sees that it is closed, or it is waited for.
    """

    def __init__(self, loop_thread: int | None = None) -> None:
        self._loop_thread = loop_thread
        self._changed = threading.Condition()
        self._writing: dict[object, str] = {}

    def enter(self, call: object, instance_id: str) -> None:
        """Before the last look at whether `call` may leave."""
        with self._changed:
            self._writing[call] = instance_id

    def leave(self, call: object) -> None:
        """It was written, or never will be. Idempotent."""
        with self._changed:
            if self._writing.pop(call, None) is not None:
                self._changed.notify_all()

    def writing(self, instance_id: str = "") -> bool:
        """Whether there is anything to wait for."""
        with self._changed:
            return any(instance_id in ("", owner) for owner in self._writing.values())

    def wait(self, instance_id: str = "") -> None:
        """Return once what was entered before, for that instance or for any, has left. Hold no lock meanwhile.

        Never on the loop's thread, which does the writing.
        """
        with self._changed:
            before = [call for call, owner in self._writing.items() if instance_id in ("", owner)]
            if before and threading.get_ident() == self._loop_thread:
                raise RuntimeError("the main loop cannot wait for what it is writing: call from another thread")
            while any(call in self._writing for call in before):
                self._changed.wait()


class Look(Protocol):
    """The last look at whether a call may leave. Waits for nothing: not for the disk, not for anybody's lock."""

    def passes(self) -> bool:
        """Enter the claims, look, and say whether the call may be written now."""
        ...

    def over(self) -> None:
        """Leave the claims: it was written, or never will be. Idempotent."""
        ...


class Handover:
    """One call on its way. Decided exactly once: either the loop claims it and writes it, or it is never written.

    `is_possibly_sent` is False only while it is certain that nothing was, or ever will be, sent.
    """

    def __init__(self, look: Look | None = None) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._over = False
        self._claimed = False
        self._abandoned = False
        self.on_withheld: Callable[[], object] = lambda: None
        """Called on the loop where the call could not be claimed when it was to be written: there will be no answer."""
        self.not_delivered = ""
        """Why it is certain that the server did not act, although the call was on its way."""
        self.trouble = ""
        """What went wrong on the way, where that leaves it open whether the server acted."""
        self.limited: str | None = None
        """What the server, asked too often, said of when to ask again (`Retry-After`, which may be empty)."""
        self.arrived: Any = None
        """An answer that is there, and that the SDK is to read."""
        self.request_id: int | None = None
        """By what the server knows it that wants to be told when nobody waits for it any more."""

    @property
    def is_possibly_sent(self) -> bool:
        return self._claimed and not self.not_delivered

    @property
    def is_abandoned(self) -> bool:
        return self._abandoned

    @property
    def is_open(self) -> bool:
        """True while it can still be claimed."""
        return not (self._claimed or self._abandoned or self._over)

    def ahead(self) -> Handover:
        """That of a call that is made before this one, and may leave only where this one may, too."""
        return Handover(self._look)

    def claim(self) -> bool:
        """Called on the loop, right before writing, when nothing is left to wait for. True once, for the first.

        False where it may not leave any more, where nobody waits for it, or where it came to its end otherwise.
        """
        if not self.is_open:
            return False
        if self._look is not None and not self._look.passes():
            self._look.over()
            self.abandon()
            return False
        with self._lock:
            first = self.is_open
            self._claimed = self._claimed or first
        if not first and self._look is not None:
            self._look.over()
        return first

    def lost(self) -> None:
        """What came before it was lost: it may have been sent with that, and is not sent any more."""
        with self._lock:
            self._claimed = True

    def abandon(self) -> bool:
        """Called by whoever waits no longer; True where it is now certain that nothing will be sent."""
        with self._lock:
            if not self._claimed:
                self._abandoned = True
            return self._abandoned

    def finish(self) -> None:
        """The call was written, or never will be. Idempotent."""
        with self._lock:
            self._over = True
        if self._look is not None:
            self._look.over()


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

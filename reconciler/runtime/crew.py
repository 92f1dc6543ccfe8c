"""The crew: worker threads that drain one queue of slots, and the claim that keeps a slot to one of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

from reconciler.runtime.hook import HookCall
from reconciler.runtime.slot import Slot

log = logging.getLogger(__name__)


class Worker:
    """One thread of the crew. `call` is the hook it is in, None between hooks."""

    __slots__ = ("call", "thread")

    def __init__(self) -> None:
        self.call: HookCall | None = None
        self.thread = 0


class Crew:
    """Works on slots, each on one thread at a time. A slot in the queue is the whole job: nothing is made per tick."""

    def __init__(self, work: Callable[[Worker, Slot], None]) -> None:
        self._work = work
        self._queue: SimpleQueue[Slot | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._workers: dict[Worker, None] = {}
        self._leaving = 0

    def offer(self, slot: Slot) -> None:
        """Have somebody work on `slot`, unless somebody already does and will look again when done."""
        if slot.claim.acquire(False):
            self._queue.put(slot)

    def hire(self, count: int) -> None:
        """Start `count` more workers. Daemons: one that is stuck for ever does not keep the process alive."""
        for _ in range(count):
            worker = Worker()
            with self._lock:
                self._workers[worker] = None
            threading.Thread(target=self._run, args=(worker,), name="worker", daemon=True).start()

    def dismiss(self, count: int) -> None:
        """Let `count` workers go, each as soon as it has nothing else to do."""
        with self._lock:
            self._leaving += count
        for _ in range(count):
            self._queue.put(None)

    @property
    def size(self) -> int:
        """How many workers there are, those already dismissed left out."""
        with self._lock:
            return len(self._workers) - self._leaving

    @property
    def is_idle(self) -> bool:
        """True where nothing waits for a worker."""
        return self._queue.empty()

    def workers(self) -> list[Worker]:
        with self._lock:
            return list(self._workers)

    def _run(self, worker: Worker) -> None:
        worker.thread = threading.get_ident()
        while not self._drain(worker):
            pass
        with self._lock:
            self._leaving -= 1
            del self._workers[worker]

    def _drain(self, worker: Worker) -> bool:
        """Work until dismissed (True), or until the engine itself fails (False): the boundary to its own faults.

        The worker outlives them, and the slot rests until something is wanted of it again.
        """
        get, work = self._queue.get, self._work
        slot: Slot | None = None
        try:
            while (slot := get()) is not None:
                work(worker, slot)
                slot.claim.release()
                if slot.beat is not None or slot.ending or slot.wanted is not None:
                    self.offer(slot)
        except Exception:
            assert slot is not None
            log.exception("the engine failed while working on an instance", extra={"id": slot.id})
            worker.call = None
            slot.beat = None
            slot.claim.release()
            return False
        return True

"""The crew: worker threads that drain one queue of slots, and the claim that keeps a slot to one of them.

The watchdog knows the deadline of every hook at work, and has a spare come where a worker is busy too long.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from reconciler.clock import Clock
from reconciler.runtime.at_work import AtWork
from reconciler.runtime.progress import Progress
from reconciler.runtime.protocol import WORKER, HostOptions
from reconciler.runtime.slot import HookCall, Slot

log = logging.getLogger(__name__)


class Crew:
    """Works on slots, each on one thread at a time. A slot in the queue is the whole job: nothing is made per tick.

    A slot is claimed under the bell's lock, and set free without it: whoever wants something of a slot writes
    that down before trying to claim it, and whoever sets it free looks afterwards whether something is wanted.
    Taking the next slot needs no lock either; only a worker that finds nothing waits for the bell.

    `failed` hears what `work` raised, always a fault of the engine's own: hooks have a boundary of theirs.
    """

    def __init__(
        self,
        work: Callable[[HookCall, Slot], None],
        failed: Callable[[HookCall, Slot, BaseException], None],
        monotonic: Callable[[], float],
        at_work: AtWork | None = None,
    ) -> None:
        self._work = work
        self._failed = failed
        self._monotonic = monotonic
        self._at_work = at_work or AtWork()
        self._queue: deque[Slot | None] = deque()
        self._bell = threading.Condition(threading.Lock())
        self._lock = threading.Lock()
        self._calls: dict[HookCall, None] = {}
        self._size = 0

    def offer(self, slot: Slot) -> None:
        """Have somebody work on `slot`, unless somebody already does and will look again when done."""
        with self._bell:
            if not slot.claimed:
                slot.claimed = True
                self._queue.append(slot)
                self._bell.notify()

    def offer_ticks(self, due: Sequence[Slot], beat: int) -> int:
        """Have all that is due ticked for `beat`; what is still at its last tick misses it. Returns how many do."""
        missed, now_s = 0, self._monotonic()
        append = self._queue.append
        with self._bell:
            for slot in due:
                if slot.beat is not None:
                    slot.count_missed(now_s)
                    missed += 1
                    continue
                slot.beat = beat
                if not slot.claimed:
                    slot.claimed = True
                    append(slot)
            self._bell.notify(len(due))
        return missed

    def hire(self, count: int) -> None:
        """Start `count` more workers. Raises RuntimeError where the system gives no more threads.

        Daemons: one that is stuck for ever does not keep the process alive.
        """
        for _ in range(count):
            threading.Thread(target=self._run, name=WORKER, daemon=True).start()
            with self._lock:
                self._size += 1

    def dismiss(self, count: int) -> None:
        """Let `count` workers go, each as soon as it has nothing else to do."""
        with self._lock:
            self._size -= count
        with self._bell:
            self._queue.extend([None] * count)
            self._bell.notify(count)

    @property
    def size(self) -> int:
        """How many workers there are, those already dismissed left out."""
        with self._lock:
            return self._size

    @property
    def is_idle(self) -> bool:
        """True where nothing waits for a worker."""
        return not self._queue

    def calls(self) -> list[HookCall]:
        """What each worker is at, or was at last."""
        with self._lock:
            return list(self._calls)

    def _run(self) -> None:
        place = self._at_work.place()
        self._at_work.settle(place)
        call = HookCall(threading.get_ident(), place)
        with self._lock:
            self._calls[call] = None
        self._drain(call)
        with self._lock:
            del self._calls[call]
        self._at_work.leave(place)

    def _drain(self, call: HookCall) -> None:
        """Work until dismissed. The boundary to the engine's own faults: a worker outlives them."""
        take, work = self._queue.popleft, self._work
        call.ended_s = self._monotonic()
        while True:
            try:
                slot = take()
            except IndexError:
                self._wait()
                call.ended_s = self._monotonic()
                continue
            if slot is None:
                return
            try:
                work(call, slot)
            except BaseException as error:  # an exit too: the others need this worker
                log.exception("the engine failed while working on an instance", extra={"id": slot.id})
                self._outlive(call, slot, error)
            slot.claimed = False
            if slot.beat is not None or slot.ending or slot.wanted is not None:
                self.offer(slot)

    def _outlive(self, call: HookCall, slot: Slot, error: BaseException) -> None:
        """Whatever the engine failed at is over. What is wanted of the slot next is done all the same."""
        call.over = True
        call.ended_s = self._monotonic()
        slot.beat = None
        try:
            self._failed(call, slot, error)
        except BaseException:
            log.exception("the engine failed to say that it failed", extra={"id": slot.id})

    def _wait(self) -> None:
        """Until there is something in the queue."""
        with self._bell:
            while not self._queue:
                self._bell.wait()


class InlineCrew:
    """Works on slots on the thread that offers them, one after the other; the same claims hold.

    `renew` is called before each: whatever hooks are given to be bounded by begins anew.
    """

    def __init__(
        self,
        work: Callable[[HookCall, Slot], None],
        failed: Callable[[HookCall, Slot, BaseException], None],
        monotonic: Callable[[], float],
        place: int,
        renew: Callable[[], object],
    ) -> None:
        self._work = work
        self._failed = failed
        self._monotonic = monotonic
        self._renew = renew
        self._queue: deque[Slot] = deque()
        self._call = HookCall(threading.get_ident(), place)
        self._is_at_work = False

    def offer(self, slot: Slot) -> None:
        """As `Crew.offer`; done on return, unless this is asked for by what is being worked on."""
        if not slot.claimed:
            slot.claimed = True
            self._queue.append(slot)
            self._drain()

    def offer_ticks(self, due: Sequence[Slot], beat: int) -> int:
        """As `Crew.offer_ticks`, in the order of the ids. Nobody misses one."""
        for slot in due if len(due) == 1 else sorted(due, key=_id):
            slot.beat = beat
            if not slot.claimed:
                slot.claimed = True
                self._queue.append(slot)
        self._drain()
        return 0

    def calls(self) -> list[HookCall]:
        return [self._call]

    def _drain(self) -> None:
        """The boundary to the engine's own faults, as that of `Crew` is."""
        if self._is_at_work:
            return
        self._is_at_work = True
        call, queue = self._call, self._queue
        try:
            while queue:
                slot = queue.popleft()
                call.ended_s = self._monotonic()
                self._renew()
                try:
                    self._work(call, slot)
                except Exception as error:
                    log.exception("the engine failed while working on an instance", extra={"id": slot.id})
                    call.over = True
                    slot.beat = None
                    self._failed(call, slot, error)
                if slot.beat is not None or slot.ending or slot.wanted is not None:
                    queue.append(slot)  # claimed still: something more is wanted of it
                else:
                    slot.claimed = False
        finally:
            self._is_at_work = False


_id = attrgetter("id")

_GLANCES = 4
"""How many times it looks within the shortest time that it must notice."""


class Watchdog:
    """Replaces workers that are busy too long, and marks instances whose hook outlived its deadline as stuck."""

    def __init__(self, clock: Clock, options: HostOptions, crew: Crew, progress: Progress) -> None:
        self._clock = clock
        self._options = options
        self._crew = crew
        self._progress = progress
        self._stopping = threading.Event()
        self._interval_s = options.patience_s / _GLANCES
        self._fault = ""
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        """True from `start` until it is stopped, unless its thread ended by itself."""
        return self._thread.is_alive()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._clock.wait(self._stopping, self._interval_s):
            self._survive_looking()

    def _survive_looking(self) -> None:
        """The boundary to the engine's own faults, and to a system without threads to hire: told once, not per look."""
        try:
            self.look()
        except Exception as error:
            fault = repr(error)
            if fault != self._fault:
                log.exception("the watchdog failed and will look again")
            self._fault = fault
        else:
            self._fault = ""

    def look(self) -> None:
        """One glance at every worker; glances take turns."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        now_s = self._clock.monotonic()
        overdue = 0
        for call in self._crew.calls():
            if call.over:
                continue
            if now_s - call.started_s >= self._options.patience_s:
                overdue += 1
            if now_s >= call.deadline_s:
                self._progress.mark_stuck(call, now_s)
        self._keep_hands_free(overdue)

    def _keep_hands_free(self, overdue: int) -> None:
        """As many workers as ever beside the overdue ones, up to the bound; spares go when the rush is over."""
        lacking = min(self._options.workers + overdue, self._options.max_workers) - self._crew.size
        if lacking > 0:
            self._crew.hire(lacking)
        elif lacking < 0 and self._crew.is_idle:
            self._crew.dismiss(-lacking)

"""The crew: worker threads that drain one queue of slots, and the claim that keeps a slot to one of them.

The watchdog knows the deadline of every hook at work, and has a spare come where a worker is busy too long.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from reconciler.clock import Clock
from reconciler.runtime.process import AtWork, may_step_aside
from reconciler.runtime.progress import Progress
from reconciler.runtime.protocol import WORKER, HostOptions
from reconciler.runtime.slot import HookCall, Slot

log = logging.getLogger(__name__)


_MOST: Final = HostOptions().max_workers
_GLANCE_S: Final = 0.002
_BRISK: Final = 10
"""So many slots done within a glance: hooks are short, and there is nothing to be won by two at once."""
_BESIDE: Final = 200
"""After so many slots who works beside somebody looks again whether that is of use."""


class Crew:
    """Works on slots, each on one thread at a time. A slot in the queue is the whole job: nothing is made per tick.

    A slot is claimed under the bell's lock, and set free without it: whoever wants something of a slot writes
    that down before trying to claim it, and whoever sets it free looks afterwards whether something is wanted.
    Taking the next slot needs no lock either; only a worker that finds nothing, or no place, waits for the bell.

    So many places there are as workers were hired, and one more for each that is overdue. Who waits for the world in a
    context call occupies none: where something is queued a spare has its place at once, until there are `most` workers.

    As long as hooks are short, one worker has the turn and the others of its beat stand by: they could only take the
    interpreter from each other, and would all together keep it from the event loop. Who stands by looks at every
    `_GLANCE_S` whether the queue still moves, and works beside whoever is held up.

    `failed` hears what `work` raised, always a fault of the engine's own: hooks have a boundary of theirs.
    """

    def __init__(
        self,
        work: Callable[[HookCall, Slot], None],
        failed: Callable[[HookCall, Slot, BaseException], None],
        monotonic: Callable[[], float],
        at_work: AtWork | None = None,
        most: int = _MOST,
    ) -> None:
        self._work = work
        self._failed = failed
        self._monotonic = monotonic
        self._at_work = at_work or AtWork()
        self._queue: deque[Slot | None] = deque()
        self._bell = threading.Condition(threading.Lock())
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._standby = threading.Lock()
        self._done = 0
        """Slots that are done, roughly: whoever counts takes no lock."""
        self._calls: dict[HookCall, None] = {}
        # Under the bell's lock:
        self._places = 0
        self._most = most
        self._size = 0
        self._aside = 0
        self._parked = 0  # of those that wait for the bell, who has not been called

    def offer(self, slot: Slot) -> None:
        """Have somebody work on `slot`, unless somebody already does and will look again when done."""
        self.offer_all((slot,))

    def offer_all(self, slots: Sequence[Slot]) -> None:
        """`offer` each of them."""
        with self._bell:
            unclaimed = [slot for slot in slots if not slot.claimed]
            for slot in unclaimed:
                slot.claimed = True
                self._put(slot)
            lacking = self._call_workers() if unclaimed else 0
        self._start_spares(lacking)

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
            lacking = self._call_workers()
        self._start_spares(lacking)
        return missed

    def hire(self, count: int) -> None:
        """Start `count` more workers, each with a place. Raises RuntimeError where the system gives no more threads.

        Daemons: one that is stuck for ever does not keep the process alive.
        """
        with self._bell:
            self._size += count
            self._places += count
        try:
            self._start(count)
        except BaseException:
            self.allow(self._places - count)
            raise

    def dismiss(self, count: int) -> None:
        """Let `count` workers go, each as soon as it has nothing else to do."""
        with self._bell:
            self._size -= count
            self._places = min(self._places, self._size)
            self._queue.extend([None] * count)
            self._ring(count)

    def allow(self, places: int) -> None:
        """So many may be at work at once from now on, who waits not counted. Raises RuntimeError as `hire` does."""
        with self._bell:
            self._places = places
            lacking = self._call_workers()
        self._start(lacking)

    def step_aside(self, call: HookCall) -> bool:
        """Who is at `call` waits for the world from now on: somebody else has its place. False where it does already.

        Called on its own thread, by the strategy's code: it raises nothing.
        """
        if call.is_aside:
            return False
        with self._bell:
            call.is_aside = True
            self._aside += 1
            lacking = self._call_workers()
        self._end_turn(call)
        self._start_spares(lacking)
        return True

    def step_back(self, call: HookCall) -> None:
        """It goes on. Where there is no place left, the first who is done with a slot waits for one."""
        with self._bell:
            call.is_aside = False
            self._aside -= 1

    @property
    def size(self) -> int:
        """How many workers there are, those already dismissed left out."""
        with self._bell:
            return self._size

    @property
    def aside(self) -> int:
        """How many of them wait for the world."""
        with self._bell:
            return self._aside

    @property
    def is_idle(self) -> bool:
        """True where nothing waits for a worker."""
        return not self._queue

    def _put(self, slot: Slot) -> None:
        """At the end, but before what is due at a later beat: it was claimed when its own came. Under the lock."""
        queue, beat = self._queue, slot.beat
        at = len(queue)
        if beat is not None:
            while at and self._is_due_later(at - 1, beat):
                at -= 1
        queue.insert(at, slot)

    def _is_due_later(self, at: int, beat: int) -> bool:
        try:
            other = self._queue[at]
        except IndexError:  # workers take from the other end meanwhile, without the lock
            return True
        return other is not None and other.beat is not None and other.beat > beat

    def _call_workers(self) -> int:
        """Call as many of those that wait as there are free places and slots; returns how many are lacking, who count
        as there already. Under the lock."""
        wanted = min(len(self._queue), self._places - self._busy())
        if wanted <= 0:
            return 0
        lacking = max(0, min(wanted - self._ring(wanted), self._most - self._size))
        self._size += lacking
        return lacking

    def _ring(self, count: int) -> int:
        """Have up to `count` of those that wait look; how many there were. Under the lock."""
        called = min(count, self._parked)
        if called:
            self._parked -= called
            self._bell.notify(called)
        return called

    def _busy(self) -> int:
        """How many occupy a place, or are about to look for one. Under the lock."""
        return self._size - self._parked - self._aside

    def _start_spares(self, count: int) -> None:
        """As `_start`, for whom it is no concern where there are none: the watchdog tries again, and tells."""
        if count:
            with suppress(RuntimeError):
                self._start(count)

    def _start(self, count: int) -> None:
        """Start what is counted already."""
        for started in range(count):
            try:
                threading.Thread(target=self._run, name=WORKER, daemon=True).start()
            except BaseException:
                with self._bell:
                    self._size -= count - started
                raise

    def calls(self) -> list[HookCall]:
        """What each worker is at, or was at last."""
        with self._lock:
            return list(self._calls)

    def _run(self) -> None:
        place = self._at_work.place()
        self._at_work.settle(place)
        call = HookCall(threading.get_ident(), place)
        may_step_aside(lambda: self.step_aside(call), lambda: self.step_back(call))
        with self._lock:
            self._calls[call] = None
        self._drain(call)
        with self._lock:
            del self._calls[call]
        self._at_work.leave(place)

    def _drain(self, call: HookCall) -> None:
        """Work until dismissed. The boundary to the engine's own faults: a worker outlives them."""
        take, work = self._queue.popleft, self._work
        self._wait(call)
        look_at = self._done + _BESIDE
        while True:
            try:
                slot = take()
            except IndexError:
                self._wait(call)
                look_at = self._done + _BESIDE
                continue
            if slot is None:
                self._end_turn(call)
                with self._bell:
                    self._ring(1)  # it may have been called to a slot, and leaves
                return
            try:
                work(call, slot)
            except BaseException as error:  # an exit too: the others need this worker
                log.exception("the engine failed while working on an instance", extra={"id": slot.id})
                self._outlive(call, slot, error)
            slot.claimed = False
            if slot.beat is not None or slot.ending or slot.wanted is not None or slot.undrawn:
                self.offer(slot)
            self._done = done = self._done + 1
            if self._size > self._places or (done >= look_at and not call.has_turn):  # there are spares, or may be
                self._wait(call)
                look_at = self._done + _BESIDE

    def _outlive(self, call: HookCall, slot: Slot, error: BaseException) -> None:
        """Whatever the engine failed at is over. What is wanted of the slot next is done all the same."""
        call.over = True
        call.ended_s = self._monotonic()
        slot.beat = None
        try:
            self._failed(call, slot, error)
        except BaseException:
            log.exception("the engine failed to say that it failed", extra={"id": slot.id})

    def _wait(self, call: HookCall) -> None:
        """Until there is something in the queue, a place to work on it, and nobody who does it as well alone."""
        self._end_turn(call)
        while True:
            with self._bell:
                while not self._queue or self._busy() > self._places:
                    self._parked += 1
                    self._bell.wait()  # who rings counts it as no longer parked
            with self._standby:  # one looks: the rest need not
                if self._is_wanted(call):
                    break
        call.ended_s = self._monotonic()

    def _is_wanted(self, call: HookCall) -> bool:
        """Wait for the turn while slots are done: True once it has it, or where what is queued is held up."""
        before = self._done
        while self._queue:
            if self._turn.acquire(timeout=_GLANCE_S):
                call.has_turn = True
                return True
            done = self._done
            if done - before < _BRISK:
                return bool(self._queue)
            before = done
        return False

    def _end_turn(self, call: HookCall) -> None:
        if call.has_turn:
            call.has_turn = False
            self._turn.release()


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
            if now_s - call.started_s >= self._options.patience_s and not call.is_aside:
                overdue += 1
            if now_s >= call.deadline_s:
                self._progress.mark_stuck(call, now_s)
        self._keep_hands_free(overdue)

    def _keep_hands_free(self, overdue: int) -> None:
        """As many workers as ever beside the overdue ones, up to the bound; spares go when the rush is over.

        Who waits for the world had a spare called at once, by the crew itself.
        """
        crew, most = self._crew, self._options.max_workers
        places = min(self._options.workers + overdue, most)
        lacking = places - crew.size
        if lacking > 0:
            crew.hire(lacking)
        crew.allow(places)
        spare = crew.size - min(places + crew.aside, most)
        if spare > 0 and crew.is_idle:
            crew.dismiss(spare)

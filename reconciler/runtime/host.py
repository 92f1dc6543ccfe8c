"""The host: runs instances, on threads of this process or inline. The seam behind which other hosts can come."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Protocol, TypeAlias

from reconciler.ports import OrderGateway
from reconciler.records.mode import Mode
from reconciler.records.plan import Running
from reconciler.records.record import Row
from reconciler.records.status import Ticks
from reconciler.runtime.crew import Crew, Watchdog
from reconciler.runtime.gate_state import Door, PausedBy
from reconciler.runtime.progress import Progress, Turns
from reconciler.runtime.protocol import (
    BeatReport,
    Disturbed,
    HostOptions,
    LoadSpec,
    Performing,
    Report,
    RuntimeFacts,
    TicksKept,
    TicksMissed,
    World,
)
from reconciler.runtime.roster import Roster
from reconciler.runtime.slot import HookCall, Slot

log = logging.getLogger(__name__)

__all__ = ["BeatReport", "Host", "HostOptions", "LoadSpec", "RuntimeFacts", "ThreadHost"]


class Host(Protocol):
    """Where instances run. Nothing here waits for a hook; what comes of it is reported. Thread-safe.

    What closes a gate (`load` of another version, `unload`, `set_mode`, `pause`) waits for an order that is
    just being handed to the transport; so never call those on the thread that does the handing.
    """

    def start(self) -> None: ...

    def load(self, spec: LoadSpec) -> None:
        """Load it, once whatever runs under that id has been unloaded. Loaded or LoadFailed is reported."""
        ...

    def load_all(self, specs: Sequence[LoadSpec]) -> None:
        """`load` each of them: at a start, a whole fleet."""
        ...

    def unload(self, instance_id: str, reason: str) -> None:
        """Unload it, a hook that is running first. Its gate is closed on return; Unloaded is reported at its end."""
        ...

    def update(self, row: Row) -> None:
        """Put a row in force that differs in nothing an instance is made from."""
        ...

    def set_mode(self, instance_id: str, mode: Mode) -> None:
        """Lower the mode; never raises one. On return no order can leave that the lower mode forbids."""
        ...

    def settle(self) -> None:
        """Wait until no order is between its last look and the transport: what was closed before holds for all."""
        ...

    def pause(self, instance_id: str, by: PausedBy, reason: str) -> None:
        """No ticks, no trading, across reloads. KeyError where nothing is loaded under that id."""
        ...

    def resume(self, instance_id: str) -> None:
        """End every pause of it, the engine's own too. KeyError for an id that was never loaded."""
        ...

    def views(self) -> Mapping[str, Running]:
        """What runs, or failed to load, as the plan must know it: a snapshot by id."""
        ...

    def beat(self, beat: int) -> BeatReport:
        """Dispatch what is due at `beat`. One that is still busy with its last tick misses this one."""
        ...

    def facts(self, instance_id: str) -> RuntimeFacts | None:
        """How it is doing, None for an id that was never loaded."""
        ...

    def ticks(self) -> Ticks:
        """Those of every id that was ever loaded, added up: the counts, which only ever rise."""
        ...

    def render_failing(self) -> frozenset[str]:
        """The ids whose last render failed."""
        ...

    def lagging(self) -> frozenset[str]:
        """The ids that miss most of their ticks, and have for a while."""
        ...

    def stop(self, deadline_s: float) -> tuple[str, ...]:
        """Unload everything. Returns after `deadline_s` at the latest, with the ids that have not ended: abandoned.

        Their gates are closed, but an order that was just being handed to the transport may still leave.
        """
        ...


def _nobody() -> None:
    """Every account can be reached, as far as anybody knows."""


_AT_ONCE = 50
"""So many are asked to load under one hold of the roster's lock: for half a millisecond."""
_FEW = 50
"""Of so many ticks in a beat each is looked at: which takes 0.1 ms."""


Perform: TypeAlias = Callable[[World, HostOptions, Callable[[str], Door]], Performing]
"""Makes the other side of a host, which is given the door of each instance that is loaded."""


class _Hosting:
    """What hosts have in common, whoever it is that works for them: `_crew` is made by each.

    `report` is called on any of the host's threads and on the caller's, one report at a time, those of one id
    in order; it must return at once. `perform` makes the side where foreign code runs. `awaited`, asked each
    beat, tells which accounts cannot be reached yet: who trades there waits, and misses nothing by it; None where
    nobody has to.
    """

    _crew: Crew | InlineCrew

    def __init__(
        self,
        world: World,
        gateway: OrderGateway,
        options: HostOptions,
        report: Callable[[Report], None],
        perform: Perform,
        awaited: Callable[[], Callable[[str], bool] | None] = _nobody,
    ) -> None:
        self._clock = world.clock
        self._options = options
        self._heartbeat_s = world.heartbeat_s
        self._awaited = awaited
        self._gateway = gateway
        self._lagging: dict[Slot, None] = {}
        self._roster = Roster(report, options.log_lines)
        self._progress = Progress(world.clock, options, self._roster, world.seed)
        self._at_work = world.at_work
        self._has_surroundings = world.surroundings is not None
        self._performing = perform(world, options, self._door)
        written, busy = gateway.written, lambda: self._crew.calls()
        self._turns = Turns(world.clock, options, self._progress, self._performing, written, busy)

    def _door(self, instance_id: str) -> Door:
        """That of an instance which is being loaded."""
        slot = self._roster.slot(instance_id)
        assert slot is not None
        return Door(slot.gate, self._gateway, self._clock, slot.log)

    def load(self, spec: LoadSpec) -> None:
        self.load_all((spec,))

    def load_all(self, specs: Sequence[LoadSpec]) -> None:
        asked: list[tuple[Slot, bool]] = []
        try:
            for begin in range(0, len(specs), _AT_ONCE):
                self._performing.expect(specs[begin : begin + _AT_ONCE])
                asked += self._roster.ask_loads(specs[begin : begin + _AT_ONCE])
        finally:  # only then, so that who asks and who loads do not take turns
            self._crew.offer_all([slot for slot, _ in asked])
        for slot, is_new in asked:
            if not is_new:  # else there was nothing whose gate could have been closed
                self._gateway.written(slot.id)

    def unload(self, instance_id: str, reason: str) -> None:
        if self._begin_unload(instance_id, reason) is not None:
            self._gateway.written(instance_id)

    def update(self, row: Row) -> None:
        self._roster.update(row)

    def set_mode(self, instance_id: str, mode: Mode) -> None:
        if self._roster.lower(instance_id, mode) is not None:
            self._gateway.written(instance_id)

    def settle(self) -> None:
        self._gateway.written()

    def pause(self, instance_id: str, by: PausedBy, reason: str) -> None:
        self._roster.pause(instance_id, by, reason)
        self._gateway.written(instance_id)

    def resume(self, instance_id: str) -> None:
        self._at_work.forgive("instance", instance_id)
        self._roster.resume(instance_id)

    def views(self) -> Mapping[str, Running]:
        return self._roster.views()

    def beat(self, beat: int) -> BeatReport:
        self._turns.look_at_the_clocks()
        due = self._roster.due(beat, self._waiting())
        if self._has_surroundings:
            self._look_around(due)
        missed = self._crew.offer_ticks(due, beat)
        if missed or self._lagging:
            self._tell_lagging(due)
        return BeatReport(beat, len(due), len(due) - missed, missed)

    def _look_around(self, due: Sequence[Slot]) -> None:
        """What is of the whole process is put back each beat. Whose tick it was is told exactly where few tick."""
        changed = self._performing.put_back(0 < len(due) <= _FEW)
        if changed:
            self._roster.outbox.put(Disturbed("", "", changed, tuple(slot.id for slot in due[:_FEW])))
            self._roster.outbox.send()

    def facts(self, instance_id: str) -> RuntimeFacts | None:
        slot = self._roster.slot(instance_id)
        return None if slot is None else slot.facts(self._clock.time(), self._clock.monotonic(), self._heartbeat_s)

    def ticks(self) -> Ticks:
        slots = self._roster.slots()
        return Ticks(
            sum([slot.count for slot in slots]),
            sum([slot.errors for slot in slots]),
            sum([slot.missed for slot in slots]),
        )

    def render_failing(self) -> frozenset[str]:
        slots = self._roster.slots()
        return frozenset([slot.id for slot in slots if slot.shown.error])

    def next_due(self, beat: int) -> int | None:
        """The first beat after `beat` at which anybody ticks, None where nobody does."""
        return self._roster.next_due(beat)

    def lagging(self) -> frozenset[str]:
        return frozenset([slot.id for slot in tuple(self._lagging)])

    def _waiting(self) -> Callable[[Slot], bool] | None:
        """Says of a slot that it must wait; None where none has to."""
        is_awaited = self._awaited()
        if is_awaited is None:
            return None
        return lambda slot: is_awaited(slot.gate.row.record.identity.account_id)

    def _tell_lagging(self, due: Sequence[Slot]) -> None:
        """Report who misses most of its ticks, and who does no longer, once each."""
        began = [slot for slot in due if slot.is_lagging and slot not in self._lagging]
        ended = [slot for slot in self._lagging if not slot.is_lagging]
        if not began and not ended:
            return
        with self._roster.changing():
            for slot in began:
                self._lagging[slot] = None
                self._roster.outbox.put(TicksMissed(slot.id, *slot.lag))
            for slot in ended:
                del self._lagging[slot]
                self._roster.outbox.put(TicksKept(slot.id))

    def _unload_all(self, until_s: float) -> None:
        for instance_id in self._roster.close():
            if self._clock.monotonic() > until_s:
                break
            self._begin_unload(instance_id, "the engine stops")

    def _begin_unload(self, instance_id: str, reason: str) -> Slot | None:
        """Ask for it; the gate is closed but not settled. None where nothing is there."""
        slot = self._roster.ask_unload(instance_id)
        if slot is not None:
            slot.log.append(self._clock.time(), "info", f"unloading: {reason}")
            self._crew.offer(slot)
        return slot


class ThreadHost(_Hosting):
    """Implements `Host`: worker threads drain one queue, one watchdog knows every hook's deadline."""

    _crew: Crew

    def __init__(
        self,
        world: World,
        gateway: OrderGateway,
        options: HostOptions,
        report: Callable[[Report], None],
        perform: Perform,
        awaited: Callable[[], Callable[[str], bool] | None] = _nobody,
    ) -> None:
        super().__init__(world, gateway, options, report, perform, awaited)
        failed = self._progress.engine_failed
        self._crew = Crew(self._turns.work, failed, world.clock.monotonic, self._at_work, options.max_workers)
        self._watchdog = Watchdog(world.clock, options, self._crew, self._progress)

    def start(self) -> None:
        self._crew.hire(self._options.workers)
        self._watchdog.start()

    def is_watched(self) -> bool:
        """True from `start` until it is stopped, unless the watchdog ended by itself."""
        return self._watchdog.is_alive()

    def stop(self, deadline_s: float) -> tuple[str, ...]:
        until_s = self._clock.monotonic() + deadline_s
        self._unload_all(until_s)
        self._clock.wait(self._roster.empty, max(0.0, until_s - self._clock.monotonic()))
        abandoned = tuple(sorted(self._roster.views()))
        self._watchdog.stop()
        self._crew.dismiss(self._crew.size)
        return abandoned


class InlineCrew:
    """Works on slots on the thread that offers them, one after the other; the same claims hold."""

    def __init__(
        self,
        work: Callable[[HookCall, Slot], None],
        failed: Callable[[HookCall, Slot, BaseException], None],
        monotonic: Callable[[], float],
        place: int,
    ) -> None:
        self._work = work
        self._failed = failed
        self._monotonic = monotonic
        self._queue: deque[Slot] = deque()
        self._call = HookCall(threading.get_ident(), place)
        self._is_at_work = False
        self.turns = 0
        """How often anything was worked on."""

    def offer(self, slot: Slot) -> None:
        """As `Crew.offer`; done on return, unless this is asked for by what is being worked on."""
        self.offer_all((slot,))

    def offer_all(self, slots: Sequence[Slot]) -> None:
        """`offer` each of them."""
        for slot in slots:
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
                self.turns += 1
                call.ended_s = self._monotonic()
                try:
                    self._work(call, slot)
                except Exception as error:
                    log.exception("the engine failed while working on an instance", extra={"id": slot.id})
                    call.over = True
                    slot.beat = None
                    self._failed(call, slot, error)
                if slot.beat is not None or slot.ending or slot.wanted is not None or slot.undrawn:
                    queue.append(slot)  # claimed still: something more is wanted of it
                else:
                    slot.claimed = False
        finally:
            self._is_at_work = False


_id = attrgetter("id")


class InlineHost(_Hosting):
    """Implements `Host` on the calling thread: every method returns once the hooks that it asks for have ended.

    Who is due ticks in the order of the ids. A hook's time is not measured, it is counted: one that asks its context
    for more than its world allows is ended there, as a failed one.
    """

    _crew: InlineCrew

    def __init__(
        self,
        world: World,
        gateway: OrderGateway,
        options: HostOptions,
        report: Callable[[Report], None],
        perform: Perform,
        awaited: Callable[[], Callable[[str], bool] | None] = _nobody,
    ) -> None:
        super().__init__(world, gateway, options, report, perform, awaited)
        place = self._at_work.place()
        self._crew = InlineCrew(self._turns.work, self._progress.engine_failed, world.clock.monotonic, place)

    def start(self) -> None:
        """There is nobody to hire."""

    def is_watched(self) -> bool:
        return True

    def under_way(self) -> tuple[int, HookCall] | None:
        """The hook that runs, and a number that is another one for each; None between hooks. Any thread may ask."""
        (call,) = self._crew.calls()
        return None if call.over else (self._crew.turns, call)

    def stop(self, deadline_s: float) -> tuple[str, ...]:
        self._unload_all(self._clock.monotonic() + deadline_s)
        return tuple(sorted(self._roster.views()))

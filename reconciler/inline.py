"""The inline driver: a whole engine on the calling thread, at whatever time its clock says. No socket, no disk.

The gateway, limits, ledger, hosts and paper exchange are those that trade. What differs is what carries them: the store
is in memory and commits on submit, the exchange is called as a function, hooks run where the beat is asked for, in the
order of the ids, and what waits fills before anybody ticks. The same source, prices and seed give the same orders.

    from reconciler.clock import SimulatedClock, iso
    from reconciler.inline import inline_engine, paper_exchange
    from reconciler.records.mode import Mode
    from reconciler.settings.loading import load
    from reconciler.sources.worktree import Worktree, WorktreeOptions

    settings = load(root, {})
    clock = SimulatedClock(1_767_225_600.0)  # 2026-01-01, midnight
    source = Worktree(root, clock, WorktreeOptions())
    with (
        paper_exchange(settings, clock) as exchange,
        inline_engine(settings, clock, exchange, source, seed="1", mode=Mode.ACTIVE) as engine,
    ):
        assert not engine.problems()
        engine.run(until_s=clock.time() + 3600)
        for order in engine.store.ledger.recent("eur-usd-dca", 20, shadow=False):
            print(iso(order.created_at.timestamp()), order.side, order.filled_quantity, order.average_price)
        print(engine.gateway.position("eur-usd-dca", "EUR/USD", shadow=False))

Prices come from whatever `PaperExchange` is given: its own feed, a file, or a `paper.feed.Feed` of the caller's. A hook
that neither ends nor asks its context for anything runs for ever, unless a `Sentry` watches. Ctrl-C that comes while a
hook runs is taken for something that the hook raised: whoever wants to stop handles the signal, and has `after_beat`
raise.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from reconciler.assembly import Assembly, Driver, assembled
from reconciler.clock import Clock, SimulatedClock
from reconciler.control.observer import Source
from reconciler.errors import Problem, ReconcilerError
from reconciler.exec_mcp.bridge import InlineBridge
from reconciler.exec_mcp.paper_venue import PaperMarket, PaperVenue
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.gateway import Gateway
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.mcp_server import open_exchange
from reconciler.records.accounts import Accounts
from reconciler.records.cadence import BeatMark, BeatRun, beat_at, beat_time
from reconciler.records.evaluation import Evaluation
from reconciler.records.mode import Mode
from reconciler.records.snapshot import Snapshot
from reconciler.runtime.context import Overdue
from reconciler.runtime.host import HostOptions, InlineHost
from reconciler.settings import Settings
from reconciler.store.store import Store

ASKS = 10_000
"""How often one hook may ask its context for something: the deadline where no time passes."""
_PASSES = 1_000
"""More passes than this in a row change something each: the engine would never come to rest."""


class Still:
    """Implements `Source`: one snapshot, for ever."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def read(self) -> Snapshot:
        return self._snapshot


_LOOK_S = 0.1
_AGAIN_S = 1.0
_RINGS = 5


def _exit(why: str) -> None:
    """Nothing else ends code that catches everything, or that does not come back from C."""
    print(f"{why}, and could not be ended: so is the process", file=sys.stderr, flush=True)
    os._exit(1)


class Sentry:
    """Ends a hook that runs for longer than it might live, by real time: where no time passes, nothing else would.

    Whoever drives the engine looks at `hung` after each beat, and goes no further where it says something: what is
    reckoned after that would depend on how fast the machine is. `hopeless` is told where a hook cannot be ended.
    """

    def __init__(self, options: HostOptions, clock: Clock, hopeless: Callable[[str], None] = _exit) -> None:
        """`clock` is that of the real world."""
        self._deadlines_s = options.deadlines_s()
        self._clock = clock
        self._hopeless = hopeless
        self.hung = ""
        """The hook that was ended, as a sentence; empty as long as none was."""

    @contextmanager
    def watching(self, host: InlineHost) -> Iterator[None]:
        """Within it hooks of `host` are watched; those of the calling thread, which is the one that runs them."""
        over, ident = threading.Event(), threading.get_ident()
        thread = threading.Thread(target=self._watch, args=(host, ident, over), name="sentry", daemon=True)
        thread.start()
        try:
            try:
                yield
            finally:
                over.set()
                thread.join()
                for _ in range(10):  # what came too late is raised here, at the latest: it is not to be taken back,
                    pass  # for an interpreter that is asked to goes on looking for it for ever
        except Overdue:
            raise ReconcilerError(self.hung) from None

    def _watch(self, host: InlineHost, ident: int, over: threading.Event) -> None:
        seen, since_s, rings = (0, ""), 0.0, 0
        while not self._clock.wait(over, _LOOK_S):
            found, now_s = host.under_way(), self._clock.monotonic()
            if found is None or (found[0], found[1].hook) != seen:
                seen = (0, "") if found is None else (found[0], found[1].hook)
                since_s, rings = now_s, 0
                continue
            call = found[1]
            deadline_s = self._deadlines_s[call.hook]
            if now_s - since_s < deadline_s + rings * _AGAIN_S:
                continue
            at = call.stands_at() or "nobody knows where"
            self.hung = self.hung or f"{call.slot.id}: {call.hook} did not end within {deadline_s:g} s, at {at}"
            if rings >= _RINGS:
                self._hopeless(self.hung)
                return
            rings += 1
            _raise_in(ident, Overdue)


def _raise_in(ident: int, error: type[BaseException]) -> None:
    """Have that thread raise it at its next step in Python."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))


class PassingBeats:
    """Implements `heartbeat.Beats` where no engine comes after this one: nothing has to be kept."""

    def __init__(self) -> None:
        self._fired: Future[None] = Future()
        self._fired.set_result(None)

    def runs(self) -> Sequence[BeatRun]:
        return ()

    def marked(self) -> BeatMark | None:
        return None

    def fire(self, beat: int, heartbeat_s: float, mark: BeatMark) -> Future[None]:
        return self._fired

    def forget(self, mark: BeatMark) -> Sequence[BeatRun]:
        return ()


class InlineEngine:
    """An engine that moves when it is told to. Belongs to one thread, which is never waited for."""

    def __init__(self, parts: Assembly, clock: Clock, venues: Sequence[PaperVenue]) -> None:
        self.parts = parts
        self._clock = clock
        self._heartbeat_s = parts.settings.heartbeat_seconds
        assert isinstance(parts.host, InlineHost)
        self.host = parts.host
        self.beats = 0
        """How many beats have fired."""
        for venue in venues:
            parts.bridge.call(partial(_connected, venue), 0.0)
        parts.arrivals.begin()
        self.settle()

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def gateway(self) -> Gateway:
        return self.parts.gateway

    def problems(self) -> Sequence[Problem]:
        """What is wrong with the files: whatever they keep from running is not there."""
        return self.parts.board.problems()

    def beat(self) -> bool:
        """Beat and wait: the beat of now fires, unless it has. What waits fills, then who is due ticks, by id."""
        if not self.parts.heartbeat.step():
            return False
        self.beats += 1
        if self.parts.controller.has_work():
            self.settle()
        return True

    def settle(self) -> None:
        """Pass after pass, until there is nothing to do: what is to run is loaded, or has failed to be."""
        controller = self.parts.controller
        for _ in range(_PASSES):
            if not controller.run_pass() and not controller.has_work():
                return
        raise ReconcilerError(f"expected the engine to come to rest, was still at work after {_PASSES:,} passes")

    def next_beat(self) -> int | None:
        """The first beat after now at which anything happens, None where nothing ever does.

        That is the next one while an order waits or a load is to be tried again, else the next at which one is due.
        """
        now = beat_at(self._clock.time(), self._heartbeat_s)
        is_waiting = self.gateway.is_busy() or self.parts.controller.is_retrying
        return now + 1 if is_waiting else self.host.next_due(now)

    def run(self, until_s: float, after_beat: Callable[[], object] = bool) -> None:
        """Beat after beat up to `until_s`, seconds since the epoch: beats at which nothing happens are jumped over.

        `after_beat` is called after each; what it raises ends the run.
        """
        clock = self._clock
        assert isinstance(clock, SimulatedClock)
        while (beat := self.next_beat()) is not None and (at_s := beat_time(beat, self._heartbeat_s)) <= until_s:
            clock.move_to(at_s)
            self.beat()
            after_beat()
        clock.move_to(max(until_s, clock.time()))


async def _connected(venue: PaperVenue) -> None:
    venue.connect()


@contextmanager
def inline_engine(
    settings: Settings,
    clock: Clock,
    exchange: PaperExchange,
    source: Source,
    *,
    seed: str = "",
    mode: Mode | None = None,
    sentry: Sentry | None = None,
) -> Iterator[InlineEngine]:
    """A whole engine at the time of `clock`: connected to `exchange`, whose money is paper, its fleet loaded.

    It is the server of every account, whatever the settings say. `mode` is what every record is taken to say, None for
    what each does; the first modes are taken as established. Raises ReconcilerError where it cannot be made.
    """
    accounts = _on_paper(settings.accounts)
    names = {account.server for account in accounts.declared.values()} | ({accounts.any_on} - {None})
    venues = [PaperVenue(exchange, clock, name) for name in sorted(filter(None, names))]
    judge = None if mode is None else partial(at_mode, mode)
    driver = Driver(
        InlineBridge(),
        InlineHost,
        seed=seed,
        allowance=ASKS,
        draws=False,
        has_news=lambda: sum([venue.has_news() for venue in venues]) > 0,  # each is asked
        beats=PassingBeats(),
        market=partial(PaperMarket, exchange, clock),
        judge=judge,
    )
    with ExitStack() as held:
        store = held.enter_context(Store.in_memory(clock, seed))
        servers = Servers({venue.name: venue for venue in venues}, accounts)
        settings = replace(settings, accounts=accounts)
        parts = assembled(settings, clock, store, servers, source, driver, adopt=True)
        held.callback(parts.close)
        held.callback(parts.catalogue.close)
        if sentry is not None:
            assert isinstance(parts.host, InlineHost)
            held.enter_context(sentry.watching(parts.host))
        held.callback(parts.host.stop, 0.0)
        yield InlineEngine(parts, clock, venues)


@contextmanager
def paper_exchange(settings: Settings, clock: Clock) -> Iterator[PaperExchange]:
    """The exchange that the settings describe, its state forgotten in the end. Raises OSError, ValueError."""
    site = settings.paper.site(settings.heartbeat_seconds, None)
    with open_exchange(clock, step_s=site.step_s, options=site.options, feed=site.feed) as exchange:
        yield exchange


def at_mode(mode: Mode, evaluation: Evaluation) -> Evaluation:
    """What the file says, as if it said this mode."""
    if evaluation.record is None:
        return evaluation
    return replace(evaluation, claimed_mode=mode, record=replace(evaluation.record, mode=mode))


def _on_paper(accounts: Accounts) -> Accounts:
    return replace(
        accounts, declared={id: replace(account, real_money=False) for id, account in accounts.declared.items()}
    )

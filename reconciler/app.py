"""The engine's process: starts what is wired in `assembly`, waits for a signal, stops it in order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from types import FrameType

from reconciler.assembly import Assembly, Driver, Notes, assembled, rules
from reconciler.clock import Clock, SystemClock
from reconciler.connections import Connections, Descriptors
from reconciler.control.board import StatusBoard
from reconciler.control.chronicle import Bookkeeping
from reconciler.control.controller import Controller
from reconciler.control.diagnosis import Lookout
from reconciler.control.observer import Source
from reconciler.control.operator import Operator
from reconciler.control.socket import PeerProtocol, bind_control_socket, create_control_app
from reconciler.control.trail import Trail, distrusted, judging, pin
from reconciler.dashboard.render import compile_templates
from reconciler.dashboard.routes import api_routes, create_app
from reconciler.ending import GRACE_S, LastResort, in_children, leave, let_go_loop, notice_own_hand, obey_still
from reconciler.errors import ReconcilerError
from reconciler.exec_mcp.bridge import LoopBridge
from reconciler.exec_mcp.servers import open_servers
from reconciler.execution.gateway import Gateway
from reconciler.logfmt import foreign_code_told, log_to_stderr
from reconciler.ports import InstanceFilter
from reconciler.records.event import EventReason
from reconciler.records.plan import Phase
from reconciler.records.snapshot import Snapshot
from reconciler.records.status import Sync
from reconciler.runtime.host import Host, ThreadHost
from reconciler.runtime.process import AtWork, Culprit, Surroundings, culprit
from reconciler.serving import listen, serving, tell_refused_accepts_once
from reconciler.settings import Settings, accounts_in
from reconciler.settings.live_settings import LiveLimits, Staleness
from reconciler.sources.branch import Branch, Fetching, RefWatcher
from reconciler.sources.hints import Watcher
from reconciler.sources.signatures import CheckedBeside
from reconciler.sources.worktree import Worktree, WorktreeOptions
from reconciler.store.reader import Reader
from reconciler.store.store import Store
from reconciler.strategy.module_loading import Version

log = logging.getLogger(__name__)

_SETTLING_S = 5.0
"""How long the exchanges wait for the fleet to be loaded, at most."""
_BY_STRATEGY = "a strategy asked it to"
_LOOKED_AFTER_S = 1.0
"""How often the engine looks whether all of it is still there."""
_ONCE_S = 60.0
"""How long `--once` waits for everything to arrive."""

_PAGE_CONNECTIONS = 600
"""How many the page may have at once, at most: fewer where there are few descriptors."""
_CONTROL_CONNECTIONS = 64

SWITCH_S = 0.0001
"""How long a thread that computes may keep the others, the page's and the exchanges' loop above all, from the lock."""


def run(settings: Settings, *, adopt: bool, once: bool, trust: str = "") -> int:
    """Run the engine until SIGTERM or SIGINT, or for one pass, and end the process; so it does not return.

    The exit code is 0 where a person asked it to stop, and not where it lost what it needs or a strategy ended it.
    Raises StoreLocked where another engine holds the database, ReconcilerError where a part cannot start.
    """
    log_to_stderr()
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(1_000_000, 20, 50)  # many small values that live long: looked through once they are there
    clock = SystemClock()
    descriptors = Descriptors()
    with Store.open(settings.database, clock) as store:
        for told in store.tell_opened(settings.database):
            log.warning(told)
        pin(store.following, settings.source.pinned)
        if adopt and store.desired.rows():
            raise ReconcilerError(
                "--adopt: expected an empty database, but it knows instances already, and their modes are "
                "established; run without --adopt"
            )
        last_resort, at_work = LastResort(), AtWork(settings.state_dir, clock.uptime()[0])
        try:
            engine = _Engine(settings, clock, store, descriptors, last_resort, at_work, trust)
            with foreign_code_told():
                code = asyncio.run(engine.run(adopt=adopt, once=once))
            if not engine.is_ended_by_strategy:
                at_work.close()
        except OSError as error:
            last_resort.arm(GRACE_S)
            if error.errno != errno.EBADF:
                raise
            why = "its descriptors were closed under it: look whether a strategy closes what is not its own"
            raise ReconcilerError(f"the engine ends: {why}") from error
        except BaseException:
            last_resort.arm(GRACE_S)  # told in the usual way, it ends in the usual way, which strategies may hinder
            raise
    leave(code)


def settle_memory() -> None:
    """Once the fleet is loaded: the collector need not look through it again and again, nor keep the loop for long.

    What is loaded now and unloaded later is freed as ever, but for reference cycles: once, and no more than there are.
    A collection keeps everybody out for as long as it takes, so it is to be of few objects: of 1,000 often, of 4,000
    now and then, of all that came since hardly ever.
    """
    gc.freeze()
    gc.set_threshold(1_000, 3, 1_600)


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The engine, and what watches its files."""

    engine: Assembly
    watcher: Watcher | RefWatcher


class _SparedSource:
    """Files that can be read where no descriptor is left: a mode may be lowered in them, and a halt declared."""

    def __init__(self, source: Source, descriptors: Descriptors, limits: LiveLimits) -> None:
        self._source = source
        self._descriptors = descriptors
        self._limits = limits

    def read(self) -> Snapshot:
        with self._descriptors.spared():
            snapshot = self._source.read()
            has_changed = self._limits.look()
            if self._limits.is_unfinished:
                snapshot = replace(snapshot, settings_unfinished=True)
            # Where limits changed that records must have, all are judged anew: another tuple is other files.
            return replace(snapshot, instances=(*snapshot.instances,)) if has_changed else snapshot


class _Engine:
    """One engine's life, on the main loop."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        store: Store,
        descriptors: Descriptors,
        last_resort: LastResort,
        at_work: AtWork,
        trust: str = "",
    ) -> None:
        self._trust = trust
        self._at_work = at_work
        self._settings = settings
        self._descriptors = descriptors
        self._clock = clock
        self._store = store
        self._stopping = asyncio.Event()
        self._watch_fault = ""
        self._staleness = Staleness(settings.root)
        follows = settings.source.kind == "git"
        self._limits = LiveLimits(settings.accounts, settings.root, self._branch().settings if follows else None)
        self._own_hand: dict[int, str] = {}
        """The signals that strategies sent to this process, and where."""
        self._last_resort = last_resort
        self._hint: Callable[[], None] = lambda: None
        source = settings.source
        self._fetching = (
            None
            if source.pinned.remote is None
            else Fetching(self._branch(), source.fetch_seconds, lambda: self._hint(), clock)
        )
        self._checking: CheckedBeside | None = None
        self._ending = ""
        """Why it ends, where nobody asked it to."""

    @property
    def is_ended_by_strategy(self) -> bool:
        """True where a strategy sent the signal that it ended by."""
        return self._ending.startswith(_BY_STRATEGY)

    async def run(self, *, adopt: bool, once: bool) -> int:
        tell_refused_accepts_once(self._descriptors.look)
        loop = asyncio.get_running_loop()
        with in_children(lambda: let_go_loop(loop)):
            return await self._run(adopt, once)

    async def _run(self, adopt: bool, once: bool) -> int:
        settings = self._settings
        begin = asyncio.Event()
        async with open_servers(
            settings.server_options(os.environ),
            settings.accounts,
            self._clock,
            settings.paper_site(),
            begin,
            self._tools_changed,
            self._store.tools,
        ) as servers:
            engine = assembled(
                settings,
                self._clock,
                self._store,
                servers,
                self._records(),
                self._driver(),
                adopt=adopt,
            )
            self._store.halts.keep_reserve()
            fleet = _Fleet(engine, self._watcher(engine.controller))
            lookout = Lookout(self._clock, settings.heartbeat_seconds, engine.board.look_around)
            self._handle_signals(engine.controller)
            self._handle_fencing(engine.controller, engine.gateway)
            self._tell_ended()
            engine.host.start()
            try:
                if once:
                    code = await asyncio.to_thread(_converge, engine.controller, engine.board)
                    return 1 if self._ending else code
                async with self._pages(engine):
                    engine.controller.start()
                    fleet.watcher.start()
                    await asyncio.to_thread(self._clock.wait, engine.controller.settled, _SETTLING_S)
                    running = _running(engine.host)
                    is_loaded = engine.controller.has_settled
                    log.info("fleet loaded" if is_loaded else "fleet still loading", extra={"instances": running})
                    settle_memory()
                    compile_templates()
                    begin.set()
                    engine.arrivals.begin()
                    engine.heartbeat.start()
                    lookout.start()
                    await self._until_asked(engine, lookout)
                    return 1 if self._ending else 0
            finally:
                self._arm()
                log.info("engine stopping")
                await asyncio.to_thread(self._stop, fleet, lookout)
                engine.close()

    async def _until_asked(self, engine: Assembly, lookout: Lookout) -> None:
        """Until it is to end; a part that ended by itself ends all of it, for without it nothing is looked after."""
        parts: dict[str, Callable[[], bool]] = {
            "heartbeat": engine.heartbeat.is_alive,
            "watchdog": engine.host.is_watched,
            "reconcile loop": engine.controller.is_alive,
            "lookout": lookout.is_alive,
        }
        is_told = engine.controller.has_settled
        while not self._stopping.is_set():
            if not is_told and engine.controller.has_settled:
                is_told = True
                log.info("fleet loaded", extra={"instances": _running(engine.host)})
            obey_still()
            for name, is_alive in parts.items():
                if not is_alive():
                    self._end(engine.controller, f"its {name} has ended: look whether a strategy changes threads")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _LOOKED_AFTER_S)

    def _driver(self) -> Driver:
        """Threads and this loop; what foreign code does to the process is seen and put back."""
        store, surroundings = self._store, Surroundings()

        @contextlib.contextmanager
        def importing(version: Version) -> Iterator[None]:
            with self._at_work.working(_source(version)):
                yield
            if changed := surroundings.put_back():
                what = f"of the whole process was changed and put back: {', '.join(changed)}"
                store.events.record(
                    None, "Warning", EventReason.PROCESS_CHANGED, f"{what}; by importing {version.path}"
                )

        return Driver(
            LoopBridge(),
            ThreadHost,
            self._at_work,
            surroundings,
            importing=importing,
            barred=lambda version: self._at_work.suspicion(_source(version)),
            descriptors=self._descriptors,
            limits=self._limits,
            notes=Notes(lambda: self._watch_fault, self._settings_note),
            rules=rules(),
            distrusted=functools.partial(distrusted, self._settings.accounts, self._trust),
        )

    def _settings_note(self) -> str:
        waits = self._limits.note if self._settings.source.kind == "git" else self._staleness.note()
        return self._limits.fault or waits

    def _tools_changed(self, server: str, change: str) -> None:
        message = f"{server}: {change}; no order leaves through it until somebody has looked: reconciler exec accept"
        events = self._store.events
        asyncio.get_running_loop().run_in_executor(
            None, events.record, None, "Warning", EventReason.TOOLS_CHANGED, message
        )

    def _handle_fencing(self, controller: Controller, gateway: Gateway) -> None:
        """An engine whose database is not its own any more lets nothing leave, and ends."""
        loop = asyncio.get_running_loop()

        def fenced(why: str) -> None:
            gateway.shut(why)
            self._ending = self._ending or f"its database is lost: {why}"
            log.critical("the engine ends: its database is lost", extra={"error": why})
            controller.ask_to_stop()
            loop.call_soon_threadsafe(self._stopping.set)

        self._store.when_fenced(fenced)

    def _records(self) -> Source | Trail:
        settings = self._settings
        if settings.source.kind == "worktree":
            files = Worktree(settings.root, self._clock, WorktreeOptions())
            return _SparedSource(files, self._descriptors, self._limits)
        judge = judging(settings.accounts, accounts_in)
        branch, asked, spared = self._branch(), settings.source.signatures, self._descriptors.spared
        if asked.required:
            signatures = branch.signatures(asked.allowed_signers, asked.forge)
            self._checking = CheckedBeside(signatures, self._clock, lambda: self._hint())
        fault = str if self._fetching is None else self._fetching.fault
        return Trail(branch, self._store.following, judge, settings.source.pinned, spared, self._checking, fault)

    def _watcher(self, controller: Controller) -> Watcher | RefWatcher:
        if self._settings.source.kind == "git":
            self._hint = controller.hint
            return RefWatcher(self._branch(), controller.hint, self._clock, self._fetching)
        return Watcher(self._settings.root, controller.hint, self._note_watching, self._clock)

    def _branch(self) -> Branch:
        source = self._settings.source
        return Branch(self._settings.root, source.branch, source.remote, self._clock)

    @contextlib.asynccontextmanager
    async def _pages(self, engine: Assembly) -> AsyncIterator[None]:
        """The dashboard on its address, and the control socket."""
        settings, store, loop = self._settings, self._store, asyncio.get_running_loop()

        async def accept(name: str) -> str:
            return engine.servers.accept_tools(name)

        def accept_tools(name: str) -> str:
            return asyncio.run_coroutine_threadsafe(accept(name), loop).result()

        with contextlib.closing(Reader.open(settings.database)) as reader:
            pages = create_app(engine.board, reader, self._clock, settings.dashboard_options(os.environ))
            operator = Operator(
                engine.controller,
                engine.host,
                store.halts,
                engine.gateway,
                accept_tools,
                Bookkeeping(store),
                engine.heartbeat,
            )
            commands = create_control_app(operator, api_routes(pages))
            try:
                page = listen(settings.dashboard.host, settings.dashboard.port)
            except OSError as error:
                raise ReconcilerError(
                    f"dashboard: cannot listen on {settings.dashboard.host}:{settings.dashboard.port}: "
                    f"{error.strerror}; choose another port with --port or dashboard.port"
                ) from error
            host, port = page.getsockname()[:2]
            control = bind_control_socket(settings.control_socket)
            spared = self._descriptors.spared
            few = Connections(_CONTROL_CONNECTIONS, _CONTROL_CONNECTIONS)
            async with (
                serving(pages, page, "dashboard", connections=self._page_connections()),
                serving(commands, control, "control socket", connections=few, http=PeerProtocol, spared=spared),
            ):
                log.info("engine started", extra={"page": f"http://{host}:{port}", "epoch": self._store.epoch})
                yield

    def _page_connections(self) -> Connections:
        """Those that ask, and those that listen to a stream: half of all descriptors at most."""
        third = self._descriptors.limit // 3
        return Connections(min(_PAGE_CONNECTIONS, third), min(_PAGE_CONNECTIONS, third // 2))

    def _handle_signals(self, controller: Controller) -> None:
        """Whoever sends them: asked by a strategy of its own, it ends as well, but not as somebody wished it to."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            self._stopping.set()
            controller.ask_to_stop()

        def obey(number: int, frame: FrameType | None) -> None:
            self._arm()  # here, where no loop is needed that strategies may have broken
            if number in self._own_hand and not self._ending:
                self._ending = f"{_BY_STRATEGY}: {self._own_hand[number]}"
                log.critical("the engine ends", extra={"error": self._ending})
            elif number not in self._own_hand:
                self._at_work.stop()
            loop.call_soon_threadsafe(stop)

        def noticed(number: int, what: str) -> None:
            self._own_hand[number] = what
            self._at_work.note(what)

        notice_own_hand(noticed)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)  # so that the loop wakes up, in whatever thread the signal came
            signal.signal(number, obey)
        loop.add_signal_handler(signal.SIGHUP, self._look_again, controller)

    def _look_again(self, controller: Controller) -> None:
        controller.hint()
        if self._fetching is not None:
            self._fetching.ask()

    def _tell_ended(self) -> None:
        """How the engine before this one ended, where foreign code was at work: of an instance, or of a strategy."""
        ended = self._at_work.ended
        if ended is None:
            return
        names = ", ".join(one.name for one in ended.culprits)
        log.error("the engine before this one ended in foreign code", extra={"at": names, "how": ended.how})
        for one in ended.culprits:
            others = ", ".join(other.name for other in ended.culprits if other is not one)
            how = f"by {ended.how}" if ended.how else "without a word, while its code ran"
            message = f"the engine before this one ended {how}{f'; so did that of {others}' if others else ''}"
            more = "it is not run again" if self._at_work.suspicion(one) else "once more, and it is not run again"
            told = f"{message}: {more} until it changes or somebody resumes it"
            self._store.events.record(
                one.name if one.kind == "instance" else None, "Warning", EventReason.ENGINE_ENDED, told
            )

    def _arm(self) -> None:
        self._last_resort.arm(self._settings.runtime.shutdown_deadline_seconds + GRACE_S)

    def _end(self, controller: Controller, why: str) -> None:
        """End the engine, with an exit code that has it started again. On the loop."""
        if not self._ending:
            self._ending = why
            log.critical("the engine ends", extra={"error": why})
        controller.ask_to_stop()
        self._stopping.set()

    def _note_watching(self, fault: str) -> None:
        self._watch_fault = f"files are not watched, the timer finds changes: {fault}" if fault else ""
        log.warning(self._watch_fault or "files are watched again")

    def _stop(self, fleet: _Fleet, lookout: Lookout) -> None:
        """No more beats, no more passes, then unload what runs, within the deadline. Blocks."""
        engine = fleet.engine
        lookout.stop()
        engine.heartbeat.stop()
        fleet.watcher.stop()
        engine.controller.stop()
        engine.catalogue.close()
        if self._checking is not None:
            self._checking.stop()
        abandoned = engine.host.stop(self._settings.runtime.shutdown_deadline_seconds)
        if abandoned:
            log.warning("instances abandoned: their hooks did not end in time", extra={"ids": ",".join(abandoned)})
        if not self._ending:  # one that ends for something is wrong leaves it to the dead man's switches
            engine.gateway.disarm()
        log.info("engine stopped")


def _running(host: Host) -> int:
    return sum(view.phase is Phase.RUNNING for view in host.views().values())


def _source(version: Version) -> Culprit:
    return culprit("strategy", version.path, (version.digest,))


def _converge(controller: Controller, board: StatusBoard) -> int:
    """The exit code of `--once`: 0 where everything is Synced, and no file was refused."""
    controller.converge(_ONCE_S)
    instances, _ = board.instances(InstanceFilter(), limit=1_000_000, offset=0)
    for problem in board.problems():
        log.error(str(problem))
    behind = [instance.id for instance in instances if instance.sync is not Sync.SYNCED]
    if behind:
        log.error("not everything is Synced", extra={"ids": ",".join(behind)})
    if fault := controller.fleet.source_error:
        log.error("nothing was applied", extra={"error": fault})
    return 1 if behind or fault or board.problems() else 0

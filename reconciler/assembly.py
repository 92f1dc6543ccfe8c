"""The assembly: the only place where real parts are wired into one engine. Starts nothing, knows no signal and no page.

What carries it is a `Driver`: threads and a loop in a process of its own, or the calling thread alone (`inline`).
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from functools import partial
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NamedTuple

from reconciler import __version__
from reconciler.clock import Clock
from reconciler.connections import Descriptors
from reconciler.control.board import Parts, StatusBoard
from reconciler.control.controller import Controller, ControllerOptions
from reconciler.control.follower import Follower
from reconciler.control.heartbeat import Beats, Heartbeat
from reconciler.control.observer import Observer, Source
from reconciler.control.trail import Trail
from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp.bridge import Bridge
from reconciler.exec_mcp.market_data import MarketData
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.comparing import AccountViews
from reconciler.execution.gatekeeper import Arrivals
from reconciler.execution.gateway import Gateway
from reconciler.execution.shadow_book import DEFAULT_FEE
from reconciler.ports import EventLog
from reconciler.records.crosscheck import Basis, EvaluationCache, evaluate_all
from reconciler.records.evaluation import Evaluation
from reconciler.records.snapshot import Snapshot
from reconciler.runtime.host import InlineHost, ThreadHost
from reconciler.runtime.performer import Performer, resolver
from reconciler.runtime.process import AtWork, Surroundings
from reconciler.runtime.protocol import Report, World
from reconciler.settings import Settings
from reconciler.settings.live_settings import LiveLimits
from reconciler.store.store import Store
from reconciler.strategy.catalogue import Catalogue
from reconciler.strategy.importing import Importer
from reconciler.strategy.module_loading import Version


@dataclass(frozen=True, slots=True)
class Notes:
    """What the process around the engine has to say on the page: of watching files, and of settings that changed."""

    watch_fault: Callable[[], str] = str
    settings: Callable[[], str] = str


@dataclass(frozen=True, slots=True)
class Driver:
    """What carries an engine, and what its process adds. `seed` is that of `context.random` and of retries.

    `importing` is entered around each import on a thread of its own, `barred` says why a version must not be imported;
    without `importing`, a pass waits for imports. `allowance` is how often a hook may ask its context, where hooks are
    given no time.
    """

    bridge: Bridge
    host: type[ThreadHost] | type[InlineHost]
    at_work: AtWork = field(default_factory=AtWork)
    surroundings: Surroundings | None = None
    seed: str = ""
    importing: Callable[[Version], AbstractContextManager[object]] | None = None
    barred: Callable[[Version], str] = lambda version: ""
    allowance: int | None = None
    draws: bool = True
    """False where nobody looks at widgets: they are drawn once, after a load."""
    market: Callable[[Servers, Bridge, EventLog], MarketData] = MarketData
    has_news: Callable[[], bool] = lambda: True
    """Whether anything has happened at any venue since this was last asked; asked inline only."""
    beats: Beats | None = None
    """Where it is kept which beats have fired; None for the store."""
    descriptors: Descriptors | None = None
    limits: LiveLimits | None = None
    """The limits of the settings, where they may change while it runs."""
    notes: Notes = Notes()
    distrusted: Callable[[Sequence[Evaluation], str], str] = lambda evaluations, commit: ""
    """Why what a commit says may not be taken as established by whoever adopts; empty where it may."""
    judge: Callable[[Evaluation], Evaluation] | None = None
    """What every file's evaluation is taken for, None for what it is."""
    rules: str = ""
    """Stands for all that files are judged by here (`rules`): what an engine before this one judged by the same is
    taken as it was. Empty: nothing is."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """One engine, wired, nothing of it started. `close` ends what it does with servers, last of all."""

    settings: Settings
    clock: Clock
    store: Store
    servers: Servers
    bridge: Bridge
    market: MarketData
    gateway: Gateway
    arrivals: Arrivals
    catalogue: Catalogue
    host: ThreadHost | InlineHost
    controller: Controller
    heartbeat: Heartbeat
    board: StatusBoard

    def close(self) -> None:
        self.bridge.close()
        self.gateway.close()


class OrderSide(NamedTuple):
    """What orders go through, and what they are judged by. `gateway.close` comes after the bridge's, last of all."""

    market: MarketData
    gateway: Gateway


def order_side(
    clock: Clock,
    store: Store,
    venues: Servers,
    bridge: Bridge,
    *,
    market: Callable[[Servers, Bridge, EventLog], MarketData] = MarketData,
    shadow_fee: Decimal = DEFAULT_FEE,
    heartbeat_s: float = 6.0,
) -> OrderSide:
    """The half of an engine that orders need, without a fleet. What the last engine left under way is taken up."""
    data = market(venues, bridge, store.events)
    gateway = Gateway(store, venues, data, bridge, clock, shadow_fee=shadow_fee, heartbeat_s=heartbeat_s)
    gateway.recover()
    return OrderSide(data, gateway)


def assembled(
    settings: Settings,
    clock: Clock,
    store: Store,
    venues: Servers,
    source: Source | Trail,
    driver: Driver,
    *,
    adopt: bool = False,
) -> Assembly:
    """A whole engine: what it trades through is `venues`, what it is to run comes from `source`.

    Orders that were on their way when the last engine stopped are taken up. `adopt`: the first whole snapshot's modes
    are taken as established.
    """
    bridge = driver.bridge
    market, gateway = order_side(
        clock,
        store,
        venues,
        bridge,
        market=driver.market,
        shadow_fee=settings.shadow_fee,
        heartbeat_s=settings.heartbeat_seconds,
    )
    arrivals = gateway.arrivals()

    def started(work: Callable[[], Any]) -> None:
        with contextlib.suppress(ExecUnavailable):  # the engine is stopping
            bridge.start(work)

    def awaited() -> Callable[[str], bool] | None:
        servers = arrivals.awaited()
        if not servers:
            return None
        return lambda account_id: (one := settings.accounts.get(account_id)) is not None and one.server in servers

    def reported(report: Report) -> None:
        controller.on_report(report)

    importer = None
    if driver.importing is not None:
        deadline_s = settings.runtime.import_deadline_seconds
        importer = Importer(clock, lambda: controller.code_has_come(), deadline_s, driver.importing, driver.barred)
    catalogue = Catalogue(settings.runtime.import_deadline_seconds, importer)
    world = World(
        clock,
        market,
        settings.heartbeat_seconds,
        driver.at_work,
        driver.seed,
        driver.surroundings,
        driver.allowance,
    )
    secrets = resolver(settings.root, os.environ)
    options = settings.host_options()
    if not driver.draws:
        options = replace(options, render_interval_s=math.inf)
    host = driver.host(world, gateway, options, reported, partial(Performer, resolve=secrets), awaited)
    judged = EvaluationCache(basis=Basis(driver.rules))
    evaluate = _evaluation(driver.limits or LiveLimits(settings.accounts, settings.root), driver.judge, judged)
    if driver.limits is not None:
        driver.limits.tell = gateway.bound_by
    parts = (catalogue, evaluate, store, host, adopt, settings.accounts.declared)
    if isinstance(source, Trail):
        observer: Observer = Follower(source, clock, *parts)
    else:
        observer = Observer(clock, source, *parts)
    judged.recall(observer.fleet.rows.values(), store.desired.judged_by)
    observer.distrusted = driver.distrusted
    controller = Controller(clock, ControllerOptions(settings.reconcile.interval_seconds), observer, store.halts, host)

    def fire(beat: int) -> None:
        if isinstance(host, InlineHost):  # what waits fills before anybody ticks, and nothing follows by itself
            if gateway.is_busy() and (driver.has_news() or gateway.is_watching()):
                bridge.start(lambda: gateway.follow_up(beat, is_alone=True)).result()
            host.beat(beat)
            return
        host.beat(beat)
        started(lambda: gateway.follow_up(beat))

    def uncommitted(beat: int) -> None:
        started(gateway.tend)

    def look() -> None:
        if driver.descriptors is not None:
            driver.descriptors.look()
        with nullcontext() if driver.descriptors is None else driver.descriptors.spared():
            if store.take_halt_requests():
                host.settle()
                controller.hint()
            store.halts.store_pending()

    heartbeat = Heartbeat(clock, settings.heartbeat_seconds, driver.beats or store.beats, fire, uncommitted, look)
    engine = Assembly(
        settings, clock, store, venues, bridge, market, gateway, arrivals, catalogue, host, controller, heartbeat,
        StatusBoard(
            Parts(
                clock=clock,
                controller=controller,
                catalogue=catalogue,
                host=host,
                heartbeat=heartbeat,
                heartbeat_s=settings.heartbeat_seconds,
                source=settings.source.kind,
                trading=gateway,
                exposures=store.ledger,
                halts=store.halts.active,
                unstored_halts=store.halts.unstored,
                descriptors_note=lambda: "" if driver.descriptors is None else driver.descriptors.fault,
                awaited=arrivals.awaited,
                unheard=arrivals.unheard,
                exec_servers=lambda: tuple(status.to_json() for status in venues.statuses()),
                database_error=lambda: store.fault,
                watch_fault=driver.notes.watch_fault,
                accounts=settings.accounts,
                account=AccountViews(market, gateway.comparisons, settings.heartbeat_seconds).view,
                quote=market.last_quote,
                orphans=lambda: [asdict(orphan) for orphan in gateway.orphans()],
                doubts=lambda: [asdict(doubt) for doubt in gateway.doubts()],
                denials=lambda: [asdict(denial) for denial in gateway.denials()],
                differences=gateway.differences,
                limits=gateway.limits,
                unseen=gateway.unseen,
                settings_note=driver.notes.settings,
            )
        ),
    )  # fmt: skip

    def touched(ids: frozenset[str]) -> None:
        """What a pass changes shows since when, and is followed by what it means for open orders."""
        engine.board.look_at(ids)
        started(gateway.withdraw)

    controller.touched, controller.passed = touched, gateway.scope_limits.bound
    store.halts.cancels = lambda: started(gateway.withdraw)
    gateway.explain_uncommitted(lambda: controller.fleet.why_uncommitted)
    return engine


def _evaluation(
    limits: LiveLimits, judge: Callable[[Evaluation], Evaluation] | None, judged: EvaluationCache
) -> Callable[[Snapshot, Catalogue], tuple[Evaluation, ...]]:
    def evaluate(snapshot: Snapshot, strategies: Catalogue) -> tuple[Evaluation, ...]:
        limits.follow(snapshot.revision)
        files, templates = snapshot.instances, snapshot.templates
        found = evaluate_all(files, templates, strategies.facts, limits.judging, strategies.types(), judged)
        return found if judge is None else tuple(map(judge, found))

    return evaluate


_JUDGING: Final = ("documents", "validation", "records", "errors.py", "exact.py", "visible.py")
_SAYING: Final = ("pyyaml", "jsonschema", "jsonschema-rs", "referencing", "idna")


def rules() -> str:
    """Stands for what this engine judges files by: its code that does, the libraries that have a say, and Python.

    Empty where it cannot be told.
    """
    house = Path(__file__).parent
    code = sha256(f"{__version__} {sys.version}".encode())
    try:
        for name in _SAYING:
            code.update(f" {name} {version(name)}".encode())
        for place in (house / name for name in _JUDGING):
            for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
                code.update(f"\n{path.relative_to(house)}\n".encode())
                code.update(path.read_bytes())
    except (OSError, PackageNotFoundError):
        return ""
    return code.hexdigest()

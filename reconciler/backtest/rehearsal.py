"""A rehearsal: one record on the quotes of now, ticked by hand. In observe, so nothing is sent; nothing is kept.

Servers are connected to as an engine would, and everything else is that engine, but for its beats: a tick comes when
it is asked for, not when it is due.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from reconciler.assembly import Assembly, Driver, assembled
from reconciler.backtest.simulation import NotRunnable
from reconciler.clock import Clock
from reconciler.errors import ReconcilerError
from reconciler.exec_mcp.bridge import Bridge, LoopBridge
from reconciler.exec_mcp.servers import Servers, open_servers
from reconciler.inline import ASKS, Sentry, Still, at_mode
from reconciler.orders.order import Order
from reconciler.records.cadence import beat_at, next_due
from reconciler.records.mode import Mode
from reconciler.records.snapshot import Snapshot
from reconciler.runtime.host import InlineHost
from reconciler.settings import Settings
from reconciler.store.store import Store

_LOOKED_AFTER_S: Final = 0.1
_PASSES: Final = 100
_PATIENCE_S: Final = 60.0
"""How long its server may take to be there, and its account to be compared: its program may have to start."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What it did: its orders, oldest first, as they stand after the last tick; its log; and what it raised last."""

    id: str
    ticks: int
    orders: tuple[Order, ...]
    log: tuple[Mapping[str, Any], ...]
    errors: int
    last_error: str


async def rehearse(settings: Settings, snapshot: Snapshot, ticks: int, clock: Clock) -> Rehearsal:
    """Tick the one record of `snapshot` so often, a heartbeat apart. Raises NotRunnable; ReconcilerError where its
    server cannot be reached, or it cannot be loaded."""
    options = settings.server_options(os.environ)
    site = settings.paper.site(settings.heartbeat_seconds, None)
    async with open_servers(options, settings.accounts, clock, site) as servers:
        bridge = LoopBridge()
        return await asyncio.to_thread(_rehearsed, settings, snapshot, ticks, clock, servers, bridge)


def _rehearsed(
    settings: Settings, snapshot: Snapshot, ticks: int, clock: Clock, servers: Servers, bridge: Bridge
) -> Rehearsal:
    driver = Driver(bridge, InlineHost, allowance=ASKS, judge=partial(at_mode, Mode.OBSERVE))
    with Store.in_memory(clock) as store:
        parts = assembled(settings, clock, store, servers, Still(snapshot), driver, adopt=True)
        assert isinstance(parts.host, InlineHost)
        try:
            sentry = Sentry(settings.host_options(), clock)
            with sentry.watching(parts.host):
                done = _loaded(parts, ticks, clock, sentry)
            return replace(done, last_error=sentry.hung or done.last_error)
        finally:
            parts.host.stop(0.0)
            parts.catalogue.close()
            parts.close()


def _loaded(parts: Assembly, ticks: int, clock: Clock, sentry: Sentry) -> Rehearsal:
    for _ in range(_PASSES):
        if not parts.controller.run_pass() and not parts.controller.has_work():
            break
    if problems := parts.board.problems():
        raise NotRunnable(problems)
    (row,) = [row for row in parts.store.desired.rows().values() if row.is_live]
    _reach(parts, row.record.identity.account_id, clock)
    return _ticked(parts, row.id, ticks, clock, sentry)


def _reach(parts: Assembly, account_id: str, clock: Clock) -> None:
    """Wait until the account's server answers, as long as a call may take."""
    server = parts.servers.reaching(account_id)
    nobody, until_s = threading.Event(), clock.monotonic() + max(_PATIENCE_S, server.starting_s + server.timeout_s)
    while not server.status.connected:
        if clock.monotonic() > until_s:
            raise ReconcilerError(f"{server.name}: expected it to answer, was: {server.status.last_error or 'silent'}")
        clock.wait(nobody, _LOOKED_AFTER_S)


def _ticked(parts: Assembly, id: str, ticks: int, clock: Clock, sentry: Sentry) -> Rehearsal:
    nobody, heartbeat_s = threading.Event(), parts.settings.heartbeat_seconds
    facts = parts.host.facts(id)
    steps = 1 if facts is None or facts.ticks.every_s is None else round(facts.ticks.every_s / heartbeat_s)
    beat = beat_at(clock.time(), heartbeat_s)
    until_s = clock.monotonic() + _PATIENCE_S
    for number in range(1, ticks + 1):
        if sentry.hung:
            break
        if number > 1:
            clock.wait(nobody, heartbeat_s)
        while True:  # its first tick waits until its account was compared, as in any engine
            beat = next_due(beat, steps)
            parts.bridge.call(partial(parts.gateway.follow_up, beat), _PATIENCE_S)
            parts.host.beat(beat)
            facts = parts.host.facts(id)
            if facts is None or facts.ticks.count >= number or clock.monotonic() > until_s:
                break
            if facts.failing:
                return _told(parts, id)
            clock.wait(nobody, _LOOKED_AFTER_S)
    return _told(parts, id)


def _told(parts: Assembly, id: str) -> Rehearsal:
    orders: Sequence[Order] = parts.gateway.recent(id, 1_000, shadow=True)
    facts = parts.host.facts(id)
    assert facts is not None
    log = tuple(line.to_json() for line in reversed(facts.logs))
    return Rehearsal(id, facts.ticks.count, tuple(reversed(orders)), log, facts.ticks.errors, facts.last_error)

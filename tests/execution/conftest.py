"""Fixtures: the parts of execution, on a real store, wired as the engine wires them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.assembly import order_side
from reconciler.clock import FakeClock
from reconciler.exec_mcp.servers import Servers
from reconciler.store.store import Store
from tests.execution.standins import ACCOUNTS, Desk, MainLoop, ScriptedServer


@pytest.fixture
def main_loop() -> Iterator[MainLoop]:
    loop = MainLoop()
    yield loop
    loop.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    store = Store.open(tmp_path / "reconciler.db", clock)
    yield store
    store.close()


@pytest.fixture
def server(clock: FakeClock) -> ScriptedServer:
    return ScriptedServer(clock=clock)


@pytest.fixture
def desk(main_loop: MainLoop, store: Store, server: ScriptedServer, clock: FakeClock) -> Iterator[Desk]:
    bridge = main_loop.bridge()
    servers = Servers({"paper": server}, ACCOUNTS)
    market, gateway = order_side(clock, store, servers, bridge)
    gateway._wholeness.look("real", (), {}, {})  # compared, as real money must be, when nothing was there yet
    yield Desk(gateway, store, server, main_loop, clock, bridge, servers, market)
    bridge.close()
    gateway.close()

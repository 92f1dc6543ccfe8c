"""All servers of one engine: how they start, what becomes of one that cannot, and where their state is kept."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import SystemClock
from reconciler.exec_mcp.connection import Connection
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.servers import PaperSite, Servers, open_servers
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.paper.mcp_server import serve_paper
from reconciler.records.accounts import Accounts, DeclaredAccount

ACCOUNTS = Accounts({name: DeclaredAccount(name, name, real_money=False) for name in ("paper", "other")}, None)
PAPER = ServerOptions("paper", "paper", reconnect_min_s=0.01, reconnect_max_s=0.02)
OTHER = ServerOptions("other", "paper", reconnect_min_s=0.01, reconnect_max_s=0.02)

COLD_START = """
import asyncio, importlib.abc, sys, threading
from reconciler.clock import SystemClock
from reconciler.exec_mcp.options import ServerOptions
from reconciler.paper.mcp_server import serve_paper
from reconciler.exec_mcp.servers import PaperSite, open_servers
from reconciler.records.accounts import Accounts

class Witness(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("mcp", "mcp_types", "httpx2"):
            on_loop.append(name) if threading.current_thread() is threading.main_thread() else beside.append(name)

on_loop, beside = [], []
sys.meta_path.insert(0, Witness())

async def main():
    options = [ServerOptions("http", "http", url="http://127.0.0.1:1/mcp"), ServerOptions("paper", "paper")]
    begin = asyncio.Event()
    async with open_servers(options, Accounts(), SystemClock(), PaperSite(6.0), begin) as servers:
        await asyncio.sleep(0.01)
        assert not beside, "imported before it was time to begin"
        begin.set()
        async with asyncio.timeout(30):
            while not servers.statuses()[1].connected or "Error" not in servers.statuses()[0].last_error:
                await asyncio.sleep(0.005)
        print(servers.statuses()[0].last_error)
    assert beside and not on_loop, on_loop

asyncio.run(main())
"""


@asynccontextmanager
async def opened(folder: Path, *options: ServerOptions) -> AsyncIterator[Servers]:
    async with open_servers(options, ACCOUNTS, SystemClock(), PaperSite(6.0, journals=folder)) as servers:
        yield servers


async def until(servers: Servers, is_so: Callable[[ServerStatus], bool]) -> None:
    async with asyncio.timeout(60):
        while not all(is_so(status) for status in servers.statuses()):
            await asyncio.sleep(0.005)


def test_the_sdk_is_imported_once_beside_the_loop_before_any_server_is_reached() -> None:
    # In a fresh process: two threads that import it at once each find the other's modules half made.
    done = subprocess.run([sys.executable, "-c", COLD_START], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "ConnectError" in done.stdout


def test_a_paper_exchange_is_served_once_its_journal_is_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        journal = tmp_path / "paper.journal"
        journal.write_text('{"order_id": "paper-1"}\n')
        async with opened(tmp_path, PAPER) as servers:
            await until(servers, lambda status: f"{journal}:1: " in status.last_error)
            await asyncio.sleep(0.05)  # several attempts
            journal.unlink()
            await until(servers, lambda status: status.connected)

    asyncio.run(run())
    told = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in told] == ["exec-mcp cannot be had"]


def test_whatever_ends_a_servers_task_is_told_as_its_status_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ImportError("half made"), KeyError("price")]
    told = []

    @asynccontextmanager
    async def flawed(*args: Any, **options: Any) -> AsyncIterator[str]:
        if faults:
            raise faults.pop(0)
        async with serve_paper(*args, **options) as url:
            yield url

    async def run() -> None:
        async with opened(tmp_path, PAPER) as servers:
            while not servers.statuses()[0].connected:
                told.append(servers.statuses()[0].last_error)
                await asyncio.sleep(0.001)

    monkeypatch.setattr("reconciler.exec_mcp.servers.serve_paper", flawed)
    asyncio.run(run())
    assert list(dict.fromkeys(told))[:3] == ["not connected yet", "ImportError: half made", "KeyError: 'price'"]


def test_two_paper_servers_keep_their_state_apart_and_to_themselves(tmp_path: Path) -> None:
    order = {"client_id": "a", "client_order_id": "o1", "symbol": "EUR/USD", "side": "buy", "type": "market"}

    async def run() -> None:
        async with opened(tmp_path, PAPER, OTHER) as servers:
            await until(servers, lambda status: status.connected)
            for quantity, name in enumerate(("paper", "other"), 1):
                placed = {**order, "account_id": name, "quantity": str(quantity)}
                await servers.reaching(name).call("place_order", placed)
        async with opened(tmp_path, PAPER, OTHER) as servers:
            await until(servers, lambda status: status.connected)
            for quantity, name in enumerate(("paper", "other"), 1):
                who = {"account_id": name, "client_id": "a"}
                listed = await servers.reaching(name).call("list_orders", {**who, "status": "all"})
                assert [item["quantity"] for item in listed["orders"]] == [str(quantity)]

    asyncio.run(run())
    journals = sorted(tmp_path.iterdir())
    assert [path.name for path in journals] == ["paper-other.journal", "paper.journal"]
    assert [oct(path.stat().st_mode & 0o777) for path in journals] == ["0o600"] * 2


def test_servers_that_are_slow_to_let_go_are_let_go_of_together(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        leaving = [asyncio.Event(), asyncio.Event()]
        names: list[str] = []

        async def lives(self: Connection) -> None:
            try:
                names.append(self.name)
                await asyncio.Event().wait()
            finally:
                leaving[names.index(self.name)].set()
                for other in leaving:
                    await other.wait()

        monkeypatch.setattr(Connection, "run", lives)
        options = [ServerOptions(name, "stdio", command=("x",)) for name in ("one", "two")]
        async with open_servers(options, Accounts(), SystemClock(), PaperSite(0.1)):
            async with asyncio.timeout(60):
                while len(names) < 2:
                    await asyncio.sleep(0.005)

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await run()

    asyncio.run(bounded())

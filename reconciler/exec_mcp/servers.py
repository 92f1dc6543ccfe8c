"""All exec-mcp servers of one engine: which account each one reaches, and the tasks that keep them connected."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from reconciler.clock import Clock
from reconciler.errors import CapabilityUnavailable, ExecUnavailable
from reconciler.exec_mcp.bridge import flat
from reconciler.exec_mcp.connection import is_told_to_stop
from reconciler.exec_mcp.options import PAPER, ServerOptions
from reconciler.exec_mcp.server import ExecServer, ToolMemory
from reconciler.exec_mcp.venue import ServerStatus, Venue
from reconciler.paper.account import PaperOptions
from reconciler.paper.faults import FaultRule, Faults
from reconciler.paper.feed import FeedOptions
from reconciler.paper.mcp_server import serve_paper
from reconciler.records.accounts import Accounts, DeclaredAccount


@dataclass(frozen=True, slots=True)
class PaperSite:
    """How embedded paper exchanges are run. Prices hold for `step_s`; `journals` is the folder that keeps their state.

    Without `journals` it is forgotten.
    """

    step_s: float
    options: PaperOptions = field(default_factory=PaperOptions)
    feed: FeedOptions = field(default_factory=FeedOptions)
    faults: tuple[FaultRule, ...] = ()
    journals: Path | None = None

    def journal(self, server: str) -> Path | None:
        """The file that keeps the state of the exchange served as `server`: every one has its own."""
        name = "paper.journal" if server == PAPER else f"paper-{server}.journal"
        return None if self.journals is None else self.journals / name


class Servers:
    """The venues by name, and the accounts they reach. Thread-safe to read."""

    def __init__(self, servers: Mapping[str, Venue], accounts: Accounts) -> None:
        self._servers = servers
        self.accounts = accounts

    def account(self, account_id: str) -> DeclaredAccount | None:
        """The account of that id, None where it is not declared."""
        return self.accounts.get(account_id)

    def named(self, name: str) -> Venue:
        """The server of that name. Raises KeyError."""
        return self._servers[name]

    def reaching(self, account_id: str) -> Venue:
        """The server that reaches the account. Raises ExecUnavailable where none does."""
        account = self.accounts.get(account_id)
        server = None if account is None else self._servers.get(account.server)
        if server is None:
            raise ExecUnavailable(f"no exec-mcp server is declared for account {account_id!r}")
        return server

    def requiring(self, account_id: str, tool: str) -> Venue:
        """The connected server that reaches the account with `tool`. Raises ExecUnavailable, CapabilityUnavailable."""
        server = self.reaching(account_id)
        status = server.status
        if not status.connected:
            raise ExecUnavailable(f"exec-mcp server {server.name!r} is not connected: {status.last_error}")
        if tool not in status.tools:
            raise CapabilityUnavailable(tool, server.name, status.missing.get(tool, ""))
        return server

    def tell_connected(self, told: Callable[[], None]) -> None:
        """Have `told` called, on the loop, whenever a connection was made."""
        for server in self._servers.values():
            server.on_connected = told

    def tell_limited(self, told: Callable[[str], None]) -> None:
        """Have `told` called, with a sentence, whenever a server or exchange says that it was asked too often."""
        for name, server in self._servers.items():
            server.limits.on_hold = partial(_told_limited, told, name)

    def limited(self) -> tuple[frozenset[str], frozenset[str]]:
        """The accounts whose new orders wait, and the servers that are not asked for data, for it was too often."""
        accounts = frozenset(id for server in self._servers.values() for id in server.limits.accounts())
        return accounts, frozenset(name for name, server in self._servers.items() if server.limits.data_told())

    def accept_tools(self, name: str) -> str:
        """Somebody has looked at the changed tools. Why that cannot be accepted, else empty. On the loop only."""
        server = self._servers.get(name)
        if server is None:
            return f"there is no such server; the settings name: {', '.join(sorted(self._servers))}"
        if not server.status.changed:
            return "its tools have not changed, so there is nothing to accept"
        server.accept()
        return ""

    def statuses(self) -> tuple[ServerStatus, ...]:
        """How every connection is doing, by name."""
        return tuple(server.status for _, server in sorted(self._servers.items()))


def _told_limited(told: Callable[[str], None], server: str, account_id: str, why: str) -> None:
    what = f"new orders of account {account_id} wait" if account_id else f"data of server {server} is not asked for"
    told(f"{what}: {why}")


@asynccontextmanager
async def open_servers(
    options: Iterable[ServerOptions],
    accounts: Accounts,
    clock: Clock,
    paper: PaperSite,
    begin: asyncio.Event | None = None,
    on_change: Callable[[str, str], None] | None = None,
    memory: ToolMemory | None = None,
) -> AsyncIterator[Servers]:
    """Keep every server connected while inside, and serve the paper exchange where the options ask for it.

    Waits for none of them: the engine starts and ticks without exec-mcp, and no order leaves until then.
    Nothing is begun before `begin` is set: importing the SDK would slow a fleet's start down. `on_change` is told, on
    the loop, of a server whose tools changed: its name, and what changed. `memory` is what they are judged by; those
    of the embedded exchange come with this very program, and nobody has to look at them.
    """
    servers = {wanted.name: ExecServer(wanted, clock, None if wanted.kind == "paper" else memory) for wanted in options}
    for server in servers.values():
        server.on_change = on_change
    importing = asyncio.Lock()
    tasks = []
    for server in servers.values():
        work = partial(_serve_paper_to, server, clock, paper) if server.options.kind == "paper" else server.run
        kept = _kept(server, clock, work, importing, begin)
        tasks.append(asyncio.create_task(kept, name=f"exec-mcp {server.name}"))
    try:
        yield Servers(servers, accounts)
    finally:
        # All at once: a program that does not heed its end takes the SDK some seconds to be rid of.
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _kept(
    server: ExecServer,
    clock: Clock,
    work: Callable[[], Awaitable[None]],
    importing: asyncio.Lock,
    begin: asyncio.Event | None,
) -> None:
    """A server's task: does its work, and begins again whatever ended it. The boundary to all that may go wrong there.

    An exchange that cannot be served is tried again, for its journal and its prices can be repaired.
    """
    if begin is not None:
        await begin.wait()
    delay_s = server.options.reconnect_min_s
    while True:
        try:
            async with importing:
                await asyncio.to_thread(_import_sdk)
            await work()
        except Exception as error:  # noqa: BLE001 - it is told as the server's status; the other servers go on
            server.connection.fail(flat(error))
        if is_told_to_stop():
            raise asyncio.CancelledError
        await clock.sleep(delay_s * random.uniform(0.8, 1.2))
        delay_s = min(delay_s * 2, server.options.reconnect_max_s)


def _import_sdk() -> None:
    """All of the SDK that any server needs, once: it takes its time, and two threads at it would trip each other up."""
    for module in ("reconciler.exec_mcp.wire", "reconciler.paper.tools"):
        importlib.import_module(module)


async def _serve_paper_to(server: ExecServer, clock: Clock, site: PaperSite) -> None:
    """The embedded exchange and the connection to it."""
    journal = site.journal(server.name)
    async with serve_paper(
        clock,
        step_s=site.step_s,
        options=site.options,
        journal=journal,
        feed=site.feed,
        faults=Faults(clock, site.faults, site.feed.seed),
    ) as url:
        server.connection.options = replace(server.options, kind="http", url=url)
        await server.run()

"""All exec-mcp servers of one engine: which account each one reaches, and the tasks that keep them connected."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reconciler.clock import Clock
from reconciler.errors import CapabilityUnavailable, ExecUnavailable
from reconciler.execution.client import ExecServer, ServerStatus
from reconciler.execution.options import ServerOptions
from reconciler.execution.paper.exchange import PaperOptions
from reconciler.execution.paper.server import FeedOptions, serve_paper
from reconciler.records.accounts import Account, Accounts


@dataclass(frozen=True, slots=True)
class PaperSite:
    """How the embedded paper exchange is run. Prices hold for `step_s`; `journal` keeps its state, None forgets it."""

    step_s: float
    options: PaperOptions = field(default_factory=PaperOptions)
    feed: FeedOptions = field(default_factory=FeedOptions)
    journal: Path | None = None


class Servers:
    """The servers by name, and the accounts they reach. Thread-safe to read."""

    def __init__(self, servers: Mapping[str, ExecServer], accounts: Accounts) -> None:
        self._servers = servers
        self._accounts = accounts

    def account(self, account_id: str) -> Account | None:
        """The account of that id, None where it is not declared."""
        return self._accounts.get(account_id)

    def reaching(self, account_id: str) -> ExecServer:
        """The server that reaches the account. Raises ExecUnavailable where none does."""
        account = self._accounts.get(account_id)
        server = None if account is None else self._servers.get(account.server)
        if server is None:
            raise ExecUnavailable(f"no exec-mcp server is declared for account {account_id!r}")
        return server

    def requiring(self, account_id: str, tool: str) -> ExecServer:
        """The connected server that reaches the account with `tool`. Raises ExecUnavailable, CapabilityUnavailable."""
        server = self.reaching(account_id)
        status = server.status
        if not status.connected:
            raise ExecUnavailable(f"exec-mcp server {server.name!r} is not connected: {status.last_error}")
        if tool not in status.tools:
            raise CapabilityUnavailable(tool, server.name)
        return server

    def statuses(self) -> tuple[ServerStatus, ...]:
        """How every connection is doing, by name."""
        return tuple(server.status for _, server in sorted(self._servers.items()))


@asynccontextmanager
async def open_servers(
    options: Iterable[ServerOptions],
    accounts: Accounts,
    clock: Clock,
    paper: PaperSite,
    begin: asyncio.Event | None = None,
) -> AsyncIterator[Servers]:
    """Keep every server connected while inside, and serve the paper exchange where the options ask for it.

    Waits for none of them: the engine starts and ticks without exec-mcp, and no order leaves until then.
    Nothing is begun before `begin` is set: importing the SDK would slow a fleet's start down.
    """
    servers = {wanted.name: ExecServer(wanted, clock) for wanted in options}
    async with contextlib.AsyncExitStack() as stack:
        for server in servers.values():
            work = _serve_paper_to(server, clock, paper) if server.options.kind == "paper" else server.run()
            await stack.enter_async_context(_while_inside(_after(begin, work), f"exec-mcp {server.name}"))
        yield Servers(servers, accounts)


async def _serve_paper_to(server: ExecServer, clock: Clock, site: PaperSite) -> None:
    """The embedded exchange and the connection to it. What is wrong with its files is told as its status."""
    for slow in ("reconciler.execution.paper.tools", "reconciler.execution.wire"):
        # The SDK takes its time to import; in a thread, so that the loop goes on meanwhile.
        await asyncio.to_thread(importlib.import_module, slow)
    try:
        async with serve_paper(
            clock, step_s=site.step_s, options=site.options, journal=site.journal, feed=site.feed
        ) as url:
            server.options = replace(server.options, kind="http", url=url)
            await server.run()
    except (OSError, ValueError) as error:
        server.fail(f"the paper exchange cannot start: {error}")


async def _after(begin: asyncio.Event | None, work: Coroutine[Any, Any, None]) -> None:
    with contextlib.closing(work):
        if begin is not None:
            await begin.wait()
        await work


@asynccontextmanager
async def _while_inside(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

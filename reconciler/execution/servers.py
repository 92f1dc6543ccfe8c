"""All exec-mcp servers of one engine: which account each one reaches, and the tasks that keep them connected."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from reconciler.clock import Clock
from reconciler.errors import CapabilityUnavailable, ExecUnavailable
from reconciler.execution.client import ExecServer, ServerStatus
from reconciler.execution.options import ServerOptions
from reconciler.execution.paper.exchange import PaperOptions
from reconciler.execution.paper.server import serve_paper
from reconciler.records.accounts import Account, Accounts


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
    *,
    heartbeat_s: float,
    paper: PaperOptions | None = None,
    paper_journal: Path | None = None,
) -> AsyncIterator[Servers]:
    """Serve the paper exchange where the options ask for it, and keep every server connected while inside.

    Does not wait for any connection: the engine starts and ticks without exec-mcp.
    Raises OSError, ValueError where the paper exchange cannot be served.
    """
    async with contextlib.AsyncExitStack() as stack:
        servers: dict[str, ExecServer] = {}
        for wanted in options:
            if wanted.kind == "paper":
                serving = serve_paper(clock, step_s=heartbeat_s, options=paper, journal=paper_journal)
                wanted = replace(wanted, kind="http", url=await stack.enter_async_context(serving))
            servers[wanted.name] = ExecServer(wanted, clock)
        for server in servers.values():
            await stack.enter_async_context(_kept_connected(server))
        yield Servers(servers, accounts)


@asynccontextmanager
async def _kept_connected(server: ExecServer) -> AsyncIterator[None]:
    task = asyncio.create_task(server.run(), name=f"exec-mcp {server.name}")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

"""Looking at servers without an engine: what each offers, what does not fit, and whose gate would stay closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.clock import Clock
from reconciler.execution.client import ExecServer
from reconciler.execution.connection import NOT_YET
from reconciler.execution.mapping.contract import LOOK_UP, PLACE
from reconciler.execution.servers import Servers
from reconciler.execution.wholeness import unseen
from reconciler.records.accounts import Accounts

_GRACE_S = 10.0
"""How much longer than a server may take until it is there the attempt may take to come to its end."""
_STEP_S = 0.02


@dataclass(frozen=True, slots=True)
class Finding:
    """One server. `offered` are its own tools, `tools` those of the contract's that can be used.

    `missing` says of the others why not, `closed` of accounts why their gate would stay closed. `changed` says what
    is not as it was when somebody looked.
    """

    server: str
    reachable: bool
    error: str
    offered: tuple[str, ...]
    tools: tuple[str, ...]
    missing: Mapping[str, str]
    mismatches: tuple[str, ...]
    closed: Mapping[str, str]
    changed: str = ""
    murmur: tuple[str, ...] = ()
    """The last lines that it wrote to its standard error, where it could not be reached."""
    hindrances: tuple[str, ...] = ()
    """Those mismatches that leave no tool out, and that can never work all the same."""

    unseen: Mapping[str, str] = field(default_factory=dict)
    """By account, why rows that its ledger lost could not be seen there."""

    @property
    def is_fine(self) -> bool:
        """True where it can be traded through, and whatever the mapping names is there and can come about.

        As far as lists of tools tell: whether orders work, only placing one shows.
        """
        return self.reachable and not self.closed and not any(self.missing.values()) and not self.hindrances

    def to_json(self) -> dict[str, Any]:
        return {
            "server": self.server,
            "reachable": self.reachable,
            "error": self.error,
            "offered": list(self.offered),
            "tools": list(self.tools),
            "missing": dict(self.missing),
            "mismatches": list(self.mismatches),
            "closed": dict(self.closed),
            "changed": self.changed,
            "stderr": list(self.murmur),
            "hindrances": list(self.hindrances),
            "unseen": dict(self.unseen),
            "fine": self.is_fine,
        }


async def inspect(servers: Servers, names: Iterable[str], accounts: Accounts, clock: Clock) -> tuple[Finding, ...]:
    """A finding for each server of `names`, which are being connected to."""

    async def finding(name: str) -> Finding:
        server = servers.named(name)
        await connected(server, clock)
        return _finding(server, accounts)

    return tuple(await asyncio.gather(*map(finding, names)))


async def connected(server: ExecServer, clock: Clock) -> bool:
    """Wait until there is a connection, or an attempt at it has failed; True where there is one."""
    give_up_s = clock.monotonic() + server.starting_s + _GRACE_S
    while not server.status.connected and server.status.last_error == NOT_YET and clock.monotonic() < give_up_s:
        await clock.sleep(_STEP_S)
    return server.status.connected


def _finding(server: ExecServer, accounts: Accounts) -> Finding:
    status = server.status
    error = "" if status.connected else status.last_error
    closed = error or "; ".join(
        f"{tool}: {status.missing.get(tool) or 'the mapping says that there is none'}"
        for tool in (PLACE, LOOK_UP)
        if tool not in status.tools
    )
    reached = [account.account_id for account in accounts.declared.values() if account.server == server.name]
    return Finding(
        server.name,
        status.connected,
        error,
        status.offered,
        status.tools if status.connected else (),
        status.missing if status.connected else {},
        status.mismatches if status.connected else (),
        dict.fromkeys(reached, closed) if closed else {},
        status.changed,
        () if status.connected else server.murmur,
        status.hindrances if status.connected else (),
        dict.fromkeys(reached, why) if (why := unseen(status)) else {},
    )

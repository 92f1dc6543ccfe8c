"""Looking at servers without an engine: what each offers, what does not fit, and whose gate would stay closed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from typing import Any

from reconciler import exact
from reconciler.clock import Clock
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.connection import NOT_YET
from reconciler.exec_mcp.contract import LOOK_UP, PLACE
from reconciler.exec_mcp.request import Subject
from reconciler.exec_mcp.server import unseen
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.venue import Venue
from reconciler.orders.order import OrderState, Side, decimal_text
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


async def connected(server: Venue, clock: Clock) -> bool:
    """Wait until there is a connection, or an attempt at it has failed; True where there is one."""
    give_up_s = clock.monotonic() + server.starting_s + _GRACE_S
    while not server.status.connected and server.status.last_error == NOT_YET and clock.monotonic() < give_up_s:
        await clock.sleep(_STEP_S)
    return server.status.connected


def _finding(server: Venue, accounts: Accounts) -> Finding:
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


_FAR = Decimal("0.5")
"""The price it bids, as a part of the market's own bid."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The order to try. `price` None is half of what the market bids."""

    account_id: str
    client_id: str
    symbol: str
    quantity: Decimal
    client_order_id: str
    price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TrialStep:
    """One thing that was tried, and what came of it."""

    what: str
    outcome: str
    ok: bool

    def to_json(self) -> dict[str, Any]:
        return {"what": self.what, "outcome": self.outcome, "ok": self.ok}


async def rehearse(server: Venue, trial: Trial) -> tuple[TrialStep, ...]:
    """Every step, in order. Whatever may have been placed is cancelled; the last look-up says what became of it."""
    who = {"account_id": trial.account_id, "client_id": trial.client_id}
    ours: dict[str, Any] = {**who, "client_order_id": trial.client_order_id, "symbol": trial.symbol}
    subject = Subject(trial.client_order_id, trial.symbol, Side.BUY, trial.quantity)
    price = trial.price
    steps: list[TrialStep] = []

    async def tried(what: str, work: Callable[[], Awaitable[str]]) -> bool:
        """Do it and note what came of it; True where it may have had an effect."""
        try:
            steps.append(TrialStep(what, await work(), True))
        except (ExecError, CapabilityUnavailable) as error:
            steps.append(TrialStep(what, str(error), False))
            return not isinstance(error, (ExecRejected, ExecUnavailable, CapabilityUnavailable))
        return True

    async def quote() -> str:
        nonlocal price
        read = answers.quote(await server.call("get_quote", {**who, "symbol": trial.symbol}), trial.symbol)
        half = exact.multiply(read.bid, _FAR)
        price = exact.rounded(half, read.bid, ROUND_DOWN) or half
        return f"bid {decimal_text(read.bid)}, ask {decimal_text(read.ask)}"

    async def place() -> str:
        assert price is not None
        order = {"side": "buy", "type": "limit", "quantity": decimal_text(trial.quantity)}
        answer = await server.call("place_order", {**ours, **order, "limit_price": decimal_text(price)})
        return _told(subject.report(answer))

    async def look_up() -> str:
        return _told(subject.report(await server.call("get_order", ours)))

    async def cancel() -> str:
        await server.call("cancel_order", ours)
        return "taken"

    async def ended() -> str:
        report = subject.report(await server.call("get_order", ours))
        if report.state is not OrderState.CANCELLED:
            raise ExecError(f"expected cancelled, was {_told(report)}: look at the account")
        return _told(report)

    if price is None and (not await tried("quote", quote) or not price):
        return tuple(steps)
    at = f"buy {decimal_text(trial.quantity)} {trial.symbol} at {decimal_text(price or Decimal(0))}"
    if await tried(f"place {trial.client_order_id}: {at}", place):
        await tried("look it up", look_up)
        await tried("cancel it", cancel)
        await tried("look it up again", ended)
    return tuple(steps)


def _told(report: answers.OrderReport) -> str:
    if report.refusal:
        raise ExecRejected(report.refusal)
    return f"{report.state}, {decimal_text(report.filled_quantity)} filled, the exchange's id is {report.order_id}"

"""The valuation: once a beat, asks what everything held is worth, and what accounts have, so that scopes are measured.

Loaded or not, whoever holds it. What is near its limit, or reached it, is told. Lives on the main loop; asks on
threads of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Protocol

from reconciler import exact
from reconciler.errors import CapabilityUnavailable, ExecError
from reconciler.execution.scope_limits import ScopeLimits, ScopeUsage
from reconciler.execution.shadow_book import Quoting
from reconciler.execution.wholeness import Wholeness
from reconciler.orders.market import Balance, Equity, counted, usual
from reconciler.orders.order import decimal_text
from reconciler.ports import EventLog, MarketData
from reconciler.records.accounts import DeclaredAccount
from reconciler.records.event import EventReason
from reconciler.store.ledger import Ledger

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""So many questions at a time, at most."""


class AccountData(MarketData, Protocol):
    """Market data, and the equity that was told with balances."""

    def last_equity(self, account_id: str, client_id: str) -> Equity | None: ...


class Valuation:
    """`run` raises nothing; one that begins before the last one ended does nothing."""

    def __init__(
        self,
        scope_limits: ScopeLimits,
        ledger: Ledger,
        quoting: Quoting,
        market: AccountData,
        wholeness: Wholeness,
        events: EventLog,
    ) -> None:
        self._scope_limits = scope_limits
        self._ledger = ledger
        self._quoting = quoting
        self._market = market
        self._wholeness = wholeness
        self._events = events
        self._threads = ThreadPoolExecutor(_AT_ONCE, "valuation")
        self._is_running = False
        self._told: dict[str, str] = {}
        """What was last told of a limit: `near` or `reached`."""

    async def run(self, beat: int) -> None:
        """One round: ask, measure anew, tell."""
        if self._is_running:
            return
        self._is_running = True
        loop = asyncio.get_running_loop()
        try:
            if not self._scope_limits.is_bounding:
                return
            asked = [
                loop.run_in_executor(self._threads, self._ask_quote, account_id, symbol, beat)
                for account_id, symbol in self._scope_limits.wanted()
            ]
            equities = self._scope_limits.wanted_equity()
            asked += [
                loop.run_in_executor(self._threads, self._ask_equity, account_id, beat) for account_id in equities
            ]
            await asyncio.gather(*asked)
            await loop.run_in_executor(self._threads, self._measure)
        except Exception as error:
            log.error("limits not measured", extra={"error": repr(error)}, exc_info=True)
        finally:
            self._is_running = False

    def close(self) -> None:
        self._threads.shutdown(wait=True)

    def _ask_quote(self, account_id: str, symbol: str, beat: int) -> None:
        self._quoting.note_size(account_id, symbol)
        prices = self._quoting.prices(account_id, symbol, beat)
        if prices is not None and prices.bid is not None and prices.ask is not None:
            self._scope_limits.quoted(account_id, symbol, prices.bid, prices.ask)

    def _ask_equity(self, account_id: str, beat: int) -> None:
        """Where each client is told its own, all of it together; where all are told the same, it is the account's."""
        account = self._scope_limits.accounts.get(account_id)
        if account is None:
            return
        found = []
        for client_id in sorted({client for one, client in self._ledger.clients() if one == account_id}) or [""]:
            try:
                balances = self._market.balances(account_id, client_id, beat)
                equity = self._market.last_equity(account_id, client_id)
            except (ExecError, CapabilityUnavailable):
                return  # what was told last counts for a while
            amount = equity_of(account, equity, balances)
            if amount is None:
                return
            found.append(amount)
        self._scope_limits.told_equity(account_id, found[0] if len(set(found)) == 1 else exact.total(found))

    def _measure(self) -> None:
        for account in tuple(self._scope_limits.accounts.declared):
            beside = self._wholeness.beside(account)
            if beside is not None:
                self._scope_limits.told_beside(account, beside)
        self._scope_limits.revalue()
        for one in self._scope_limits.usages(by_whom=False):
            self._tell(one)

    def _tell(self, one: ScopeUsage) -> None:
        """Once for each time that it comes to it."""
        usage = one.usage
        if one.is_passing:
            return
        key = f"{one.scope} {one.kind} {usage.limit}"
        now = "reached" if usage.is_reached else "near" if usage.is_near else ""
        before, self._told[key] = self._told.get(key, ""), now
        if now == before:
            return
        what = f"{one.scope}, {one.kind} money: {usage.limit}"
        used = "not measured" if usage.used is None else f"{decimal_text(usage.used)} of {decimal_text(usage.most)}"
        who = ", ".join(instance_id for instance_id, _ in self._scope_limits.users(one)[:3])
        by = f"; most by {who}" if who else ""
        if now == "reached":
            self._events.record(None, "Warning", EventReason.LIMIT_REACHED, f"{what}: {usage.why or used}{by}")
        elif now == "near" and before != "reached":
            self._events.record(None, "Warning", EventReason.LIMIT_NEAR, f"{what}: {used}{by}")
        elif before == "reached":
            self._events.record(None, "Normal", EventReason.LIMIT_FREE, f"{what}: {used}")


def equity_of(account: DeclaredAccount, equity: Equity | None, balances: Sequence[Balance]) -> Decimal | None:
    """The equity of an account in its currency: as the exchange tells it, else of the balances that count.

    None where neither can be counted: another currency than those that have a factor, or none of its own.
    """
    into, count_as = account.currency, account.count_as
    if equity is not None:
        return counted(equity.amount, equity.currency or into, into, count_as)
    known = {usual(into), *map(usual, count_as)}
    found = [
        amount
        for balance in balances
        if usual(balance.asset) in known
        and (amount := counted(balance.total, balance.asset, into, count_as)) is not None
    ]
    return exact.total(found) if found else None

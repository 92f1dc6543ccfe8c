"""What things are worth: the quote that an order is judged by; once a beat, all that is held, and what accounts have.

Loaded or not, whoever holds it. What is near its limit, or reached it, is told. The valuation lives on the main loop,
and asks on threads of its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import Protocol

from reconciler import exact
from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.gatekeeper import Refusal
from reconciler.execution.limits import QuotePrices
from reconciler.execution.scope_limits import ScopeLimits, ScopeUsage
from reconciler.execution.wholeness import Wholeness
from reconciler.orders.market import Balance, Equity, Quote, counted, is_contract, usual
from reconciler.orders.order import Order, OrderType, decimal_text
from reconciler.ports import EventLog, MarketData
from reconciler.records.accounts import DeclaredAccount
from reconciler.records.event import EventReason
from reconciler.records.mode import Mode
from reconciler.records.status import TradingReason
from reconciler.store.ledger import Ledger

log = logging.getLogger(__name__)

_AT_ONCE = 4
"""So many questions at a time, at most."""
_ONE = Decimal(1)


class Quoting:
    """Thread-safe. Tells once that quotes cannot be had, and once that they can again, however many orders ask."""

    def __init__(self, market: MarketData, servers: Servers) -> None:
        self._market = market
        self._servers = servers
        self._lock = threading.Lock()
        self._sizes: dict[tuple[str, str], Decimal | None] = {}
        """Contract sizes by account and symbol, None where one is needed and not told."""
        self._missing: set[tuple[str, str]] = set()
        """Account and symbol; the symbol is empty where the account's server gives no quote of any."""

    def quoted(self, order: Order) -> tuple[Order, Refusal | None]:
        """The order with the quote of its beat; or without one, and why it cannot do without.

        What is only simulated cannot, nor can a market order where there are quotes: of a market that is closed or
        gone there is none, and what such an order would trade at nobody knows.
        """
        origin = order.provenance
        self.note_size(origin.account_id, origin.symbol)
        found = self._asked(origin.account_id, origin.symbol, origin.beat)
        if isinstance(found, Quote):
            return replace(order, quote_bid=found.bid, quote_ask=found.ask, quote_at=found.as_of), None
        if origin.mode is Mode.OBSERVE:
            return order, Refusal(_reason(found), f"there is no quote to simulate with: {found}")
        if order.type is OrderType.MARKET and not isinstance(found, CapabilityUnavailable):
            return order, Refusal(_reason(found), f"there is no quote, and a market order needs one: {found}")
        return order, None

    def contract_size(self, account_id: str, symbol: str) -> Decimal | None:
        """How much of the base currency one unit of quantity is. From memory, of whatever an order was placed for.

        1 of what is no contract, and where the server has no tool that says it; None where it has, and did not.
        """
        return self._sizes.get((account_id, symbol), _ONE)

    def note_size(self, account_id: str, symbol: str) -> None:
        """Learn how much one contract is, where it is one. Blocks."""
        if not is_contract(symbol):
            return
        size: Decimal | None = None
        try:
            size = self._market.rules(account_id, symbol).contract_size
        except CapabilityUnavailable:
            size = _ONE
        except ExecError as error:
            size = self._sizes.get((account_id, symbol))
            log.warning("no rules", extra={"account_id": account_id, "symbol": symbol, "error": str(error)})
        self._sizes[account_id, symbol] = size

    def prices(self, account_id: str, symbol: str, beat: int) -> QuotePrices | None:
        """The quote of that beat; None where there is none, which is told like that of an order."""
        found = self._asked(account_id, symbol, beat)
        return QuotePrices(found.bid, found.ask) if isinstance(found, Quote) else None

    def _asked(self, account_id: str, symbol: str, beat: int) -> Quote | Exception:
        try:
            quote = self._market.quote(account_id, symbol, beat)
        except (ExecError, CapabilityUnavailable) as error:
            self._note_missing(account_id, symbol, str(error))
            return error
        self._note_given(account_id, symbol)
        return quote

    def _note_missing(self, account_id: str, symbol: str, error: str) -> None:
        what = (account_id, symbol if self._is_connected(account_id) else "")
        with self._lock:
            known = what in self._missing
            self._missing.add(what)
        if not known:
            log.warning("no quotes", extra={"account_id": account_id, "symbol": what[1] or "any", "error": error})

    def _note_given(self, account_id: str, symbol: str) -> None:
        given = {(account_id, symbol), (account_id, "")}
        with self._lock:
            known = not self._missing.isdisjoint(given)
            self._missing -= given
        if known:
            log.info("quotes again", extra={"account_id": account_id, "symbol": symbol})

    def _is_connected(self, account_id: str) -> bool:
        try:
            return self._servers.reaching(account_id).status.connected
        except ExecUnavailable:
            return False


def _reason(error: Exception) -> str:
    if isinstance(error, (ExecUnavailable, ExecUnknown)) and not isinstance(error, Unreadable):
        return TradingReason.EXEC_DOWN
    return TradingReason.CAPABILITY_MISSING if isinstance(error, CapabilityUnavailable) else "Quote"


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

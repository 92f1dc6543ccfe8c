"""The quotes that orders are judged by: those of their beat, or why there is none. Sends nothing."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace
from decimal import Decimal

from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, ExecUnknown
from reconciler.execution.gatekeeper import Refusal
from reconciler.execution.limits import Prices
from reconciler.execution.reading import Unreadable
from reconciler.execution.servers import Servers
from reconciler.ports import MarketData
from reconciler.records.market import Quote, is_contract
from reconciler.records.mode import Mode
from reconciler.records.order import Order, OrderType
from reconciler.records.status import TradingReason

_ONE = Decimal(1)

log = logging.getLogger(__name__)


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
        self._note_size(origin.account_id, origin.symbol)
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

    def _note_size(self, account_id: str, symbol: str) -> None:
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

    def prices(self, account_id: str, symbol: str, beat: int) -> Prices | None:
        """The quote of that beat; None where there is none, which is told like that of an order."""
        found = self._asked(account_id, symbol, beat)
        return Prices(found.bid, found.ask) if isinstance(found, Quote) else None

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

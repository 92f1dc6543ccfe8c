"""The quote an order is judged by: that of its beat, or why there is none. Sends nothing."""

from __future__ import annotations

import logging
import threading
from dataclasses import replace

from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, ExecUnknown
from reconciler.execution.gatekeeper import Refusal
from reconciler.execution.servers import Servers
from reconciler.ports import MarketData
from reconciler.records.order import Order
from reconciler.records.status import TradingReason

log = logging.getLogger(__name__)


class Quoting:
    """Thread-safe. Tells once that quotes cannot be had, and once that they can again, however many orders ask."""

    def __init__(self, market: MarketData, servers: Servers) -> None:
        self._market = market
        self._servers = servers
        self._lock = threading.Lock()
        self._missing: set[tuple[str, str]] = set()
        """Account and symbol; the symbol is empty where the account's server gives no quote of any."""

    def quoted(self, order: Order) -> tuple[Order, Refusal | None]:
        """The order with the quote of its beat; or without one, and why nothing can be simulated."""
        origin = order.provenance
        try:
            quote = self._market.quote(origin.account_id, origin.symbol, origin.beat)
        except (ExecError, CapabilityUnavailable) as error:
            self._note_missing(origin.account_id, origin.symbol, str(error))
            return order, Refusal(_reason(error), f"there is no quote to simulate with: {error}")
        self._note_given(origin.account_id, origin.symbol)
        return replace(order, quote_bid=quote.bid, quote_ask=quote.ask), None

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
    if isinstance(error, (ExecUnavailable, ExecUnknown)):
        return TradingReason.EXEC_DOWN
    return TradingReason.CAPABILITY_MISSING if isinstance(error, CapabilityUnavailable) else "Quote"

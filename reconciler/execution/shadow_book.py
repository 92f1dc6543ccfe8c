"""The shadow book, followed up: what each beat's quote makes of the shadow orders that wait. Sends nothing.

Only what is certain to have filled is, by the rule of `orders.filling`, as at the paper exchange. Orders fill as a
whole, unless they may only reduce a smaller position; how much there is at a price is not simulated. Every fill pays a
fee, rounded up.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import ROUND_CEILING, Decimal
from itertools import groupby
from operator import attrgetter

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, ExecUnknown, StoreError
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.gatekeeper import Refusal
from reconciler.execution.limits import QuotePrices
from reconciler.orders.filling import Resting, fee_on, offered, tried
from reconciler.orders.market import Quote, is_contract
from reconciler.orders.order import Order, OrderNews, OrderState, OrderType, Outcome, Side
from reconciler.ports import MarketData
from reconciler.records.mode import Mode
from reconciler.records.status import TradingReason
from reconciler.store.ledger import Ledger

DEFAULT_FEE = Decimal("0.0025")
"""The fee of a shadow fill, as a fraction of its notional: what exchanges charge those who trade little, or more."""


def shadowed(order: Order, fee_rate: Decimal) -> Order:
    """The order as the shadow book takes it in, judged by the quote that it saw, which must be there."""
    order = replace(order, outcome=Outcome.SHADOW, state=OrderState.OPEN)
    prices = QuotePrices(order.quote_bid, order.quote_ask)
    return _after(order, prices, fee_rate, order.created_at.date(), has_waited=False)


def followed(order: Order, prices: QuotePrices, fee_rate: Decimal, today: date, room: Decimal | None = None) -> Order:
    """An open shadow order after a quote of a later beat; the same object where nothing happened to it.

    `today` is the UTC day: an order for the day ends with the one it was placed on. `room` is how much one that may
    only reduce can still reduce.
    """
    return _after(order, prices, fee_rate, today, room, has_waited=True)


def _after(
    order: Order,
    prices: QuotePrices,
    fee_rate: Decimal,
    today: date,
    room: Decimal | None = None,
    *,
    has_waited: bool,
) -> Order:
    assert prices.bid is not None
    assert prices.ask is not None
    resting = Resting(order.request, order.quantity, order.created_at.date(), order.is_triggered, has_waited)
    filling = tried(resting, offered(order.side, prices.bid, prices.ask), today, room)
    if filling is None:
        return order
    state = filling.ended or (OrderState.FILLED if filling.executions else order.state)
    order = replace(order, is_triggered=filling.is_triggered, state=state, reason=filling.reason)
    for execution in filling.executions:  # one at most: at one price there is any quantity
        filled, paid = execution.quantity, execution.price
        fee = fee_on(filled, paid, fee_rate, ROUND_CEILING)
        order = replace(order, filled_quantity=filled, average_price=paid, fee=fee)
    return order


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


_AT_ONCE = 4
"""Markets looked at side by side: one slow server must not keep the others' shadow orders waiting."""

_market = attrgetter("provenance.account_id", "provenance.symbol")


class ShadowBook:
    """The task of one engine. `close` it after its last `follow`.

    A quote is asked for only where a shadow order waits, and is the one that strategies see in that beat. `follow`
    and `_look` are boundaries: what nobody foresaw is logged, costs a round or one market's turn, and no more.
    """

    def __init__(self, ledger: Ledger, quoting: Quoting, clock: Clock, fee_rate: Decimal) -> None:
        self._ledger = ledger
        self._quoting = quoting
        self._clock = clock
        self._fee_rate = fee_rate
        self._threads = ThreadPoolExecutor(_AT_ONCE, "shadow-book")
        self._is_running = False
        self._is_closed = False

    async def follow(self, beat: int) -> None:
        """One round, on the main loop. One that begins before the last one ended does nothing. Raises nothing."""
        if self._is_running or self._is_closed:
            return
        self._is_running = True
        try:
            loop = asyncio.get_running_loop()
            resting = await loop.run_in_executor(self._threads, self._ledger.resting)
            markets = groupby(sorted(resting, key=_market), key=_market)
            looks = [loop.run_in_executor(self._threads, self._look, list(own), beat) for _, own in markets]
            await asyncio.gather(*looks)
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._report(error)
        finally:
            self._is_running = False

    def close(self) -> None:
        self._is_closed = True
        self._threads.shutdown(wait=True)

    def _look(self, orders: Sequence[Order], beat: int) -> None:
        """What the quote of `beat` makes of these orders, which are of one account and symbol. Blocks."""
        try:
            prices = self._quoting.prices(*_market(orders[0]), beat)
            if prices is not None:
                self._judge(orders, prices)
        except Exception as error:  # noqa: BLE001 - the other markets get their turn all the same
            self._report(error)

    def _judge(self, orders: Iterable[Order], prices: QuotePrices) -> None:
        today = utc(self._clock.time()).date()
        for order in orders:
            after = followed(order, prices, self._fee_rate, today, self._room(order))
            if after is not order:
                self._settle(order, after)

    def _settle(self, before: Order, after: Order) -> None:
        """Write down what happened. An order that was cancelled meanwhile stays cancelled."""
        try:
            news = OrderNews(
                state=after.state,
                filled_quantity=after.filled_quantity,
                average_price=after.average_price,
                fee=after.fee,
                reason=after.reason,
                is_triggered=after.is_triggered,
            )
            self._ledger.settle(before.client_order_id, news)
        except StoreError as error:
            about = {"client_order_id": before.client_order_id, "error": str(error)}
            log.debug("shadow order not followed up", extra=about)

    def _room(self, order: Order) -> Decimal | None:
        """How much of the position `order` could still reduce; None where it need not."""
        if not order.request.reduce_only:
            return None
        held = self._ledger.position(order.instance_id, order.provenance.symbol, True).quantity
        return max(exact.ZERO, held if order.side is Side.SELL else exact.negative(held))

    def _report(self, error: Exception) -> None:
        """What was not expected, with its traceback; at shutdown work is cut short, and that is no news."""
        if not self._is_closed:
            log.error("shadow orders not followed up", exc_info=error, extra={"error": str(error)})

"""The shadow book, followed up: what each beat's quote makes of the shadow orders that wait. Sends nothing.

Only what is certain to have filled is. What comes in and can trade at once, and a stop whose price was reached,
takes the quote. A limit order that waits is filled at its limit, once the market trades through it: a price only
reached says nothing of who came first. Orders fill as a whole, unless they may only reduce a smaller position; how much
there is at a price is not simulated. Every fill pays a fee.
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
from typing import Protocol

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, ExecUnknown, StoreError
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.gate_checks import Refusal
from reconciler.execution.limits import QuotePrices
from reconciler.orders.market import Position, Quote, is_contract
from reconciler.orders.order import Order, OrderState, OrderType, Outcome, Side, TimeInForce
from reconciler.ports import MarketData
from reconciler.records.mode import Mode
from reconciler.records.status import TradingReason

DEFAULT_FEE = Decimal("0.0025")
"""The fee of a shadow fill, as a fraction of its notional: what exchanges charge those who trade little, or more."""

_FEE_STEP = Decimal("0.00000001")
_STOPS = (OrderType.STOP, OrderType.STOP_LIMIT)
_IMPATIENT = (TimeInForce.IOC, TimeInForce.FOK)


def shadowed(order: Order, fee_rate: Decimal) -> Order:
    """The order as the shadow book takes it in, judged by the quote that it saw, which must be there."""
    order = replace(order, outcome=Outcome.SHADOW, state=OrderState.OPEN)
    met = _met(order, QuotePrices(order.quote_bid, order.quote_ask), fee_rate, waited=False)
    if met.is_open and met.request.time_in_force in _IMPATIENT:
        return _ended(met, OrderState.CANCELLED, f"{met.request.time_in_force}: it could not be filled at once")
    return met


def followed(order: Order, prices: QuotePrices, fee_rate: Decimal, today: date) -> Order:
    """An open shadow order after a quote of a later beat; the same object where nothing happened to it.

    `today` is the UTC day: an order for the day ends with the one it was placed on.
    """
    if order.request.time_in_force is TimeInForce.DAY and today > order.created_at.date():
        return _ended(order, OrderState.EXPIRED, "its day is over")
    return _met(order, prices, fee_rate, waited=True)


def fee_on(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """The fee of one fill, rounded up to eight decimals."""
    fee = exact.multiply(exact.multiply(quantity, price), rate)
    return exact.rounded(fee, _FEE_STEP, ROUND_CEILING)


def part_of(filled: Order, quantity: Decimal, fee_rate: Decimal) -> Order:
    """The order as if only `quantity` of it had been filled, at the same price."""
    assert filled.average_price is not None
    return replace(filled, filled_quantity=quantity, fee=fee_on(quantity, filled.average_price, fee_rate))


def _met(order: Order, prices: QuotePrices, fee_rate: Decimal, *, waited: bool) -> Order:
    price = prices.against(order.side)
    assert price is not None
    if order.type in _STOPS and not order.is_triggered:
        if not _is_stopped(order, price):
            return order
        order, waited = replace(order, is_triggered=True), False
    limit = order.limit_price
    if limit is None or (not waited and price == limit) or _is_better(price, limit, order.side):
        return _filled(order, limit if waited and limit is not None else price, fee_rate)
    return order


def _is_stopped(order: Order, price: Decimal) -> bool:
    """True where the ask has risen to the stop price of a buy, or the bid has fallen to that of a sell."""
    stop = order.request.stop_price
    assert stop is not None
    return price >= stop if order.side is Side.BUY else price <= stop


def _is_better(price: Decimal, limit: Decimal, side: Side) -> bool:
    """True where the market trades through the limit."""
    return price < limit if side is Side.BUY else price > limit


def _filled(order: Order, price: Decimal, fee_rate: Decimal) -> Order:
    fee = fee_on(order.quantity, price, fee_rate)
    return replace(order, state=OrderState.FILLED, filled_quantity=order.quantity, average_price=price, fee=fee)


def _ended(order: Order, state: OrderState, reason: str) -> Order:
    return replace(order, state=state, reason=reason)


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
_NO_ROOM = "reduce_only: there is no position left to reduce"

_market = attrgetter("provenance.account_id", "provenance.symbol")


class ShadowLedger(Protocol):
    """What it needs of the ledger. All of it blocks; what is settled is committed."""

    def resting(self) -> Sequence[Order]: ...
    def position(self, instance_id: str, symbol: str, shadow: bool) -> Position: ...

    def settle(
        self,
        client_order_id: str,
        *,
        state: OrderState | None = None,
        filled_quantity: Decimal | None = None,
        average_price: Decimal | None = None,
        fee: Decimal | None = None,
        reason: str | None = None,
        is_triggered: bool | None = None,
    ) -> Order: ...


class ShadowBook:
    """The task of one engine. `close` it after its last `follow`.

    A quote is asked for only where a shadow order waits, and is the one that strategies see in that beat. `follow`
    and `_look` are boundaries: what nobody foresaw is logged, costs a round or one market's turn, and no more.
    """

    def __init__(self, ledger: ShadowLedger, quoting: Quoting, clock: Clock, fee_rate: Decimal) -> None:
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
            after = followed(order, prices, self._fee_rate, today)
            if after is not order:
                self._settle(order, after)

    def _settle(self, before: Order, after: Order) -> None:
        """Write down what happened. An order that was cancelled meanwhile stays cancelled."""
        if after.state is OrderState.FILLED and after.request.reduce_only:
            after = self._reduced(before, after)
        try:
            self._ledger.settle(
                before.client_order_id,
                state=after.state,
                filled_quantity=after.filled_quantity,
                average_price=after.average_price,
                fee=after.fee,
                reason=after.reason,
                is_triggered=after.is_triggered,
            )
        except StoreError as error:
            about = {"client_order_id": before.client_order_id, "error": str(error)}
            log.debug("shadow order not followed up", extra=about)

    def _reduced(self, before: Order, after: Order) -> Order:
        """`after`, filled no further than the position goes, and ended where it went no further."""
        held = self._ledger.position(after.instance_id, after.provenance.symbol, True).quantity
        room = max(exact.ZERO, held if after.side is Side.SELL else exact.negative(held))
        if after.quantity <= room:
            return after
        if not room:
            return replace(before, state=OrderState.CANCELLED, reason=_NO_ROOM)
        return replace(part_of(after, room, self._fee_rate), state=OrderState.CANCELLED, reason=_NO_ROOM)

    def _report(self, error: Exception) -> None:
        """What was not expected, with its traceback; at shutdown work is cut short, and that is no news."""
        if not self._is_closed:
            log.error("shadow orders not followed up", exc_info=error, extra={"error": str(error)})

"""The shadow book, followed up: what each beat's quote makes of the shadow orders that wait. Sends nothing.

Only what is certain to have filled is, by the rule of `orders.filling`, as at the paper exchange. Orders fill as a
whole, unless they may only reduce a smaller position; how much there is at a price is not simulated. Every fill pays a
fee, rounded up.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from decimal import ROUND_CEILING, Decimal
from itertools import groupby
from operator import attrgetter

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.errors import StoreError
from reconciler.execution.limits import QuotePrices
from reconciler.execution.valuation import Quoting
from reconciler.orders.filling import Resting, fee_on, offered, tried
from reconciler.orders.order import Order, OrderNews, OrderState, Outcome, Side
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


log = logging.getLogger(__name__)

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

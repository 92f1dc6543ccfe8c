"""The shadow book, followed up: what each beat's quote makes of the shadow orders that wait. Sends nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Protocol

from reconciler.clock import Clock, utc
from reconciler.errors import StoreError
from reconciler.execution.limits import Prices
from reconciler.execution.quoting import Quoting
from reconciler.execution.shadow import followed, part_of
from reconciler.records import exact
from reconciler.records.market import Position
from reconciler.records.order import Order, OrderState, Side

log = logging.getLogger(__name__)

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

    def _judge(self, orders: Iterable[Order], prices: Prices) -> None:
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

"""The fake book: keeps what was placed, answers as the test says, fills when the test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from reconciler.errors import TradingClosed
from reconciler.orders.holding import Holding
from reconciler.orders.market import Position
from reconciler.orders.order import (
    Fill,
    Order,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Provenance,
    RejectedBy,
    Side,
    to_decimal,
)
from reconciler.records.mode import Mode
from reconciler.strategy.placing import order_request

if TYPE_CHECKING:
    from reconciler.strategy.testing.fake_context import FakeContext

_SENT = (Outcome.ACCEPTED, Outcome.SHADOW)
_UNSETTLED = (Outcome.PENDING, Outcome.UNKNOWN)


class FakeOrders:
    """Implements `strategy.context.Orders`.

    In observe an order's outcome is `shadow`, in active `accepted`, and each mode has its own book; the shadow book
    begins from the real position and ends with observing. A market order fills at once where there is a quote; a
    limit order waits for `fill`.
    """

    def __init__(self, context: FakeContext) -> None:
        self._context = context
        self._book: dict[str, Order] = {}
        self._answers: list[tuple[Outcome, str]] = []
        self._permit: int | None = None
        self._real = Holding(context.instance.market)
        self._shadow: Holding | None = None
        """None until the first shadow order: till then the book holds what the real one does."""
        self._ended = 0
        """How many orders there were when the last shadow book ended."""

    def answer_next(self, outcome: str, reason: str = "") -> None:
        """What becomes of the next order placed: `rejected`, `unknown` or `pending`. May be called several times."""
        self._answers.append((Outcome(outcome), reason))

    def settle(self, order: Order, outcome: str) -> Order:
        """An order that was `unknown` or `pending` turns out to be `accepted` or `rejected`."""
        state = OrderState.OPEN if Outcome(outcome) in _SENT else None
        return self._keep(replace(self._own(order.client_order_id), outcome=Outcome(outcome), state=state))

    def fill(self, order: Order, price: str | Decimal | None = None, quantity: str | Decimal | None = None) -> Order:
        """Fill an open order, wholly or by `quantity`, at `price` or else its limit or the quote."""
        known = self._own(order.client_order_id)
        if known.outcome not in _SENT or known.state is None or known.state.is_final:
            raise ValueError(f"expected an open order, was {known.outcome} {known.state or ''}".rstrip())
        left = known.quantity - known.filled_quantity
        amount = left if quantity is None else to_decimal(quantity, "quantity")
        if not 0 < amount <= left:
            raise ValueError(f"expected a quantity in (0, {left}], was {amount}")
        paid = self._price(known) if price is None else to_decimal(price, "price")
        self._count(known, Fill(order.client_order_id, "", amount, paid, None, self._context.now()))
        filled = known.filled_quantity + amount
        cost = (known.average_price or Decimal(0)) * known.filled_quantity + paid * amount
        state = OrderState.FILLED if filled == known.quantity else OrderState.PARTIALLY_FILLED
        return self._keep(replace(known, filled_quantity=filled, average_price=cost / filled, state=state))

    def all(self) -> tuple[Order, ...]:
        """Every order of every mode as it stands now, oldest first."""
        return tuple(self._book.values())

    @contextmanager
    def placing(self) -> Iterator[None]:
        """While this is open, this thread may place: what `on_tick` runs inside of."""
        self._permit = threading.get_ident()
        try:
            yield
        finally:
            self._permit = None

    def place(
        self,
        side: str,
        quantity: str | Decimal,
        *,
        type: str = "market",
        limit_price: str | Decimal | None = None,
        stop_price: str | Decimal | None = None,
        time_in_force: str = "gtc",
        reduce_only: bool = False,
    ) -> Order:
        if self._permit is None:
            raise TradingClosed("orders are placed from on_tick: expected it to be running, it is not")
        if self._permit != threading.get_ident():
            raise TradingClosed("orders are placed from on_tick's own thread: this is another one")
        request = order_request(side, quantity, type, limit_price, stop_price, time_in_force, reduce_only)
        order = self._keep(self._answered(request))
        if order.outcome is Outcome.SHADOW:
            self._shadow = self._begun()
        fills_now = order.outcome in _SENT and request.type is OrderType.MARKET and self._context.market.has_quote()
        return self.fill(order) if fills_now else order

    def cancel(self, client_order_id: str) -> Order:
        order = self._own(client_order_id)
        if order.outcome in _SENT and order.is_open:
            return self._keep(replace(order, state=OrderState.CANCELLED))
        return order

    def open(self) -> Sequence[Order]:
        return tuple(order for order in self._mine() if order.is_open)

    def recent(self, limit: int = 20) -> Sequence[Order]:
        return tuple(reversed(self._mine()))[: max(limit, 0)]

    def position(self) -> Position:
        shadow = self._shadow if self._context.instance.mode == Mode.OBSERVE else None
        return (shadow or self._real).position

    def mode_changed(self) -> None:
        """End the shadow book: what is open in it is cancelled, and the next one starts from the real position."""
        for order in self._book.values():
            if order.outcome is Outcome.SHADOW and order.is_open:
                self._keep(replace(order, state=OrderState.CANCELLED))
        self._shadow = None
        self._ended = len(self._book)

    def _answered(self, request: OrderRequest) -> Order:
        instance, now = self._context.instance, self._context.now()
        provenance = Provenance(
            instance_id=instance.id,
            account_id=instance.account_id,
            client_id=instance.client_id,
            symbol=instance.market,
            mode=Mode(instance.mode),
            generation=1,
            config_digest="",
            code_digest="",
            revision=None,
            beat=int(now.timestamp() // 6),
        )
        outcome, reason, by = self._outcome()
        quote = self._context.market.quote() if self._context.market.has_quote() else None
        return Order(
            client_order_id=f"fake{len(self._book) + 1:06d}",
            provenance=provenance,
            request=request,
            outcome=outcome,
            created_at=now,
            updated_at=now,
            state=OrderState.OPEN if outcome in _SENT else None,
            reason=reason,
            rejected_by=by,
            quote_bid=quote.bid if quote else None,
            quote_ask=quote.ask if quote else None,
        )

    def _outcome(self) -> tuple[Outcome, str, RejectedBy | None]:
        unsettled = next((order for order in self._mine() if order.outcome in _UNSETTLED), None)
        if unsettled is not None:
            reason = (
                f"the outcome of {unsettled.client_order_id} is {unsettled.outcome}: nothing new until it is settled"
            )
            return Outcome.REJECTED, reason, RejectedBy.GATEWAY
        if self._answers:
            outcome, reason = self._answers.pop(0)
            return outcome, reason, RejectedBy.EXCHANGE if outcome is Outcome.REJECTED else None
        active = self._context.instance.mode == Mode.ACTIVE
        return Outcome.ACCEPTED if active else Outcome.SHADOW, "", None

    def _price(self, order: Order) -> Decimal:
        if order.limit_price is not None:
            return order.limit_price
        quote = self._context.market.quote()
        return quote.ask if order.side is Side.BUY else quote.bid

    def _mine(self) -> list[Order]:
        """The book of the mode in force, oldest first."""
        mode = self._context.instance.mode
        orders = list(self._book.values())[self._ended if mode == Mode.OBSERVE else 0 :]
        return [order for order in orders if order.provenance.mode == mode]

    def _own(self, client_order_id: str) -> Order:
        if client_order_id not in self._book:
            raise KeyError(client_order_id)
        return self._book[client_order_id]

    def _count(self, order: Order, fill: Fill) -> None:
        if order.provenance.mode is Mode.ACTIVE:
            self._real = self._real.filled(order.side, fill, fill.at.date())
        else:
            self._shadow = self._begun().filled(order.side, fill, fill.at.date())

    def _begun(self) -> Holding:
        return self._shadow or Holding(self._real.symbol, self._real.quantity, self._real.cost)

    def _keep(self, order: Order) -> Order:
        kept = replace(order, updated_at=self._context.now())
        self._book[order.client_order_id] = kept
        return kept

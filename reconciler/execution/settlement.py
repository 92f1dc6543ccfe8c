"""Writing down what became of an order. The one place that turns an exchange's report into the ledger's words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from reconciler.clock import Clock, utc
from reconciler.execution.answers import OrderReport, ReportedFill
from reconciler.execution.gatekeeper import Gatekeeper, OwnOrders
from reconciler.records.order import Order, OrderState, Outcome, RejectedBy, decimal_text


class OrderBook(OwnOrders, Protocol):
    """What execution needs of the store's ledger. All of it blocks; appended and settled is committed."""

    def append(self, order: Order) -> None: ...

    def settle(
        self,
        client_order_id: str,
        *,
        outcome: Outcome | None = None,
        state: OrderState | None = None,
        filled_quantity: Decimal | None = None,
        average_price: Decimal | None = None,
        fee: Decimal | None = None,
        exchange_order_id: str | None = None,
        reason: str | None = None,
        rejected_by: RejectedBy | None = None,
    ) -> Order: ...

    def add_fill(
        self,
        client_order_id: str,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal | None,
        at: datetime,
        exchange_fill_id: str,
    ) -> None: ...

    def get(self, client_order_id: str) -> Order | None: ...
    def unresolved(self) -> list[Order]: ...
    def open_accepted(self) -> list[Order]: ...
    def mark_unknown_on_startup(self) -> list[Order]: ...


class Settlement:
    """Blocks, for it writes; from any thread. Two who settle one order take turns, so neither undoes the other."""

    def __init__(self, ledger: OrderBook, gatekeeper: Gatekeeper, clock: Clock) -> None:
        self._ledger = ledger
        self._gatekeeper = gatekeeper
        self._clock = clock
        self._turn = threading.Lock()

    def rejected(self, order: Order, by: RejectedBy, reason: str) -> Order:
        """It is certain that the order was not placed."""
        settled = self._ledger.settle(order.client_order_id, outcome=Outcome.REJECTED, rejected_by=by, reason=reason)
        self._gatekeeper.trust(order.client_order_id)
        return settled

    def unknown(self, order: Order, reason: str) -> Order:
        """The order may or may not have been placed: its instance is blocked until that is known."""
        self._gatekeeper.doubt(order)
        return self._ledger.settle(order.client_order_id, outcome=Outcome.UNKNOWN, reason=reason)

    def reported(self, order: Order, report: OrderReport) -> Order:
        """The exchange's word. An answer older than what is known changes nothing."""
        with self._turn:
            known = self._ledger.get(order.client_order_id) or order
            if report.refusal:
                return self._refused(known, report.refusal)
            if known.state is not None and known.state.is_final and report.state is not known.state:
                return known
            filled = _filled_quantity(known, report)
            for fill in _new_fills(known, report, filled, self._clock):
                self._ledger.add_fill(known.client_order_id, fill.quantity, fill.price, fill.fee, fill.at, fill.fill_id)
            settled = self._ledger.settle(
                known.client_order_id,
                outcome=Outcome.ACCEPTED,
                state=report.state,
                filled_quantity=filled,
                average_price=report.average_price,
                fee=report.fee,
                exchange_order_id=report.order_id,
                reason="" if known.outcome is Outcome.UNKNOWN else None,
            )
        self._gatekeeper.trust(order.client_order_id)
        return settled

    def _refused(self, known: Order, reason: str) -> Order:
        if known.outcome is Outcome.ACCEPTED:
            # Accepted at first and thrown out later: for the order it is an end like any other.
            return self._ledger.settle(known.client_order_id, state=OrderState.CANCELLED, reason=reason)
        return self.rejected(known, RejectedBy.EXCHANGE, reason)


def _filled_quantity(known: Order, report: OrderReport) -> Decimal:
    """What is filled; a server that only says "filled" means all of it."""
    if report.state is OrderState.FILLED and not report.filled_quantity:
        return known.quantity
    return report.filled_quantity


def _new_fills(known: Order, report: OrderReport, filled: Decimal, clock: Clock) -> Iterator[ReportedFill]:
    """The executions since what is known; one made of the difference, where the server does not tell them apart."""
    if filled <= known.filled_quantity:
        return
    if report.fills is not None:
        yield from report.fills
        return
    if report.average_price is None:
        return
    quantity = filled - known.filled_quantity
    before = (known.average_price or Decimal(0)) * known.filled_quantity
    price = (report.average_price * filled - before) / quantity
    fee = (report.fee or Decimal(0)) - (known.fee or Decimal(0))
    yield ReportedFill(f"to-{decimal_text(filled)}", quantity, price, fee, utc(clock.time()))

"""Writing down what became of an order. The one place that turns an exchange's report into the ledger's words."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Literal, Protocol

from reconciler.errors import StoreError
from reconciler.execution.answers import OrderReport
from reconciler.execution.doubts import Doubts
from reconciler.execution.gatekeeper import HaltBook, OwnOrders
from reconciler.records.order import Fill, Order, OrderState, Outcome, RejectedBy
from reconciler.records.verdict import Verdict

log = logging.getLogger(__name__)

_TURNS = 64


class OrderBook(OwnOrders, Protocol):
    """What execution needs of the store's ledger. All of it blocks; appended and settled is committed."""

    def append(self, order: Order) -> None: ...
    def refuse(self, order: Order) -> Order: ...

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
        is_triggered: bool | None = None,
        fills: Sequence[Fill] = (),
    ) -> Order: ...

    def get(self, client_order_id: str) -> Order | None: ...
    def unresolved(self) -> list[Order]: ...
    def open_accepted(self) -> list[Order]: ...
    def resting(self) -> list[Order]: ...
    def mark_unknown_on_startup(self) -> list[Order]: ...
    def unwanted(self) -> list[Order]: ...
    def written_off(self, since: datetime) -> list[Order]: ...
    def was_unknown(self, client_order_id: str) -> bool: ...
    def of_exchange_id(self, account_id: str, exchange_order_id: str) -> Order | None: ...
    def clients(self) -> list[tuple[str, str]]: ...
    def held(self, account_id: str) -> Mapping[str, Decimal]: ...
    def sent(self, since: datetime) -> list[tuple[str, datetime]]: ...


class EventLog(Protocol):
    """Where what people should read is written. Neither waits nor raises."""

    def record(
        self, instance_id: str | None, type: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None: ...


class Settlement:
    """Blocks, for it writes; from any thread. Two who settle one order take turns, so neither undoes the other."""

    def __init__(self, ledger: OrderBook, doubts: Doubts, halts: HaltBook, events: EventLog) -> None:
        self._ledger = ledger
        self._doubts = doubts
        self._halts = halts
        self._events = events
        self._turns = tuple(threading.Lock() for _ in range(_TURNS))

    def rejected(self, order: Order, by: RejectedBy, reason: str) -> Order:
        """It is certain that the order was not placed."""
        settled = self._ledger.settle(order.client_order_id, outcome=Outcome.REJECTED, rejected_by=by, reason=reason)
        self._doubts.end(order.client_order_id)
        return settled

    def unknown(self, order: Order, reason: str) -> Order:
        """The order may or may not have been placed: its instance is blocked until that is known."""
        with self._turn(order.client_order_id):
            known = self._ledger.get(order.client_order_id) or order
            if known.outcome is not Outcome.PENDING:
                return known  # the exchange listed it before its answer was given up
            self._doubts.add(order)
            settled = self._ledger.settle(order.client_order_id, outcome=Outcome.UNKNOWN, reason=reason)
        self._tell(order, "Warning", "OrderUnknown", f"it may have been placed: {reason}")
        return settled

    def written_off(self, order: Order, why: str) -> Order:
        """The exchange has said often enough that it knows no such order: it was never placed, for all we know."""
        with self._turn(order.client_order_id):
            known = self._ledger.get(order.client_order_id) or order
            if known.outcome is Outcome.PENDING:  # that it is unknown could not be written down: it is now
                self._ledger.settle(order.client_order_id, outcome=Outcome.UNKNOWN)
            elif known.outcome is not Outcome.UNKNOWN:
                return known
            settled = self.rejected(order, RejectedBy.GATEWAY, why)
        self._tell(order, "Warning", "OrderNotPlaced", why)
        return settled

    def reported(self, order: Order, report: OrderReport) -> Order:
        """The exchange's word. An answer older than what is known changes nothing."""
        with self._turn(order.client_order_id):
            known = self._ledger.get(order.client_order_id) or order
            if report.refusal:
                return self._refused(known, report.refusal)
            if known.state is not None and known.state.is_final and report.state is not known.state:
                return known
            turned_up = known.outcome is Outcome.REJECTED
            if turned_up:
                self._halt(known)
            settled = self._ledger.settle(
                known.client_order_id,
                outcome=Outcome.ACCEPTED,
                state=report.state,
                filled_quantity=_filled_quantity(known, report),
                average_price=report.average_price,
                fee=report.fee,
                exchange_order_id=report.order_id,
                reason=_reason(known),
                fills=_fills(known, report),
            )
        self._doubts.end(order.client_order_id)
        if turned_up:
            self._tell(known, "Warning", "OrderTurnedUp", f"it is {settled.state}, but was taken for: {known.reason}")
        elif known.outcome is Outcome.UNKNOWN:
            self._tell(known, "Normal", "OrderFound", f"it was placed, and is {settled.state}")
        return settled

    def resolved(self, client_order_id: str, verdict: Verdict) -> str:
        """An operator's word on an order. Why it cannot be taken, empty where it was."""
        with self._turn(client_order_id):
            known = self._ledger.get(client_order_id)
            if known is None:
                return "the ledger knows no such order"
            if known.outcome is Outcome.PENDING and client_order_id not in self._doubts.ids():
                return "it is being sent right now: wait for its outcome"
            fault = verdict.fault(known, was_unknown=self._ledger.was_unknown(client_order_id))
            if not fault:
                self._ledger.settle(client_order_id, **verdict.news(known))
                self._doubts.end(client_order_id)
                self._tell(known, "Warning", "OrderResolved", f"{verdict}: {verdict.reason} ({verdict.by})")
            return fault

    def _turn(self, client_order_id: str) -> threading.Lock:
        """Held by whoever settles that order. Others' orders need not wait: what they write shares its commit."""
        return self._turns[hash(client_order_id) % _TURNS]

    def _halt(self, order: Order) -> None:
        """What nobody reckoned with was traded: its instance opens nothing more until somebody has looked."""
        reason = f"order {order.client_order_id} turned up, though it had been taken for rejected"
        try:
            self._halts.add("instance", order.instance_id, False, reason, "engine")
        except StoreError as error:
            log.error("a halt could not be stored", extra={"instance": order.instance_id, "error": str(error)})

    def _refused(self, known: Order, reason: str) -> Order:
        if known.outcome is Outcome.ACCEPTED:
            # Accepted at first and thrown out later: for the order it is an end like any other.
            if known.state is not None and known.state.is_final:
                return known
            return self._ledger.settle(known.client_order_id, state=OrderState.CANCELLED, reason=reason)
        if known.outcome is Outcome.REJECTED:
            return known
        return self.rejected(known, RejectedBy.EXCHANGE, reason)

    def _tell(self, order: Order, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._events.record(order.instance_id, type, reason, f"{order.client_order_id}: {message}")


def _reason(known: Order) -> str | None:
    """What stands as the reason once the exchange has taken the order: None leaves it."""
    if known.outcome is Outcome.REJECTED:
        return f"turned up after it had been taken for rejected: {known.reason}"
    return "" if known.outcome is Outcome.UNKNOWN else None


def _filled_quantity(known: Order, report: OrderReport) -> Decimal:
    """What is filled; a server that only says "filled" means all of it, and one that only tells executions, those."""
    if report.filled_quantity:
        return report.filled_quantity
    if report.state is OrderState.FILLED:
        return known.quantity
    return sum((fill.quantity for fill in report.fills or ()), Decimal(0))


def _fills(known: Order, report: OrderReport) -> list[Fill]:
    """The executions, where the server tells them apart."""
    return [
        Fill(known.client_order_id, fill.fill_id, fill.quantity, fill.price, fill.fee, fill.at)
        for fill in report.fills or ()
    ]

"""Writing down what became of an order. The one place that turns an exchange's report into the ledger's words."""

from __future__ import annotations

from concurrent.futures import Future
from decimal import Decimal
from typing import assert_never

from reconciler import exact
from reconciler.exec_mcp.answers import OrderReport
from reconciler.execution.brakes import Brakes
from reconciler.execution.order_steps import NoWord, Rejection
from reconciler.execution.watch import OrderWatch
from reconciler.orders.news import Correction, Verdict
from reconciler.orders.order import Fill, Order, OrderNews, OrderState, Outcome, RejectedBy, decimal_text
from reconciler.ports import EventLog
from reconciler.records.event import EventReason, EventType
from reconciler.store.halts import Halts
from reconciler.store.ledger import Ledger, Settled


class Settlement:
    """From any thread. What is written down is decided when it is written, so that of two who settle one order neither
    undoes the other. Those that end in -ing wait for nothing; all others block."""

    def __init__(
        self,
        ledger: Ledger,
        watch: OrderWatch,
        halts: Halts,
        events: EventLog,
        brakes: Brakes | None = None,
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._halts = halts
        self._events = events
        self._brakes = brakes

    def settling(self, order: Order, said: OrderReport | Rejection | NoWord) -> Future[Settled]:
        """What became of sending an order. Waits for nothing."""
        match said:
            case Rejection(by, reason):
                return self._rejecting(order, by, reason)
            case NoWord(reason):
                return self._doubting(order, reason)
            case OrderReport():
                return self.reporting(order, said)
            case _:
                assert_never(said)

    def _rejecting(self, order: Order, by: RejectedBy, reason: str) -> Future[Settled]:
        """It is certain that the order was not placed; unless the exchange has listed it meanwhile."""

        def decide(known: Order) -> OrderNews | None:
            return None if known.outcome is Outcome.ACCEPTED else _rejection(by, reason)

        def committed(change: Settled) -> None:
            settled = change.after
            if settled.outcome is Outcome.ACCEPTED:
                told = f"it is {settled.state}, but its placing was answered: {reason}"
                self.tell(settled, "Warning", EventReason.ORDER_TURNED_UP, told)
                return
            self._watch.ended(settled)
            self._brake(settled)

        return self._ledger.settling(order.client_order_id, decide, committed)

    def _doubting(self, order: Order, reason: str) -> Future[Settled]:
        """The order may or may not have been placed: its instance is blocked until that is known."""

        def decide(known: Order) -> OrderNews | None:
            is_pending = known.outcome is Outcome.PENDING  # else the exchange listed it before its answer was given up
            return OrderNews(outcome=Outcome.UNKNOWN, reason=reason) if is_pending else None

        def committed(change: Settled) -> None:
            self._watch.note(change.after)
            if change.after is not change.before:
                self.tell(order, "Warning", EventReason.ORDER_UNKNOWN, f"it may have been placed: {reason}")

        self._watch.doubt(order)  # at once: the next order of its instance must not pass meanwhile
        return self._ledger.settling(order.client_order_id, decide, committed)

    def written_off(self, order: Order, why: str) -> Order:
        """The exchange has said often enough that it knows no such order: it was never placed, for all we know."""

        def decide(known: Order) -> OrderNews | None:
            return _rejection(RejectedBy.GATEWAY, why) if known.outcome is Outcome.UNKNOWN else None

        def committed(change: Settled) -> None:
            self._watch.note(change.after)
            if change.after is not change.before:
                self.tell(order, "Warning", EventReason.ORDER_NOT_PLACED, why)

        # That it is unknown could not be written down where it is pending: it is now.
        unknown = OrderNews(outcome=Outcome.UNKNOWN)
        id_ = order.client_order_id
        self._ledger.settling(id_, lambda known: unknown if known.outcome is Outcome.PENDING else None).result()
        return self._ledger.settling(id_, decide, committed).result().after

    def unreadable(self, order: Order, why: str) -> None:
        """What was answered cannot be booked: the order stays as it is known. Told once, as long as it is the same."""
        if self._watch.complains(order, why):
            self.tell(order, "Warning", EventReason.ANSWER_UNREADABLE, f"an answer was not taken: {why}")

    def reported(self, order: Order, report: OrderReport) -> Order:
        """As `reporting`; committed on return."""
        return self.reporting(order, report).result().after

    def reporting(self, order: Order, report: OrderReport) -> Future[Settled]:
        """The exchange's word on an order. An answer older than what is known changes nothing. Waits for nothing.

        What is filled stays filled, and what more is told is filled, too, even of an order that is over: fills under
        way when it was cancelled are told afterwards.
        """
        is_news: list[bool] = []

        def decide(known: Order) -> OrderNews | None:
            news = _news(known, report)
            is_news.append(news is not None)
            if news is not None and known.outcome is Outcome.REJECTED:
                self._halt(known, " turned up, though it had been taken for rejected")  # before it is known
            return news

        def committed(change: Settled) -> None:
            if is_news[-1]:
                self._watch.ended(change.after)
                self._tell_report(change.before or order, change.after, report)

        return self._ledger.settling(order.client_order_id, decide, committed)

    def _tell_report(self, known: Order, settled: Order, report: OrderReport) -> None:
        """What a report that was written down means beyond the ledger."""
        if not (report.refusal and settled.outcome is Outcome.ACCEPTED):
            self._brake(settled)
        if report.refusal:
            return
        is_over = known.state is not None and known.state.is_final
        if known.outcome is Outcome.REJECTED:
            told = f"it is {settled.state}, but was taken for: {known.reason}"
            self.tell(known, "Warning", EventReason.ORDER_TURNED_UP, told)
            self._halts.store_pending()
        elif known.outcome is Outcome.UNKNOWN:
            self.tell(known, "Normal", EventReason.ORDER_FOUND, f"it was placed, and is {settled.state}")
        elif is_over and settled.filled_quantity > known.filled_quantity:
            more = f"{decimal_text(settled.filled_quantity)} filled, was {decimal_text(known.filled_quantity)}"
            self.tell(known, "Warning", EventReason.LATE_FILL, f"it was {known.state} already: {more}")
        self._tell_excess(known, settled)

    def _tell_excess(self, known: Order, settled: Order) -> None:
        """Exchanges that round up fill more than was ordered: it is booked as told, and somebody should know."""
        if settled.filled_quantity > max(settled.quantity, known.filled_quantity):
            filled, ordered = decimal_text(settled.filled_quantity), decimal_text(settled.quantity)
            self.tell(known, "Warning", EventReason.FILLED_MORE, f"{filled} filled, of {ordered} that was ordered")

    def still_open(self, order: Order) -> None:
        """It is over, for all we know, and that is final; its exchange lists it as open all the same."""
        way_out = "cancel it at the exchange, then lift the halt"
        why = f"the exchange lists it as open, but it was taken for {order.state}; {way_out}"
        self._halt(order, f": {why}")
        self._halts.store_pending()
        self.tell(order, "Warning", EventReason.ORDER_STILL_OPEN, why)

    def resolved(self, client_order_id: str, verdict: Verdict) -> str:
        """An operator's word on an order. Why it cannot be taken, empty where it was."""
        faults: list[str] = []

        def decide(known: Order) -> OrderNews | None:
            if known.outcome is Outcome.PENDING and client_order_id not in self._watch.in_doubt():
                faults.append("it is being sent right now: wait for its outcome")
            elif fault := verdict.fault(known, was_unknown=self._ledger.was_unknown(client_order_id)):
                faults.append(fault)
            return None if faults else verdict.news(known)

        if self._ledger.get(client_order_id) is None:
            return "the ledger knows no such order"
        said = f"order {client_order_id} resolved as {verdict}: {verdict.reason} ({verdict.by})"
        settled = self._ledger.resolve(client_order_id, said, decide).after
        if faults:
            return faults[0]
        self._watch.note(settled)
        self.tell(settled, "Warning", EventReason.ORDER_RESOLVED, f"{verdict}: {verdict.reason} ({verdict.by})")
        return ""

    def corrected(self, instance_id: str, correction: Correction) -> str:
        """A person's word on what an instance holds. Why it cannot be taken, empty where it was."""
        if instance_id not in self._ledger.instance_ids():
            return "there is and was no such instance; see: reconciler status"
        if fault := correction.fault():
            return fault
        before, after = self._ledger.correct({instance_id: correction})[instance_id]
        told = f"holds {decimal_text(before.quantity)} {after.symbol} → {correction}: {correction.reason}"
        self._events.record(instance_id, "Warning", EventReason.BOOK_CORRECTED, f"{told} ({correction.by})")
        return ""

    def _halt(self, order: Order, why: str) -> None:
        """What nobody reckoned with was traded: its instance opens nothing more until somebody has looked.

        In force at once; it is stored once nothing is in the way of that.
        """
        self._halts.enforce("instance", order.instance_id, False, f"order {order.client_order_id}{why}", "engine")

    def _brake(self, settled: Order) -> None:
        """What the exchange made of it counts for the requests that are like it."""
        if self._brakes is None:
            return
        if settled.outcome is Outcome.ACCEPTED:
            self._brakes.accepted(settled)
        elif settled.rejected_by is RejectedBy.EXCHANGE and (held := self._brakes.refused(settled, settled.reason)):
            self._events.record(settled.instance_id, "Warning", EventReason.REFUSED_AGAIN, held)

    def tell(self, order: Order, type: EventType, reason: EventReason, message: str) -> None:
        """Have people read something of an order."""
        self._events.record(order.instance_id, type, reason, f"{order.client_order_id}: {message}")

    def tell_once(self, order: Order, type: EventType, reason: EventReason, message: str) -> None:
        """The same, once for each open order, however many beats it takes."""
        if self._watch.is_news(order, reason):
            self.tell(order, type, reason, message)


def _rejection(by: RejectedBy, reason: str) -> OrderNews:
    return OrderNews(outcome=Outcome.REJECTED, rejected_by=by, reason=reason)


def _news(known: Order, report: OrderReport) -> OrderNews | None:
    """What a report adds to what is known of an order; None where it changes nothing."""
    is_over = known.state is not None and known.state.is_final
    if report.refusal:
        if known.outcome is Outcome.ACCEPTED:
            # Accepted at first and thrown out later: for the order it is an end like any other.
            return None if is_over else OrderNews(state=OrderState.CANCELLED, reason=report.refusal)
        return None if known.outcome is Outcome.REJECTED else _rejection(RejectedBy.EXCHANGE, report.refusal)
    filled = _filled_quantity(known, report)
    if is_over and report.state is not known.state and filled <= known.filled_quantity:
        return None
    is_unfilled = not filled and report.state is not None and report.state.is_final
    if known.rejected_by is RejectedBy.EXCHANGE and is_unfilled:
        return None  # exchanges list what they refused as cancelled: nothing was traded
    return OrderNews(
        outcome=Outcome.ACCEPTED,
        state=known.state if is_over else _state(known, report),
        filled_quantity=filled,
        average_price=_average(report, filled),
        fee=report.fee,
        fee_currency=report.fee_currency,
        exchange_order_id=report.order_id,
        reason=_reason(known),
        fills=_fills(known, report),
    )


def _reason(known: Order) -> str | None:
    """What stands as the reason once the exchange has taken the order: None leaves it."""
    if known.outcome is Outcome.REJECTED:
        return f"turned up after it had been taken for rejected: {known.reason}"
    return "" if known.outcome is Outcome.UNKNOWN else None


def _state(known: Order, report: OrderReport) -> OrderState | None:
    """The state that is told; an answer of before the first fill does not undo it."""
    if report.state is OrderState.OPEN and known.filled_quantity:
        return OrderState.PARTIALLY_FILLED
    return report.state


def _filled_quantity(known: Order, report: OrderReport) -> Decimal:
    """What is filled; a server that only says "filled" means all of it, and one that only tells executions, those."""
    if report.filled_quantity:
        return report.filled_quantity
    if report.state is OrderState.FILLED:
        return known.quantity
    return exact.total(fill.quantity for fill in report.fills or ())


def _average(report: OrderReport, filled: Decimal) -> Decimal | None:
    """The average price that is told, or that follows from the executions, where they are all that is filled."""
    fills = report.fills or ()
    if report.average_price is not None or not filled or exact.total(fill.quantity for fill in fills) != filled:
        return report.average_price
    paid = [exact.multiply(fill.quantity, fill.price) for fill in fills if fill.price is not None]
    return exact.quotient(exact.total(paid), filled) if len(paid) == len(fills) else None


def _fills(known: Order, report: OrderReport) -> list[Fill]:
    """The executions, where the server tells them apart."""
    return [
        Fill(
            known.client_order_id, fill.fill_id, fill.quantity, fill.price, fill.fee, fill.at, False, fill.fee_currency
        )
        for fill in report.fills or ()
    ]

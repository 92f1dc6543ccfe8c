"""The steps of an order's way: draft, refusals, intent, last look and claim, answer, settled. None waits for anything.

No thread, no lock that is held, no await: who drives them waits, a worker once for the outcome, the loop for the
answer, and one who does everything on a single thread for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected
from reconciler.exec_mcp.answers import OrderReport
from reconciler.exec_mcp.bridge import Claims, Handover
from reconciler.exec_mcp.request import Subject, Unsayable
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.gatekeeper import Gatekeeper, Refusal, Units
from reconciler.orders.order import (
    Order,
    OrderIds,
    OrderRequest,
    OrderState,
    Outcome,
    Provenance,
    RejectedBy,
    TimeInForce,
    decimal_text,
)
from reconciler.ports import GateState
from reconciler.records.status import TradingReason

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rejection:
    """It is certain that the order was not placed."""

    by: RejectedBy
    reason: str


@dataclass(frozen=True, slots=True)
class NoWord:
    """The order may or may not have been placed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Said:
    """What became of the sending, and whether the order is to be looked up at once for what was not said."""

    word: OrderReport | Rejection | NoWord
    is_to_be_asked: bool = False


class LastLook:
    """Implements `bridge.Look`: taken at the moment at which a call is claimed, from memory."""

    def __init__(self, claims: Claims, instance_id: str, look: Callable[[], Refusal | None]) -> None:
        self._claims = claims
        self._instance_id = instance_id
        self._look = look
        self.refusal: Refusal | None = None
        """Why the call may not leave, as far as it was looked."""

    def passes(self) -> bool:
        self._claims.enter(self, self._instance_id)  # before looking: whoever closes something from now on waits
        self.refusal = self._looked()
        return self.refusal is None

    def over(self) -> None:
        self._claims.leave(self)

    def _looked(self) -> Refusal | None:
        """The boundary to what goes wrong in looking: what could not be looked at does not leave."""
        try:
            return self._look()
        except Exception as error:
            log.error("the last look failed", exc_info=error, extra={"instance": self._instance_id})
            return Refusal(TradingReason.LEDGER_DOWN, f"it could not be looked at for the last time: {error}")


class OrderSteps:
    """Thread-safe, as its parts are."""

    def __init__(
        self, servers: Servers, gatekeeper: Gatekeeper, units: Units, claims: Claims, ids: OrderIds, clock: Clock
    ) -> None:
        self._servers = servers
        self._gatekeeper = gatekeeper
        self._units = units
        self._claims = claims
        self._ids = ids
        self._clock = clock

    def draft(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
        origin, now = gate.provenance(beat), utc(self._clock.time())
        return Order(
            client_order_id=self._ids.make(origin.instance_id),
            provenance=origin,
            request=request,
            outcome=Outcome.PENDING,
            created_at=now,
            updated_at=now,
            money=self._servers.accounts.money(origin.account_id),
        )

    def refusal(self, gate: GateState, order: Order, *, claim: bool) -> Refusal | None:
        """Why the draft is not even written down as meant to be sent. With `claim` there is no other look."""
        return self._gatekeeper.refusal(gate, order, claim=claim)

    def last_look(self, gate: GateState, order: Order) -> LastLook:
        """What is asked when the order is claimed; where it passes, it holds a unit of whatever is limited."""

        def look() -> Refusal | None:
            is_first = not self._units.are_held(order)  # of two calls that are one order, both are looked at
            refusal = self._gatekeeper.refusal(gate, order, claim=is_first)
            if refusal is None and is_first:
                refusal = self._units.reserve(order, lambda: self._gatekeeper.is_reducing(gate, order))
                if refusal is not None:
                    self._gatekeeper.give_back(order)
            return refusal

        return LastLook(self._claims, order.instance_id, look)

    def last_look_at_cancel(self, order: Order, *, despite_halt: bool = False) -> LastLook:
        """The same of the cancel of an order."""
        origin = order.provenance

        def look() -> Refusal | None:
            refusal = self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id, despite_halt=despite_halt)
            if refusal is None:
                self._units.take_cancel(origin.account_id)
            return refusal

        return LastLook(self._claims, order.instance_id, look)

    def closing(self, origin: Provenance, request: OrderRequest) -> Order:
        """The draft of an order that closes something for an operator."""
        now = utc(self._clock.time())
        return Order(
            client_order_id=self._ids.make(origin.instance_id),
            provenance=origin,
            request=request,
            outcome=Outcome.PENDING,
            created_at=now,
            updated_at=now,
            money=self._servers.accounts.money(origin.account_id),
        )

    def reserved(self, order: Order) -> str:
        """Take a unit of what is above its instance, for an operator opens something; why there is none, else empty."""
        return self._gatekeeper.reserve(order)

    def last_look_at_closing(self, order: Order, objection: Callable[[], str]) -> LastLook:
        """What is asked when a closing order is claimed: no halt and no limit, but what its flattening says."""

        def look() -> Refusal | None:
            origin = order.provenance
            refusal = self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id, despite_halt=True)
            if refusal is None and (why := objection()):
                refusal = Refusal("Request", why)
            if refusal is None:
                self._units.take_cancel(origin.account_id)
            return refusal

        return LastLook(self._claims, order.instance_id, look)

    def answered(self, order: Order, answer: Mapping[str, Any]) -> Said:
        """What the answer to its placing says. Raises ExecError where it says nothing that makes sense."""
        report = Subject.of(order).report(answer)
        if report.hides_fills:  # taken, and over: how it ended is looked up
            return Said(replace(report, state=OrderState.OPEN), is_to_be_asked=True)
        return Said(report)

    def failed(self, error: ExecError | CapabilityUnavailable, handover: Handover, look: LastLook) -> Said:
        """What it means that there is no answer, or one that makes no sense."""
        if isinstance(error, ExecRejected):
            return Said(Rejection(RejectedBy.EXCHANGE, str(error)))
        if handover.abandon() or not handover.is_possibly_sent:
            return Said(Rejection(RejectedBy.GATEWAY, str(look.refusal or Refusal(_why_unsent(error), str(error)))))
        return Said(NoWord(str(error)), is_to_be_asked=True)

    def settled(self, order: Order, said: Said) -> None:
        """What became of it is written down, or in doubt: what it reserved is given back, as far as it was not used."""
        is_unsent = isinstance(said.word, Rejection) and said.word.by is RejectedBy.GATEWAY
        if self._units.settled(order, is_sent=not is_unsent) and is_unsent:
            self._gatekeeper.throttling.give_back(order)  # all else that it took, the ledger has given back

    def in_doubt(self, order: Order) -> None:
        """What became of it is not known, and could not be written down: it counts as sent."""
        self._units.settled(order, is_sent=True)


def refused(order: Order, refusal: Refusal) -> Order:
    """The draft as it is written down where it is not sent."""
    return replace(order, outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, reason=str(refusal))


def addressed(order: Order) -> dict[str, Any]:
    """Whose order it is and which, in the contract's words; some servers ask for the exchange's own id, too."""
    origin = order.provenance
    arguments = {
        "account_id": origin.account_id,
        "client_id": origin.client_id,
        "client_order_id": order.client_order_id,
        "symbol": origin.symbol,
    }
    if order.exchange_order_id is not None:
        arguments["order_id"] = order.exchange_order_id
    return arguments


def placed(order: Order) -> dict[str, Any]:
    """The arguments of `place_order`; what the order has no use for is left out."""
    request = order.request
    arguments = {
        **addressed(order),
        "side": request.side.value,
        "type": request.type.value,
        "quantity": decimal_text(request.quantity),
    }
    if request.limit_price is not None:
        arguments["limit_price"] = decimal_text(request.limit_price)
    if request.stop_price is not None:
        arguments["stop_price"] = decimal_text(request.stop_price)
    if request.time_in_force is not TimeInForce.GTC:
        arguments["time_in_force"] = request.time_in_force.value
    if request.reduce_only:
        arguments["reduce_only"] = True
    return arguments


def _why_unsent(error: Exception) -> TradingReason:
    """Of an order that never left: what the server has no words for, it would not take tomorrow either."""
    lacking = isinstance(error, (Unsayable, CapabilityUnavailable))
    return TradingReason.CAPABILITY_MISSING if lacking else TradingReason.EXEC_DOWN

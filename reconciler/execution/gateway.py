"""The gateway: the only way an order leaves. Implements `ports.OrderGateway` and `ports.TradingStatus`.

An order is written down before anything is sent; the gate is asked again after that, under its lock, which
is held until the order is in the transport's hands. What is not known stays unknown: nothing is sent
twice, and the instance opens nothing new until it is resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable
from reconciler.execution import answers, bridge
from reconciler.execution.bridge import GRACE_S, Bridge
from reconciler.execution.client import ExecServer
from reconciler.execution.follow_up import FollowUp
from reconciler.execution.gatekeeper import ActiveHalts, Gatekeeper, Refusal
from reconciler.execution.handover import Handover
from reconciler.execution.order_id import OrderIds
from reconciler.execution.quoting import Quoting
from reconciler.execution.rate import OrderRate
from reconciler.execution.servers import Servers
from reconciler.execution.settlement import OrderBook, Settlement
from reconciler.execution.shadow import shadowed
from reconciler.ports import GateState, MarketData
from reconciler.records.market import Position
from reconciler.records.mode import Mode
from reconciler.records.order import Order, OrderRequest, OrderState, Outcome, RejectedBy, TimeInForce, decimal_text
from reconciler.records.status import TradingReason

_HANDOVER_S = 1.0
"""How long the main loop may take to hand a call to the transport, the gate's lock being held."""


class Gateway:
    """Called on worker threads; blocks until there is an outcome. Only `follow_up` belongs to the main loop.

    `ledger` and `halts` are the store's. Call `recover` once, before anything else.
    """

    def __init__(
        self,
        ledger: OrderBook,
        halts: ActiveHalts,
        servers: Servers,
        market: MarketData,
        bridge: Bridge,
        clock: Clock,
        ids: OrderIds | None = None,
    ) -> None:
        self._ledger = ledger
        self._servers = servers
        self._quoting = Quoting(market, servers)
        self._bridge = bridge
        self._clock = clock
        self._ids = ids or OrderIds(clock)
        self._rate = OrderRate(clock)
        self._gatekeeper = Gatekeeper(ledger, halts, servers, clock)
        self._settlement = Settlement(ledger, self._gatekeeper, clock)
        self._follow_up = FollowUp(ledger, self._settlement, self._gatekeeper, servers)

    def recover(self) -> Sequence[Order]:
        """What was pending when the last engine stopped is unknown now. Returns all orders in doubt. Blocks."""
        self._ledger.mark_unknown_on_startup()
        in_doubt = self._ledger.unresolved()
        for order in in_doubt:
            self._gatekeeper.doubt(order)
        return in_doubt

    async def follow_up(self) -> None:
        """Learn what became of the orders that are open or unknown. Once a beat; overlapping calls do nothing.

        Raises nothing: what goes wrong is logged, and the next beat asks again.
        """
        await self._follow_up.run()

    def close(self) -> None:
        """After the last `follow_up`."""
        self._follow_up.close()

    def place(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
        """Place an order, or keep it as a shadow, or explain why not.

        Raises StoreError where the ledger cannot be written: then nothing was sent.
        """
        order, quoteless = self._quoting.quoted(self._draft(gate, request, beat))
        refusal = self._gatekeeper.refusal(gate, order)
        observing = order.provenance.mode is Mode.OBSERVE
        if observing and refusal is None:
            refusal = quoteless
        if refusal is not None:
            by = RejectedBy.GATEWAY
            return self._written(replace(order, outcome=Outcome.REJECTED, rejected_by=by, reason=str(refusal)))
        if observing:
            return self._written(shadowed(order))
        self._ledger.append(order)
        try:
            return self._send(gate, order)
        except BaseException:
            self._gatekeeper.doubt(order)
            raise

    def cancel(self, gate: GateState, client_order_id: str) -> Order:
        """Cancel one of the instance's own orders; one that is over stays what it is.

        Raises KeyError where the order is not this instance's, ExecUnavailable where a full halt or a lost
        connection keeps it from leaving, other ExecErrors as the server answers.
        """
        order = self._ledger.get(client_order_id)
        if order is None or order.instance_id != gate.provenance(0).instance_id:
            raise KeyError(client_order_id)
        if not order.is_open:
            return order
        if order.outcome is Outcome.SHADOW:
            return self._ledger.settle(client_order_id, state=OrderState.CANCELLED)
        origin = order.provenance
        server = self._servers.requiring(origin.account_id, "cancel_order")
        arguments = {**_addressed(order), "symbol": origin.symbol}
        with gate.lock:
            refusal = self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id)
            if refusal is not None:
                raise ExecUnavailable(str(refusal))
            sending = self._sent(server, "cancel_order", arguments, Handover())
        answer = bridge.wait(sending, server.options.timeout_s + GRACE_S)
        try:
            return self._settlement.reported(order, answers.order(answer))
        except answers.Unreadable:
            return order  # cancelled, the server says no more: the next follow-up learns the rest

    def open(self, instance_id: str, *, shadow: bool) -> Sequence[Order]:
        return self._ledger.open_orders(instance_id, shadow)

    def recent(self, instance_id: str, limit: int, *, shadow: bool) -> Sequence[Order]:
        return self._ledger.recent(instance_id, limit, shadow)

    def position(self, instance_id: str, symbol: str, *, shadow: bool) -> Position:
        return self._ledger.position(instance_id, symbol, shadow)

    def blocked(self, instance_id: str, account_id: str) -> tuple[str, str] | None:
        """Why the instance could open nothing, whatever its mode: (reason, message). From memory."""
        refusal = self._gatekeeper.blocked(instance_id, account_id)
        return None if refusal is None else (refusal.reason, refusal.message)

    def _draft(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
        origin, now = gate.provenance(beat), utc(self._clock.time())
        return Order(
            client_order_id=self._ids.make(origin.instance_id),
            provenance=origin,
            request=request,
            outcome=Outcome.PENDING,
            created_at=now,
            updated_at=now,
        )

    def _written(self, order: Order) -> Order:
        self._ledger.append(order)
        return order

    def _send(self, gate: GateState, order: Order) -> Order:
        """The order, which is in the ledger, on its way and to its outcome."""
        handover = Handover()
        with gate.lock:
            sending = self._hand_over(gate, order, handover)
        if isinstance(sending, Refusal):
            return self._settlement.rejected(order, RejectedBy.GATEWAY, str(sending))
        try:
            timeout_s = self._servers.reaching(order.provenance.account_id).options.timeout_s
            answer = bridge.wait(sending, timeout_s + GRACE_S)
            report = answers.order(answer)
        except ExecRejected as error:
            return self._settlement.rejected(order, RejectedBy.EXCHANGE, str(error))
        except (ExecError, CapabilityUnavailable) as error:
            if handover.abandon() or not handover.is_possibly_sent:
                refusal = Refusal(TradingReason.EXEC_DOWN, str(error))
                return self._settlement.rejected(order, RejectedBy.GATEWAY, str(refusal))
            return self._settlement.unknown(order, str(error))
        return self._settlement.reported(order, report)

    def _hand_over(self, gate: GateState, order: Order, handover: Handover) -> Future[dict[str, Any]] | Refusal:
        """The last look, and the order in the transport's hands. The caller holds `gate.lock` meanwhile."""
        refusal = self._gatekeeper.refusal(gate, order)
        if refusal is not None:
            return refusal
        origin = order.provenance
        account = self._servers.account(origin.account_id)
        most = None if account is None else account.max_orders_per_minute
        if not self._rate.take(origin.account_id, most):
            return Refusal(
                "Limit", f"max_orders_per_minute: account {origin.account_id} has sent {most} in the last minute"
            )
        try:
            server = self._servers.requiring(origin.account_id, "place_order")
            return self._sent(server, "place_order", _placed(order), handover)
        except (ExecError, CapabilityUnavailable) as error:
            return Refusal(TradingReason.EXEC_DOWN, str(error))

    def _sent(
        self, server: ExecServer, tool: str, arguments: dict[str, Any], handover: Handover
    ) -> Future[dict[str, Any]]:
        """A call in the transport's hands. The caller holds the gate's lock meanwhile.

        Raises ExecUnavailable where it is not, and never will be.
        """
        sending = self._bridge.start(lambda: server.call(tool, arguments, handover=handover))
        if not handover.wait(_HANDOVER_S) and handover.abandon():
            raise ExecUnavailable(f"the main loop took more than {_HANDOVER_S:g} s to send it")
        return sending


def _addressed(order: Order) -> dict[str, Any]:
    """Whose order it is, in the contract's words."""
    return {
        "account_id": order.provenance.account_id,
        "client_id": order.provenance.client_id,
        "client_order_id": order.client_order_id,
    }


def _placed(order: Order) -> dict[str, Any]:
    """The arguments of `place_order`; what the order has no use for is left out."""
    request = order.request
    arguments = {
        **_addressed(order),
        "symbol": order.provenance.symbol,
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

"""Handing calls to the transport, from a worker thread. Whoever calls holds the lock that keeps the gate as it is."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp.bridge import Bridge, Handover
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.gate_checks import OrderRate, Readiness
from reconciler.execution.look_up import addressed
from reconciler.orders.order import Order, TimeInForce, decimal_text

_HANDOVER_S = 1.0
"""How long a call may wait for the main loop and for its connection, the gate's lock being held."""

Sending = Future[dict[str, Any]]


class Dispatch:
    """Every method raises ExecUnavailable or CapabilityUnavailable where the call was not, and never will be, sent."""

    def __init__(self, servers: Servers, bridge: Bridge, readiness: Readiness, rate: OrderRate) -> None:
        self._servers = servers
        self._bridge = bridge
        self._readiness = readiness
        self._rate = rate

    def order(self, order: Order, handover: Handover) -> Sending:
        """An order on its way, on the connection that the account was compared on: not on one made since."""
        account_id = order.provenance.account_id
        server = self._servers.requiring(account_id, "place_order")

        async def send() -> dict[str, Any]:
            if why := self._readiness.pending(account_id):
                handover.finish()
                raise ExecUnavailable(why)
            return await server.call("place_order", placed(order), handover=handover)

        return self._handed_over(self._bridge.start(send), handover)

    def cancel(self, order: Order) -> Sending:
        """A cancel on its way."""
        account_id = order.provenance.account_id
        server = self._servers.requiring(account_id, "cancel_order")
        self._rate.take_cancel(account_id)
        handover = Handover()
        arguments = addressed(order)
        return self._handed_over(
            self._bridge.start(lambda: server.call("cancel_order", arguments, handover=handover)), handover
        )

    def _handed_over(self, sending: Sending, handover: Handover) -> Sending:
        if not handover.wait(_HANDOVER_S):
            if handover.abandon():
                raise ExecUnavailable(f"the main loop took more than {_HANDOVER_S:g} s to send it, connecting included")
            handover.wait()  # it is just being written, which takes no time to speak of: until then the gate must wait
        return sending


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

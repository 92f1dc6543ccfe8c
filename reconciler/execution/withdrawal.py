"""Withdrawing orders: where a record says so, the open orders of an instance that left active are cancelled.

Level-triggered: what the rows and the ledger say now is what counts. Asked again each beat until nothing is open,
after a restart and an outage alike. On the main loop; the handing over on the clerk's thread.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Literal

from reconciler.clock import Clock
from reconciler.errors import CapabilityUnavailable, ExecError, StoreError
from reconciler.execution.clerk import Clerk
from reconciler.execution.dispatch import Dispatch, Sending
from reconciler.execution.gatekeeper import Gatekeeper, HaltBook
from reconciler.execution.look_up import LookUp
from reconciler.execution.settlement import EventLog, OrderBook, Settlement
from reconciler.execution.subject import Subject
from reconciler.records.order import Order

log = logging.getLogger(__name__)

_ACKNOWLEDGED_S = 30.0
"""For so long a cancel that was taken is not sent again: the order is asked for once a beat, which tells its end."""


class Withdrawal:
    """`run` raises nothing; one that begins before the last one ended does nothing."""

    def __init__(
        self,
        ledger: OrderBook,
        settlement: Settlement,
        gatekeeper: Gatekeeper,
        halts: HaltBook,
        dispatch: Dispatch,
        look_up: LookUp,
        clerk: Clerk,
        events: EventLog,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._gatekeeper = gatekeeper
        self._halts = halts
        self._dispatch = dispatch
        self._look_up = look_up
        self._clerk = clerk
        self._events = events
        self._clock = clock
        self._acknowledged_s: dict[str, float] = {}
        """When the exchange took the cancel of which order."""
        self._is_running = False
        self._told: set[tuple[str, str]] = set()
        """What was told of which order: reason and client_order_id."""

    async def run(self) -> None:
        if self._is_running:
            return
        self._is_running = True
        try:
            unwanted = await self._clerk.do(self._ledger.unwanted)
            latest_s = self._clock.monotonic() - _ACKNOWLEDGED_S
            self._acknowledged_s = {id: at_s for id, at_s in self._acknowledged_s.items() if at_s > latest_s}
            due = [order for order in unwanted if order.client_order_id not in self._acknowledged_s]
            await asyncio.gather(*(self._cancel(order) for order in due))
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._look_up.report("orders not withdrawn", error)
        finally:
            self._is_running = False

    async def _cancel(self, order: Order) -> None:
        """Cancel one order. The boundary to what goes wrong with it: the next beat asks again."""
        about = {"client_order_id": order.client_order_id}
        try:
            sending = await self._clerk.do(lambda: self._handed_over(order))
            if sending is None:
                return
            self._tell(order, "Normal", "Withdrawing", "the record has left active, and says open_orders: cancel")
            answer = await asyncio.wrap_future(sending)
            report = Subject.of(order).ending(answer)
            self._acknowledged_s[order.client_order_id] = self._clock.monotonic()
            if report is None:
                await self._look_up.ask(order)
                return
            await self._clerk.do(lambda: self._settlement.reported(order, report))
        except (ExecError, CapabilityUnavailable, StoreError) as error:
            why = f"it stays open, and its cancel is tried again each beat: {error}"
            self._tell(order, "Warning", "NotWithdrawn", why)
        except Exception as error:  # noqa: BLE001 - the other orders are withdrawn all the same
            self._look_up.report("order not withdrawn", error, **about)

    def _handed_over(self, order: Order) -> Sending | None:
        """The cancel in the transport's hands; None where a full halt keeps it in. Who halts meanwhile waits for it."""
        origin = order.provenance
        with self._halts.steady():
            if self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id) is not None:
                return None
            return self._dispatch.cancel(order)

    def _tell(self, order: Order, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Once for each order, however many beats it takes."""
        about = (reason, order.client_order_id)
        if about not in self._told:
            self._told.add(about)
            self._events.record(order.instance_id, type, reason, f"{order.client_order_id}: {message}")

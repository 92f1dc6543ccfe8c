"""Following orders up: asks, once a beat, what became of those that are open or unknown. Lives on the main loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, StoreError
from reconciler.execution import answers
from reconciler.execution.gatekeeper import Gatekeeper
from reconciler.execution.servers import Servers
from reconciler.execution.settlement import OrderBook, Settlement
from reconciler.records.order import Order, Outcome

log = logging.getLogger(__name__)

T = TypeVar("T")

_AT_ONCE = 8
"""Look-ups under way at a time: new orders and quotes must get through beside them."""


class FollowUp:
    """The task of one engine. `close` it after its last `run`.

    `run` and `_follow` are boundaries: what nobody foresaw is logged, costs a round or the one order, and no more.
    """

    def __init__(self, ledger: OrderBook, settlement: Settlement, gatekeeper: Gatekeeper, servers: Servers) -> None:
        self._ledger = ledger
        self._settlement = settlement
        self._gatekeeper = gatekeeper
        self._servers = servers
        self._thread = ThreadPoolExecutor(1, "follow-up")  # the ledger blocks; the loop must not
        self._is_running = False
        self._is_closed = False

    async def run(self) -> None:
        """One round. A round that begins before the last one ended does nothing. Raises nothing."""
        if self._is_running or self._is_closed:
            return
        self._is_running = True
        try:
            await self._round()
        except Exception as error:  # noqa: BLE001 - nobody waits for it: it would vanish
            self._report("orders not followed up", error)
        finally:
            self._is_running = False

    def close(self) -> None:
        self._is_closed = True
        self._thread.shutdown(wait=True)

    async def _round(self) -> None:
        doubted = self._gatekeeper.doubted()
        unresolved = await self._blocking(self._ledger.unresolved)
        accepted = await self._blocking(self._ledger.open_accepted)
        # What is pending and in doubt is one whose outcome could not be written down.
        in_doubt = [o for o in unresolved if o.outcome is Outcome.UNKNOWN or o.client_order_id in doubted]
        for resolved in doubted - {order.client_order_id for order in unresolved}:
            self._gatekeeper.trust(resolved)  # settled by somebody else: an operator
        turns = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._follow(order, turns) for order in (*in_doubt, *accepted)))

    async def _follow(self, order: Order, turns: asyncio.Semaphore) -> None:
        """Ask for one order and settle what the answer says. That it is not found says nothing yet."""
        origin = order.provenance
        arguments = {
            "account_id": origin.account_id,
            "client_id": origin.client_id,
            "client_order_id": order.client_order_id,
        }
        try:
            async with turns:
                server = self._servers.requiring(origin.account_id, "get_order")
                answer = await server.call("get_order", arguments)
                report = answers.order(answer)
                if not _is_news(order, report):
                    return
                settled = await self._blocking(lambda: self._settlement.reported(order, report))
        except ExecRejected as error:
            log.warning("order not found", extra={"client_order_id": order.client_order_id, "error": str(error)})
        except (ExecError, CapabilityUnavailable, StoreError) as error:
            log.debug("order not followed up", extra={"client_order_id": order.client_order_id, "error": str(error)})
        except Exception as error:  # noqa: BLE001 - the other orders are followed up all the same
            self._report("order not followed up", error, client_order_id=order.client_order_id)
        else:
            log.info("order", extra={"client_order_id": order.client_order_id, "state": str(settled.state)})

    def _report(self, message: str, error: Exception, **about: str) -> None:
        """What was not expected, with its traceback; at shutdown work is cut short, and that is no news."""
        if not self._is_closed:
            trace = None if isinstance(error, StoreError) else error
            log.error(message, exc_info=trace, extra={**about, "error": str(error)})

    async def _blocking(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _is_news(order: Order, report: answers.OrderReport) -> bool:
    known = (order.outcome, order.state, order.filled_quantity)
    return bool(report.refusal) or known != (Outcome.ACCEPTED, report.state, report.filled_quantity)

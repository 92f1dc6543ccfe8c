"""Driving orders and cancels along their steps: who waits where. Places nothing itself.

A worker wakes once, with the outcome. The writer commits the intent with all that waits beside it and hands it to the
loop; the loop claims the call, which is when it is looked at for the last time; the answer goes to the writer, whose
commit resolves the order. Where bridge and writer do everything at once, on the thread that asks, the same way is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from typing import Any

from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.bridge import GRACE_S, Bridge, Handover
from reconciler.exec_mcp.request import Subject
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.look_up import LookUp
from reconciler.execution.order_steps import LastLook, OrderSteps, Said, addressed, placed
from reconciler.execution.settlement import Settlement
from reconciler.execution.watch import OrderWatch
from reconciler.orders.order import Order
from reconciler.store.ledger import Ledger, Settled

_STOPPING = "the engine is stopping"


class Withheld(ExecUnavailable):
    """A cancel that may not leave: a full halt, or that nothing may any more."""


class Dispatch:
    """Thread-safe; not for the loop's thread, but for `cancelled`, which belongs there, and `cancel_soon`."""

    def __init__(
        self,
        ledger: Ledger,
        steps: OrderSteps,
        settlement: Settlement,
        watch: OrderWatch,
        look_up: LookUp,
        servers: Servers,
        bridge: Bridge,
    ) -> None:
        self._ledger = ledger
        self._steps = steps
        self._settlement = settlement
        self._watch = watch
        self._look_up = look_up
        self._servers = servers
        self._bridge = bridge

    def order(self, order: Order, look: LastLook) -> Future[Order]:
        """Write the intent down, send the order, and write down what became of it; which is the outcome.

        StoreError where the ledger refuses: of the intent, then nothing was sent; of the end, then it is in doubt.
        """
        outcome: Future[Order] = Future()

        def committed(intent: Future[Any]) -> None:
            # On the writer's thread, at the commit: killed from here on, the order is looked up, not lost.
            if (error := intent.exception()) is not None:
                outcome.set_exception(error)
                return
            with self._surviving(order, outcome):
                handover = Handover(look)

                def dropped(why: ExecUnavailable) -> None:
                    if handover.abandon():
                        self._settle(order, self._steps.failed(why, handover, look), outcome)

                self._begin(lambda: self._sent(order, handover, look, outcome), dropped)

        self._ledger.appending(order).add_done_callback(committed)
        return outcome

    def cancel(self, order: Order, *, despite_halt: bool = False) -> Future[Order]:
        """Cancel an open order: as it is then, or as it is known where the exchange took it and does not tell its end.

        Withheld where a halt keeps it in, other ExecErrors as the server answers.
        """
        outcome: Future[Order] = Future()
        self._begin(lambda: self._cancelled(order, outcome, despite_halt), lambda why: _resolve(outcome, error=why))
        return outcome

    def cancel_soon(self, order: Order) -> Future[Order]:
        """As `cancel`, but no halt keeps it in. From the loop's thread, too: it waits for nothing."""
        return self.cancel(order, despite_halt=True)

    async def cancelled(self, order: Order, *, despite_halt: bool = False) -> dict[str, Any]:
        """Send a cancel; on the loop. What was answered: `Subject.ending` says what that tells of the order's end."""
        look = self._steps.last_look_at_cancel(order, despite_halt=despite_halt)
        handover = Handover(look)
        try:
            return await self._called("cancel_order", order, addressed(order), handover)
        except ExecUnavailable:
            if look.refusal is not None:
                raise Withheld(str(look.refusal)) from None
            raise
        finally:
            handover.finish()

    async def cancelled_together(
        self, orders: Sequence[Order], symbol: str | None, objection: Callable[[], str]
    ) -> None:
        """Cancel all that is open of the account and client of `orders`, of one symbol or of all; on the loop.

        `objection` says, as it leaves, why something else may be in its reach. ExecErrors as the server answers.
        """
        first = orders[0]
        look = self._steps.last_look_at_closing(first, objection)
        handover = Handover(look)
        who = {"account_id": first.provenance.account_id, "client_id": first.provenance.client_id}
        asked = who if symbol is None else {**who, "symbol": symbol}
        try:
            await self._called("cancel_all", first, asked, handover)
        except ExecUnavailable:
            if look.refusal is not None:
                raise Withheld(str(look.refusal)) from None
            raise
        finally:
            handover.finish()

    def _begin(self, work: Callable[[], Awaitable[None]], dropped: Callable[[ExecUnavailable], None]) -> None:
        """Have the loop do `work`. Where the engine stops before it ended, or began, `dropped` is called, too."""

        def done(begun: Future[None]) -> None:
            if begun.cancelled():
                dropped(ExecUnavailable(_STOPPING))

        try:
            self._bridge.start(work).add_done_callback(done)
        except ExecUnavailable as error:
            dropped(error)

    async def _sent(self, order: Order, handover: Handover, look: LastLook, outcome: Future[Order]) -> None:
        """On the loop: the call, and what came of it on its way to the writer."""
        with self._surviving(order, outcome):
            try:
                answer = await self._called("place_order", order, placed(order), handover)
                said = self._steps.answered(order, answer)
            except (ExecError, CapabilityUnavailable) as error:
                said = self._steps.failed(error, handover, look)
            except asyncio.CancelledError:
                said = self._steps.failed(ExecUnavailable(_STOPPING), handover, look)
            finally:
                handover.finish()
            self._settle(order, said, outcome)

    async def _cancelled(self, order: Order, outcome: Future[Order], despite_halt: bool) -> None:
        try:
            answer = await self.cancelled(order, despite_halt=despite_halt)
        except BaseException as error:  # noqa: BLE001 - whoever waits for it is told
            if isinstance(error, Unreadable):
                self._settlement.unreadable(order, str(error))
            stopped = isinstance(error, asyncio.CancelledError)
            _resolve(outcome, error=ExecUnavailable(_STOPPING) if stopped else error)
            return
        try:
            subject = Subject.of(order)
            report = subject.ending(answer)
            if report is None:
                report = subject.report(await self._called("get_order", order, addressed(order), Handover()))
            settled = self._settlement.reporting(order, report)
            settled.add_done_callback(lambda done: _resolve(outcome, *_told(done)))
        except BaseException as error:  # noqa: BLE001 - cancelled it is; how it ended the next follow-up learns
            if isinstance(error, Unreadable):
                self._settlement.unreadable(order, str(error))
            _resolve(outcome, order)

    async def _called(self, tool: str, order: Order, arguments: dict[str, Any], handover: Handover) -> dict[str, Any]:
        venue = self._servers.requiring(order.provenance.account_id, tool)
        return await self._bridge.within(venue.call(tool, arguments, handover=handover), venue.timeout_s + GRACE_S)

    def _settle(self, order: Order, said: Said, outcome: Future[Order]) -> None:
        """Have it written down what became of the order; the commit resolves it."""

        def committed(settled: Future[Settled]) -> None:
            with self._surviving(order, outcome):
                self._steps.settled(order, said)
                change = settled.result()
                if said.is_to_be_asked:
                    self._ask_soon(change.after)
                _resolve(outcome, change.after)

        self._settlement.settling(order, said.word).add_done_callback(committed)

    def _surviving(self, order: Order, outcome: Future[Order]) -> contextlib.AbstractContextManager[None]:
        """The boundary round an intent that is written down: what nobody foresaw leaves it in doubt, and is told."""
        return _InDoubt(lambda error: self._in_doubt(order, outcome, error))

    def _in_doubt(self, order: Order, outcome: Future[Order], error: BaseException) -> None:
        self._steps.in_doubt(order)
        self._watch.doubt(order)
        self._ask_soon(order)
        _resolve(outcome, error=error)

    def _ask_soon(self, order: Order) -> None:
        """Look one order up now, not only at the next beat. Waits for nothing."""
        with contextlib.suppress(ExecUnavailable):  # the engine is stopping: the next one asks
            self._bridge.start(lambda: self._look_up.ask(order))


class _InDoubt(contextlib.AbstractContextManager[None]):
    def __init__(self, tell: Callable[[BaseException], None]) -> None:
        self._tell = tell

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if error is not None:
            self._tell(error)
        return error is not None


def _resolve(outcome: Future[Order], order: Order | None = None, error: BaseException | None = None) -> None:
    """Once: an engine that stops gives up what may just come to its end."""
    with contextlib.suppress(InvalidStateError):
        if error is not None:
            outcome.set_exception(error)
        elif order is not None:
            outcome.set_result(order)


def _told(settled: Future[Settled]) -> tuple[Order | None, BaseException | None]:
    error = settled.exception()
    return (settled.result().after, None) if error is None else (None, error)

"""The gateway: the only way an order leaves. Implements `ports.OrderGateway` and `ports.TradingStatus`.

An order is written down before anything is sent; the gate is asked again after that, under its lock, which
is held until the order is in the transport's hands. What is not known stays unknown: nothing is sent
twice, and the instance opens nothing new until it is resolved.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable, StoreError
from reconciler.exec_mcp import bridge
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.bridge import GRACE_S, Bridge, Handover
from reconciler.exec_mcp.request import Unsayable
from reconciler.exec_mcp.servers import Servers
from reconciler.exec_mcp.subject import Subject
from reconciler.execution.brakes import Brakes, Circumstances, relevant
from reconciler.execution.comparing import AccountComparison, AccountLook, Comparing
from reconciler.execution.envelope import Envelope
from reconciler.execution.follow_up import FollowUp, Withdrawal
from reconciler.execution.gate_checks import MINUTE, Arrivals, Gatekeeper, OrderRate, Readiness, Refusal
from reconciler.execution.look_up import Clerk, LookUp, addressed
from reconciler.execution.order_id import OrderIds
from reconciler.execution.sending import Dispatch, Sending
from reconciler.execution.settlement import Settlement
from reconciler.execution.shadow_book import DEFAULT_FEE, Quoting, ShadowBook, shadowed
from reconciler.execution.tally import Orphan, Orphans
from reconciler.execution.valuation import Valuation
from reconciler.execution.watch import LATELY, Denial, Doubt, OrderWatch
from reconciler.execution.wholeness import Wholeness
from reconciler.orders.market import Balance, Equity, Position
from reconciler.orders.order import Order, OrderChanges, OrderNews, OrderRequest, OrderState, Outcome, RejectedBy
from reconciler.orders.verdict import Correction, Shares, Verdict
from reconciler.ports import GateState, MarketData
from reconciler.records.event import EventReason
from reconciler.records.mode import Mode
from reconciler.records.status import Obstacle, TradingCaveat, TradingReason
from reconciler.store.store import Store

_SETTLING_CALLS = 4
"""So many calls, one after the other, an account is looked at with, about."""


class MarketView(MarketData, Protocol):
    """Market data, and what was told of accounts without asking again."""

    def last_balances(self, account_id: str, client_id: str) -> tuple[int, Sequence[Balance]] | None: ...
    def last_equity(self, account_id: str, client_id: str) -> Equity | None: ...


class Gateway:
    """Called on worker threads; blocks until there is an outcome. Only `follow_up` belongs to the main loop.

    `shadow_fee` is a fraction of the notional. Call `recover` once, before
    anything else.
    """

    def __init__(
        self,
        store: Store,
        servers: Servers,
        market: MarketView,
        bridge: Bridge,
        clock: Clock,
        ids: OrderIds | None = None,
        shadow_fee: Decimal = DEFAULT_FEE,
    ) -> None:
        ledger, halts, events = store.ledger, store.halts, store.events
        self._ledger = ledger
        self._servers = servers
        self._market = market
        self._quoting = Quoting(market, servers)
        self._bridge = bridge
        self._clock = clock
        self._ids = ids or OrderIds(clock, ledger.tags[-1], ledger.newest_ids())
        self._rate = OrderRate(clock)
        self._watch = OrderWatch(clock)
        self._readiness = Readiness(servers)
        self._wholeness = Wholeness(ledger, servers, events, clock)
        self._brakes = Brakes(clock, self._circumstances)
        self.envelope = Envelope(servers.accounts, store, clock, self._quoting.contract_size)
        ledger.listener, store.desired.applied = self.envelope, self.envelope.applied
        self._desired = store.desired
        self._gatekeeper = Gatekeeper(
            store, servers, self._watch, self._readiness, self._wholeness, self._brakes, clock, self.envelope
        )
        self._valuation = Valuation(
            self.envelope, self._gatekeeper.throttling, ledger, self._quoting, market, self._wholeness, events
        )
        self._settlement = Settlement(ledger, self._watch, halts, events, self._brakes)
        self._dispatch = Dispatch(servers, bridge, self._readiness, self._rate)
        self._clerk = clerk = Clerk("aftercare")  # the ledger blocks; the loop must not
        self._look_up = LookUp(self._settlement, self._watch, servers, clerk)
        self._follow_up = FollowUp(ledger, self._watch, self._look_up, servers, clerk)
        orphans = Orphans(events, clock)
        look = AccountLook(ledger, self._settlement, self._watch, self._wholeness, self._look_up, clerk, orphans, clock)
        self._comparing = Comparing(ledger, look, self._readiness, self._wholeness, servers, clerk, events, clock)
        self._withdrawal = Withdrawal(
            ledger, self._settlement, self._watch, self._gatekeeper, halts, self._dispatch, self._look_up, clerk
        )
        self._comparisons: set[asyncio.Task[None]] = set()
        servers.tell_connected(self._connected)
        self._shadow_fee = shadow_fee
        servers.tell_limited(lambda told: events.record(None, "Warning", EventReason.RATE_LIMITED, told))
        self._shadow_book = ShadowBook(ledger, self._quoting, clock, shadow_fee)

    def recover(self) -> Sequence[Order]:
        """What was pending when the last engine stopped is unknown now. Returns all orders in doubt. Blocks.

        Of those that ended lately, or were refused, it is not known whether they were looked up after that: they are.
        """
        self._ledger.mark_unknown_on_startup()
        in_doubt = self._ledger.unresolved()
        for order in in_doubt:
            self._watch.doubt(order)
        now = utc(self._clock.time())
        for order in (*self._ledger.ended(now - LATELY), *self._ledger.refused(now - LATELY)):
            self._watch.ended(order)
        self._rate.remember(self._ledger.sent(now - MINUTE))
        self.envelope.recover(self._desired.rows().values())
        self._gatekeeper.throttling.recover()
        return in_doubt

    async def follow_up(self, beat: int) -> None:
        """Learn what became of the orders that are open or unknown, and of shadow orders. Once a beat.

        Overlapping calls do nothing.

        Raises nothing: what goes wrong is logged, and the next beat asks again.
        """
        await asyncio.gather(self.tend(), self._shadow_book.follow(beat), self._valuation.run(beat))

    def is_busy(self) -> bool:
        """True where there is something to follow up: an order is open, or one is watched. From memory."""
        return self._ledger.has_open() or self.is_watching()

    def is_watching(self) -> bool:
        """True where beats have to be followed up though nothing has happened at any exchange: for shadow orders, and
        for what is in doubt, or is looked up once more. From memory."""
        return self._watch.is_any() or self._ledger.has_open(shadow=True)

    async def tend(self) -> None:
        """As `follow_up` where the beat could not be committed: what is real is asked for, compared and cancelled.

        Nothing is simulated: a shadow order's fills are counted by beats. Raises nothing.
        """
        if not self._clerk.is_closed:
            await asyncio.gather(self._comparing.run(), self._follow_up.run(), self._withdrawal.run())

    async def withdraw(self) -> None:
        """Cancel what records that have left active want cancelled, now, not only at the next beat. Raises nothing."""
        await self._withdrawal.run()

    def resolve(self, client_order_id: str, verdict: Verdict) -> str:
        """An operator's word on what became of an order. Why it cannot be taken, empty where it was. Blocks.

        Raises StoreError.
        """
        return self._settlement.resolved(client_order_id, verdict)

    def settle(self, account_id: str, shares: Shares) -> str:
        """An operator's word on whose is what an account holds. Why it cannot be taken, empty where it was. Blocks.

        Raises ExecError, CapabilityUnavailable or StoreError where the account cannot be looked at.
        """
        timeout_s = _SETTLING_CALLS * (self._servers.reaching(account_id).timeout_s + GRACE_S)
        return self._bridge.call(lambda: self._comparing.settle(account_id, shares), timeout_s)

    def correct(self, instance_id: str, correction: Correction) -> str:
        """An operator's word on what an instance holds. Why it cannot be taken, empty where it was. Blocks.

        Raises StoreError.
        """
        return self._settlement.corrected(instance_id, correction)

    def explain_uncommitted(self, why: Callable[[], str]) -> None:
        """From now on `why` says why nothing counts as committed, where a commit alone would not help."""
        self._gatekeeper.why_uncommitted = why

    def shut(self, why: str) -> None:
        """Let nothing leave any more, cancels included: the ledger is lost. For as long as the process lives."""
        self._gatekeeper.shut(why)

    def orphans(self) -> tuple[Orphan, ...]:
        """Open orders at the exchanges that belong to no known instance, as last listed. From memory."""
        return self._comparing.orphans()

    def denials(self) -> tuple[Denial, ...]:
        """Open orders that their exchanges took and now deny: somebody has to say what became of them. From memory."""
        return self._watch.denials()

    def doubts(self) -> tuple[Doubt, ...]:
        """Orders in doubt: whether they were placed, or what became of them, is not known. From memory."""
        return self._watch.doubts()

    def differences(self) -> list[dict[str, str]]:
        """Accounts that hold something else than is booked, or whose ledger is behind, as `ports.StatusReader` has it.

        From memory.
        """
        found = {
            one.account_id: {"account_id": one.account_id, "difference": one.difference, "at": one.at, "behind": ""}
            for one in self.comparisons()
            if one.difference
        }
        for one in self._wholeness.all_behind():
            new = {"account_id": one.account_id, "difference": "", "at": one.at}
            found[one.account_id] = {**found.get(one.account_id, new), "behind": one.what}
        return [one for _, one in sorted(found.items())]

    def unseen(self, account_id: str) -> str:
        """Why rows that the ledger lost could not be seen on the account; empty where they could. From memory."""
        return self._wholeness.unseen(account_id)

    def comparisons(self) -> tuple[AccountComparison, ...]:
        """How every account compared with the ledger, last time. From memory."""
        return self._comparing.comparisons()

    def arrivals(self) -> Arrivals:
        """Which servers have answered since the start; to be made once."""
        return Arrivals(self._servers, self._readiness, self._clock)

    def is_comparing(self) -> bool:
        """True while an account of a connected server waits to be compared."""
        return self._comparing.is_pending()

    def close(self) -> None:
        """After the last `follow_up`."""
        self._clerk.close()
        self._shadow_book.close()
        self._valuation.close()

    def place(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
        """Place an order, or keep it as a shadow, or explain why not.

        Raises StoreError where the ledger cannot be written: then nothing was sent.
        """
        order, quoteless = self._quoting.quoted(self._draft(gate, request, beat))
        observing = order.provenance.mode is Mode.OBSERVE
        refusal = self._gatekeeper.refusal(gate, order, claim=observing and quoteless is None)
        if refusal is None:
            refusal = quoteless
        if refusal is not None:
            by = RejectedBy.GATEWAY
            return self._ledger.refuse(replace(order, outcome=Outcome.REJECTED, rejected_by=by, reason=str(refusal)))
        if observing:
            return self._written(shadowed(order, self._shadow_fee))
        self._ledger.append(order)  # on the disk before anything is sent: killed in between, it is looked up, not lost
        try:
            return self._send(gate, order)
        except BaseException:
            self._watch.doubt(order)
            self._ask_soon(order)
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
            return self._cancelled_shadow(client_order_id)
        origin = order.provenance
        with gate.lock:
            refusal = self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id)
            if refusal is not None:
                raise ExecUnavailable(str(refusal))
            sending = self._dispatch.cancel(order)
        subject = Subject.of(order)
        try:
            answer = bridge.wait(sending, self._timeout_s(order))
        except Unreadable as error:
            self._settlement.unreadable(order, str(error))
            raise
        try:
            report = subject.ending(answer) or subject.report(self._looked_up(order))
            return self._settlement.reported(order, report)
        except (ExecError, CapabilityUnavailable) as error:
            if isinstance(error, Unreadable):
                self._settlement.unreadable(order, str(error))
            return order  # cancelled, but how it ended is not told: the next follow-up learns it

    def open(self, instance_id: str, *, shadow: bool) -> Sequence[Order]:
        return self._ledger.open_orders(instance_id, shadow)

    def recent(self, instance_id: str, limit: int, *, shadow: bool) -> Sequence[Order]:
        return self._ledger.recent(instance_id, limit, shadow)

    def position(self, instance_id: str, symbol: str, *, shadow: bool) -> Position:
        return self._ledger.position(instance_id, symbol, shadow)

    def listen(self, instance_id: str) -> OrderChanges:
        return self._ledger.listen(instance_id)

    def blocked(self, instance_id: str, account_id: str) -> tuple[str, str] | None:
        """Why the instance could open nothing, whatever its mode: (reason, message). From memory."""
        refusal = self._gatekeeper.blocked(instance_id, account_id)
        return None if refusal is None else (refusal.reason, refusal.message)

    def obstacles(self, instance_id: str, account_id: str) -> Sequence[Obstacle]:
        """Everything for which the instance could open nothing, whatever its mode. From memory."""
        found = self._gatekeeper.obstacles(instance_id, account_id)
        return [Obstacle(refusal.reason, refusal.message) for refusal in found]

    def caveats(self, instance_id: str, account_id: str) -> Sequence[Obstacle]:
        """What keeps some of the instance's orders back, though its gate is open. From memory."""
        found = []
        if held := self._brakes.told(instance_id):
            found.append(Obstacle(TradingCaveat.REFUSED_AGAIN, held))
        try:
            limited = self._servers.reaching(account_id).limits.data_told()
        except ExecUnavailable:
            limited = ""
        if limited:
            found.append(Obstacle(TradingCaveat.RATE_LIMITED, f"its server is not asked for data: {limited}"))
        return found

    def held_back(self) -> frozenset[str]:
        """The instances of which some orders are held back, for they were refused again and again. From memory."""
        return self._brakes.braked()

    def limited(self) -> tuple[frozenset[str], frozenset[str]]:
        """The accounts whose new orders wait, and the servers that are not asked for data. From memory."""
        return self._servers.limited()

    def _circumstances(self, order: Order) -> Circumstances:
        """What a refusal of the order may hang on, as far as it is known without asking."""
        origin = order.provenance
        told = self._market.last_balances(origin.account_id, origin.client_id)
        try:
            connections = self._servers.reaching(origin.account_id).status.connections
        except ExecUnavailable:
            connections = 0
        holding = self._ledger.holding(origin.instance_id, origin.symbol, False)
        return Circumstances(holding.quantity, None if told is None else relevant(told[1], order), connections)

    def _cancelled_shadow(self, client_order_id: str) -> Order:
        """Cancelled, unless it came to another end in the meantime."""
        try:
            return self._ledger.settle(client_order_id, OrderNews(state=OrderState.CANCELLED))
        except StoreError:
            order = self._ledger.get(client_order_id)
            if order is None or order.is_open:
                raise
            return order

    def _draft(self, gate: GateState, request: OrderRequest, beat: int) -> Order:
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

    def _written(self, order: Order) -> Order:
        try:
            self._ledger.append(order)
        except StoreError:
            self._gatekeeper.give_back(order)
            raise
        return order

    def _send(self, gate: GateState, order: Order) -> Order:
        """The order, which is in the ledger, on its way and to its outcome."""
        handover = Handover()
        with gate.lock:  # until it is handed over: whoever lowers, pauses or halts waits, and then nothing leaves
            sending = self._hand_over(gate, order, handover)
        if isinstance(sending, Refusal):
            self._gatekeeper.throttling.enact()
            return self._settlement.rejected(order, RejectedBy.GATEWAY, str(sending))
        try:
            answer = bridge.wait(sending, self._timeout_s(order))
            report = Subject.of(order).report(answer)
        except ExecRejected as error:
            return self._settlement.rejected(order, RejectedBy.EXCHANGE, str(error))
        except (ExecError, CapabilityUnavailable) as error:
            if handover.abandon() or not handover.is_possibly_sent:
                self._rate.give_back(order.provenance.account_id)
                self._gatekeeper.throttling.give_back(order)
                refusal = Refusal(_why_unsent(error), str(error))
                return self._settlement.rejected(order, RejectedBy.GATEWAY, str(refusal))
            unknown = self._settlement.unknown(order, str(error))
            self._ask_soon(unknown)
            return unknown
        if report.hides_fills:  # taken, and over: how it ended is looked up
            settled = self._settlement.reported(order, replace(report, state=OrderState.OPEN))
            self._ask_soon(settled)
            return settled
        return self._settlement.reported(order, report)

    def _hand_over(self, gate: GateState, order: Order, handover: Handover) -> Sending | Refusal:
        """The last look, and the order in the transport's hands. The caller holds `gate.lock` meanwhile."""
        refusal = self._gatekeeper.refusal(gate, order, claim=True)
        if refusal is not None:
            return refusal
        origin = order.provenance
        account = self._servers.account(origin.account_id)
        most = None if account is None else account.max_orders_per_minute
        if not self._rate.take(origin.account_id, most) and not self._gatekeeper.is_reducing(gate, order):
            self._gatekeeper.give_back(order)
            return Refusal(
                "Limit", f"max_orders_per_minute: account {origin.account_id} has sent {most} in the last minute"
            )
        try:
            return self._dispatch.order(order, handover)
        except (ExecError, CapabilityUnavailable) as error:
            self._rate.give_back(origin.account_id)
            self._gatekeeper.give_back(order)
            return Refusal(_why_unsent(error), str(error))

    def _ask_soon(self, order: Order) -> None:
        """Look one order up now, not only at the next beat. From worker threads; waits for nothing."""
        with contextlib.suppress(ExecUnavailable):  # the engine is stopping: the next one asks
            self._bridge.start(lambda: self._look_up.ask(order))

    def _connected(self) -> None:
        """A connection was made, on the loop: what is on its accounts is compared now."""
        task = asyncio.get_running_loop().create_task(self._comparing.run(), name="comparing")
        self._comparisons.add(task)
        task.add_done_callback(self._comparisons.discard)

    def _looked_up(self, order: Order) -> dict[str, Any]:
        """What the exchange says of the order now."""
        server = self._servers.requiring(order.provenance.account_id, "get_order")
        return self._bridge.call(lambda: server.call("get_order", addressed(order)), self._timeout_s(order))

    def _timeout_s(self, order: Order) -> float:
        """How long a thread waits for an answer about the order; longer than the call itself."""
        return self._servers.reaching(order.provenance.account_id).timeout_s + GRACE_S


def _why_unsent(error: Exception) -> TradingReason:
    """Of an order that never left: what the server has no words for, it would not take tomorrow either."""
    lacking = isinstance(error, (Unsayable, CapabilityUnavailable))
    return TradingReason.CAPABILITY_MISSING if lacking else TradingReason.EXEC_DOWN

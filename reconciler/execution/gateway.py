"""The gateway: the only way an order leaves. Implements `ports.OrderGateway` and `ports.TradingStatus`.

An order is written down before anything is sent; the gate is asked again after that, at the moment at which the order
is claimed for writing, and whoever closes it waits for what was claimed before. What is not known stays unknown:
nothing is sent twice, and the instance opens nothing new until it is resolved.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, Protocol

from reconciler.clock import Clock, utc
from reconciler.errors import CapabilityUnavailable, ExecError, ExecUnavailable, StoreError
from reconciler.exec_mcp.bridge import GRACE_S, Bridge
from reconciler.exec_mcp.servers import Servers
from reconciler.execution.brakes import Brakes, Circumstances, relevant
from reconciler.execution.comparing import AccountComparison, AccountLook, Comparing
from reconciler.execution.flattening import DrillOrders, Flattening, flattened
from reconciler.execution.gatekeeper import MINUTE, Arrivals, Gatekeeper, OrderRate, Readiness, Units
from reconciler.execution.look_up import Clerk, FollowUp, LookUp
from reconciler.execution.order_steps import OrderSteps, refused
from reconciler.execution.scope_limits import ScopeLimits
from reconciler.execution.sending import Dispatch
from reconciler.execution.settlement import Settlement
from reconciler.execution.shadow_book import DEFAULT_FEE, ShadowBook, shadowed
from reconciler.execution.tally import Orphan, Orphans
from reconciler.execution.valuation import Quoting, Valuation
from reconciler.execution.watch import Denial, Doubt, OrderWatch
from reconciler.execution.wholeness import Wholeness
from reconciler.execution.withdrawal import DeadMan, Withdrawal
from reconciler.orders.market import Balance, Equity, Position
from reconciler.orders.news import Correction, Shares, Verdict
from reconciler.orders.order import (
    Order,
    OrderChanges,
    OrderIds,
    OrderNews,
    OrderRequest,
    OrderState,
    Outcome,
    decimal_text,
)
from reconciler.ports import Cancellation, GateState, MarketData
from reconciler.records.accounts import Accounts
from reconciler.records.event import EventReason
from reconciler.records.mode import Mode
from reconciler.records.status import Obstacle, TradingCaveat
from reconciler.store.store import Store

_SETTLING_CALLS = 4
"""So many calls, one after the other, an account is looked at with, about."""


class MarketView(MarketData, Protocol):
    """Market data, and what was told of accounts without asking again."""

    def last_balances(self, account_id: str, client_id: str) -> tuple[int, Sequence[Balance]] | None: ...
    def last_equity(self, account_id: str, client_id: str) -> Equity | None: ...


class Gateway:
    """Called on worker threads; blocks until there is an outcome. Only `follow_up` belongs to the main loop.

    `shadow_fee` is a fraction of the notional. Call `recover` once, before anything else.
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
        heartbeat_s: float = 6.0,
    ) -> None:
        ledger, halts, events = store.ledger, store.halts, store.events
        self._ledger = ledger
        self._servers = servers
        self._market = market
        self._quoting = Quoting(market, servers)
        self._bridge = bridge
        self._clock = clock
        self._rate = OrderRate(clock)
        self._watch = OrderWatch(clock)
        self._readiness = Readiness(servers)
        self._wholeness = Wholeness(ledger, servers, events, clock)
        self._brakes = Brakes(clock, self._circumstances)
        self.scope_limits = ScopeLimits(servers.accounts, store, clock, self._quoting.contract_size)
        ledger.listener, store.desired.applied = self.scope_limits, self.scope_limits.applied
        self._desired, self._scopes, self._events = store.desired, store.scopes, events
        self._gatekeeper = Gatekeeper(
            store, servers, self._watch, self._readiness, self._wholeness, self._brakes, clock, self.scope_limits
        )
        self._valuation = Valuation(self.scope_limits, ledger, self._quoting, market, self._wholeness, events)
        self._settlement = Settlement(ledger, self._watch, halts, events, self._brakes)
        self._clerk = clerk = Clerk("aftercare")  # the ledger blocks; the loop must not
        self._look_up = LookUp(self._settlement, self._watch, servers, clerk)
        units, ids = Units(servers, self._rate), ids or OrderIds(clock, ledger.tags[-1], ledger.newest_ids())
        self._steps = OrderSteps(servers, self._gatekeeper, units, bridge.claims, ids, clock)
        self._dispatch = Dispatch(ledger, self._steps, self._settlement, self._watch, self._look_up, servers, bridge)
        self._follow_up = FollowUp(ledger, self._watch, self._look_up, servers, clerk)
        orphans = Orphans(events, clock)
        look = AccountLook(ledger, self._settlement, self._watch, self._wholeness, self._look_up, clerk, orphans, clock)
        self._recovered = look.recover
        self._comparing = Comparing(ledger, look, self._readiness, self._wholeness, servers, clerk, events, clock)
        self._withdrawal = Withdrawal(
            ledger, self._settlement, self._watch, self._gatekeeper, self._dispatch, self._look_up, servers, clerk
        )
        self._dead_man = DeadMan(ledger, servers, orphans, events, clock, heartbeat_s)
        self._flattening = Flattening(store, look, self._steps, self._dispatch, servers, market, clerk, clock)
        self._drill_orders = DrillOrders(store, servers, market, self._steps, self._dispatch, bridge)
        self._beat = 0
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
        since = self._recovered()
        for order in (*self._ledger.ended(since), *self._ledger.refused(since)):
            self._watch.ended(order)
        self._rate.remember(self._ledger.sent(utc(self._clock.time()) - MINUTE))
        self.scope_limits.recover(lambda: self._desired.rows().values())
        self._gatekeeper.throttling.recover(self.scope_limits.accounts)
        return in_doubt

    async def follow_up(self, beat: int, *, is_alone: bool = False) -> None:
        """Learn what became of the orders that are open or unknown, and of shadow orders. Once a beat.

        Overlapping calls do nothing. `is_alone`: nobody else can trade on the exchanges, so that an account is compared
        once after a connecting, and not each minute. Raises nothing: what goes wrong is logged, and asked again next.
        """
        self._beat = beat
        rounds: list[Coroutine[Any, Any, None]] = [self._tend(compares=not is_alone or self.is_comparing())]
        if self._ledger.has_open(shadow=True):
            rounds.append(self._shadow_book.follow(beat))
        if self.scope_limits.is_bounding:
            rounds.append(self._measure(beat))
        await (asyncio.gather(*rounds) if len(rounds) > 1 else rounds[0])
        await self._flattening.run(beat)

    async def _measure(self, beat: int) -> None:
        """What cannot be asked for now counts by what was told last; then what a reached limit cancels is cancelled."""
        await self._valuation.run(beat)
        await self._withdrawal.run(measured=True)

    def is_busy(self) -> bool:
        """True where there is something to follow up: an order is open, or one is watched. From memory."""
        return self._ledger.has_open() or self.is_watching()

    def is_watching(self, *, prices_stand: bool = False) -> bool:
        """True where beats have to be followed up though nothing has happened at any exchange: for shadow orders, and
        for what is in doubt, or is looked up once more, and for limits that are measured, unless `prices_stand`. From
        memory."""
        if self._watch.is_any() or self._ledger.has_open(shadow=True):
            return True
        return self.scope_limits.is_bounding and not prices_stand

    async def tend(self) -> None:
        """As `follow_up` where the beat could not be committed: what is real is asked for, compared and cancelled.

        Nothing is simulated: a shadow order's fills are counted by beats. Raises nothing.
        """
        await self._tend(compares=True, measured=True)

    async def _tend(self, *, compares: bool, measured: bool = False) -> None:
        if not self._clerk.is_closed:
            rounds = [self._follow_up.run(), self._withdrawal.run(measured=measured)]
            rounds += [self._dead_man.run()] if self._dead_man.is_needed() else []
            await asyncio.gather(*([self._comparing.run(), *rounds] if compares else rounds))

    async def withdraw(self) -> None:
        """Cancel what is to be cancelled now, not only at the next beat. Raises nothing."""
        if not self._clerk.is_closed:
            await self._withdrawal.run()

    def disarm(self) -> None:
        """Before an orderly end: what rests is to stay, though nobody is there any more. Blocks; raises nothing."""
        with contextlib.suppress(ExecError):
            self._bridge.call(self._dead_man.disarm, 5.0)

    def cancellations(self) -> tuple[Cancellation, ...]:
        """How far each halt is that cancels something. From memory."""
        found = []
        for one in self._withdrawal.progress():
            flat = self._flattening.progress(one.halt)
            is_over = bool(flat) and all(market.is_over for market in flat)
            found.append(replace(one, flat=tuple(flattened(flat)), is_closed=is_over))
        return tuple(found)

    def cancel_by_hand(self, client_order_id: str) -> tuple[Order | None, str]:
        """An operator cancels one order, under a full halt, too. The order as it is then, and why it was not cancelled.

        Blocks. Raises StoreError.
        """
        order = self._ledger.get(client_order_id)
        if order is None:
            return None, "there is no such order"
        if not order.is_open:
            return order, f"it is over: {order.state or order.outcome}"
        if order.is_shadow:
            return self._cancelled_shadow(client_order_id), ""
        origin = order.provenance
        refusal = self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id, despite_halt=True)
        if refusal is not None:
            return order, str(refusal)
        try:
            return self._bridge.result(self._dispatch.cancel(order, despite_halt=True)), ""
        except (ExecError, CapabilityUnavailable) as error:
            return order, str(error)

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

    def bound_by(self, accounts: Accounts) -> None:
        """These limits hold from now on; until the pass has ended, those of before hold, too. Blocks."""
        self._servers.accounts = accounts
        self.scope_limits.bind(accounts)

    def limits(self) -> list[dict[str, Any]]:
        """Every limit above the instances, how much of it is used, and by whom, as `ports.StatusReader` has it."""
        return [one.to_json() for one in self.scope_limits.usages()]

    def lift(self, scope: str) -> str:
        """An operator lifts the drawdown of a scope, spelled as `str(Scope)`. Why it cannot be, empty where it was."""
        return self.scope_limits.lift(scope)

    def mark(self, instance_id: str, price: Decimal, reason: str, by: str) -> str:
        """An operator's word on what one unit of what an instance holds is worth. Why it cannot be taken, else empty.

        Blocks; raises StoreError where the database refuses.
        """
        if instance_id not in self._ledger.instance_ids():
            return "there is and was no such instance; see: reconciler status"
        self._scopes.mark(instance_id, price, reason, by)
        self.scope_limits.marked(instance_id, price)
        told = f"one of what it holds counts as {decimal_text(price)} where there is no quote: {reason} ({by})"
        self._events.record(instance_id, "Warning", EventReason.MARKED, told)
        return ""

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
        order, quoteless = self._quoting.quoted(self._steps.draft(gate, request, beat))
        observing = order.provenance.mode is Mode.OBSERVE
        refusal = self._steps.refusal(gate, order, claim=observing and quoteless is None) or quoteless
        if refusal is not None:
            return self._ledger.refuse(refused(order, refusal))
        if observing:
            return self._written(shadowed(order, self._shadow_fee))
        return self._bridge.result(self._dispatch.order(order, self._steps.last_look(gate, order)))

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
        refusal = self._gatekeeper.cancel_refusal(origin.instance_id, origin.account_id)
        if refusal is not None:
            raise ExecUnavailable(str(refusal))
        return self._bridge.result(self._dispatch.cancel(order))

    def drill(self, account_id: str, *, takes: bool) -> Order:
        """Place a small order on paper money, for a drill; what became of it. Blocks. Raises CannotDrill."""
        return self._drill_orders.place(account_id, self._beat, takes=takes)

    def written(self, instance_id: str = "") -> None:
        """Return once nothing that was claimed before, for that instance or any, is still being written."""
        self._bridge.claims.wait(instance_id)

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

    def _written(self, order: Order) -> Order:
        try:
            self._ledger.append(order)
        except StoreError:
            self._gatekeeper.give_back(order)
            raise
        return order

    def _connected(self) -> None:
        """A connection was made, on the loop: what is on its accounts is compared now."""
        task = asyncio.get_running_loop().create_task(self._comparing.run(), name="comparing")
        self._comparisons.add(task)
        task.add_done_callback(self._comparisons.discard)

"""The limits above the instances: accounts, labels, all of it, held against their ceilings for every order.

Decisions read memory; sums follow the ledger's commits. An order counts from its last look on, which takes a unit
under one lock, until the ledger says what became of it: never one too many. Paused, halted, removed and unloaded
instances count as all others do. Asks nobody: quotes, equity and what exchanges hold are told to it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from reconciler import exact
from reconciler.clock import Clock, iso, utc
from reconciler.execution.census import Bound, Census, Dossier
from reconciler.execution.limits import exposing, newly_traded
from reconciler.execution.scope_sum import EquityReading, Factor, Kind, ScopeSum, Share, Usage
from reconciler.orders.holding import Holding
from reconciler.orders.market import factor, market_currency
from reconciler.orders.order import Order, Outcome, Side, decimal_text, will_be_shadow
from reconciler.records.accounts import Accounts, Scope, ScopeMemory, told_lacking
from reconciler.records.record import Limits, Row
from reconciler.store.store import Store

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class ScopeUsage:
    """How much of one limit of a scope is used, and by whom: instances by id, with what they count, the most first.

    `is_passing` where it cannot be measured, but not for long: after a start it is so until quotes are there.
    """

    scope: Scope
    kind: Kind
    usage: Usage
    by: tuple[tuple[str, Decimal | None], ...] = ()
    is_passing: bool = False

    def to_json(self) -> dict[str, Any]:
        """The item of `/api/v1/limits`: money and quantities as decimal strings, null where they are not measured."""
        scope, usage = self.scope, self.usage
        return {
            "scope": str(scope),
            "kind": scope.kind,
            "id": scope.id,
            "money": self.kind,
            "limit": usage.limit,
            "currency": None if usage.limit.startswith(_WITHOUT_CURRENCY) else scope.currency,
            "most": decimal_text(usage.most),
            "used": _text(usage.used),
            "left": _text(usage.left),
            "near": usage.is_near and not self.is_passing,
            "full": usage.is_full,
            "reached": usage.is_reached,
            "why": usage.why,
            "by": [{"instance_id": instance_id, "used": _text(amount)} for instance_id, amount in self.by],
        }


_WITHOUT_ORDERS = ("max_daily_loss", "max_drawdown", "min_equity")
"""What an order uses nothing of until it is filled."""
_WITHOUT_CURRENCY = ("max_open_orders", "max_position")


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else decimal_text(amount)


class ScopeLimits:
    """Thread-safe. `size_of` tells how much of the base currency one unit of a market is, from memory."""

    def __init__(
        self,
        accounts: Accounts,
        store: Store,
        clock: Clock,
        size_of: Callable[[str, str], Decimal | None],
    ) -> None:
        self._accounts = accounts
        self._before: Accounts | None = None
        """The limits that held until the pass that is under way: in force until it ends."""
        self._ledger = store.ledger
        self._book = store.scopes
        self._clock = clock
        self._census = Census(store, clock, size_of, self._venue_of)
        self._lock = threading.RLock()
        self._sums: list[ScopeSum] = []
        self._equity: dict[str, EquityReading] = {}
        self._beside: dict[str, Mapping[str, Decimal]] = {}
        self._day: date | None = None
        self._rows: Callable[[], Iterable[Row]] = tuple
        self._is_enrolled = False
        """Where nothing binds, nobody need be known: a fleet is large, and a start short."""

    @property
    def accounts(self) -> Accounts:
        """The accounts with the limits of now."""
        return self._accounts

    @property
    def is_bounding(self) -> bool:
        """True where any scope has a limit."""
        return bool(self._sums)

    @property
    def size_of(self) -> Callable[[str, str], Decimal | None]:
        """How much of the base currency one unit of a market on an account is; None where nobody tells."""
        return self._census.size_of

    # What is in force

    def recover(self, rows: Callable[[], Iterable[Row]]) -> None:
        """Begin. `rows` tells every row there is or was, removed ones too; it is asked once something binds. Blocks."""
        with self._lock:
            self._rows = rows
            self._bind(tuple(self._accounts.scopes()))

    def bind(self, accounts: Accounts) -> None:
        """The limits that a pass read: from now on they hold, and until `bound` those before them hold, too. Blocks."""
        with self._lock:
            if accounts == self._accounts and self._before is None:
                return
            self._before, self._accounts = self._before or self._accounts, accounts
            held = tuple(self._before.scopes())
            self._bind((*held, *(scope for scope in accounts.scopes() if scope not in held)))

    def bound(self) -> None:
        """The pass has ended: what it read holds alone."""
        with self._lock:
            if self._before is not None:
                self._before = None
                self._bind(tuple(self._accounts.scopes()))

    def applied(self, rows: Iterable[Row]) -> None:
        """These rows were written; that is committed. Whoever left a label with something open is bound by it still."""
        with self._lock:
            for row in rows if self._is_enrolled else ():
                self._census.applied(row)
                for dossier in self._census.of(row.id):
                    self._place(dossier)
                    self._keep_news(dossier.sums)

    # What happens

    def changed(self, before: Order | None, after: Order, holding: Holding | None) -> None:
        """An order was written down, or something became known of it; that is committed. On the writer's thread."""
        if not self._census.is_loaded:
            return
        with self._lock:
            dossier = self._dossier_of(after)
            known = dossier.orders.get(after.client_order_id)
            if holding is None and known is None and (not after.is_open or after.outcome is Outcome.PENDING):
                return  # it counts from its last look on
            if holding is not None:
                dossier.holding = holding
            if after.is_open:
                dossier.orders[after.client_order_id] = after
            else:
                dossier.orders.pop(after.client_order_id, None)
            if (amount := newly_traded(before, after)) != 0:
                self._trade(dossier, self._clock.time(), amount)
            self._recount(dossier)
            self._let_go(dossier.instance_id)

    def corrected(self, instance_id: str, holding: Holding) -> None:
        """A person put a real book right; that is committed."""
        if not self._census.is_loaded:
            return
        with self._lock:
            dossier = self._dossier(instance_id, "", holding.symbol, shadow=False)
            dossier.holding = holding
            self._recount(dossier)
            self._let_go(instance_id)

    def shadow_books_ended(self, instance_ids: Collection[str]) -> None:
        """Their shadow books, and all that was open in them, are no more."""
        with self._lock:
            for instance_id in instance_ids:
                if (dossier := self._census.dossiers.pop((instance_id, True), None)) is not None:
                    for one in dossier.sums:
                        one.leaves(instance_id)

    def quoted(self, account_id: str, symbol: str, bid: Decimal, ask: Decimal) -> None:
        """What is paid for the market now."""
        with self._lock:
            self._census.quoted(account_id, symbol, bid, ask)

    def marked(self, instance_id: str, price: Decimal) -> None:
        """A person says what one unit of what the instance holds is worth: it counts where there is no quote."""
        with self._lock:
            self._census.marked(instance_id, price)
            for dossier in self._census.of(instance_id):
                self._recount(dossier)

    def told_equity(self, account_id: str, amount: Decimal) -> None:
        """The account's equity, in its currency."""
        with self._lock:
            self._equity[account_id] = EquityReading(amount, self._clock.monotonic())

    def told_beside(self, account_id: str, beside: Mapping[str, Decimal]) -> None:
        """What the exchange holds beside what is booked, by market, as of the last look."""
        with self._lock:
            self._beside[account_id] = beside

    def lift(self, scope: str) -> str:
        """A person lifts the drawdown of a scope, spelled as `str(Scope)` has it. Why that cannot be, else empty."""
        with self._lock:
            found = [one for one in self._sums if str(one.scope) == scope]
            if not any(one.scope.ceilings.max_drawdown is not None for one in found):
                return f"{scope} has no max_drawdown: there is nothing to lift"
            for one in found:
                one.lifted()
                self._book.keep(str(one.scope), one.kind, one.memory())
            return ""

    # What is asked for every order

    def lacking(self, order: Order, limits: Limits) -> str:
        """Why what adds exposure may not leave: the record, or its account, lacks limits that the settings ask for."""
        origin = order.provenance
        if will_be_shadow(order):
            return ""
        return self._told_lacking(Bound(origin.account_id, origin.symbol, {}, limits, True))

    def refusal(self, order: Order) -> str:
        """Why `order`, which adds exposure, would be one too many, as a sentence. Nothing is taken for it.

        Where every scope of its instance was far from its limits when they were looked at last, it is not reckoned: if
        this order alone is too much, `reserve` says so.
        """
        dossier = self._census.dossiers.get((order.instance_id, will_be_shadow(order)))
        if dossier is not None and not dossier.is_near:
            return ""
        return self._taken(order, reducing=False, keep=False)

    def reserve(self, order: Order, *, reducing: bool) -> str:
        """Take a unit of every scope for `order`, which is about to leave; why there is none left, as a sentence.

        It is given back with what the ledger says of the order, or by `give_back`.
        """
        return self._taken(order, reducing=reducing, keep=True)

    def give_back(self, order: Order) -> None:
        """It did not leave after all, and the ledger will not say so."""
        with self._lock:
            dossier = self._census.dossiers.get((order.instance_id, will_be_shadow(order)))
            if dossier is not None and dossier.orders.pop(order.client_order_id, None) is not None:
                self._recount(dossier)

    # What is shown, and done about it

    def obstacles(self, instance_id: str) -> list[str]:
        """What is reached above the instance, or missing of it, so that it opens nothing. From memory."""
        with self._lock:
            bound = self._census.bound.get(instance_id)
            if bound is None:
                return []
            found = []
            if bound.is_active and (lacking := self._told_lacking(bound)):
                found.append(lacking)
            kind = self._kind(bound.account_id, shadow=False)
            for one in self._sums:
                if one.kind == kind and bound.is_in(one.scope):
                    found += self._reached(one, bound.market)
            return found

    def resting(self) -> tuple[tuple[Order, str], ...]:
        """Open orders that would add exposure to scopes of which a limit is reached, each with which. From memory."""
        found: dict[str, tuple[Order, str]] = {}
        with self._lock:
            for one in self._sums:
                for usage in self._usages(one):
                    if not usage.is_reached or (usage.used is None and not one.is_long_blind):
                        continue
                    why = f"{one.scope}: {usage.limit} is reached"
                    for dossier in self._members(one):
                        if usage.concerns(dossier.market):
                            for order in exposing(dossier.holding.quantity, tuple(dossier.orders.values())):
                                found.setdefault(order.client_order_id, (order, why))
        return tuple(found.values())

    def wanted(self) -> tuple[tuple[str, str], ...]:
        """Account and symbol of everything of which a quote is needed to measure a scope."""
        with self._lock:
            pairs: dict[tuple[str, str], None] = {}
            for dossier in self._census.dossiers.values():
                if not dossier.is_flat and any(one.needs_currency for one in dossier.sums):
                    pairs[dossier.account_id, dossier.market] = None
            for one in self._sums:
                if one.scope.ceilings.max_gross_notional is not None:
                    pairs |= dict.fromkeys(key for key, (quantity, _) in one.beside.items() if quantity)
            return tuple(pairs)

    def wanted_equity(self) -> tuple[str, ...]:
        """The accounts whose equity is asked for."""
        with self._lock:
            return tuple(dict.fromkeys(one.scope.id for one in self._sums if one.scope.ceilings.min_equity is not None))

    def revalue(self) -> None:
        """Measure everything anew: quotes moved, or the day ended. What must not be forgotten is handed to be kept."""
        now, today = utc(self._clock.time()), self._census.today()
        with self._lock:
            is_new_day, self._day = self._day != today, today
            everybody = tuple(self._census.dossiers.values())
        for dossier in everybody:
            with self._lock:  # one at a time: an order at its last look waits for none but the one
                if dossier.sums and (is_new_day or not dossier.is_flat):
                    self._recount(dossier)
        with self._lock:
            self._compare_beside()
            for one in self._sums:
                self._look_at(one)
                one.remember(iso(now.timestamp()), today)
                one.is_near = any(usage.is_near or usage.is_reached for usage in one.usages(today))
            self._keep_news(self._sums)

    def usages(self, *, by_whom: bool = True) -> list[ScopeUsage]:
        """Every limit of every scope, of each kind of money of which there is something; used, and by whom."""
        with self._lock:
            sums = [one for one in self._sums if one.kind == self._default_kind(one) or one.members()]
        found = []
        for one in sums:
            with self._lock:
                usages, shares = list(self._usages(one)), dict(one.members()) if by_whom else {}
            found += [
                ScopeUsage(
                    one.scope,
                    one.kind,
                    usage,
                    one.by(usage, shares),
                    is_passing=usage.used is None and not one.is_long_blind,
                )
                for usage in usages
            ]
        return found

    def users(self, one: ScopeUsage) -> tuple[tuple[str, Decimal | None], ...]:
        """By whom that limit is used now."""
        with self._lock:
            found = next((each for each in self._sums if (each.scope, each.kind) == (one.scope, one.kind)), None)
            shares = {} if found is None else dict(found.members())
        return () if found is None else found.by(one.usage, shares)

    # How it is done

    def _taken(self, order: Order, *, reducing: bool, keep: bool) -> str:
        if not self._sums:
            return ""
        with self._lock:
            dossier = self._dossier_of(order)
            if order.quote_bid is not None and order.quote_ask is not None:
                self.quoted(dossier.account_id, dossier.market, order.quote_bid, order.quote_ask)
            was = dossier.orders.get(order.client_order_id)
            dossier.orders[order.client_order_id] = order
            self._recount(dossier)
            why = "" if reducing else self._exceeded(dossier, order.side)
            if why or not keep:
                if was is None:
                    del dossier.orders[order.client_order_id]
                else:
                    dossier.orders[order.client_order_id] = was
                self._recount(dossier)
            return why

    def _exceeded(self, dossier: Dossier, side: Side) -> str:
        """The first limit that is exceeded with all that is open, as a sentence."""
        for one, found in zip(dossier.sums, dossier.factors, strict=True):
            if one.needs_currency and found.one is None:
                return f"{one.scope}: {dossier.market} cannot be measured in {one.scope.currency}: {found.fault}"
            one.is_near, is_near = True, False
            for usage in self._usages(one):
                is_near = is_near or usage.is_near or usage.is_reached
                if not usage.is_reached or not usage.concerns(dossier.market):
                    continue
                if usage.limit.startswith("max_position"):
                    reached = one.position(dossier.market, side)[1]
                    if reached <= usage.most:
                        continue
                counted = usage.used is not None and usage.limit not in _WITHOUT_ORDERS
                return f"{one.scope}: {usage.limit}: {usage.why}{', with this order' if counted else ''}"
            one.is_near = is_near
        return ""

    def _reached(self, one: ScopeSum, market: str) -> Iterator[str]:
        """Asked for every active instance, each beat: what is reached is reckoned once for as long as nothing moves."""
        moment = (one.version, int(self._clock.monotonic()))
        if one.seen != moment:
            one.seen = moment
            one.reached = tuple(usage for usage in self._usages(one) if usage.is_reached)
        for usage in one.reached:
            if usage.concerns(market):
                yield f"{one.scope}: {usage.limit}: {usage.why}"

    def _usages(self, one: ScopeSum) -> Iterator[Usage]:
        self._look_at(one)
        return one.usages(self._census.today())

    def _look_at(self, one: ScopeSum) -> None:
        """What time alone changes."""
        one.equity = self._equity.get(one.scope.id)
        one.passes(self._clock.time(), self._clock.monotonic())

    def _told_lacking(self, bound: Bound) -> str:
        for accounts in filter(None, (self._accounts, self._before)):
            if names := accounts.lacking(bound.account_id, bound.market, bound.limits):
                return told_lacking(names, accounts.money(bound.account_id) or "unknown")
        return ""

    def _bind(self, wanted: Sequence[Scope]) -> None:
        """Put these scopes, and no others, in force."""
        if not self._is_enrolled and (wanted or self._accounts.requirement is not None):
            self._is_enrolled = True
            self._census.enrol(self._rows())
        if wanted and not self._census.is_loaded:
            self._census.load()
        known: dict[tuple[str, Kind], ScopeMemory] = dict(self._book.memories()) if wanted else {}
        known |= {(str(one.scope), one.kind): one.memory() for one in self._sums}
        self._sums = [
            ScopeSum(scope, kind, known.get((str(scope), kind))) for scope in wanted for kind in self._kinds(scope)
        ]
        for dossier in self._census.dossiers.values():
            dossier.sums, dossier.factors = [], []
            self._place(dossier)
        self._keep_news(self._sums)
        self._remember_trades()

    def _keep_news(self, sums: Iterable[ScopeSum]) -> None:
        """Have written down what must not be forgotten. Where whoever is new begins is on the disk before its first
        order is: else nobody who starts after a kill knows what it made or lost from then on."""
        for one in sums:
            if one.takes_news():
                self._book.keep(str(one.scope), one.kind, one.memory())

    def _remember_trades(self) -> None:
        windows = [one.scope.ceilings.max_turnover for one in self._sums]
        longest = max((turnover.within_minutes for turnover in windows if turnover is not None), default=0)
        if not longest:
            return
        for trade in self._ledger.traded(utc(self._clock.time()) - timedelta(minutes=longest)):
            dossier = self._dossier(trade.instance_id, trade.account_id, trade.symbol, shadow=trade.shadow)
            fill = trade.fill
            amount = None if fill.price is None else exact.multiply(fill.quantity, fill.price)
            self._trade(dossier, fill.at.timestamp(), amount)

    def _kinds(self, scope: Scope) -> tuple[Kind, ...]:
        if scope.kind != "account":
            return ("real", "paper", "shadow")
        return (self._kind(scope.id, shadow=False), "shadow")

    def _kind(self, account_id: str, *, shadow: bool) -> Kind:
        return "shadow" if shadow else self._accounts.money(account_id) or "unknown"

    def _default_kind(self, one: ScopeSum) -> Kind:
        """The kind that is shown though nothing is there."""
        if one.scope.kind == "account":
            return self._kind(one.scope.id, shadow=False)
        return "real" if self._accounts.any_is_real else "paper"

    def _dossier_of(self, order: Order) -> Dossier:
        origin = order.provenance
        return self._dossier(origin.instance_id, origin.account_id, origin.symbol, shadow=will_be_shadow(order))

    def _dossier(self, instance_id: str, account_id: str, market: str, *, shadow: bool) -> Dossier:
        is_new = (instance_id, shadow) not in self._census.dossiers
        dossier = self._census.dossier(instance_id, account_id, market, shadow=shadow)
        if is_new:
            self._place(dossier)
            self._keep_news(dossier.sums)
        return dossier

    def _venue_of(self, account_id: str) -> str:
        account = self._accounts.get(account_id)
        return account_id if account is None else account.server

    def _let_go(self, instance_id: str) -> None:
        """Flat: it is bound by the labels that it left no more."""
        if self._census.lets_go(instance_id):
            for dossier in self._census.of(instance_id):
                self._place(dossier)

    def _members(self, one: ScopeSum) -> list[Dossier]:
        shadow = one.kind == "shadow"
        return [dossier for id_ in one.members() if (dossier := self._census.dossiers.get((id_, shadow))) is not None]

    def _place(self, dossier: Dossier) -> None:
        """Have it count where it belongs, and nowhere else."""
        bound = self._census.bound_of(dossier)
        kind = self._kind(dossier.account_id, shadow=dossier.shadow)
        sums = [one for one in self._sums if one.kind == kind and bound.is_in(one.scope)]
        for one in dossier.sums:
            if one not in sums:
                one.leaves(dossier.instance_id)
        dossier.sums, dossier.factors = sums, [self._factor(dossier, one.scope) for one in sums]
        self._recount(dossier)

    def _recount(self, dossier: Dossier) -> None:
        if not dossier.sums:
            return
        mark = self._census.footprint(dossier)
        for one, by in zip(dossier.sums, dossier.factors, strict=True):
            one.put(dossier.instance_id, Share(dossier.instance_id, dossier.market, by, mark))

    def _factor(self, dossier: Dossier, scope: Scope) -> Factor:
        account = self._accounts.get(dossier.account_id)
        if account is None:
            return Factor("", None)
        currency = market_currency(dossier.market, account.markets)
        return Factor(currency, factor(currency, scope.currency, account.count_as))

    def _trade(self, dossier: Dossier, at_s: float, amount: Decimal | None) -> None:
        size = self._census.size_of(dossier.account_id, dossier.market)
        for one, (_, by) in zip(dossier.sums, dossier.factors, strict=True):
            if one.scope.ceilings.max_turnover is not None:
                known = amount is not None and size is not None and by is not None
                worth = exact.multiply(exact.multiply(amount or _ZERO, size or _ZERO), by or _ZERO) if known else None
                one.trades(at_s, worth, dossier.instance_id)

    def _compare_beside(self) -> None:
        """What exchanges hold beside and beyond the books, per account and market of ours."""
        found = {
            (account_id, market): (quantity, own)
            for account_id, markets in self._beside.items()
            for market, quantity in markets.items()
            if quantity and (own := self._census.on(account_id, market))
        }
        for one in self._sums:
            one.beside = {}
            for key, (quantity, own) in found.items() if one.kind != "shadow" else ():
                if any(one in dossier.sums for dossier in own):
                    more, by = self._census.beyond(own, quantity), self._factor(own[0], one.scope).one
                    known = more is not None and (not more or by is not None)
                    one.beside[key] = (quantity, exact.multiply(more or _ZERO, by or _ZERO) if known else None)

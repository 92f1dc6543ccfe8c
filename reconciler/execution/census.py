"""The census of the instances: who they are, what each holds and has open, and what that is worth. From memory.

Whether they run, are halted or are there at all makes no difference. Follows the ledger and the rows; not thread-safe:
the scope_limits, whose part it is, holds its lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.execution.limits import Footprint, QuotePrices, Worth, footprint, worth
from reconciler.execution.scope_sum import MARK_S, Factor, ScopeSum
from reconciler.orders.holding import Holding
from reconciler.orders.order import Order, will_be_shadow
from reconciler.records.accounts import Scope
from reconciler.records.mode import Mode
from reconciler.records.record import Limits, Row
from reconciler.store.store import Store

_ONE: Final = Decimal(1)


@dataclass(frozen=True, slots=True)
class Bound:
    """What is known of an instance, whether it runs or not. `kept` are labels that it left, and is bound by still."""

    account_id: str
    market: str
    labels: Mapping[str, str]
    limits: Limits
    is_active: bool
    kept: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, row: Row, kept: tuple[tuple[str, str], ...]) -> Bound:
        identity, record = row.record.identity, row.record
        is_active = row.is_live and row.mode is Mode.ACTIVE
        return cls(identity.account_id, identity.market, record.labels, record.limits, is_active, kept)

    def is_in(self, scope: Scope) -> bool:
        return scope.covers(self.account_id, self.labels) or any(
            scope.covers(self.account_id, {key: value}) for key, value in self.kept
        )


@dataclass(slots=True)
class Dossier:
    """One book of an instance: what it holds, its open orders by id, and the sums it counts in."""

    instance_id: str
    account_id: str
    market: str
    shadow: bool
    holding: Holding
    orders: dict[str, Order] = field(default_factory=dict)
    sums: list[ScopeSum] = field(default_factory=list)
    factors: list[Factor] = field(default_factory=list)
    """What its market's currency counts as in each of these."""
    valued: tuple[tuple[Any, ...], Worth] | None = None
    """What is held is worth, and by what that was reckoned: orders come and go much more often than that changes."""

    @property
    def is_near(self) -> bool:
        """True where a limit of any of these is near, or may be, or cannot be measured in its currency."""
        if any(one.is_near for one in self.sums):
            return True
        return any(one.needs_currency and by.one is None for one, by in zip(self.sums, self.factors, strict=True))

    @property
    def is_flat(self) -> bool:
        return not self.orders and not self.holding.quantity


class _Mark(NamedTuple):
    bid: Decimal
    ask: Decimal
    at_s: float


class Census:
    """`size_of` tells how much of the base currency one unit of a market on an account is, from memory; `venue_of`
    which server reaches an account: quotes are its."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        size_of: Callable[[str, str], Decimal | None],
        venue_of: Callable[[str], str],
    ) -> None:
        self._ledger = store.ledger
        self._book = store.scopes
        self._clock = clock
        self.size_of = size_of
        self._venue_of = venue_of
        self._marks: dict[tuple[str, str], _Mark] = {}
        self._by_hand: dict[str, Decimal] = {}
        self.bound: dict[str, Bound] = {}
        self.dossiers: dict[tuple[str, bool], Dossier] = {}
        """By instance, and whether it is its shadow book."""
        self.is_loaded = False

    def enrol(self, rows: Iterable[Row]) -> None:
        """Everybody there is or was. Blocks."""
        kept = self._book.kept_labels()
        for row in rows:
            self.bound[row.id] = Bound.of(row, kept.get(row.id, ()))
        self._by_hand = dict(self._book.marks())

    def load(self) -> None:
        """Everything that the ledger knows. Blocks."""
        self.is_loaded = True
        for instance_id, account_id, shadow, holding in self._ledger.standing():
            self.dossier(instance_id, account_id, holding.symbol, shadow=shadow).holding = holding
        for order in self._ledger.open_everywhere():
            self.dossier_of(order).orders[order.client_order_id] = order

    def applied(self, row: Row) -> None:
        """Its row was written. Labels that it leaves with something open are kept."""
        before = self.bound.get(row.id)
        left: dict[tuple[str, str], None] = {}
        if before is not None and self.is_exposed(row.id):
            now = row.record.labels.items()
            left = {pair: None for pair in (*before.kept, *before.labels.items()) if pair not in now}
        self.bound[row.id] = Bound.of(row, tuple(left))

    def lets_go(self, instance_id: str) -> bool:
        """True where it is flat now, and was bound by labels that it had left."""
        bound = self.bound.get(instance_id)
        if bound is None or not bound.kept or self.is_exposed(instance_id):
            return False
        self.bound[instance_id] = Bound(bound.account_id, bound.market, bound.labels, bound.limits, bound.is_active)
        self._book.forget_labels(instance_id)
        return True

    def dossier_of(self, order: Order) -> Dossier:
        origin = order.provenance
        return self.dossier(origin.instance_id, origin.account_id, origin.symbol, shadow=will_be_shadow(order))

    def dossier(self, instance_id: str, account_id: str, market: str, *, shadow: bool) -> Dossier:
        """The one there is; begun where there is none, with what the ledger says it holds."""
        found = self.dossiers.get((instance_id, shadow))
        if found is None:
            bound = self.bound.get(instance_id)
            account_id = account_id if bound is None else bound.account_id
            holding = self._ledger.holding(instance_id, market, shadow)
            found = self.dossiers[instance_id, shadow] = Dossier(instance_id, account_id, market, shadow, holding)
        return found

    def of(self, instance_id: str) -> list[Dossier]:
        return [found for shadow in (False, True) if (found := self.dossiers.get((instance_id, shadow))) is not None]

    def bound_of(self, dossier: Dossier) -> Bound:
        known = self.bound.get(dossier.instance_id)
        return known or Bound(dossier.account_id, dossier.market, {}, Limits(), False)

    def is_exposed(self, instance_id: str) -> bool:
        """True where it really holds something, or may come to."""
        if self.is_loaded:
            return any(not dossier.is_flat for dossier in self.of(instance_id) if not dossier.shadow)
        return bool(self.bound[instance_id].kept)

    def quoted(self, account_id: str, symbol: str, bid: Decimal, ask: Decimal) -> None:
        self._marks[self._venue_of(account_id), symbol] = _Mark(bid, ask, self._clock.monotonic())

    def marked(self, instance_id: str, price: Decimal) -> None:
        self._by_hand[instance_id] = price

    def prices(self, dossier: Dossier) -> QuotePrices:
        """The last quote, while it is good; else what a person said that it is worth."""
        mark = self._marks.get((self._venue_of(dossier.account_id), dossier.market))
        if mark is not None and self._clock.monotonic() - mark.at_s <= MARK_S:
            return QuotePrices(mark.bid, mark.ask)
        by_hand = self._by_hand.get(dossier.instance_id)
        return QuotePrices(by_hand, by_hand)

    def footprint(self, dossier: Dossier) -> Footprint:
        size, prices = self.size_of(dossier.account_id, dossier.market), self.prices(dossier)
        by = (dossier.holding, prices, size or _ONE, self.today())
        if dossier.valued is None or dossier.valued[0] != by:
            dossier.valued = by, worth(*by)
        return footprint(dossier.holding.quantity, dossier.orders.values(), prices, size, dossier.valued[1])

    def on(self, account_id: str, market: str) -> list[Dossier]:
        """The real books of that market on that account."""
        return [
            dossier
            for dossier in self.dossiers.values()
            if not dossier.shadow and (dossier.account_id, dossier.market) == (account_id, market)
        ]

    def beyond(self, own: Sequence[Dossier], beside: Decimal) -> Decimal | None:
        """What the exchange holds more than all these books, which it holds `beside` of; in the market's currency."""
        booked = exact.total(dossier.holding.quantity for dossier in own)
        gross = exact.total(exact.size(dossier.holding.quantity) for dossier in own)
        more = exact.subtract(exact.size(exact.add(booked, beside)), gross)
        if more <= 0:
            return Decimal(0)
        price, size = self.prices(own[0]).ask, self.size_of(own[0].account_id, own[0].market)
        return None if price is None or size is None else exact.multiply(exact.multiply(more, price), size)

    def today(self) -> date:
        return utc(self._clock.time()).date()

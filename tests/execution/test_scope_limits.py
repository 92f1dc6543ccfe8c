"""What is above the instances, order by order: every limit, every currency, what cannot be measured, who is bound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, cast

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.execution.limits import Standing, exposing, reduces
from reconciler.execution.scope_limits import ScopeLimits
from reconciler.execution.scope_sum import MARK_S
from reconciler.orders.holding import Holding
from reconciler.orders.order import (
    Fill,
    Order,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Provenance,
    RejectedBy,
    Side,
    Trade,
)
from reconciler.records.accounts import Accounts, Ceilings, DeclaredAccount, Requirement, Scope, ScopeMemory, Turnover
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Limits, Row
from reconciler.store.store import Store

D = Decimal
ONE = D(1)
USD = {"USDT": {"USD": D("1.02")}, "BTC": {"USD": D(70000)}}


@dataclass
class Shelf:
    """A ledger and a scope book that hold what a test puts there."""

    holdings: dict[tuple[str, bool], Holding] = field(default_factory=dict)
    accounts: dict[str, str] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    kept: dict[tuple[str, str], ScopeMemory] = field(default_factory=dict)
    labels: dict[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    hand: dict[str, Decimal] = field(default_factory=dict)

    @property
    def ledger(self) -> Shelf:
        return self

    @property
    def scopes(self) -> Shelf:
        return self

    def standing(self) -> list[tuple[str, str, bool, Holding]]:
        return [(id_, self.accounts.get(id_, "main"), shadow, one) for (id_, shadow), one in self.holdings.items()]

    def open_everywhere(self) -> list[Order]:
        return list(self.orders)

    def traded(self, since: datetime) -> list[Trade]:
        return [trade for trade in self.trades if trade.fill.at >= since]

    def holding(self, instance_id: str, symbol: str, shadow: bool) -> Holding:
        return self.holdings.get((instance_id, shadow)) or Holding(symbol)

    def memories(self) -> Mapping[tuple[str, str], ScopeMemory]:
        return dict(self.kept)

    def marks(self) -> Mapping[str, Decimal]:
        return self.hand

    def kept_labels(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        return self.labels

    def keep(self, scope: str, kind: str, memory: ScopeMemory) -> None:
        self.kept[scope, kind] = memory

    def forget_labels(self, instance_id: str) -> None:
        self.labels.pop(instance_id, None)


class World:
    """An scope_limits, and the short ways of a test to what happens to it."""

    def __init__(
        self,
        ceilings: Ceilings | None = None,
        *,
        currency: str = "USD",
        count_as: Mapping[str, Mapping[str, Decimal]] | None = None,
        markets: Mapping[str, str] | None = None,
        above: tuple[Scope, ...] = (),
        size: Decimal | None = ONE,
        shelf: Shelf | None = None,
        real: bool = True,
        requirement: Requirement | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.shelf = shelf or Shelf()
        declared = {
            id_: DeclaredAccount(
                id_, "kraken", is_real, None, currency, ceilings or Ceilings(), count_as or {}, markets or {}
            )
            for id_, is_real in (("main", real), ("play", False))
        }
        self.accounts = Accounts(declared, None, above=above, requirement=requirement)
        self.scope_limits = ScopeLimits(
            self.accounts, cast(Store, self.shelf), self.clock, lambda account_id, symbol: size
        )
        self._number = 0

    def begin(self, *rows: Row) -> World:
        self.scope_limits.recover(lambda: rows)
        return self

    def order(
        self,
        id_: str = "a",
        side: Side = Side.BUY,
        quantity: str = "1",
        price: str | None = "100",
        *,
        market: str = "BTC/USD",
        account: str = "main",
        quote: tuple[str, str] | None = ("99", "100"),
        mode: Mode = Mode.ACTIVE,
    ) -> Order:
        self._number += 1
        now = utc(self.clock.time())
        kind = OrderType.MARKET if price is None else OrderType.LIMIT
        return Order(
            f"order-{self._number}",
            Provenance(id_, account, "desk", market, mode, 1, "c", "code", "r", 1),
            OrderRequest(side, kind, D(quantity), None if price is None else D(price)),
            Outcome.PENDING if mode is Mode.ACTIVE else Outcome.SHADOW,
            now,
            now,
            quote_bid=None if quote is None else D(quote[0]),
            quote_ask=None if quote is None else D(quote[1]),
        )

    def place(self, *given: Any, reducing: bool = False, **named: Any) -> tuple[str, Order]:
        order = self.order(*given, **named)
        return self.scope_limits.reserve(order, reducing=reducing), order

    def settle(self, order: Order, filled: str = "0", price: str = "100", holding: Holding | None = None) -> Order:
        """It was taken; `filled` of it, at once."""
        state = OrderState.FILLED if D(filled) == order.quantity else OrderState.OPEN
        after = replace(
            order,
            outcome=Outcome.ACCEPTED,
            state=state,
            filled_quantity=D(filled),
            average_price=D(price) if D(filled) else None,
        )
        if holding is None and D(filled):
            fill = Fill(order.client_order_id, "f", D(filled), D(price), None, order.created_at)
            key = (order.instance_id, order.is_shadow)
            known = self.shelf.holding(order.instance_id, order.provenance.symbol, order.is_shadow)
            holding = self.shelf.holdings[key] = known.filled(order.side, fill, order.created_at.date())
        self.scope_limits.changed(order, after, holding)
        return after

    def reject(self, order: Order) -> None:
        after = replace(order, outcome=Outcome.REJECTED, rejected_by=RejectedBy.EXCHANGE)
        self.scope_limits.changed(order, after, None)

    def used(self, limit: str, scope: str = "account main", kind: str = "real") -> Decimal | None:
        found = [
            one.usage.used
            for one in self.scope_limits.usages()
            if (str(one.scope), one.kind, one.usage.limit) == (scope, kind, limit)
        ]
        assert len(found) == 1, found
        return found[0]


def row(id_: str, *, labels: Mapping[str, str] | None = None, account: str = "main", market: str = "BTC/USD") -> Row:
    record = InstanceRecord(id_, Identity("grid", account, "desk", market), Mode.ACTIVE, {}, {}, labels=labels or {})
    return Row(record, f"instances/{id_}.yaml", 1, "v", "c", "f", "code", "r", True, "2026-01-01T00:00:00.000Z")


def held(market: str, quantity: str, cost: str, *, realised: str = "0", lost: str = "0") -> Holding:
    """So much, which cost so much in all; `lost` of it today."""
    today = utc(FakeClock().time()).date()
    return Holding(market, D(quantity), D(cost), D(realised), day=today, realised_before=D(realised) + D(lost))


GROSS, LOSS, OPEN = Ceilings(max_gross_notional=D(1000)), Ceilings(max_daily_loss=D(100)), Ceilings(max_open_orders=2)
POSITION = Ceilings(max_position={"BTC/USD": D(3)})
TURNOVER = Ceilings(max_turnover=Turnover(D(1000), 5))
FALL = Ceilings(max_drawdown=D(100))
FLOOR = Ceilings(min_equity=D(1000))
LONG = held("BTC/USD", "5", "500")
SHORT = held("BTC/USD", "-5", "-500")
MANY = "it cannot be measured"
NO_FACTOR = "cannot be measured in USD: no factor from"
NO_NAME = "cannot be measured in USD: its market names no currency"

CASES: list[tuple[str, dict[str, Any], Holding | None, dict[str, Any], str]] = [
    # what is bound, the account, what the instance holds, what it asks for, why not
    ("gross: room", {"ceilings": GROSS}, None, {"quantity": "10"}, ""),
    ("gross: a cent more", {"ceilings": GROSS}, None, {"quantity": "10.0001"}, "max_gross_notional: 1000.01 of 1000"),
    ("gross: held counts", {"ceilings": GROSS}, LONG, {"quantity": "5.1"}, "max_gross_notional"),
    ("gross: held leaves room", {"ceilings": GROSS}, LONG, {"quantity": "5"}, ""),
    ("gross: a short counts as a long", {"ceilings": GROSS}, SHORT, {"side": Side.SELL, "quantity": "5.2"}, "gross"),
    ("gross: what turns round counts what is left", {"ceilings": GROSS}, SHORT, {"quantity": "15"}, ""),
    ("gross: and no more", {"ceilings": GROSS}, SHORT, {"quantity": "15.1"}, "max_gross_notional: 1010 of 1000"),
    ("gross: a dear limit counts as it says", {"ceilings": GROSS}, None, {"quantity": "2", "price": "600"}, "1200 of"),
    ("gross: a cheap sell is paid the bid", {"ceilings": GROSS}, None,
     {"side": Side.SELL, "quantity": "11", "price": "1"}, "max_gross_notional: 1089 of 1000"),
    ("gross: a market order at the ask", {"ceilings": GROSS}, None, {"quantity": "10", "price": None}, ""),
    ("gross: a market order with no quote", {"ceilings": GROSS}, None, {"price": None, "quote": None}, MANY),
    ("gross: a limit buy needs no quote", {"ceilings": GROSS}, None, {"quote": None}, ""),
    ("gross: held with no quote", {"ceilings": GROSS}, LONG, {"quote": None}, MANY),
    ("gross: a contract of ten", {"ceilings": GROSS, "size": D(10)}, None, {"quantity": "1"}, ""),
    ("gross: two of them", {"ceilings": GROSS, "size": D(10)}, None, {"quantity": "1.1"}, "1100 of 1000"),
    ("gross: a small contract", {"ceilings": GROSS, "size": D("0.001")}, None, {"quantity": "9999"}, ""),
    ("gross: of unknown size", {"ceilings": GROSS, "size": None}, None, {}, MANY),
    ("gross: USDT counts as more", {"ceilings": GROSS, "count_as": USD}, None,
     {"market": "BTC/USDT", "quantity": "9.9"}, "1009.8 of 1000"),
    ("gross: USDT within", {"ceilings": GROSS, "count_as": USD}, None, {"market": "BTC/USDT", "quantity": "9.8"}, ""),
    ("gross: hyphens name it too", {"ceilings": GROSS, "count_as": USD}, None, {"market": "BTC-USDT-SWAP"}, ""),
    ("gross: EUR without a factor", {"ceilings": GROSS, "count_as": USD}, None, {"market": "BTC/EUR"}, NO_FACTOR),
    ("gross: the factor is not turned round", {"ceilings": GROSS, "currency": "USDT", "count_as": USD}, None, {},
     "cannot be measured in USDT: no factor from USD"),
    ("gross: a share names none", {"ceilings": GROSS}, None, {"market": "AAPL"}, NO_NAME),
    ("gross: the settings name it", {"ceilings": GROSS, "markets": {"AAPL": "USD"}}, None, {"market": "AAPL"}, ""),
    ("gross: settled in another", {"ceilings": GROSS, "count_as": USD}, None, {"market": "BTC/USD:BTC"}, NO_NAME),
    ("gross: a cross pair by its factor", {"ceilings": GROSS, "count_as": USD}, None,
     {"market": "ETH/BTC", "quantity": "1", "price": "0.02", "quote": ("0.01", "0.02")}, "1400 of 1000"),
    ("gross: XBT is BTC", {"ceilings": GROSS, "count_as": USD}, None,
     {"market": "ETH/XBT", "quantity": "1", "price": "0.01", "quote": ("0.01", "0.01")}, ""),
    ("loss: none", {"ceilings": LOSS}, None, {}, ""),
    ("loss: realised today", {"ceilings": LOSS}, held("BTC/USD", "0", "0", lost="100"), {}, "100 of 100 USD"),
    ("loss: one less", {"ceilings": LOSS}, held("BTC/USD", "0", "0", lost="99.99"), {}, ""),
    ("loss: of what is held", {"ceilings": LOSS}, held("BTC/USD", "1", "199"), {}, "max_daily_loss: 100 of 100"),
    ("loss: of a short", {"ceilings": LOSS}, held("BTC/USD", "-1", "0"), {}, "max_daily_loss: 100 of 100"),
    ("loss: what is gained on it offsets nothing", {"ceilings": LOSS},
     held("BTC/USD", "1", "0", lost="100"), {}, "max_daily_loss"),
    ("loss: a cost that nobody knows", {"ceilings": LOSS}, Holding("BTC/USD", D(1), None), {}, MANY),
    ("loss: in contracts", {"ceilings": LOSS, "size": D(10)}, held("BTC/USD", "1", "109"), {}, "100 of 100"),
    ("loss: in USDT", {"ceilings": LOSS, "count_as": USD}, held("BTC/USDT", "0", "0", lost="98.1"),
     {"market": "BTC/USDT"}, "100.062 of 100"),
    ("loss: without a factor", {"ceilings": LOSS}, None, {"market": "BTC/EUR"}, NO_FACTOR),
    ("position: room", {"ceilings": POSITION}, None, {"quantity": "3"}, ""),
    ("position: no room", {"ceilings": POSITION}, None, {"quantity": "3.1"}, "max_position[BTC/USD]: 3.1 of 3"),
    ("position: short", {"ceilings": POSITION}, None, {"side": Side.SELL, "quantity": "4"}, "4 of 3"),
    ("position: another market", {"ceilings": POSITION}, None, {"market": "ETH/USD", "quantity": "9"}, ""),
    ("position: needs no currency", {"ceilings": POSITION, "currency": ""}, None, {"market": "AAPL"}, ""),
    ("position: held long, sells short", {"ceilings": POSITION}, held("BTC/USD", "2", "200"),
     {"side": Side.SELL, "quantity": "5"}, ""),
    ("position: and more", {"ceilings": POSITION}, held("BTC/USD", "2", "200"),
     {"side": Side.SELL, "quantity": "5.1"}, "3.1 of 3"),
    ("orders: needs no currency", {"ceilings": OPEN, "currency": ""}, None, {"market": "AAPL"}, ""),
    ("turnover: room", {"ceilings": TURNOVER}, None, {"quantity": "10"}, ""),
    ("turnover: none", {"ceilings": TURNOVER}, None, {"quantity": "11"}, "max_turnover: 1100 of 1000 USD"),
    ("turnover: what is held is no turnover", {"ceilings": TURNOVER}, LONG, {"quantity": "10"}, ""),
    ("drawdown: none yet", {"ceilings": FALL}, LONG, {}, ""),
    ("drawdown: without a factor", {"ceilings": FALL}, None, {"market": "BTC/EUR"}, NO_FACTOR),
    ("equity: nobody tells", {"ceilings": FLOOR}, None, {}, "min_equity: it cannot be measured"),
    ("all of it: another kind of money is no matter", {"above": (Scope("all", "", "USD", GROSS),), "real": False},
     None, {"quantity": "10"}, ""),
    ("label: who is not in it", {"above": (Scope("label", "team=x", "USD", GROSS),)}, None, {"quantity": "99"}, ""),
    ("nothing at all", {}, None, {"market": "AAPL", "quantity": "99999", "quote": None}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("bound", "holding", "asked", "why"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_what_is_measured_opens_within_its_limit_and_what_is_not_opens_nothing(
    bound: dict[str, Any], holding: Holding | None, asked: dict[str, Any], why: str
) -> None:
    shelf = Shelf({} if holding is None else {("a", False): holding})
    world = World(**bound, shelf=shelf).begin(row("a", market=asked.get("market", "BTC/USD")))
    found, _ = world.place("a", **asked)
    assert (why in found) if why else not found, found


@pytest.mark.parametrize(("bound", "holding", "asked", "why"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_nothing_of_it_keeps_anybody_from_reducing(
    bound: dict[str, Any], holding: Holding | None, asked: dict[str, Any], why: str
) -> None:
    if holding is None or not holding.quantity:
        holding = held(asked.get("market", "BTC/USD"), "7", "70000")
    world = World(**bound, shelf=Shelf({("a", False): holding})).begin(row("a"))
    side = Side.SELL if holding.quantity > 0 else Side.BUY
    found, order = world.place("a", **{**asked, "side": side, "quantity": "1"}, reducing=True)
    assert reduces(Standing(holding.quantity, (), 0, D(0)), order.request)
    assert found == ""


def test_there_are_fifty_cases() -> None:
    assert len(CASES) >= 50


# A unit is taken, and given back


def test_the_last_unit_is_taken_once_and_comes_back_with_the_outcome() -> None:
    world = World(OPEN).begin()
    first, one = world.place("a")
    second, _ = world.place("b")
    assert (first, second) == ("", "")
    assert "max_open_orders: 3 of 2 are used" in world.place("c")[0]
    world.reject(one)
    assert world.place("c")[0] == ""
    assert "max_open_orders" in world.place("d")[0]


def test_what_is_only_looked_at_takes_nothing() -> None:
    world = World(OPEN).begin()
    for _ in range(5):
        assert world.scope_limits.refusal(world.order()) == ""
    assert world.used("max_open_orders") == 0


def test_an_intent_that_was_not_claimed_yet_does_not_count() -> None:
    world = World(OPEN).begin()
    for name in "abc":
        order = world.order(name)
        world.scope_limits.changed(None, order, None)
    assert world.used("max_open_orders") == 0


def test_orders_in_doubt_count_as_filled_until_it_is_known_what_became_of_them() -> None:
    world = World(GROSS).begin()
    _, order = world.place("a", quantity="6")
    doubtful = replace(order, outcome=Outcome.UNKNOWN)
    world.scope_limits.changed(order, doubtful, None)
    assert "max_gross_notional" in world.place("b", quantity="5")[0]
    world.scope_limits.changed(doubtful, replace(doubtful, outcome=Outcome.REJECTED), None)
    assert world.place("b", quantity="5")[0] == ""


def test_a_restart_counts_what_the_ledger_has() -> None:
    world = World(GROSS)
    order = replace(world.order("a", quantity="6"), outcome=Outcome.UNKNOWN)
    world.shelf.orders.append(order)
    world.shelf.holdings["gone", False] = held("BTC/USD", "3", "300")
    world.scope_limits.quoted("main", "BTC/USD", D(99), D(100))
    world.begin(replace(row("gone"), removed_at="2026-01-01"), row("a"))
    assert world.used("max_gross_notional") == 900
    assert "max_gross_notional" in world.place("b", quantity="2")[0]


def test_what_is_filled_moves_from_the_orders_to_what_is_held() -> None:
    world = World(GROSS).begin()
    _, order = world.place("a", quantity="6")
    after = world.settle(order, filled="2")
    assert world.used("max_gross_notional") == 600
    world.scope_limits.changed(after, replace(after, state=OrderState.CANCELLED), None)
    assert world.used("max_gross_notional") == 200


# Who is bound


TEAM = (Scope("label", "team=x", "USD", GROSS), Scope("all", "", "USD", Ceilings(max_open_orders=3)))


def test_a_label_is_bound_together_and_others_are_not() -> None:
    world = World(above=TEAM).begin(row("a", labels={"team": "x"}), row("b", labels={"team": "x"}), row("c"))
    assert world.place("a", quantity="6")[0] == ""
    assert "label team=x: max_gross_notional: 1100 of 1000" in world.place("b", quantity="5")[0]
    assert world.place("c", quantity="50")[0] == ""


def test_paper_shadow_and_real_are_never_added_up() -> None:
    world = World(above=TEAM).begin(
        row("a", labels={"team": "x"}),
        row("p", labels={"team": "x"}, account="play"),
        row("s", labels={"team": "x"}),
    )
    assert world.place("a", quantity="9")[0] == ""
    assert world.place("p", quantity="9", account="play")[0] == ""
    assert world.place("s", quantity="9", mode=Mode.OBSERVE)[0] == ""
    assert "1100 of 1000" in world.place("s", quantity="2", mode=Mode.OBSERVE)[0]
    kinds = {one.kind: one.usage.used for one in world.scope_limits.usages() if one.usage.limit == "max_gross_notional"}
    assert kinds == {"real": 900, "paper": 900, "shadow": 900}


def test_a_drawdown_of_simulated_books_is_their_own_and_none_of_the_real_ones() -> None:
    world = World(FALL).begin(row("a"), row("b"))
    _, order = world.place("a", quantity="10", mode=Mode.OBSERVE)
    after = replace(order, filled_quantity=D(10), average_price=D(100), state=OrderState.FILLED)
    fill = Fill(order.client_order_id, "f", D(10), D(100), None, order.created_at)
    world.scope_limits.changed(order, after, Holding("BTC/USD").filled(order.side, fill, order.created_at.date()))
    price(world, "100")
    price(world, "89")
    assert world.used("max_drawdown", kind="shadow") == 110
    assert world.used("max_drawdown") == 0
    assert "limits lift" in world.place("b", mode=Mode.OBSERVE)[0]
    assert world.place("b")[0] == ""


def test_who_leaves_a_label_is_bound_by_it_until_flat() -> None:
    world = World(above=TEAM).begin(row("a", labels={"team": "x"}), row("b", labels={"team": "x"}))
    _, order = world.place("a", quantity="9")
    world.settle(order, filled="9")
    world.scope_limits.applied([row("a", labels={"team": "y"})])
    assert "label team=x" in world.place("b", quantity="2")[0]
    assert "label team=x" in world.place("a", quantity="2")[0]
    _, closing = world.place("a", side=Side.SELL, quantity="9", reducing=True)
    world.settle(closing, filled="9")
    assert world.place("b", quantity="9")[0] == ""
    assert world.place("a", quantity="30")[0] == ""


def test_that_survives_a_restart() -> None:
    shelf = Shelf({("a", False): held("BTC/USD", "9", "900")}, labels={"a": (("team", "x"),)})
    world = World(above=TEAM, shelf=shelf)
    world.scope_limits.quoted("main", "BTC/USD", D(99), D(100))
    world.begin(row("a"), row("b", labels={"team": "x"}))
    assert "label team=x" in world.place("b", quantity="2")[0]


def test_who_joins_a_label_brings_what_it_holds() -> None:
    world = World(above=TEAM).begin(row("a"), row("b", labels={"team": "x"}))
    _, order = world.place("a", quantity="9")
    world.settle(order, filled="9")
    assert world.place("b", quantity="2")[0] == ""
    world.scope_limits.applied([row("a", labels={"team": "x"})])
    assert "label team=x" in world.place("b", quantity="2")[0]


# At the worse of book and exchange


def test_what_the_exchange_holds_beyond_the_books_counts() -> None:
    world = World(Ceilings(max_gross_notional=D(1000), max_position={"BTC/USD": D(9)})).begin(row("a"))
    _, order = world.place("a", quantity="2")
    world.settle(order, filled="2")
    world.scope_limits.told_beside("main", {"BTC/USD": D(5), "BTC": D(100)})
    world.scope_limits.revalue()
    assert (world.used("max_gross_notional"), world.used("max_position[BTC/USD]")) == (D(700), D(7))
    world.scope_limits.told_beside("main", {"BTC/USD": D(-1)})
    world.scope_limits.revalue()
    assert (world.used("max_gross_notional"), world.used("max_position[BTC/USD]")) == (D(200), D(2))
    world.scope_limits.told_beside("main", {"BTC/USD": D(-6)})
    world.scope_limits.revalue()
    assert (world.used("max_gross_notional"), world.used("max_position[BTC/USD]")) == (D(400), D(4))


# Quotes


def test_the_last_quote_is_good_for_a_minute_then_a_person_may_mark_it() -> None:
    world = World(GROSS, shelf=Shelf({("a", False): LONG})).begin(row("a"), row("b"))
    world.scope_limits.quoted("main", "BTC/USD", D(99), D(100))
    world.scope_limits.revalue()
    world.clock.advance(MARK_S)
    world.scope_limits.revalue()
    assert world.used("max_gross_notional") == 500
    world.clock.advance(1)
    world.scope_limits.revalue()
    assert world.used("max_gross_notional") is None
    why, _ = world.place("b", market="ETH/USD")
    assert "a: what it holds of BTC/USD has no quote" in why
    world.scope_limits.marked("a", D(80))
    assert world.used("max_gross_notional") == 400
    assert world.place("b", market="ETH/USD")[0] == ""


def test_everything_held_is_asked_for_loaded_or_not_and_nothing_else() -> None:
    shelf = Shelf({("a", False): LONG, ("flat", False): Holding("ETH/USD")})
    world = World(GROSS, shelf=shelf).begin(row("a"), row("flat", market="ETH/USD"))
    assert world.scope_limits.wanted() == (("main", "BTC/USD"),)
    assert World(OPEN, shelf=shelf).begin(row("a")).scope_limits.wanted() == ()


# The window of turnover


def test_what_was_traded_counts_for_its_minutes_and_no_longer() -> None:
    world = World(TURNOVER).begin(row("a"))
    _, order = world.place("a", quantity="6")
    world.settle(order, filled="6")
    assert "max_turnover: 1100 of 1000" in world.place("b", quantity="5")[0]
    world.clock.advance(299)
    assert "max_turnover" in world.place("b", quantity="5")[0]
    world.clock.advance(1)
    assert world.place("b", quantity="5")[0] == ""


def test_a_restart_knows_what_was_traded_lately() -> None:
    clock = FakeClock()
    at = utc(clock.time())
    fills = [Fill("o", "f", D(6), D(100), None, at - timedelta(minutes=minutes)) for minutes in (4, 6)]
    shelf = Shelf(trades=[Trade("a", "main", "BTC/USD", False, fill) for fill in fills])
    world = World(TURNOVER, shelf=shelf, clock=clock).begin(row("a"))
    assert world.used("max_turnover") == 600


def test_a_trade_of_unknown_price_cannot_be_measured_while_it_counts() -> None:
    world = World(TURNOVER).begin(row("a"))
    _, order = world.place("a")
    after = replace(order, outcome=Outcome.ACCEPTED, state=OrderState.FILLED, filled_quantity=D(1))
    world.scope_limits.changed(order, after, held("BTC/USD", "1", "100"))
    assert "the price of what a traded is not known" in world.place("b")[0]
    world.clock.advance(301)
    assert world.place("b")[0] == ""


# Latches


def lost(world: World, amount: str) -> None:
    world.shelf.holdings["a", False] = held("BTC/USD", "0", "0", lost=amount)
    world.scope_limits.corrected("a", world.shelf.holdings["a", False])
    world.scope_limits.revalue()


def test_the_loss_of_the_day_holds_until_the_day_ends_though_it_is_made_good() -> None:
    world = World(LOSS).begin(row("a"))
    lost(world, "100")
    assert "max_daily_loss" in world.place("b")[0]
    lost(world, "10")
    assert "it was reached today" in world.place("b")[0]
    again = World(LOSS, shelf=world.shelf, clock=world.clock).begin(row("a"))
    assert "it was reached today" in again.place("b")[0]
    world.clock.advance(86_400)
    world.scope_limits.revalue()
    assert world.place("b")[0] == ""


def price(world: World, at: str) -> None:
    world.scope_limits.quoted("main", "BTC/USD", D(at), D(at))
    world.scope_limits.revalue()


def test_a_drawdown_is_measured_from_the_highest_and_holds_until_a_person_lifts_it() -> None:
    world = World(FALL, shelf=Shelf({("a", False): held("BTC/USD", "1", "100", realised="-5000")})).begin(row("a"))
    for at in ("100", "300", "250"):
        price(world, at)
    assert world.used("max_drawdown") == 50
    price(world, "200")
    price(world, "900")
    assert "reconciler limits lift --account main" in world.place("b", quote=("900", "900"))[0]
    again = World(FALL, shelf=world.shelf, clock=world.clock).begin(row("a"))
    price(again, "900")
    assert "limits lift" in again.place("b", quote=("900", "900"))[0]
    assert again.scope_limits.lift("account other") != ""
    assert again.scope_limits.lift("account main") == ""
    price(again, "900")
    assert again.place("b", quote=("900", "900"))[0] == ""
    price(again, "801")
    assert again.used("max_drawdown") == 99


def test_what_was_made_before_it_counted_is_no_part_of_the_drawdown() -> None:
    world = World(FALL).begin(row("a"))
    price(world, "100")
    world.shelf.holdings["b", False] = held("BTC/USD", "0", "0", realised="-500")
    _, order = world.place("b")
    world.reject(order)
    price(world, "100")
    assert world.used("max_drawdown") == 0


# Equity


def test_equity_is_a_floor_and_grows_old() -> None:
    world = World(FLOOR).begin(row("a"))
    world.scope_limits.told_equity("main", D(1000))
    assert world.place("a")[0] == ""
    world.scope_limits.told_equity("main", D("999.99"))
    assert "equity is 999.99 USD, below 1000" in world.place("b")[0]
    world.scope_limits.told_equity("main", D(5000))
    world.clock.advance(MARK_S + 1)
    assert "cannot be measured" in world.place("b")[0]


# What rests, and is near


def resting(world: World) -> list[str]:
    return sorted(order.client_order_id for order, _ in world.scope_limits.resting())


def test_a_limit_that_is_reached_has_what_rests_and_adds_cancelled_and_nothing_else() -> None:
    world = World(GROSS).begin(row("a"), row("b"))
    _, big = world.place("a", quantity="6")
    world.settle(big, filled="6")
    _, stop = world.place("a", side=Side.SELL, quantity="6", price="150", reducing=True)
    _, more = world.place("b", quantity="3.9")
    for order in (stop, more):
        world.settle(order)
    assert resting(world) == []
    price(world, "120")
    assert resting(world) == [more.client_order_id]
    assert any("max_gross_notional" in told for told in world.scope_limits.obstacles("b"))


def test_what_is_not_measured_for_a_moment_opens_nothing_and_alarms_nobody() -> None:
    world = World(GROSS, shelf=Shelf({("a", False): LONG})).begin(row("a"), row("b"))
    shown = world.scope_limits.usages()[0]
    assert (shown.usage.is_reached, shown.is_passing, shown.to_json()["near"]) == (True, True, False)
    world.clock.advance(MARK_S + 1)
    world.scope_limits.revalue()
    shown = world.scope_limits.usages()[0]
    assert (shown.is_passing, shown.to_json()["near"]) == (False, True)


def test_for_want_of_a_measure_nothing_is_cancelled_before_a_minute_has_passed() -> None:
    world = World(GROSS, shelf=Shelf({("a", False): LONG})).begin(row("a"), row("b"))
    order = replace(world.order("b"), outcome=Outcome.ACCEPTED, state=OrderState.OPEN)
    world.scope_limits.changed(None, order, None)
    world.scope_limits.revalue()
    assert resting(world) == []
    world.clock.advance(MARK_S + 1)
    assert resting(world) == [order.client_order_id]


@pytest.mark.parametrize(
    ("position", "orders", "adding"),
    [
        ("0", [("buy", "1"), ("sell", "1")], [0, 1]),
        ("2", [("buy", "1"), ("sell", "1"), ("sell", "1")], [0]),
        ("2", [("sell", "1"), ("sell", "2"), ("sell", "1")], [1]),
        ("-2", [("buy", "2"), ("sell", "1")], [1]),
        ("-2", [("buy", "3")], [0]),
        ("2", [], []),
    ],
)
def test_what_only_reduces_stays_as_long_as_all_of_it_together_does(
    position: str, orders: list[tuple[str, str]], adding: list[int]
) -> None:
    world = World()
    made = [world.order(side=Side(side), quantity=quantity) for side, quantity in orders]
    assert [made.index(order) for order in exposing(D(position), made)] == adding


def test_at_eighty_percent_it_is_near() -> None:
    world = World(GROSS).begin(row("a"))
    world.place("a", quantity="7.9")
    assert not world.scope_limits.usages()[0].usage.is_near
    world.place("a", quantity="0.1")
    usage, _ = world.scope_limits.usages()
    assert usage.usage.is_near
    assert not usage.usage.is_reached
    assert usage.usage.left == 200
    assert usage.by == (("a", D(800)),)


def test_at_its_limit_it_is_full_and_only_beyond_it_reached() -> None:
    """Else what rests would be cancelled as soon as all of a limit is used."""
    world = World(GROSS).begin(row("a"))
    world.place("a", quantity="10")
    full = world.scope_limits.usages()[0].usage
    assert (full.left, full.is_full, full.is_reached) == (D(0), True, False)
    assert world.place("a", quantity="1")[0].startswith("account main: max_gross_notional: 1100 of 1000")
    assert not world.scope_limits.resting()
    world.scope_limits.bind(bound_by(world, Ceilings(max_gross_notional=D(999))))
    world.scope_limits.bound()
    reached = world.scope_limits.usages()[0].usage
    assert (reached.left, reached.is_full, reached.is_reached) == (D(0), False, True)
    assert len(world.scope_limits.resting()) == 1


def test_far_from_every_limit_only_the_last_look_reckons_them() -> None:
    world = World(GROSS).begin(row("a"))
    assert world.scope_limits.refusal(world.order("a", quantity="11")), "nobody has looked yet"
    world.place("a", quantity="1")
    assert world.scope_limits.refusal(world.order("a", quantity="11")) == ""
    assert world.place("a", quantity="11")[0].startswith("account main: max_gross_notional: 1200 of 1000")
    world.place("a", quantity="7")
    assert world.scope_limits.refusal(world.order("a", quantity="11"))
    assert world.scope_limits.refusal(world.order("b", quantity="11")), "whose instance is new"


def test_a_quote_counts_for_the_markets_of_its_own_server_alone() -> None:
    shelf = Shelf({("a", False): LONG, ("b", False): LONG}, accounts={"b": "play"})
    everybody = (Scope("all", "", "USD", Ceilings(max_gross_notional=D(10_000))),)
    world = World(shelf=shelf, real=False).begin(row("a"), row("b", account="play"))
    elsewhere = replace(world.accounts.declared["play"], server="other")
    accounts = replace(world.accounts, declared={**world.accounts.declared, "play": elsewhere}, above=everybody)
    world.scope_limits.bind(accounts)
    world.scope_limits.bound()
    assert set(world.scope_limits.wanted()) == {("main", "BTC/USD"), ("play", "BTC/USD")}
    world.scope_limits.quoted("main", "BTC/USD", D(99), D(100))
    world.scope_limits.revalue()
    assert world.used("max_gross_notional", "all", "paper") is None
    assert world.scope_limits.usages()[0].by[0] == ("b", None)
    world.scope_limits.quoted("play", "BTC/USD", D(199), D(200))
    world.scope_limits.revalue()
    assert world.used("max_gross_notional", "all", "paper") == 1500


# What the settings say meanwhile


def bound_by(world: World, ceilings: Ceilings) -> Accounts:
    main = replace(world.accounts.declared["main"], ceilings=ceilings)
    return replace(world.accounts, declared={**world.accounts.declared, "main": main})


def test_new_limits_hold_with_the_pass_that_reads_them_and_the_old_ones_until_it_ends() -> None:
    world = World(GROSS).begin(row("a"))
    world.scope_limits.bind(bound_by(world, Ceilings(max_gross_notional=D(5000))))
    assert "of 1000" in world.place("a", quantity="11")[0]
    world.scope_limits.bound()
    assert world.place("a", quantity="11")[0] == ""
    world.scope_limits.bind(bound_by(world, Ceilings(max_gross_notional=D(1200))))
    assert "of 1200" in world.place("a", quantity="2")[0]
    world.scope_limits.bound()
    world.scope_limits.bind(bound_by(world, Ceilings()))
    assert "of 1200" in world.place("a", quantity="2")[0]
    world.scope_limits.bound()
    assert world.place("a", quantity="999")[0] == ""


def test_where_nothing_binds_nobody_is_asked_for() -> None:
    asked: list[int] = []

    def rows() -> list[Row]:
        asked.append(1)
        return [row("a", labels={"team": "x"})]

    world = World()
    world.scope_limits.recover(rows)
    world.scope_limits.applied([row("b")])
    assert asked == []
    world.scope_limits.bind(replace(world.accounts, above=TEAM))
    assert asked == [1]
    assert world.place("a", quantity="9")[0] == ""
    assert "label team=x" in world.place("a", quantity="2")[0]


def test_a_limit_that_comes_later_knows_what_happened_before() -> None:
    world = World(shelf=Shelf({("a", False): LONG})).begin(row("a"))
    world.scope_limits.quoted("main", "BTC/USD", D(99), D(100))
    world.scope_limits.bind(bound_by(world, GROSS))
    assert world.used("max_gross_notional") == 500


def test_without_a_limit_that_is_asked_for_nothing_is_opened() -> None:
    world = World(requirement=Requirement("real", ("max_position", "max_daily_loss"))).begin(row("a"))
    told = world.scope_limits.lacking(world.order(), Limits(max_position=D(1)))
    assert "active on real money needs max_daily_loss" in told
    assert world.scope_limits.lacking(world.order(), Limits(max_position=D(1), max_daily_loss=D(1))) == ""
    assert world.scope_limits.lacking(world.order(mode=Mode.OBSERVE), Limits()) == ""
    assert "max_position, max_daily_loss" in world.scope_limits.obstacles("a")[0]

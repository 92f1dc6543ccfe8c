"""Books: what is attributed to an instance, in both kinds of book, whatever order things become known in."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from decimal import Context, Decimal
from functools import reduce
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import FakeClock, utc
from reconciler.orders.holding import Holding
from reconciler.orders.market import Position
from reconciler.orders.order import Fill, Order, OrderNews, OrderState, Outcome, RejectedBy, Side, decimal_text
from reconciler.records.mode import Mode
from reconciler.records.record import Row, RowChange
from reconciler.store import Store
from tests.drawing import drawn

MakeOrder = Callable[..., Order]
MakeRow = Callable[..., Row]

BTC = "BTC/USD"
EXACT = Context(prec=200)
OBSERVED = {"mode": Mode.OBSERVE, "outcome": Outcome.SHADOW}
numbers = count()


class Fleet:
    """A store, and short ways of trading in it."""

    def __init__(self, store: Store, make_order: MakeOrder, make_row: MakeRow) -> None:
        self.store = store
        self.ledger = store.ledger
        self._make_order = make_order
        self._make_row = make_row

    def order(self, side: Side, quantity: str, price: str | None = None, fee: str | None = None, **fields: Any) -> str:
        """Filled at `price`, or open without one. Returns its client_order_id."""
        client_order_id = f"{next(numbers)}"
        told: dict[str, Any] = {"state": OrderState.OPEN}
        if price is not None:
            told = {"state": OrderState.FILLED, "filled_quantity": Decimal(quantity), "average_price": Decimal(price)}
        told["fee"] = None if fee is None else Decimal(fee)
        self.ledger.append(
            self._make_order(client_order_id, side=side, quantity=Decimal(quantity), **{**told, **fields})
        )
        return client_order_id

    def buy(self, quantity: str, price: str | None = None, **fields: Any) -> str:
        return self.order(Side.BUY, quantity, price, **fields)

    def sell(self, quantity: str, price: str | None = None, **fields: Any) -> str:
        return self.order(Side.SELL, quantity, price, **fields)

    def apply(self, instance_id: str, mode: Mode, **fields: Any) -> None:
        row = self._make_row(instance_id, mode_override=mode, **fields)
        self.store.desired.apply([RowChange(row, "changed", "")])

    def held(self, instance_id: str = "dca", shadow: bool = False) -> Holding:
        return self.ledger.holding(instance_id, BTC, shadow)

    def sums(self, instance_id: str = "dca", shadow: bool = False) -> tuple[str, str]:
        """The position, and what was realised."""
        held = self.held(instance_id, shadow)
        return decimal_text(held.quantity), decimal_text(held.realised)


@pytest.fixture
def fleet(store: Store, make_order: MakeOrder, make_row: MakeRow) -> Fleet:
    return Fleet(store, make_order, make_row)


def test_a_profit_is_net_of_its_fees(fleet: Fleet, clock: FakeClock) -> None:
    fleet.buy("2", "100", fee="0.2")
    fleet.sell("1", "110", fee="0.1")
    held = fleet.held()
    assert held.position == Position(BTC, Decimal(1), Decimal(100))
    assert (held.realised, held.fees) == (Decimal("9.7"), Decimal("0.3"))
    assert held.realised_on(utc(clock.time()).date()) == Decimal("9.7")
    assert fleet.ledger.holdings("dca", False) == [held]


def test_fills_told_apart_are_exact_where_the_average_is_rounded(fleet: Fleet, clock: FakeClock) -> None:
    order = fleet.buy("3")
    at = utc(clock.time())
    fills = [Fill(order, "a", Decimal(1), Decimal(100), None, at), Fill(order, "b", Decimal(2), Decimal(101), None, at)]
    fleet.ledger.settle(
        order, OrderNews(filled_quantity=Decimal(3), average_price=Decimal("100.66666667"), fills=fills)
    )
    assert fleet.held().cost == 302
    assert fleet.ledger.fills(order) == fills


def test_the_same_fills_told_again_change_nothing(fleet: Fleet, clock: FakeClock) -> None:
    order = fleet.buy("3")
    first = Fill(order, "a", Decimal(1), Decimal(100), Decimal("0.1"), utc(clock.time()))
    second = Fill(order, "b", Decimal(2), Decimal(103), None, utc(clock.time()))
    fleet.ledger.settle(order, OrderNews(filled_quantity=Decimal(1), average_price=Decimal(100), fills=[first]))
    held = fleet.held()
    fleet.ledger.settle(order, OrderNews(filled_quantity=Decimal(1), average_price=Decimal(100), fills=[first]))
    assert fleet.held() == held
    fleet.ledger.settle(order, OrderNews(filled_quantity=Decimal(3), average_price=Decimal(102), fills=[first, second]))
    assert fleet.ledger.fills(order) == [first, second]
    assert fleet.held().cost == 306


def test_two_instances_of_one_account_and_market_are_told_apart(fleet: Fleet) -> None:
    fleet.buy("2", "100", instance_id="a")
    fleet.sell("3", "110", instance_id="b")
    fleet.sell("1", "120", instance_id="a")
    assert fleet.sums("a") == ("1", "20")
    assert fleet.sums("b") == ("-3", "0")


def test_a_holding_that_was_asked_for_before_is_never_outdated_and_reads_nothing_else(fleet: Fleet) -> None:
    assert fleet.held().quantity == 0
    order = fleet.buy("2")
    fleet.ledger.settle(order, OrderNews(filled_quantity=Decimal(1), average_price=Decimal(100)))
    assert fleet.held() == fleet.held()
    assert fleet.held().quantity == 1
    fleet.ledger._reads.close()
    assert fleet.held().quantity == 1


def test_books_survive_a_restart(path: Path, clock: FakeClock, make_order: MakeOrder, make_row: MakeRow) -> None:
    with Store.open(path, clock) as store:
        fleet = Fleet(store, make_order, make_row)
        fleet.buy("3", "100", fee="0.1")
        fleet.sell("1", "90")
        fleet.buy("5", "80", **OBSERVED)
        resting = fleet.buy("1", limit_price=Decimal(70), **OBSERVED)
        before = (fleet.held(), fleet.held(shadow=True))
    clock.advance(6)
    with Store.open(path, clock) as store:
        fleet = Fleet(store, make_order, make_row)
        assert (fleet.held(), fleet.held(shadow=True)) == before
        assert [order.client_order_id for order in store.ledger.resting()] == [resting]
        assert store.ledger.exposed() == {"dca"}


def test_a_shadow_book_starts_from_the_real_position_of_the_moment_of_its_first_order(fleet: Fleet) -> None:
    fleet.buy("1", "100")
    assert fleet.held(shadow=True).position == Position(BTC, Decimal(1), Decimal(100))
    real = fleet.buy("1", "110", fee="5")
    assert fleet.held(shadow=True) == Holding(BTC, Decimal(2), Decimal(210)), "no order in it yet: it is the real one"

    fleet.sell("1", "125", fee="1", **OBSERVED)
    assert fleet.sums(shadow=True) == ("1", "19")
    assert fleet.sums() == ("2", "-5")
    fleet.buy("7", "1")
    assert fleet.held(shadow=True).quantity == 1, "what happens really is no part of it any more"
    assert real not in [order.client_order_id for order in fleet.ledger.recent("dca", 9, shadow=True)]


def test_what_observing_was_refused_begins_no_book(fleet: Fleet) -> None:
    fleet.buy("1", state=None, mode=Mode.OBSERVE, outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY)
    fleet.buy("1", "100")
    assert fleet.held(shadow=True).quantity == 1


def test_rising_to_active_ends_the_shadow_book_and_cancels_what_is_open_in_it(fleet: Fleet) -> None:
    fleet.apply("dca", Mode.OBSERVE)
    filled, resting = fleet.buy("2", "100", **OBSERVED), fleet.buy("1", **OBSERVED)
    other = fleet.buy("1", instance_id="other", **OBSERVED)
    fleet.apply("dca", Mode.ACTIVE)

    ended = fleet.ledger.get(resting)
    assert ended is not None
    assert (ended.state, ended.reason) == (
        OrderState.CANCELLED,
        "the instance was made active or removed: its shadow book ended",
    )
    assert fleet.ledger.open_orders("dca", True) == fleet.ledger.recent("dca", 9, True) == []
    assert [order.client_order_id for order in fleet.ledger.resting()] == [other]
    assert fleet.held(shadow=True) == Holding(BTC)

    fleet.buy("3", "110")
    fleet.apply("dca", Mode.OBSERVE)
    assert [order.client_order_id for order in fleet.ledger.resting()] == [other]
    assert fleet.held(shadow=True).quantity == 3
    again = fleet.sell("1", "120", **OBSERVED)
    assert fleet.sums(shadow=True) == ("2", "10")
    assert [order.client_order_id for order in fleet.ledger.recent("dca", 9, True)] == [again]
    assert fleet.ledger.get(filled) is not None, "the ledger forgets nothing"


@pytest.mark.parametrize(
    ("fields", "is_over"),
    [({"mode": Mode.OFF}, False), ({"mode": Mode.OBSERVE}, False), ({"mode": Mode.OFF, "removed": True}, True)],
)
def test_no_other_change_ends_a_shadow_book_but_its_removal(
    fleet: Fleet, fields: dict[str, Any], is_over: bool
) -> None:
    fleet.apply("dca", Mode.OBSERVE)
    fleet.buy("2", "100", **OBSERVED)
    removed_at = "2026-02-01T00:00:00.000Z" if fields.pop("removed", False) else None
    fleet.apply("dca", **fields, removed_at=removed_at)
    assert fleet.held(shadow=True).quantity == (0 if is_over else 2)


def test_a_shadow_order_placed_while_the_instance_rises_does_not_outlive_its_being_active(fleet: Fleet) -> None:
    fleet.apply("dca", Mode.ACTIVE)
    fleet.buy("2", "100", **OBSERVED)
    fleet.apply("dca", Mode.OBSERVE)
    assert fleet.held(shadow=True).quantity == 0


@pytest.mark.parametrize(
    ("mode", "removed_at", "rests"),
    [(Mode.OFF, None, False), (Mode.OBSERVE, None, True), (Mode.OBSERVE, "2026-02-01", False), (None, None, True)],
)
def test_what_rests_is_followed_only_where_its_instance_observes(
    fleet: Fleet, mode: Mode | None, removed_at: str | None, rests: bool
) -> None:
    if mode is not None:
        fleet.apply("dca", mode, removed_at=removed_at)
    fleet.buy("1", **OBSERVED)
    assert bool(fleet.ledger.resting()) is rests


def test_what_rests_is_known_from_memory_until_its_end(fleet: Fleet) -> None:
    cancelled, filled, rests = (fleet.buy("1", **OBSERVED) for _ in range(3))
    fleet.ledger.settle(cancelled, OrderNews(state=OrderState.CANCELLED))
    fleet.ledger.settle(
        filled, OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(1), average_price=Decimal(9))
    )
    fleet.ledger.settle(rests, OrderNews(is_triggered=True))
    (order,) = fleet.ledger.resting()
    assert (order.client_order_id, order.is_triggered) == (rests, True)
    assert order == fleet.ledger.get(rests)
    fleet.buy("1"), fleet.buy("1", "100")
    assert len(fleet.ledger.resting()) == 1, "what is real is no shadow"


def test_a_ledger_from_before_there_were_books_gets_them_at_its_first_start(
    path: Path, clock: FakeClock, make_order: MakeOrder, make_row: MakeRow
) -> None:
    with Store.open(path, clock) as store:
        fleet = Fleet(store, make_order, make_row)
        fleet.buy("2", "100", fee="0.5")
        clock.advance(1)
        partly = fleet.sell("3")
        fleet.ledger.settle(
            partly, OrderNews(filled_quantity=Decimal(1), average_price=Decimal(110), fee=Decimal("0.1"))
        )
        fleet.buy("5", "50", **{**OBSERVED, "instance_id": "watcher"})
        resting = fleet.buy("1", **{**OBSERVED, "instance_id": "watcher"})
        before = (fleet.held(), fleet.held("watcher", shadow=True))
    with closing(sqlite3.connect(path)) as old, old:
        old.executescript("DELETE FROM books; DELETE FROM fills; UPDATE meta SET has_books = 0")
    with Store.open(path, clock) as store:
        fleet = Fleet(store, make_order, make_row)
        assert (fleet.held(), fleet.held("watcher", shadow=True)) == before
        (made_up,) = store.ledger.fills(partly)
        assert [made_up.quantity, made_up.price, made_up.fee] == [Decimal(1), Decimal(110), Decimal("0.1")]
        assert [order.client_order_id for order in store.ledger.resting()] == [resting]
        fleet.sell("1", "120")
        assert fleet.held().quantity == 0


@pytest.fixture(scope="module")
def lasting_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, FakeClock]]:
    clock = FakeClock(1_700_000_000)
    with Store.open(tmp_path_factory.mktemp("books") / "reconciler.db", clock) as opened:
        yield opened, clock


prices = st.decimals(min_value="0.01", max_value=10**6, places=4)
quantities = st.decimals(min_value="0.0001", max_value=10**4, places=6)
steps = st.lists(
    st.tuples(
        st.integers(0, 1),  # whose
        st.sampled_from(list(Side)),
        st.lists(st.tuples(quantities, prices, st.none() | st.decimals(0, 10, places=6)), min_size=1, max_size=3),
        st.booleans(),  # told apart
        st.booleans(),  # told one by one, in two rounds
    ),
    max_size=8,
)


@settings(max_examples=drawn(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=steps, price=prices)
def test_positions_and_profits_are_those_of_the_fills_and_add_up_to_the_accounts(
    lasting_store: tuple[Store, FakeClock],
    make_order: MakeOrder,
    told: list[tuple[int, Side, list[tuple[Decimal, Decimal, Decimal | None]], bool, bool]],
    price: Decimal,
) -> None:
    store, clock = lasting_store
    names = [f"instance-{next(numbers)}" for _ in range(2)]
    placed: list[Order] = []
    for owner, side, executions, apart, one_by_one in told:
        order = make_order(f"{next(numbers)}", instance_id=names[owner], side=side, quantity=Decimal(10**6))
        store.ledger.append(order)
        placed.append(order)
        at = utc(clock.time()) + timedelta(seconds=1)
        fills = [Fill(order.client_order_id, f"{n}", *execution, at) for n, execution in enumerate(executions)]
        for known in range(1 if one_by_one else len(fills), len(fills) + 1):
            filled = reduce(EXACT.add, (fill.quantity for fill in fills[:known]))
            paid = reduce(EXACT.add, (EXACT.multiply(fill.quantity, fill.price or 0) for fill in fills[:known]))
            fee = reduce(EXACT.add, (fill.fee or Decimal(0) for fill in fills[:known]))
            average = Context(prec=12).divide(paid, filled)
            apart_fills = fills[:known] if apart else []
            store.ledger.settle(
                order.client_order_id,
                OrderNews(filled_quantity=filled, average_price=average, fee=fee, fills=apart_fills),
            )
            clock.advance(3600)

    quantity = cash = Decimal(0)
    for order in placed:
        settled = store.ledger.get(order.client_order_id)
        assert settled is not None
        fills = store.ledger.fills(order.client_order_id)
        assert reduce(EXACT.add, (fill.quantity for fill in fills)) == settled.filled_quantity
        assert reduce(EXACT.add, (fill.fee or Decimal(0) for fill in fills)) == (settled.fee or 0)
        sign = 1 if order.side is Side.BUY else -1
        for fill in fills:
            quantity += sign * fill.quantity
            cash = EXACT.subtract(cash, EXACT.multiply(sign * fill.quantity, fill.price or Decimal(0)))
            cash = EXACT.subtract(cash, fill.fee or Decimal(0))

    held = [store.ledger.holding(name, BTC, False) for name in names]
    assert sum(holding.quantity for holding in held) == quantity
    profits = [EXACT.add(h.realised, h.unrealised(price, price) or Decimal(0)) for h in held]
    assert reduce(EXACT.add, profits) == EXACT.fma(quantity, price, cash)


def told_late(fleet: Fleet, side: Side, quantity: str) -> str:
    """An order that filled at a price which nobody told yet."""
    id = fleet.order(side, quantity)
    fleet.ledger.settle(id, OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(quantity)))
    return id


def test_a_price_that_is_told_later_reaches_the_book(fleet: Fleet) -> None:
    id = fleet.order(Side.BUY, "1")
    fleet.ledger.settle(id, OrderNews(state=OrderState.PARTIALLY_FILLED, filled_quantity=Decimal("0.4")))
    assert fleet.held().cost is None
    fleet.ledger.settle(id, OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(1), average_price=Decimal(100)))
    assert (fleet.held().quantity, fleet.held().cost) == (Decimal(1), Decimal(100))
    assert [fill.price for fill in fleet.ledger.fills(id)] == [100, 100]


def test_what_was_closed_before_its_price_was_told_is_measured_after_all(fleet: Fleet) -> None:
    bought = told_late(fleet, Side.BUY, "2")
    fleet.sell("1", "120", fee="1")
    assert fleet.held().unmeasured_on is not None
    fleet.ledger.settle(bought, OrderNews(average_price=Decimal(100)))
    held = fleet.held()
    assert (held.quantity, held.cost, held.realised, held.fees) == tuple(map(Decimal, (1, 100, 19, 1)))
    assert held.unmeasured_on is None


def test_a_price_that_comes_too_late_to_be_added_up_is_the_fills_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.store.books._ANEW", 1)
    bought = told_late(fleet, Side.BUY, "2")
    fleet.buy("1", "90")
    fleet.buy("1", "90")
    fleet.ledger.settle(bought, OrderNews(average_price=Decimal(100)))
    assert [fill.price for fill in fleet.ledger.fills(bought)] == [100]
    assert (fleet.held().quantity, fleet.held().cost) == (Decimal(4), None)


trades = st.lists(
    st.tuples(st.sampled_from(Side), st.integers(1, 9), st.integers(1, 99), st.booleans()), min_size=1, max_size=12
)


@settings(max_examples=drawn(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trades=trades, order=st.randoms(use_true_random=False))
def test_once_every_price_is_told_the_book_is_what_it_would_have_been(
    fleet: Fleet, trades: list[tuple[Side, int, int, bool]], order: Any
) -> None:
    """Whichever of them came later, and in whatever order they came."""
    instance_id = f"late-{next(numbers)}"
    late: list[tuple[str, Decimal]] = []
    at_once = Holding(BTC)
    for side, quantity, price, is_late in trades:
        id = fleet.order(side, str(quantity), None if is_late else str(price), instance_id=instance_id)
        if is_late:
            fleet.ledger.settle(id, OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(quantity)))
            late.append((id, Decimal(price)))
        fill = Fill(id, "1", Decimal(quantity), Decimal(price), None, utc(fleet.ledger._clock.time()))
        at_once = at_once.filled(side, fill, fill.at.date())
    order.shuffle(late)
    for id, told in late:
        fleet.ledger.settle(id, OrderNews(average_price=told))
    assert fleet.held(instance_id) == at_once

"""The ledger: round trips, what may follow what, the books, positions, fills."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlite_utils import Database

from reconciler.clock import FakeClock, utc
from reconciler.errors import StoreError
from reconciler.orders.market import Position
from reconciler.orders.order import (
    Order,
    OrderNews,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Provenance,
    RejectedBy,
    Side,
    TimeInForce,
)
from reconciler.records.mode import Mode
from reconciler.store import Store, memory
from tests.drawing import drawn

MakeOrder = Callable[..., Order]

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
amounts = st.decimals(min_value=0, max_value=10**12, places=12)
moments = st.datetimes(timezones=st.just(UTC))
numbers = count()
provenances = st.builds(
    Provenance,
    instance_id=texts,
    account_id=texts,
    client_id=texts,
    symbol=texts,
    mode=st.sampled_from(list(Mode)),
    generation=st.integers(0, 2**40),
    config_digest=texts,
    code_digest=texts,
    revision=st.none() | texts,
    beat=st.integers(0, 2**40),
)
requests = st.builds(
    OrderRequest,
    side=st.sampled_from(list(Side)),
    type=st.sampled_from(list(OrderType)),
    quantity=amounts,
    limit_price=st.none() | amounts,
    stop_price=st.none() | amounts,
    time_in_force=st.sampled_from(list(TimeInForce)),
    reduce_only=st.booleans(),
)
orders = st.builds(
    Order,
    client_order_id=st.just(""),
    provenance=provenances,
    request=requests,
    outcome=st.sampled_from(list(Outcome)),
    created_at=moments,
    updated_at=moments,
    state=st.none() | st.sampled_from(list(OrderState)),
    filled_quantity=amounts,
    average_price=st.none() | amounts,
    fee=st.none() | amounts,
    exchange_order_id=st.none() | texts,
    reason=texts,
    rejected_by=st.none() | st.sampled_from(list(RejectedBy)),
    quote_bid=st.none() | amounts,
    quote_ask=st.none() | amounts,
    quote_at=st.none() | moments,
)


@pytest.fixture(scope="module")
def lasting_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for all examples of a property."""
    with Store.open(tmp_path_factory.mktemp("ledger") / "reconciler.db", FakeClock()) as opened:
        yield opened


@settings(max_examples=drawn(100), deadline=None)
@given(order=orders)
def test_an_order_comes_back_exactly_as_it_was_written(lasting_store: Store, order: Order) -> None:
    order = replace(order, client_order_id=f"{next(numbers)}")
    ledger = lasting_store.ledger
    ledger.append(order)
    assert ledger.get(order.client_order_id) == order
    newest = [ledger.recent(order.instance_id, 1, shadow) for shadow in (False, True)]
    assert newest.count([order]) == 1, "every order is in exactly one book"


def test_a_time_in_another_zone_is_kept_as_the_same_moment(store: Store, make_order: MakeOrder) -> None:
    there = datetime(2026, 1, 31, 14, 0, 0, 123456, timezone(timedelta(hours=2)))
    store.ledger.append(make_order("x", created_at=there))
    found = store.ledger.get("x")
    assert found is not None
    assert found.created_at == datetime(2026, 1, 31, 12, 0, 0, 123456, UTC)


def test_a_time_without_a_zone_is_refused(store: Store, make_order: MakeOrder) -> None:
    with pytest.raises(ValueError, match="expected a time with its zone"):
        store.ledger.append(make_order("x", created_at=datetime(2026, 1, 31)))  # noqa: DTZ001
    assert store.ledger.get("x") is None


def test_a_client_order_id_is_used_once_for_ever(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("x"))
    with pytest.raises(StoreError, match="expected a new client_order_id, was used before: 'x'"):
        store.ledger.append(make_order("x", instance_id="another"))
    assert store.ledger.get("x") == make_order("x")


def test_settling_changes_what_is_told_and_nothing_else(store: Store, clock: FakeClock, make_order: MakeOrder) -> None:
    pending = make_order("x", outcome=Outcome.PENDING, quote_bid=Decimal("99.5"))
    store.ledger.append(pending)
    clock.advance(1.5)
    settled = store.ledger.settle(
        "x",
        OrderNews(
            outcome=Outcome.ACCEPTED,
            state=OrderState.PARTIALLY_FILLED,
            filled_quantity=Decimal("0.4"),
            average_price=Decimal("100.10"),
            fee=Decimal("0.01"),
            exchange_order_id="E-1",
        ),
    )
    assert settled == replace(
        pending,
        outcome=Outcome.ACCEPTED,
        state=OrderState.PARTIALLY_FILLED,
        filled_quantity=Decimal("0.4"),
        average_price=Decimal("100.1"),
        fee=Decimal("0.01"),
        exchange_order_id="E-1",
        updated_at=utc(clock.time()),
    )
    assert store.ledger.get("x") == settled


def test_what_shares_a_commit_is_decided_on_what_was_written_before_it_though_memory_follows_later(
    store: Store, make_order: MakeOrder
) -> None:
    store.ledger.append(make_order("x", outcome=Outcome.PENDING))
    seen: list[tuple[Outcome, OrderState | None]] = []

    def deciding(news: OrderNews | None, fails: bool = False) -> Callable[[Order], OrderNews | None]:
        def decide(known: Order) -> OrderNews | None:
            seen.append((known.outcome, known.state))
            if fails:
                raise StoreError("undone")
            return news

        return decide

    entered, release = Event(), Event()

    def hold(db: Database) -> None:
        entered.set()
        release.wait(30)

    held = store._writer.submit(hold)
    assert entered.wait(30)
    accepted = OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN)
    partly = OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.PARTIALLY_FILLED, filled_quantity=Decimal("0.5"))
    futures = [
        store.ledger.settling("x", deciding(accepted)),
        store.ledger.settling("x", deciding(partly)),
        store.ledger.settling("x", deciding(partly, fails=True)),
        store.ledger.settling("x", deciding(None)),
    ]
    release.set()
    held.result(30)
    with pytest.raises(StoreError, match="undone"):
        futures[2].result(30)
    assert futures[3].result(30).after.filled_quantity == Decimal("0.5")
    pending, opened = (Outcome.PENDING, None), (Outcome.ACCEPTED, OrderState.OPEN)
    filled = (Outcome.ACCEPTED, OrderState.PARTIALLY_FILLED)
    assert seen == [pending, opened, filled, filled]
    assert store.ledger.settling("x", deciding(None)).result(30).after == store.ledger.get("x")
    assert seen[-1] == filled, "memory has followed, and says the same"


def test_telling_again_what_is_known_writes_nothing(store: Store, clock: FakeClock, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("x", outcome=Outcome.PENDING))
    first = store.ledger.settle("x", OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN))
    clock.advance(6)
    assert store.ledger.settle("x", OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN)) == first
    assert store.ledger.get("x") == first


def test_a_clock_set_back_never_makes_an_order_older(store: Store, clock: FakeClock, make_order: MakeOrder) -> None:
    order = make_order("x")
    store.ledger.append(order)
    clock.set_wall(clock.time() - 3600)
    assert store.ledger.settle("x", OrderNews(state=OrderState.OPEN)).updated_at == order.updated_at


FOLLOWERS = {
    Outcome.PENDING: {Outcome.ACCEPTED, Outcome.REJECTED, Outcome.UNKNOWN},
    Outcome.UNKNOWN: {Outcome.ACCEPTED, Outcome.REJECTED},
    Outcome.REJECTED: {Outcome.ACCEPTED},
}


@pytest.mark.parametrize("before", list(Outcome))
@pytest.mark.parametrize("after", list(Outcome))
def test_only_what_is_not_known_can_become_known(
    store: Store, make_order: MakeOrder, before: Outcome, after: Outcome
) -> None:
    store.ledger.append(make_order("x", outcome=before))
    if after is before or after in FOLLOWERS.get(before, ()):
        assert store.ledger.settle("x", OrderNews(outcome=after)).outcome is after
    else:
        with pytest.raises(StoreError, match=f"x: {after} cannot follow {before}"):
            store.ledger.settle("x", OrderNews(outcome=after))
        found = store.ledger.get("x")
        assert found is not None
        assert found.outcome is before


@pytest.mark.parametrize("before", list(OrderState))
@pytest.mark.parametrize("after", list(OrderState))
def test_a_final_state_is_never_left(
    store: Store, make_order: MakeOrder, before: OrderState, after: OrderState
) -> None:
    store.ledger.append(make_order("x", state=before))
    if before.is_final and after is not before:
        with pytest.raises(StoreError, match=f"x: {after} cannot follow {before}, which is final"):
            store.ledger.settle("x", OrderNews(state=after))
    else:
        assert store.ledger.settle("x", OrderNews(state=after)).state is after


@pytest.mark.parametrize("outcome", [Outcome.PENDING, Outcome.UNKNOWN, Outcome.REJECTED])
@pytest.mark.parametrize("news", [{"state": OrderState.OPEN}, {"filled_quantity": Decimal(1)}])
def test_an_order_that_was_not_accepted_has_neither_state_nor_fill(
    store: Store, make_order: MakeOrder, outcome: Outcome, news: dict[str, Any]
) -> None:
    store.ledger.append(make_order("x", outcome=outcome))
    with pytest.raises(StoreError, match=f"expected no state or fill, for it is {outcome}"):
        store.ledger.settle("x", OrderNews(**news))


def test_a_smaller_fill_is_an_older_answer(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(
        make_order("x", state=OrderState.OPEN, filled_quantity=Decimal("0.5"), average_price=Decimal(100))
    )
    settled = store.ledger.settle(
        "x", OrderNews(state=OrderState.CANCELLED, filled_quantity=Decimal(0), average_price=Decimal(0), fee=Decimal(0))
    )
    assert settled.state is OrderState.CANCELLED
    assert (settled.filled_quantity, settled.average_price, settled.fee) == (Decimal("0.5"), Decimal(100), None)


def test_what_was_never_written_down_cannot_be_settled(store: Store) -> None:
    with pytest.raises(StoreError, match="no order of client_order_id 'x': it was never written down"):
        store.ledger.settle("x", OrderNews(outcome=Outcome.ACCEPTED))


def test_a_servers_words_are_kept_even_where_they_are_no_unicode(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("x", outcome=Outcome.PENDING))
    settled = store.ledger.settle(
        "x", OrderNews(outcome=Outcome.REJECTED, reason="bad \ud800 day", rejected_by=RejectedBy.EXCHANGE)
    )
    assert settled.reason == "bad \\ud800 day"
    assert store.ledger.get("x") == settled


def ids(found: list[Order]) -> list[str]:
    return [order.client_order_id for order in found]


def test_the_open_orders_of_each_book_are_the_instances_own_oldest_first(store: Store, make_order: MakeOrder) -> None:
    append = store.ledger.append
    append(make_order("pending", outcome=Outcome.PENDING))
    append(make_order("unknown", outcome=Outcome.UNKNOWN))
    append(make_order("accepted"))
    append(make_order("partial", state=OrderState.PARTIALLY_FILLED))
    append(make_order("shadow", outcome=Outcome.SHADOW, mode=Mode.OBSERVE))
    append(make_order("shadow-open", outcome=Outcome.SHADOW, mode=Mode.OBSERVE, state=OrderState.OPEN))
    append(make_order("shadow-done", outcome=Outcome.SHADOW, mode=Mode.OBSERVE, state=OrderState.FILLED))
    append(make_order("rejected", outcome=Outcome.REJECTED))
    append(make_order("others", instance_id="other"))
    for state in (OrderState.FILLED, OrderState.CANCELLED, OrderState.EXPIRED):
        append(make_order(state.value, state=state))
    assert ids(store.ledger.open_orders("dca", False)) == ["pending", "unknown", "accepted", "partial"]
    assert ids(store.ledger.open_orders("dca", True)) == ["shadow", "shadow-open"]
    assert ids(store.ledger.unresolved()) == ["pending", "unknown"]
    assert ids(store.ledger.open_accepted()) == ["accepted", "partial", "others"]
    store.ledger.settle("partial", OrderNews(state=OrderState.FILLED))
    assert ids(store.ledger.open_accepted()) == ["accepted", "others"]


def test_open_orders_are_known_again_after_a_restart(path: Path, clock: FakeClock, make_order: MakeOrder) -> None:
    with Store.open(path, clock) as store:
        for id in ("first", "second", "third"):
            store.ledger.append(make_order(id))
        store.ledger.settle("second", OrderNews(state=OrderState.CANCELLED))
    with Store.open(path, clock) as store:
        assert ids(store.ledger.open_orders("dca", False)) == ["first", "third"]


def test_an_order_that_turned_up_stands_among_the_open_ones_where_it_was_placed(
    store: Store, make_order: MakeOrder
) -> None:
    early = make_order("early", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY)
    store.ledger.append(replace(early, created_at=early.created_at - timedelta(seconds=1)))
    store.ledger.append(make_order("late"))
    store.ledger.settle("early", OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN))
    assert ids(store.ledger.open_orders("dca", False)) == ["early", "late"]


def test_an_order_is_open_for_nobody_before_it_is_committed(store: Store, make_order: MakeOrder) -> None:
    """A job that fails undoes what it wrote: nothing of it may stay in memory."""
    store.ledger.append(make_order("x"))
    with pytest.raises(StoreError):
        store.ledger.append(make_order("x", instance_id="other"))
    assert store.ledger.open_orders("other", False) == []


def test_the_orders_that_passed_the_gateway_are_counted_from_a_moment_on(store: Store, make_order: MakeOrder) -> None:
    order = make_order("old")
    store.ledger.append(replace(order, created_at=order.created_at - timedelta(seconds=60.001)))
    store.ledger.append(make_order("now"))
    store.ledger.append(make_order("exchange", outcome=Outcome.REJECTED, rejected_by=RejectedBy.EXCHANGE))
    store.ledger.append(make_order("gateway", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY))
    store.ledger.append(make_order("shadow", outcome=Outcome.SHADOW, mode=Mode.OBSERVE))
    store.ledger.append(make_order("others", instance_id="other"))
    store.ledger.append(make_order("this"))
    last_minute = order.created_at - timedelta(seconds=60)
    assert store.ledger.passed("dca", False, last_minute, but="this") == 2
    assert store.ledger.passed("dca", True, last_minute, but="this") == 1


def test_what_passed_in_the_last_minute_is_known_again_after_a_restart_and_found_by_time(
    path: Path, clock: FakeClock, make_order: MakeOrder
) -> None:
    """Not among all there ever was; and once it is known, nobody reads for it: the last look must not wait."""
    with Store.open(path, clock) as store:
        for n, ago_s in enumerate((300, 50, 40)):
            store.ledger.append(make_order(str(n), created_at=utc(clock.time() - ago_s)))
        store.ledger.append(make_order("stopped", outcome=Outcome.PENDING, created_at=utc(clock.time())))
        store.ledger.settle("stopped", OrderNews(outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY))
    with closing(sqlite3.connect(path)) as db:
        plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {memory._PASSED}", [""]))
    assert "orders_by_time (created_at>?)" in plan
    with Store.open(path, clock) as store:
        store.ledger._reads.query = None  # type: ignore[method-assign, assignment]
        since = utc(clock.time() - 60)
        assert store.ledger.passed("dca", False, since, but="x") == 2
        assert store.ledger.passed("dca", False, since, but="1") == 1


def test_what_is_held_and_open_on_an_account_is_known_without_reading(store: Store, make_order: MakeOrder) -> None:
    filled = {"state": OrderState.FILLED, "filled_quantity": Decimal(1), "average_price": Decimal(100)}
    store.ledger.append(make_order("1", **filled))
    store.ledger.append(make_order("2", **filled, instance_id="other"))
    store.ledger.append(make_order("open", outcome=Outcome.PENDING))
    store.ledger.append(make_order("dream", outcome=Outcome.SHADOW, mode=Mode.OBSERVE))
    store.ledger._reads.query = None  # type: ignore[method-assign, assignment]
    assert store.ledger.held_on("main", "BTC/USD") == Decimal(2)
    assert store.ledger.held_on("main", "ETH/USD") == 0
    assert store.ledger.held_on("elsewhere", "BTC/USD") == 0
    assert [order.client_order_id for order in store.ledger.open_on("main", "BTC/USD")] == ["open"]
    assert store.ledger.open_on("elsewhere", "BTC/USD") == []


def test_recent_orders_from_memory_are_those_of_the_ledger(store: Store, make_order: MakeOrder) -> None:
    """However often they are asked for between writes, of both books, old ones and refused ones changing meanwhile."""
    ledger = store.ledger
    for number in range(120):
        shadow = number % 3 == 0
        order = make_order(f"{number:03}", outcome=Outcome.SHADOW if shadow else Outcome.PENDING)
        ledger.append(order)
        if not shadow:
            ledger.settle(order.client_order_id, OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN))
        if number % 7 == 0:
            ledger.refuse(
                make_order(f"r{number}", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, reason="no")
            )
        if number > 70 and number % 2:  # one that is kept, and one that is not any more
            for old in (number - 10, number - 65):
                if old % 3:
                    ledger.settle(f"{old:03}", OrderNews(state=OrderState.CANCELLED))
        if number % 5 == 0:
            for is_shadow in (False, True):
                for limit in (0, 1, 20, 50, 51):
                    kept = ledger.recent("dca", limit, is_shadow)
                    assert kept == ledger._recent_orders("dca", is_shadow, limit)


def test_recent_orders_are_newest_first_whatever_became_of_them(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("1", state=OrderState.FILLED))
    store.ledger.append(make_order("2", outcome=Outcome.REJECTED))
    store.ledger.append(make_order("3", outcome=Outcome.REJECTED, mode=Mode.OBSERVE))
    store.ledger.append(make_order("4", outcome=Outcome.SHADOW, mode=Mode.OBSERVE))
    store.ledger.append(make_order("5", instance_id="other"))
    assert ids(store.ledger.recent("dca", 10, False)) == ["2", "1"]
    assert ids(store.ledger.recent("dca", 10, True)) == ["4", "3"]
    assert ids(store.ledger.recent("dca", 1, False)) == ["2"]
    assert ids(store.ledger.recent("dca", -1, False)) == []


def test_pending_orders_found_at_startup_become_unknown(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("1", outcome=Outcome.PENDING))
    store.ledger.append(make_order("2"))
    store.ledger.append(make_order("3", outcome=Outcome.PENDING))
    marked = store.ledger.mark_unknown_on_startup()
    assert ids(marked) == ["1", "3"]
    assert ids(store.ledger.unresolved()) == ["1", "3"]
    assert {order.outcome for order in store.ledger.unresolved()} == {Outcome.UNKNOWN}
    assert "may have been sent" in store.ledger.unresolved()[0].reason
    assert store.ledger.mark_unknown_on_startup() == []


def test_the_position_is_what_the_instances_own_orders_filled_and_the_shadow_one_starts_from_it(
    store: Store, make_order: MakeOrder
) -> None:
    def filled(client_order_id: str, quantity: str, price: str, **fields: Any) -> None:
        amounts = {"filled_quantity": Decimal(quantity), "average_price": Decimal(price)}
        store.ledger.append(make_order(client_order_id, state=OrderState.FILLED, **amounts, **fields))

    filled("1", "1", "100")
    filled("2", "3", "200")
    filled("3", "2", "300", side=Side.SELL)
    filled("4", "7", "1", instance_id="other")
    filled("5", "7", "1", symbol="ETH/USD")
    filled("6", "5", "50", outcome=Outcome.SHADOW, mode=Mode.OBSERVE)
    store.ledger.append(make_order("7", state=OrderState.OPEN))
    assert store.ledger.position("dca", "BTC/USD", False) == Position("BTC/USD", Decimal(2), Decimal(175))
    assert store.ledger.position("dca", "BTC/USD", True) == Position("BTC/USD", Decimal(7), Decimal(600) / 7)
    assert store.ledger.position("nobody", "BTC/USD", False) == Position("BTC/USD", Decimal(0), None)


def test_the_position_follows_each_fill_in_the_order_of_filling(
    store: Store, clock: FakeClock, make_order: MakeOrder
) -> None:
    """The order placed first fills last: it must not be averaged with what was sold before."""
    for client_order_id, side in (("resting", Side.BUY), ("bought", Side.BUY), ("sold", Side.SELL)):
        store.ledger.append(make_order(client_order_id, outcome=Outcome.PENDING, side=side))
    for client_order_id, price in (("bought", 100), ("sold", 120), ("resting", 90)):
        clock.advance(1)
        store.ledger.settle(
            client_order_id,
            OrderNews(
                outcome=Outcome.ACCEPTED,
                state=OrderState.FILLED,
                filled_quantity=Decimal(1),
                average_price=Decimal(price),
            ),
        )
    assert store.ledger.position("dca", "BTC/USD", False) == Position("BTC/USD", Decimal(1), Decimal(90))


def test_a_position_that_was_asked_for_before_is_never_outdated(store: Store, make_order: MakeOrder) -> None:
    def held() -> Decimal:
        return store.ledger.position("dca", "BTC/USD", False).quantity

    assert held() == 0
    store.ledger.append(make_order("1", state=OrderState.FILLED, filled_quantity=Decimal(1)))
    assert held() == 1
    store.ledger.append(make_order("2", state=OrderState.OPEN))
    assert held() == 1
    store.ledger.settle("2", OrderNews(filled_quantity=Decimal("0.5")))
    assert held() == Decimal("1.5")


def test_asking_for_a_position_again_reads_nothing(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("1", state=OrderState.FILLED, filled_quantity=Decimal(1)))
    asked = (store.ledger.position("dca", "BTC/USD", False), store.ledger.exposed())
    store.ledger.settle("1", OrderNews(state=OrderState.FILLED))
    store.ledger._reads.close()
    assert (store.ledger.position("dca", "BTC/USD", False), store.ledger.exposed()) == asked


def test_exposed_is_who_holds_something_real_or_may_yet(store: Store, make_order: MakeOrder) -> None:
    def append(instance_id: str, **fields: Any) -> None:
        store.ledger.append(make_order(f"{instance_id}-{next(numbers)}", instance_id=instance_id, **fields))

    filled = {"state": OrderState.FILLED, "filled_quantity": Decimal(1)}
    append("holds", **filled)
    append("waits", state=OrderState.OPEN)
    append("wonders", outcome=Outcome.UNKNOWN)
    append("sold", **filled)
    append("sold", side=Side.SELL, **filled)
    append("hedged", **filled)
    append("hedged", side=Side.SELL, symbol="ETH/USD", **filled)
    append("dreams", outcome=Outcome.SHADOW, mode=Mode.OBSERVE, **filled)
    append("refused", outcome=Outcome.REJECTED)
    append("cancelled", state=OrderState.CANCELLED)
    assert store.ledger.exposed() == {"holds", "waits", "wonders", "hedged"}
    append("holds", side=Side.SELL, **filled)
    assert store.ledger.exposed() == {"waits", "wonders", "hedged"}


def test_exposed_follows_each_order_to_its_end(store: Store, make_order: MakeOrder) -> None:
    exposed, settle = store.ledger.exposed, store.ledger.settle
    store.ledger.append(make_order("x", outcome=Outcome.PENDING))
    assert exposed() == {"dca"}
    settle("x", OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.PARTIALLY_FILLED, filled_quantity=Decimal("0.1")))
    settle("x", OrderNews(filled_quantity=Decimal("0.3")))
    settle("x", OrderNews(state=OrderState.CANCELLED))
    assert exposed() == {"dca"}, "what was filled is held"
    store.ledger.append(make_order("y", side=Side.SELL, state=OrderState.FILLED, filled_quantity=Decimal("0.3")))
    assert exposed() == frozenset()
    store.ledger.append(make_order("z", outcome=Outcome.PENDING))
    settle("z", OrderNews(outcome=Outcome.REJECTED))
    assert exposed() == frozenset()


def test_exposed_is_known_again_after_a_restart(path: Path, clock: FakeClock, make_order: MakeOrder) -> None:
    with Store.open(path, clock) as store:
        store.ledger.append(make_order("1", instance_id="a", state=OrderState.FILLED, filled_quantity=Decimal("0.3")))
        store.ledger.append(make_order("2", instance_id="b", outcome=Outcome.PENDING))
        store.ledger.append(make_order("3", instance_id="c", outcome=Outcome.SHADOW, mode=Mode.OBSERVE))
    with Store.open(path, clock) as store:
        assert store.ledger.exposed() == {"a", "b"}
        sold = {"side": Side.SELL, "state": OrderState.FILLED, "filled_quantity": Decimal("0.3")}
        store.ledger.append(make_order("4", instance_id="a", **sold))
        store.ledger.mark_unknown_on_startup()
        store.ledger.settle("2", OrderNews(outcome=Outcome.REJECTED))
        assert store.ledger.exposed() == frozenset()


def test_exposed_reads_nothing_however_much_was_written(store: Store, make_order: MakeOrder) -> None:
    store.ledger._reads.close()
    store.ledger.append(make_order("1", state=OrderState.FILLED, filled_quantity=Decimal(1)))
    assert store.ledger.exposed() == {"dca"}


def test_what_fills_nothing_leaves_a_position_as_it_was_added_up(store: Store, make_order: MakeOrder) -> None:
    store.ledger.append(make_order("1", state=OrderState.FILLED, filled_quantity=Decimal(1)))
    held = store.ledger.position("dca", "BTC/USD", False)
    store.ledger._reads.close()
    store.ledger.append(make_order("2", outcome=Outcome.PENDING))
    store.ledger.settle("2", OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN))
    assert store.ledger.position("dca", "BTC/USD", False) == held


def test_exposure_is_exact_where_quantities_are_far_apart(store: Store, make_order: MakeOrder) -> None:
    large, small = Decimal(10) ** 20, Decimal(10) ** -12
    for side in (Side.BUY, Side.SELL):
        for quantity in (large, small):
            fields = {"side": side, "state": OrderState.FILLED, "filled_quantity": quantity}
            store.ledger.append(make_order(f"{next(numbers)}", **fields))
    assert store.ledger.exposed() == frozenset()


def test_who_looks_between_an_orders_end_and_its_fill_sees_too_much_rather_than_too_little(
    store: Store, make_order: MakeOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, seen = store.ledger, []
    ledger.append(make_order("a1", state=OrderState.OPEN))
    assert ledger.holding("dca", "BTC/USD", False).quantity == 0
    changed = ledger._open.changed

    def look(order: Order) -> None:
        seen.append((len(ledger.open_orders("dca", False)), ledger.holding("dca", "BTC/USD", False).quantity))
        changed(order)
        seen.append((len(ledger.open_orders("dca", False)), ledger.holding("dca", "BTC/USD", False).quantity))

    monkeypatch.setattr(ledger._open, "changed", look)
    ledger.settle("a1", OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(1), average_price=Decimal(100)))
    assert seen == [(1, Decimal(1)), (0, Decimal(1))]


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("outcome", list(Outcome))
def test_the_table_and_the_value_agree_on_the_book_that_an_order_is_in(
    store: Store, make_order: MakeOrder, outcome: Outcome, mode: Mode
) -> None:
    order = make_order("x", outcome=outcome, mode=mode)
    store.ledger.append(order)
    (row,) = store.ledger._reads.query("SELECT shadow FROM orders")
    assert bool(row["shadow"]) is order.is_shadow


def test_who_listens_hears_every_change_of_its_own_orders_as_it_was_then(store: Store, make_order: MakeOrder) -> None:
    news = store.ledger.listen("dca")
    store.ledger.append(make_order("x", outcome=Outcome.PENDING))
    store.ledger.append(make_order("other", instance_id="grid"))
    open_ = store.ledger.settle("x", OrderNews(outcome=Outcome.ACCEPTED, state=OrderState.OPEN))
    store.ledger.settle("x", OrderNews(state=OrderState.OPEN))
    filled = store.ledger.settle(
        "x", OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(1), average_price=Decimal(100))
    )
    refused = store.ledger.refuse(
        make_order("y", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, reason="no quote")
    )
    assert [news.take() for _ in range(4)] == [open_, filled, refused, None]


def test_a_second_listener_ends_the_first(store: Store, make_order: MakeOrder) -> None:
    first, second = store.ledger.listen("dca"), store.ledger.listen("dca")
    store.ledger.append(make_order("x"))
    assert first.take() is None
    assert second.take() == make_order("x")

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.orders.holding import Holding
from reconciler.orders.market import Position
from reconciler.orders.order import Fill, Order, OrderState, Outcome, RejectedBy, Side
from reconciler.strategy.testing import FakeContext


@pytest.fixture
def context() -> FakeContext:
    context = FakeContext(mode="active")
    context.market.set_quote("99", "101")
    return context


def place(context: FakeContext, side: str = "buy", quantity: str = "1", limit: str | None = None) -> Order:
    with context.orders.placing():
        return context.orders.place(side, quantity, type="limit" if limit else "market", limit_price=limit)


def test_a_market_order_fills_at_once_at_the_far_side_of_the_quote(context: FakeContext) -> None:
    bought, sold = place(context), place(context, "sell", "3")
    assert (bought.outcome, bought.state, bought.average_price) == (Outcome.ACCEPTED, OrderState.FILLED, Decimal(101))
    assert sold.average_price == 99
    assert (bought.quote_bid, bought.quote_ask) == (Decimal(99), Decimal(101))
    assert context.orders.position().quantity == -2


def test_a_market_order_without_a_quote_waits() -> None:
    context = FakeContext()
    order = place(context)
    assert (order.outcome, order.state) == (Outcome.SHADOW, OrderState.OPEN)
    assert context.fill(order, price="50").average_price == 50


def test_a_limit_order_fills_when_the_test_says_and_as_far(context: FakeContext) -> None:
    order = place(context, quantity="4", limit="90")
    partly = context.fill(order, quantity="1", price="88")
    assert (partly.state, context.orders.open()) == (OrderState.PARTIALLY_FILLED, (partly,))
    filled = context.fill(order)
    assert (filled.state, filled.filled_quantity, filled.average_price) == (
        OrderState.FILLED,
        Decimal(4),
        Decimal("89.5"),
    )
    assert context.orders.open() == ()
    with pytest.raises(ValueError, match="expected an open order, was accepted filled"):
        context.fill(order)


def test_more_than_is_left_cannot_be_filled(context: FakeContext) -> None:
    with pytest.raises(ValueError, match=r"expected a quantity in \(0, 1\], was 2"):
        context.fill(place(context, limit="90"), quantity="2")


def test_an_answer_is_given_once(context: FakeContext) -> None:
    context.orders.answer_next("rejected", "no funds")
    refused, accepted = place(context), place(context)
    assert (refused.outcome, refused.reason, refused.rejected_by) == (
        Outcome.REJECTED,
        "no funds",
        RejectedBy.EXCHANGE,
    )
    assert not refused.is_open
    assert accepted.outcome is Outcome.ACCEPTED


@pytest.mark.parametrize("outcome", ["unknown", "pending"])
def test_nothing_new_while_an_outcome_is_not_known(context: FakeContext, outcome: str) -> None:
    context.orders.answer_next(outcome)
    unsettled = place(context)
    refused = place(context)
    assert (refused.outcome, refused.rejected_by) == (Outcome.REJECTED, RejectedBy.GATEWAY)
    assert context.orders.open() == (unsettled,)
    context.orders.settle(unsettled, "rejected")
    assert place(context).outcome is Outcome.ACCEPTED


def test_each_mode_has_its_own_book_and_the_shadow_book_starts_from_the_real_position(context: FakeContext) -> None:
    real = place(context)
    context.instance = replace(context.instance, mode="observe")
    assert context.orders.position() == Position("BTC/USD", Decimal(1), Decimal(101))
    shadow = place(context, "sell", "3")
    assert shadow.outcome is Outcome.SHADOW
    assert context.orders.recent() == (shadow,)
    assert context.orders.all() == (real, shadow)
    assert context.orders.position() == Position("BTC/USD", Decimal(-2), Decimal(99))


def test_a_shadow_book_ends_with_observing_and_the_next_one_begins_anew(context: FakeContext) -> None:
    context.instance = replace(context.instance, mode="observe")
    filled, resting = place(context), place(context, limit="90")
    context.instance = replace(context.instance, mode="active")
    assert context.orders.position().quantity == 0
    place(context, quantity="5")
    context.instance = replace(context.instance, mode="observe")
    assert (context.orders.open(), context.orders.recent()) == ((), ())
    assert context.orders.position().quantity == 5
    states = {order.client_order_id: order.state for order in context.orders.all()}
    assert states[filled.client_order_id] is OrderState.FILLED
    assert states[resting.client_order_id] is OrderState.CANCELLED


def test_an_edit_in_observe_leaves_the_shadow_book_as_it_is(context: FakeContext) -> None:
    context.instance = replace(context.instance, mode="observe")
    resting = place(context, limit="90")
    context.instance = replace(context.instance, labels={"team": "majors"})
    assert context.orders.open() == (resting,)


def test_recent_is_newest_first_and_open_oldest_first(context: FakeContext) -> None:
    orders = [place(context, limit=str(price)) for price in (90, 91, 92)]
    assert [o.client_order_id for o in context.orders.recent(2)] == [o.client_order_id for o in orders[:0:-1]]
    assert [o.client_order_id for o in context.orders.open()] == [o.client_order_id for o in orders]


def test_cancelling_ends_an_open_order_and_nothing_else(context: FakeContext) -> None:
    resting, filled = place(context, limit="90"), place(context)
    assert context.orders.cancel(resting.client_order_id).state is OrderState.CANCELLED
    assert context.orders.cancel(filled.client_order_id).state is OrderState.FILLED
    with pytest.raises(KeyError):
        context.orders.cancel("somebody-elses")


trades = st.lists(
    st.tuples(st.sampled_from(["buy", "sell"]), st.integers(1, 5), st.integers(1, 9)), min_size=1, max_size=12
)


@given(trades)
def test_the_position_is_what_the_engine_would_make_of_the_same_fills(fills: list[tuple[str, int, int]]) -> None:
    context = FakeContext()
    for side, quantity, price in fills:
        context.market.set_quote(str(price))
        place(context, side, str(quantity))
    holding, at = Holding("BTC/USD"), context.now()
    for side, quantity, price in fills:
        fill = Fill("", "", Decimal(quantity), Decimal(price), None, at)
        holding = holding.filled(Side(side), fill, at.date())
    assert context.orders.position() == holding.position

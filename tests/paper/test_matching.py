"""Stops, depth, fees of makers and takers, reduce_only: orders against the exchange, step by step."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.orders.filling import Liquidity
from reconciler.orders.order import OrderState, Side
from reconciler.paper.account import PaperOptions
from reconciler.paper.exchange import Depleted, PaperExchange
from reconciler.paper.feed import Prices
from reconciler.paper.paper_order import MarketRules, Markets, OrderRefused, PaperOrder
from tests.paper.orders import get, held, limit, place

CANCELLED, FILLED, OPEN, PARTIAL = (
    OrderState.CANCELLED,
    OrderState.FILLED,
    OrderState.OPEN,
    OrderState.PARTIALLY_FILLED,
)
DEEP_ONE = Markets({"*": MarketRules(depth=Decimal(1))})
Opened = Callable[..., PaperExchange]


@pytest.fixture
def opened(prices: Prices, clock: FakeClock) -> Opened:
    """An exchange on prices of 100, 102, 95, 98 a minute apart, with these options."""
    return lambda **options: PaperExchange(prices, clock, PaperOptions(**options))


def fills(order: PaperOrder) -> list[tuple[str, str]]:
    return [(str(fill.quantity), str(fill.price)) for fill in order.fills]


def test_an_order_that_waited_pays_the_maker_s_fee_and_one_that_came_in_the_taker_s(
    opened: Opened, clock: FakeClock
) -> None:
    exchange = opened(maker_fee=Decimal("0.01"), taker_fee=Decimal("0.1"))
    limit(exchange, "96", quantity="1")
    taken = place(exchange, "o2", quantity="1")
    clock.advance(120)

    assert (taken.fee, taken.fills[0].liquidity) == (Decimal("10.001"), Liquidity.TAKER)
    made = get(exchange)
    assert (made.fee, made.fills[0].liquidity) == (Decimal("0.96"), Liquidity.MAKER)


def test_a_market_order_takes_ever_worse_prices_and_no_more_than_there_is(opened: Opened) -> None:
    exchange = opened(markets=DEEP_ONE)
    assert fills(place(exchange, quantity="2.5")) == [("1", "100.010"), ("1", "100.030"), ("0.5", "100.050")]
    order = place(exchange, "o2", quantity="20")
    assert (order.state, order.filled_quantity) == (CANCELLED, Decimal("7.5"))
    assert order.reason == "the book has no more at its price"
    assert fills(order)[0] == ("0.5", "100.050")
    assert place(exchange, "o3", side="sell", quantity="1").state is FILLED  # the other side is whole


def test_a_limit_order_that_is_larger_than_the_depth_fills_over_several_moments(
    opened: Opened, clock: FakeClock
) -> None:
    exchange = opened(markets=DEEP_ONE)
    order = limit(exchange, "100.03", quantity="5")
    assert (order.state, fills(order)) == (PARTIAL, [("1", "100.010"), ("1", "100.030")])
    clock.advance(60)  # at 102 nothing
    assert get(exchange).filled_quantity == 2
    clock.advance(60)  # at 95 any number of levels, at its limit
    order = get(exchange)
    assert (order.state, fills(order)[2:]) == (FILLED, [("3", "100.03")])
    assert order.average_price == Decimal("100.026")


def test_orders_share_the_depth_of_a_step_the_oldest_first(opened: Opened, clock: FakeClock) -> None:
    exchange = opened(markets=DEEP_ONE)
    limit(exchange, "95.01", "o1", quantity="0.7")
    limit(exchange, "95.01", "o2", quantity="0.7")
    clock.advance(120)
    assert [get(exchange, id).filled_quantity for id in ("o1", "o2")] == [Decimal("0.7"), Decimal("0.3")]
    assert fills(limit(exchange, "95.01", "o3", quantity="1")) == []
    clock.advance(120)  # 98, and 95 again
    assert [get(exchange, id).filled_quantity for id in ("o2", "o3")] == [Decimal("0.7"), Decimal("0.6")]


def test_what_is_left_of_an_order_keeps_its_money_set_aside(opened: Opened) -> None:
    exchange = opened(markets=DEEP_ONE, maker_fee=Decimal(0), taker_fee=Decimal(0))
    limit(exchange, "100.01", quantity="3")
    assert held(exchange)["USD"] == (Decimal("99899.99"), Decimal("99699.97"))


def test_ioc_takes_what_there_is_and_fok_all_or_nothing(opened: Opened) -> None:
    exchange = opened(markets=DEEP_ONE)
    order = limit(exchange, "100.01", "o1", quantity="1.5", time_in_force="fok")
    assert (order.state, order.fills, order.reason) == (CANCELLED, (), "fok: it could not be filled as a whole")
    order = limit(exchange, "100.01", "o2", quantity="1.5", time_in_force="ioc")
    assert (order.state, fills(order)) == (CANCELLED, [("1", "100.010")])
    assert limit(exchange, "100.03", "o3", quantity="1", time_in_force="fok").state is FILLED
    assert place(exchange, "o4", quantity="9", time_in_force="fok").state is CANCELLED


def stop(exchange: PaperExchange, price: str, id: str = "o1", **changed: Any) -> PaperOrder:
    return place(exchange, id, **{"type": "stop", "stop_price": price, "quantity": "1", **changed})


def test_a_stop_waits_until_its_price_is_reached_and_then_takes_what_there_is(opened: Opened, clock: FakeClock) -> None:
    exchange = opened()
    assert stop(exchange, "102").state is OPEN
    assert held(exchange)["USD"][1] == Decimal("99897.898")  # 102 and its fee
    clock.advance(600)
    order = get(exchange)
    assert (order.state, order.average_price, order.fills[0].at) == (FILLED, Decimal("102.01"), utc(60))
    assert order.fills[0].liquidity is Liquidity.TAKER


def test_a_stop_that_sells_waits_for_a_lower_price(opened: Opened, clock: FakeClock) -> None:
    exchange = opened()
    place(exchange, "o0", quantity="1")
    assert stop(exchange, "97", side="sell").state is OPEN
    clock.advance(60)
    assert get(exchange).state is OPEN
    clock.advance(60)
    assert (get(exchange).state, get(exchange).average_price) == (FILLED, Decimal("94.991"))


def test_a_stop_whose_price_is_reached_already_does_not_wait(opened: Opened) -> None:
    assert stop(opened(), "99").average_price == Decimal("100.01")


def test_a_stop_limit_becomes_a_limit_order(opened: Opened, clock: FakeClock) -> None:
    exchange = opened()
    stop(exchange, "101", type="stop_limit", limit_price="101.5")
    clock.advance(60)  # 102: triggered, too dear
    order = get(exchange)
    assert (order.state, order.is_triggered, order.fills) == (OPEN, True, ())
    clock.advance(60)  # 95
    assert (get(exchange).average_price, get(exchange).fills[0].liquidity) == (Decimal("101.5"), Liquidity.MAKER)


def test_a_stop_that_can_no_longer_be_paid_for_is_cancelled_and_says_why(opened: Opened, clock: FakeClock) -> None:
    exchange = opened(starting={"USD": Decimal("101.5")}, maker_fee=Decimal(0), taker_fee=Decimal(0))
    stop(exchange, "101.5")
    clock.advance(60)
    order = get(exchange)
    assert (order.state, order.reason) == (CANCELLED, "insufficient balance: needs 102.01 USD, available 101.5")
    assert held(exchange)["USD"] == (Decimal("101.5"), Decimal("101.5"))


def test_a_stop_needs_its_prices(opened: Opened) -> None:
    exchange = opened()
    for changed, reason in (
        ({"stop_price": None}, "stop_price: a stop order needs one"),
        ({"limit_price": "1"}, "limit_price: a stop order takes none"),
        ({"type": "limit", "limit_price": "1"}, "stop_price: a limit order takes none"),
        ({"type": "stop_limit"}, "limit_price: a stop_limit order needs one"),
    ):
        with pytest.raises(OrderRefused, match=reason):
            stop(exchange, "1", **changed)


def test_an_order_that_may_only_reduce_never_turns_the_position_around(opened: Opened, clock: FakeClock) -> None:
    exchange = opened(starting={"USD": Decimal(10_000), "BTC": Decimal(10)})
    place(exchange, "o1", quantity="2")
    limit(exchange, "101.9", "o2", side="sell", quantity="2", reduce_only=True)
    place(exchange, "o3", side="sell", quantity="1.5")
    clock.advance(60)
    order = get(exchange, "o2")
    assert (order.state, order.filled_quantity) == (CANCELLED, Decimal("0.5"))
    assert order.reason == "reduce_only: there is no position left to reduce"
    assert exchange.get_positions("main") == []


def test_a_sold_position_is_reduced_by_buying(opened: Opened) -> None:
    exchange = opened(starting={"USD": Decimal(10_000), "BTC": Decimal(10)})
    place(exchange, "o1", side="sell", quantity="2")
    assert place(exchange, "o2", quantity="1.5", reduce_only=True).state is FILLED
    with pytest.raises(OrderRefused, match=r"reduce_only: expected at most the 0\.5 that would close .*, was buy 0\.6"):
        place(exchange, "o3", quantity="0.6", reduce_only=True)
    with pytest.raises(OrderRefused, match="reduce_only: expected at most the 0 that"):
        place(exchange, "o4", side="sell", quantity="0.1", reduce_only=True)


def test_an_order_that_may_only_reduce_waits_while_its_price_is_not_reached(opened: Opened, clock: FakeClock) -> None:
    exchange = opened(starting={"USD": Decimal(10_000), "BTC": Decimal(10)})
    place(exchange, "o1", quantity="1")
    limit(exchange, "150", "o2", side="sell", quantity="1", reduce_only=True)
    place(exchange, "o3", side="sell", quantity="1")
    limit(exchange, "96", "o4")  # moves at step 2, and takes o2 for a look there
    clock.advance(600)
    assert get(exchange, "o2").state is OPEN


def test_steps_are_tried_in_the_order_of_time_whatever_the_symbol(prices: Prices, clock: FakeClock) -> None:
    moved: list[tuple[str, float]] = []
    exchange = PaperExchange(
        prices_of("BTC/USD,ETH/USD", "100,10", "102,10", "95,9", "98,7"),
        clock,
        record=lambda order, new: moved.extend((order.ticket.client_order_id, fill.at.timestamp()) for fill in new),
    )
    limit(exchange, "9.5", "e2", symbol="ETH/USD", quantity="1")
    limit(exchange, "7.5", "e3", symbol="ETH/USD", quantity="1")
    stop(exchange, "102", "b1")
    limit(exchange, "96", "b2", quantity="1")
    clock.advance(600)
    exchange.get_balances("main")
    assert moved == [("b1", 60), ("e2", 120), ("b2", 120), ("e3", 180)]


def prices_of(symbols: str, *rows: str) -> Prices:
    from reconciler.paper.csv_feed import CsvFeed

    return Prices([CsvFeed([f"date,{symbols}\n", *(f"{n},{row}\n" for n, row in enumerate(rows))], 60)], 60)


def test_what_is_taken_counts_for_its_step_alone() -> None:
    depleted = Depleted()
    depleted.take("BTC/USD", Side.BUY, 7, Decimal(1))
    depleted.take("BTC/USD", Side.BUY, 7, Decimal(2))
    assert [depleted.taken("BTC/USD", side, step) for side in Side for step in (7, 8)] == [3, 0, 0, 0]
    assert depleted.taken("ETH/USD", Side.BUY, 7) == 0

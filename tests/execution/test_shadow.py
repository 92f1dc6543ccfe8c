"""What the market makes of a shadow order: when it fills, at what price, and when it does not."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import utc
from reconciler.execution.limits import QuotePrices
from reconciler.execution.shadow_book import followed, shadowed
from reconciler.orders.order import Order, OrderRequest, OrderState, OrderType, Outcome, Side, TimeInForce
from reconciler.records.mode import Mode
from tests.execution.standins import StandInGate

NOW = utc(1_700_000_000)
TODAY = NOW.date()
FEE = Decimal("0.001")
BUY, SELL = Side.BUY, Side.SELL


def ordered(
    side: Side, type: OrderType, limit: str | None = None, stop: str | None = None, tif: TimeInForce = TimeInForce.GTC
) -> Order:
    limit_price, stop_price = (None if price is None else Decimal(price) for price in (limit, stop))
    asked = OrderRequest(side, type, Decimal(2), limit_price, stop_price, tif)
    origin = StandInGate(mode=Mode.OBSERVE).provenance(7)
    order = Order("x", origin, asked, Outcome.PENDING, NOW, NOW)
    return replace(order, quote_bid=Decimal(99), quote_ask=Decimal(101))


def prices(bid: str, ask: str) -> QuotePrices:
    return QuotePrices(Decimal(bid), Decimal(ask))


def follow(order: Order, bid: str, ask: str, today: date = TODAY) -> Order:
    return followed(order, prices(bid, ask), FEE, today)


MARKET, LIMIT, STOP, STOP_LIMIT = OrderType


@pytest.mark.parametrize(
    ("order", "state", "price"),
    [
        (ordered(BUY, MARKET), OrderState.FILLED, "101"),
        (ordered(SELL, MARKET), OrderState.FILLED, "99"),
        (ordered(BUY, LIMIT, "101"), OrderState.FILLED, "101"),
        (ordered(BUY, LIMIT, "105"), OrderState.FILLED, "101"),
        (ordered(SELL, LIMIT, "98"), OrderState.FILLED, "99"),
        (ordered(BUY, LIMIT, "100.99"), OrderState.OPEN, None),
        (ordered(SELL, LIMIT, "99.01"), OrderState.OPEN, None),
        (ordered(BUY, STOP, None, "102"), OrderState.OPEN, None),
        (ordered(SELL, STOP, None, "98"), OrderState.OPEN, None),
        (ordered(BUY, STOP, None, "100"), OrderState.FILLED, "101"),
        (ordered(SELL, STOP, None, "100"), OrderState.FILLED, "99"),
        (ordered(BUY, STOP_LIMIT, "103", "102"), OrderState.OPEN, None),
        (ordered(BUY, STOP_LIMIT, "103", "101"), OrderState.FILLED, "101"),
        (ordered(BUY, MARKET, tif=TimeInForce.IOC), OrderState.FILLED, "101"),
        (ordered(BUY, LIMIT, "101", tif=TimeInForce.FOK), OrderState.FILLED, "101"),
        (ordered(BUY, LIMIT, "100", tif=TimeInForce.FOK), OrderState.CANCELLED, None),
        (ordered(BUY, LIMIT, "100", tif=TimeInForce.IOC), OrderState.CANCELLED, None),
        (ordered(BUY, STOP, None, "102", tif=TimeInForce.IOC), OrderState.OPEN, None),
        (ordered(BUY, LIMIT, "100", tif=TimeInForce.DAY), OrderState.OPEN, None),
    ],
)
def test_what_comes_in_takes_the_quote_or_waits_or_ends(order: Order, state: OrderState, price: str | None) -> None:
    taken = shadowed(order, FEE)
    assert (taken.outcome, taken.state) == (Outcome.SHADOW, state)
    assert taken.average_price == (None if price is None else Decimal(price))
    assert taken.filled_quantity == (2 if price else 0)
    assert taken.fee == (None if price is None else Decimal(price) * 2 * FEE)
    assert bool(taken.reason) is (state is OrderState.CANCELLED)


@pytest.mark.parametrize(
    ("order", "bid", "ask", "price"),
    [
        (ordered(BUY, LIMIT, "95"), "94", "95", None),  # reached is not traded through
        (ordered(BUY, LIMIT, "95"), "93", "94.99", "95"),  # its limit, not the better price
        (ordered(SELL, LIMIT, "105"), "105", "106", None),
        (ordered(SELL, LIMIT, "105"), "105.01", "106", "105"),
        (ordered(BUY, STOP, None, "105"), "104", "104.99", None),
        (ordered(BUY, STOP, None, "105"), "104", "105", "105"),
        (ordered(BUY, STOP, None, "105"), "109", "110", "110"),  # past it: the quote, not the stop price
        (ordered(SELL, STOP, None, "95"), "95.01", "96", None),
        (ordered(SELL, STOP, None, "95"), "90", "91", "90"),
        (ordered(BUY, STOP_LIMIT, "106", "105"), "104", "105", "105"),
        (ordered(BUY, STOP_LIMIT, "106", "105"), "105", "106", "106"),
        (ordered(BUY, STOP_LIMIT, "106", "105"), "109", "110", None),
    ],
)
def test_what_waits_fills_where_the_market_trades_through_it(
    order: Order, bid: str, ask: str, price: str | None
) -> None:
    waiting = shadowed(order, FEE)
    assert waiting.state is OrderState.OPEN
    after = follow(waiting, bid, ask)
    assert after.average_price == (None if price is None else Decimal(price))
    assert after.state is (OrderState.OPEN if price is None else OrderState.FILLED)
    assert after.fee == (None if price is None else 2 * Decimal(price) * FEE)


def test_a_stop_limit_order_that_was_triggered_waits_like_a_limit_order() -> None:
    triggered = follow(shadowed(ordered(BUY, STOP_LIMIT, "106", "105"), FEE), "109", "110")
    assert (triggered.state, triggered.is_triggered) == (OrderState.OPEN, True)
    assert follow(triggered, "105", "106") is triggered
    assert follow(triggered, "103", "104").average_price == 106, "below its stop price by now, but through its limit"


def test_where_nothing_happens_it_is_the_same_object() -> None:
    for order in (ordered(BUY, LIMIT, "95"), ordered(BUY, STOP, None, "105")):
        waiting = shadowed(order, FEE)
        assert follow(waiting, "99", "101") is waiting


def test_an_order_for_the_day_ends_with_the_day_it_was_placed_on() -> None:
    waiting = shadowed(ordered(BUY, LIMIT, "95", tif=TimeInForce.DAY), FEE)
    assert follow(waiting, "99", "101") is waiting
    ended = follow(waiting, "1", "2", TODAY + timedelta(days=1))
    assert (ended.state, ended.filled_quantity, ended.reason) == (OrderState.EXPIRED, Decimal(0), "its day is over")
    kept = shadowed(ordered(BUY, LIMIT, "95"), FEE)
    assert follow(kept, "99", "101", TODAY + timedelta(days=9)) is kept


steps = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3)), min_size=1, max_size=10)


@given(
    quotes=steps,
    side=st.sampled_from(list(Side)),
    type=st.sampled_from(list(OrderType)),
    limit=st.integers(1, 30),
    stop=st.integers(1, 30),
)
def test_no_fill_is_better_than_the_quotes_it_saw(
    quotes: list[tuple[int, int]], side: Side, type: OrderType, limit: int, stop: int
) -> None:
    """However it fills, somebody with the same order at a real exchange would not have paid more."""
    named: dict[str, Any] = {
        "limit": f"{limit}" if type in (LIMIT, STOP_LIMIT) else None,
        "stop": f"{stop}" if type in (STOP, STOP_LIMIT) else None,
    }
    touched: list[Decimal] = []
    order: Order | None = None
    for bid, spread in quotes:
        quote = prices(f"{bid}", f"{bid + spread}")
        if order is None:
            draft = replace(ordered(side, type, **named), quote_bid=quote.bid, quote_ask=quote.ask)
            order = shadowed(draft, FEE)
        elif order.is_open:
            order = followed(order, quote, FEE, TODAY)
        else:
            break
        touch = quote.against(side)
        assert touch is not None
        touched.append(touch)
    assert order is not None
    if order.average_price is None:
        return
    assert order.average_price >= touched[-1] if side is BUY else order.average_price <= touched[-1]
    if order.limit_price is not None:
        assert order.average_price <= order.limit_price if side is BUY else order.average_price >= order.limit_price

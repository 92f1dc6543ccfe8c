"""The risk scope_limits, limit by limit, at its edge."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import utc
from reconciler.execution.limits import QuotePrices, Standing, breach, dearest, reduces, staleness
from reconciler.orders.order import Order, OrderRequest, OrderState, OrderType, Outcome, Side
from reconciler.records.record import Limits
from tests.execution.standins import StandInGate, request
from tests.hostile import hostile_context

PRICES = QuotePrices(Decimal(99), Decimal(101))


def resting(quantity: str, side: Side, filled: str = "0") -> Order:
    origin, now = StandInGate().provenance(1), utc(0)
    asked = request(quantity, "100", side)
    order = Order("id", origin, asked, Outcome.ACCEPTED, now, now, OrderState.OPEN)
    return replace(order, filled_quantity=Decimal(filled))


def book(held: str = "0", *open_orders: Order, placed: int = 0, lost: str | None = "0") -> Standing:
    return Standing(Decimal(held), open_orders, placed, None if lost is None else Decimal(lost))


FLAT = book()


@pytest.mark.parametrize(
    ("limits", "asked", "before", "exceeded"),
    [
        ({"max_order_notional": "500"}, request("5", "100"), FLAT, None),
        ({"max_order_notional": "500"}, request("5", "100.01"), FLAT, "the order is worth 500.05, the limit is 500"),
        ({"max_order_notional": "500"}, request("4.96"), FLAT, "the order is worth 500.96, the limit is 500"),
        ({"max_order_notional": "500"}, request("5.05", side=Side.SELL), FLAT, None),
        ({"max_position": "2"}, request("2"), FLAT, None),
        ({"max_position": "2"}, request("2.1"), FLAT, "the position could become 2.1, the limit is 2"),
        ({"max_position": "2"}, request("2.1", side=Side.SELL), FLAT, "the position could become -2.1"),
        ({"max_position": "2"}, request("1"), book("1", resting("1", Side.BUY, "0.5")), "become 2.5"),
        ({"max_position": "2"}, request("0.5"), book("1", resting("1", Side.BUY, "0.5")), None),
        ({"max_position": "2"}, request("1", side=Side.SELL), book("5"), None),
        ({"max_open_orders": 1}, request(), FLAT, None),
        ({"max_open_orders": 1}, request(), book("0", resting("1", Side.BUY)), "1 are open"),
        ({"max_orders_per_minute": 3}, request(), book(placed=2), None),
        ({"max_orders_per_minute": 3}, request(), book(placed=3), "3 in the last minute"),
        ({"max_price_deviation": "0.05"}, request("1", "106.05"), FLAT, None),
        ({"max_price_deviation": "0.05"}, request("1", "106.06"), FLAT, "106.06 is off the quote of 101"),
        ({"max_price_deviation": "0.05"}, request("1", "94", Side.SELL), FLAT, "94 is off the quote of 99"),
        ({"max_price_deviation": "0.05"}, request("1"), FLAT, None),
        ({"max_daily_loss": "100"}, request("1"), book(lost="99.99"), None),
        ({"max_daily_loss": "100"}, request("1"), book(lost="-5"), None),
        ({"max_daily_loss": "100"}, request("1"), book(lost="100"), "100 is lost today, the limit is 100"),
        ({"max_daily_loss": "100"}, request("1"), book(lost=None), "the loss of the day cannot be measured"),
        ({"max_daily_loss": "100"}, request("1", side=Side.SELL), book("1", lost="500"), None),
        ({"max_daily_loss": "100"}, request("1", side=Side.SELL), book("1", lost=None), None),
        ({"max_daily_loss": "100"}, request("2", side=Side.SELL), book("1", lost="500"), "500 is lost today"),
    ],
)
def test_a_limit_holds_at_its_edge_and_not_a_digit_further(
    limits: dict[str, Any], asked: OrderRequest, before: Standing, exceeded: str | None
) -> None:
    exact: dict[str, Any] = {n: v if isinstance(v, int) else Decimal(v) for n, v in limits.items()}
    said = breach(Limits(**exact), asked, PRICES, before)
    if exceeded is None:
        assert said is None
    else:
        assert said is not None
        assert said.startswith(next(iter(limits)))
        assert exceeded in said


@pytest.mark.parametrize(
    ("limits", "asked"),
    [
        (Limits(max_order_notional=Decimal(500)), request("1")),
        (Limits(max_price_deviation=Decimal("0.05")), request("1", "100")),
    ],
)
def test_what_cannot_be_measured_counts_as_exceeded(limits: Limits, asked: OrderRequest) -> None:
    said = breach(limits, asked, QuotePrices(None, None), FLAT)
    assert said is not None
    assert said.endswith("there is no quote to measure it by")


def test_what_reduces_leaves_at_its_own_price_where_there_is_no_quote() -> None:
    limits = Limits(max_order_notional=Decimal(1), max_price_deviation=Decimal("0.05"))
    assert breach(limits, request("1", "100", Side.SELL), QuotePrices(None, None), book("1")) is None
    assert breach(limits, request("2", "100", Side.SELL), QuotePrices(None, None), book("1")) is not None
    assert breach(limits, request("1", "90", Side.SELL), PRICES, book("1")) is not None


@pytest.mark.parametrize(
    ("age_s", "said"),
    [
        (60, None), (60.001, "the quote is older than 60 s"), (-60, None),
        (-60.001, "the quote is from more than 60 s ahead"), (None, "there is no quote to measure it by"),
    ],
)  # fmt: skip
def test_a_quote_may_be_so_old_and_from_so_far_ahead(age_s: float | None, said: str | None) -> None:
    quoted_at = None if age_s is None else utc(1_000 - age_s)
    assert staleness(60, quoted_at, utc(1_000)) == (said and f"max_quote_age_seconds: {said}")


@pytest.mark.parametrize(
    ("limits", "on_real", "on_paper"),
    [
        (Limits(), 60, None),
        (Limits(max_quote_age_seconds=5), 5, 5),
        (Limits(takes_any_quote=True), None, None),
    ],
)
def test_real_money_has_a_limit_where_the_record_says_nothing(
    limits: Limits, on_real: int | None, on_paper: int | None
) -> None:
    assert (limits.quote_age_s(real_money=True), limits.quote_age_s(real_money=False)) == (on_real, on_paper)


def test_a_stop_order_is_measured_by_its_own_prices() -> None:
    stop = OrderRequest(Side.BUY, OrderType.STOP_LIMIT, Decimal(2), Decimal(90), Decimal(120))
    said = breach(Limits(max_order_notional=Decimal(200)), stop, PRICES, FLAT)
    assert said == "max_order_notional: the order is worth 240, the limit is 200"
    said = breach(Limits(max_price_deviation=Decimal("0.15")), stop, PRICES, FLAT)
    assert said == "max_price_deviation: 120 is off the quote of 101 by more than 0.15 of it"


@pytest.mark.parametrize(
    ("held", "asked", "expected"),
    [
        ("1", request("1", side=Side.SELL), True),
        ("1", request("1.1", side=Side.SELL), False),
        ("1", request("0.1"), False),
        ("-1", request("1"), True),
        ("0", request("1"), False),
    ],
)
def test_only_what_brings_the_position_nearer_to_zero_reduces(held: str, asked: OrderRequest, expected: bool) -> None:
    assert reduces(book(held), asked) is expected


def test_what_open_orders_will_reduce_cannot_be_reduced_again() -> None:
    selling = book("1", resting("0.8", Side.SELL, "0.2"))
    assert reduces(selling, request("0.4", side=Side.SELL))
    assert not reduces(selling, request("0.5", side=Side.SELL))


@pytest.mark.parametrize(
    ("side", "type", "limit", "stop", "expected"),
    [
        (Side.BUY, OrderType.MARKET, None, None, 101),
        (Side.SELL, OrderType.MARKET, None, None, 99),
        (Side.BUY, OrderType.LIMIT, 50, None, 50),
        (Side.BUY, OrderType.LIMIT, 200, None, 200),
        (Side.SELL, OrderType.LIMIT, 50, None, 99),
        (Side.SELL, OrderType.LIMIT, 200, None, 200),
        (Side.BUY, OrderType.STOP, None, 50, 101),
        (Side.BUY, OrderType.STOP, None, 200, 200),
        (Side.SELL, OrderType.STOP, None, 50, 99),
        (Side.SELL, OrderType.STOP, None, 200, 200),
        (Side.BUY, OrderType.STOP_LIMIT, 60, 50, 60),
        (Side.BUY, OrderType.STOP_LIMIT, 190, 200, 200),
        (Side.SELL, OrderType.STOP_LIMIT, 40, 50, 99),
        (Side.SELL, OrderType.STOP_LIMIT, 40, 200, 200),
        (Side.SELL, OrderType.STOP_LIMIT, 210, 200, 210),
    ],
)
def test_no_price_that_an_order_names_makes_it_worth_less_than_it_may_trade_at(
    side: Side, type: OrderType, limit: int | None, stop: int | None, expected: int
) -> None:
    limit_price, stop_price = (None if price is None else Decimal(price) for price in (limit, stop))
    asked = OrderRequest(side, type, Decimal(2), limit_price, stop_price)
    assert dearest(asked, PRICES) == expected
    limits = Limits(max_order_notional=Decimal(2 * expected))
    assert breach(limits, asked, PRICES, FLAT) is None
    limits = Limits(max_order_notional=Decimal(2 * expected) - 1)
    said = f"max_order_notional: the order is worth {2 * expected}, the limit is {2 * expected - 1}"
    assert breach(limits, asked, PRICES, FLAT) == said


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("type", OrderType)
def test_only_a_buyers_limit_can_stand_in_for_a_quote(side: Side, type: OrderType) -> None:
    limit = Decimal(100) if type in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None
    stop = Decimal(100) if type in (OrderType.STOP, OrderType.STOP_LIMIT) else None
    asked = OrderRequest(side, type, Decimal(1), limit, stop)
    said = breach(Limits(max_order_notional=Decimal(1000)), asked, QuotePrices(None, None), FLAT)
    if side is Side.BUY and limit is not None:
        assert said is None
    else:
        assert said == "max_order_notional: there is no quote to measure it by"


digits = st.decimals("0.000001", 1000, places=12)


@pytest.mark.parametrize("raises", [True, False])
@given(
    side=st.sampled_from(Side),
    quantity=digits,
    price=digits,
    held=st.decimals(-1000, 1000, places=12),
    open_quantity=digits,
    most=digits,
)
def test_no_decimal_context_of_the_thread_decides_a_limit(
    raises: bool, side: Side, quantity: Decimal, price: Decimal, held: Decimal, open_quantity: Decimal, most: Decimal
) -> None:
    limits = [
        Limits(max_order_notional=most),
        Limits(max_position=most),
        Limits(max_price_deviation=most),
        Limits(max_daily_loss=most),
    ]
    asked = OrderRequest(side, OrderType.LIMIT, quantity, price)
    before = Standing(
        held, [resting(str(open_quantity), Side.BUY), resting(str(open_quantity), Side.SELL)], 0, quantity
    )
    quoted = QuotePrices(price, open_quantity)

    def judged() -> list[object]:
        return [reduces(before, asked), *(breach(limit, asked, quoted, before) for limit in limits)]

    expected = judged()
    with hostile_context(raises=raises):
        assert judged() == expected


def test_what_two_digits_would_hide_is_over_the_limit_and_reduces_nothing() -> None:
    with hostile_context(raises=False):
        said = breach(Limits(max_position=Decimal("0.021")), request("0.0219"), PRICES, FLAT)
        assert said == "max_position: the position could become 0.0219, the limit is 0.021"
        said = breach(Limits(max_position=Decimal("0.5")), request("0.52999"), PRICES, book("-0.02"))
        assert said == "max_position: the position could become 0.50999, the limit is 0.5"
        assert not reduces(book("-0.48702"), request("0.4899"))

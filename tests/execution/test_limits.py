"""The risk envelope, limit by limit, at its edge."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import utc
from reconciler.execution.limits import Book, Prices, breach, reduces
from reconciler.records.order import Order, OrderRequest, OrderState, OrderType, Outcome, Side
from reconciler.records.record import Limits
from tests.execution.standins import StandInGate, request

PRICES = Prices(Decimal(99), Decimal(101))


def resting(quantity: str, side: Side, filled: str = "0") -> Order:
    origin, now = StandInGate().provenance(1), utc(0)
    asked = request(quantity, "100", side)
    order = Order("id", origin, asked, Outcome.ACCEPTED, now, now, OrderState.OPEN)
    return replace(order, filled_quantity=Decimal(filled))


def book(held: str = "0", *open_orders: Order, placed: int = 0, lost: str | None = "0") -> Book:
    return Book(Decimal(held), open_orders, placed, None if lost is None else Decimal(lost))


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
    limits: dict[str, Any], asked: OrderRequest, before: Book, exceeded: str | None
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
    said = breach(limits, asked, Prices(None, None), FLAT)
    assert said is not None
    assert said.endswith("there is no quote to measure it by")


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

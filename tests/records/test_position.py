"""What fills add up to: by example, and as properties over any sequence of them."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.records.market import Position
from reconciler.records.order import Side
from reconciler.records.position import position_of

BUY, SELL = Side.BUY, Side.SELL
Fills = list[tuple[Side, Decimal, Decimal | None]]


def fills(*told: tuple[Side, str, str | None]) -> Fills:
    return [(side, Decimal(quantity), None if price is None else Decimal(price)) for side, quantity, price in told]


@pytest.mark.parametrize(
    ("told", "quantity", "average"),
    [
        ([], "0", None),
        ([(BUY, "1", "100")], "1", "100"),
        ([(BUY, "1", "100"), (BUY, "3", "200")], "4", "175"),
        ([(BUY, "4", "175"), (SELL, "3", "900")], "1", "175"),
        ([(BUY, "1", "100"), (SELL, "1", "120")], "0", None),
        ([(BUY, "1", "100"), (SELL, "3", "120")], "-2", "120"),
        ([(SELL, "2", "100"), (SELL, "2", "110"), (BUY, "1", "90")], "-3", "105"),
        ([(SELL, "2", "100"), (BUY, "5", "90")], "3", "90"),
        ([(BUY, "1", "100"), (SELL, "1", "120"), (BUY, "2", "50")], "2", "50"),
        ([(BUY, "1", "100"), (BUY, "1", None)], "2", None),
        ([(BUY, "1", None), (BUY, "1", "100")], "2", None),
        ([(BUY, "1", "100"), (SELL, "0.5", None)], "0.5", "100"),
        ([(BUY, "1", None), (SELL, "1", None), (BUY, "1", "7")], "1", "7"),
        ([(BUY, "0.1", "0.1"), (BUY, "0.2", "0.1")], "0.3", "0.1"),
    ],
)
def test_the_average_cost_of_what_is_still_open(
    told: list[tuple[Side, str, str | None]], quantity: str, average: str | None
) -> None:
    expected = Position("X", Decimal(quantity), None if average is None else Decimal(average))
    assert position_of("X", fills(*told)) == expected


amounts = st.decimals(min_value="0.00000001", max_value=10**15, places=8)
sequences = st.lists(st.tuples(st.sampled_from([BUY, SELL]), amounts, amounts), max_size=30)


@given(told=sequences)
def test_the_quantity_is_the_exact_signed_sum(told: Fills) -> None:
    units = sum(int(quantity * 10**8) * (1 if side is BUY else -1) for side, quantity, _ in told)
    assert position_of("X", told).quantity * 10**8 == units


@given(told=sequences)
def test_the_average_lies_between_the_prices_paid(told: Fills) -> None:
    position = position_of("X", told)
    if position.average_price is None:
        assert position.quantity == 0
    else:
        prices = [price for _, _, price in told if price is not None]
        assert min(prices) <= position.average_price <= max(prices)

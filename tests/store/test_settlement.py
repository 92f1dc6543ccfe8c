"""Which fills are new: told apart, made of a difference, or contradicting the total."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import utc
from reconciler.orders.news import new_fills
from reconciler.orders.order import Fill, Order, OrderState
from tests.hostile import hostile_context

MakeOrder = Callable[..., Order]

NOW = utc(1_700_000_000)


def fill(fill_id: str, quantity: str, price: str | None = "100", fee: str | None = None, **fields: Any) -> Fill:
    exact = [None if value is None else Decimal(value) for value in (price, fee)]
    return Fill("x", fill_id, Decimal(quantity), exact[0], exact[1], NOW, **fields)


def text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def new(
    order: Order, known: list[Fill], told: list[Fill], average: str | None = None
) -> list[tuple[str, str, str | None, str | None]]:
    found = new_fills(order, known, told, None if average is None else Decimal(average), NOW)
    return [(f.exchange_fill_id, str(f.quantity), text(f.price), text(f.fee)) for f in found]


@pytest.fixture
def filled(make_order: MakeOrder) -> Callable[..., Order]:
    def make(quantity: str, fee: str | None = None) -> Order:
        amounts = {"filled_quantity": Decimal(quantity), "fee": None if fee is None else Decimal(fee)}
        return make_order("x", quantity=Decimal(10), state=OrderState.PARTIALLY_FILLED, **amounts)

    return make


Filled = Callable[..., Order]


def test_those_told_apart_are_taken_as_they_are_told_without_the_known_ones(filled: Filled) -> None:
    told = [fill("a", "1"), fill("b", "2", "101", "0.1")]
    assert new(filled("3"), told[:1], told) == [("b", "2", "101", "0.1")]
    assert new(filled("3"), told, told) == []


def test_told_twice_in_one_answer_is_told_once(filled: Filled) -> None:
    assert new(filled("1"), [], [fill("a", "1"), fill("a", "1")]) == [("a", "1", "100", None)]


def test_a_total_alone_makes_one_of_the_difference(filled: Filled) -> None:
    known = [fill("to-1", "1", "90", "0.1", is_made_up=True)]
    assert new(filled("3", "0.3"), known, [], "98") == [("to-3", "2", "102", "0.2")]


def test_without_an_average_its_price_is_not_known(filled: Filled) -> None:
    assert new(filled("3", "0.3"), [], []) == [("to-3", "3", None, "0.3")]


def test_an_average_that_cannot_be_right_is_the_price_itself(filled: Filled) -> None:
    assert new(filled("3"), [fill("a", "2", "500")], [], "100") == [("to-3", "1", "100", None)]


def test_what_those_told_apart_do_not_explain_is_made_of_the_difference(filled: Filled) -> None:
    assert new(filled("3"), [], [fill("a", "1", "90")], "98") == [("a", "1", "90", None), ("to-3", "2", "102", None)]


def test_more_told_apart_than_is_filled_is_not_believed(filled: Filled) -> None:
    assert new(filled("1"), [], [fill("a", "1"), fill("b", "1")], "99") == [("to-1", "1", "99", None)]
    assert new(filled("1"), [], [fill("a", "-1"), fill("b", "1")], "99") == [("b", "1", "100", None)]


def test_once_made_of_a_difference_none_is_told_apart_any_more(filled: Filled) -> None:
    known = [fill("to-1", "1", "90", is_made_up=True)]
    told = [fill("a", "1", "90"), fill("b", "2", "102")]
    assert new(filled("3"), known, told, "98") == [("to-3", "2", "102", None)]
    assert new(filled("2"), known, told[:1], "95") == [("to-2", "1", "100", None)], "a may be what was made up"


def test_a_fee_told_only_for_the_order_is_on_the_last_of_its_new_fills(filled: Filled) -> None:
    assert new(filled("2", "0.5"), [], [fill("a", "1"), fill("b", "1")]) == [
        ("a", "1", "100", None),
        ("b", "1", "100", "0.5"),
    ]
    assert new(filled("2", "0.5"), [], [fill("a", "1", fee="0.1"), fill("b", "1", fee="0.3")])[1][3] == "0.4"
    known = [fill("a", "1", fee="1")]
    assert new(filled("3", "3"), known, [*known, fill("b", "2")]) == [("b", "2", "100", "2")]


def test_a_fee_told_when_nothing_new_is_filled_is_on_a_fill_of_no_quantity(filled: Filled) -> None:
    known = [fill("to-1", "1", is_made_up=True)]
    assert new(filled("1", "1"), known, []) == [("fee-2", "0", None, "1")]
    corrected = [fill("a", "1"), fill("fee-2", "0", None, "1", is_made_up=True)]
    assert new(filled("1", "0.4"), corrected, []) == [("fee-3", "0", None, "-0.6")]
    assert new(filled("1", "1"), corrected, []) == []
    assert new(filled("2", "1.5"), corrected, [corrected[0], fill("b", "1")]) == [("b", "1", "100", "0.5")]


def fees_of(
    order: Order, known: list[Fill], told: list[Fill] | None = None
) -> list[tuple[str, str | None, str | None]]:
    found = new_fills(order, known, told or [], None, NOW)
    return [(one.exchange_fill_id, text(one.fee), one.fee_currency) for one in found]


def test_a_currency_that_is_told_later_takes_the_place_of_none(make_order: MakeOrder) -> None:
    order = make_order("x", filled_quantity=Decimal(1), fee=Decimal("0.001"), average_price=Decimal(100))
    known = [fill("to-1", "1", fee="0.001", is_made_up=True)]
    in_btc = replace(order, fee_currency="BTC")
    assert fees_of(in_btc, known) == [("fee-2", "0.001", "BTC"), ("fee-3", "-0.001", None)]
    (more, less) = new_fills(in_btc, known, [], None, NOW)
    assert (more.price, less.price) == (Decimal(100), None), "what is held is worth what it was bought for"
    assert fees_of(in_btc, [*known, more, less]) == []


def test_each_fill_keeps_the_currency_it_was_charged_in(make_order: MakeOrder) -> None:
    order = make_order("x", filled_quantity=Decimal(2), fee=Decimal("0.5"), fee_currency="BNB")
    told = [fill("a", "1", fee="0.2", fee_currency="BNB"), fill("b", "1", fee="0.1", fee_currency="BTC")]
    assert fees_of(order, [], told) == [("a", "0.2", "BNB"), ("b", "0.1", "BTC"), ("fee-3", "0.3", "BNB")]
    assert fees_of(order, [], [told[0], fill("b", "1")]) == [("a", "0.2", "BNB"), ("b", "0.3", "BNB")]
    known = [told[0], told[1], fill("fee-3", "0", None, fee="0.3", fee_currency="BNB", is_made_up=True)]
    assert fees_of(order, known) == []


executions = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)))
told_fees = st.none() | st.integers(-3, 9)
reports = st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(1, 9), executions, told_fees), max_size=6)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # it makes values, and keeps none
@given(reports)
def test_whatever_is_told_the_fills_of_an_order_add_up_to_what_is_filled(
    make_order: MakeOrder, told: list[tuple[int, int | None, list[tuple[int, int]], int | None]]
) -> None:
    known: list[Fill] = []
    filled = 0
    fee: Decimal | None = None
    for total, average, executions, told_fee in told:
        filled = max(filled, total)
        fee = fee if told_fee is None else Decimal(told_fee)
        order = make_order("x", quantity=Decimal(40), filled_quantity=Decimal(filled), fee=fee)
        fills = [fill(f"{name}", f"{quantity}") for name, quantity in executions]
        paid = None if average is None else Decimal(average)
        with hostile_context(raises=True):
            known += new_fills(order, known, fills, paid, NOW)
        assert fee is None or sum(one.fee or 0 for one in known) == fee
        assert sum(one.quantity for one in known) == filled
        assert len({one.exchange_fill_id for one in known}) == len(known)

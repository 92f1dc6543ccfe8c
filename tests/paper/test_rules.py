"""What a market lets through, and how it says what it would have let through instead."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from reconciler.paper.paper_answers import rules_answer
from reconciler.paper.paper_order import MarketRules, Markets, read_ticket

RULES = MarketRules(
    price_step=Decimal("0.5"),
    quantity_step=Decimal("0.01"),
    min_quantity=Decimal("0.015"),
    min_notional=Decimal(10),
    depth=Decimal(2),
)


def faults(rules: MarketRules = RULES, **changed: Any) -> list[str]:
    words = {"side": "buy", "type": "limit", "quantity": "1", "limit_price": "100"} | changed
    return list(rules.faults(read_ticket("main", "a", "o1", "BTC/USD", **words), Decimal(100)))


def test_what_keeps_the_rules_is_let_through() -> None:
    assert faults() == []
    assert faults(type="market", limit_price=None, quantity="0.10") == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"limit_price": "100.2"}, "limit_price: expected a multiple of 0.5, was 100.2; nearest: 100"),
        ({"limit_price": "100.25"}, "limit_price: expected a multiple of 0.5, was 100.25; nearest: 100.5"),
        (
            {"type": "stop", "limit_price": None, "stop_price": "99.9"},
            "stop_price: expected a multiple of 0.5, was 99.9; nearest: 100",
        ),
        ({"quantity": "1.004"}, "quantity: expected a multiple of 0.01, was 1.004; nearest: 1"),
        ({"quantity": "1.005"}, "quantity: expected a multiple of 0.01, was 1.005; nearest: 1.01"),
        ({"quantity": "2000.01"}, "quantity: expected at most 2000, for no more than 2 trade at a price, was 2000.01"),
        (
            {"quantity": "0.09"},
            "notional: expected at least 10 USD, was 9 (0.09 × 100); smallest quantity: 0.1",
        ),
        (
            {"quantity": "0.09", "limit_price": "101"},
            "notional: expected at least 10 USD, was 9.09 (0.09 × 101); smallest quantity: 0.1",
        ),
    ],
)
def test_what_does_not_is_told_with_the_nearest_that_would(changed: dict[str, Any], fault: str) -> None:
    assert faults(**changed) == [fault]


def test_the_nearest_quantity_is_never_below_the_smallest() -> None:
    rules = MarketRules(quantity_step=Decimal("0.02"), min_quantity=Decimal("0.01"))
    assert faults(rules, quantity="0.005") == ["quantity: expected at least 0.01, was 0.005"]
    assert faults(rules, quantity="0.011") == ["quantity: expected a multiple of 0.02, was 0.011; nearest: 0.02"]


def test_everything_wrong_is_told_at_once() -> None:
    assert [fault.split(":")[0] for fault in faults(limit_price="100.1", quantity="0.001")] == [
        "limit_price",
        "quantity",
        "notional",
    ]


def test_a_market_order_is_worth_what_it_would_cost_now() -> None:
    assert faults(type="market", limit_price=None, quantity="0.05") == [
        "notional: expected at least 10 USD, was 5 (0.05 × 100); smallest quantity: 0.1"
    ]


def test_rules_of_a_symbol_stand_for_those_of_all_others() -> None:
    named, rest = MarketRules(depth=Decimal(1)), MarketRules(depth=Decimal(9))
    markets = Markets({"*": rest, "BTC/USD": named})
    assert (markets.of("BTC/USD"), markets.of("ETH/USD")) == (named, rest)
    assert Markets().of("ETH/USD") == MarketRules()


def test_rules_are_told_as_they_are_held_to() -> None:
    rules = MarketRules(Decimal("0.10"), Decimal("0.001"), None, Decimal(5), depth=Decimal(2))
    assert rules_answer(rules) == {
        "price_step": "0.1",
        "quantity_step": "0.001",
        "min_quantity": None,
        "min_notional": "5",
        "contract_size": "1",
    }

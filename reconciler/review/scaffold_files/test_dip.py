"""The strategy under test, without an engine: prices are what the test says they are."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.strategy.testing import FakeContext, StrategyRun, load_strategy, run

DIP = load_strategy(Path(__file__).parents[1] / "strategies" / "dip.py")


@pytest.fixture
def context() -> FakeContext:
    context = FakeContext(market="EUR/USD")
    context.market.set_closes("1m", ["1.00", "1.10", "1.05"])
    return context


@pytest.fixture
def dip(context: FakeContext) -> StrategyRun[Any]:
    return run(DIP, {"quantity": "100", "dip": "0.05"}, context)


def placed(context: FakeContext) -> list[str]:
    return [f"{order.side} {order.quantity}" for order in context.orders.all()]


def test_it_buys_once_when_the_price_has_fallen_far_enough(dip: StrategyRun[Any], context: FakeContext) -> None:
    context.market.set_quote("1.06")
    dip.tick()
    assert placed(context) == []
    context.market.set_quote("1.04")
    dip.tick()
    dip.tick()
    assert placed(context) == ["buy 100"]


def test_it_sells_what_it_holds_when_the_high_is_reached_again(dip: StrategyRun[Any], context: FakeContext) -> None:
    context.market.set_quote("1.04")
    dip.tick()
    context.market.set_quote("1.10")
    dip.tick()
    assert placed(context) == ["buy 100", "sell 100"]
    assert context.orders.position().quantity == Decimal(0)


def test_a_reload_does_not_make_it_buy_again(dip: StrategyRun[Any], context: FakeContext) -> None:
    context.market.set_quote("1.04")
    dip.tick()
    dip.reload()
    dip.tick()
    assert placed(context) == ["buy 100"]

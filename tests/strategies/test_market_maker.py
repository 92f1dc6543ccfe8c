from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.strategy.testing import FakeContext, StrategyRun, load_strategy, run

PATH = Path(__file__).parents[2] / "strategies" / "market_maker.py"
CONFIG = {"quantity": "1", "max_inventory": "2", "half_spread": "0.01", "lean": "0.02", "tolerance": "0.001"}


@pytest.fixture(params=["observe", "active"])
def maker(request: pytest.FixtureRequest) -> StrategyRun[Any]:
    context = FakeContext(mode=request.param)
    context.market.set_quote("100")
    return run(load_strategy(PATH), CONFIG, context)


def standing(maker: StrategyRun[Any]) -> list[str]:
    return [f"{order.side} {order.quantity} at {order.limit_price}" for order in maker.context.orders.open()]


def test_with_nothing_it_only_bids(maker: StrategyRun[Any]) -> None:
    maker.tick()
    assert standing(maker) == ["buy 1 at 99.00"]


def test_filled_it_asks_too_and_both_lean_down(maker: StrategyRun[Any]) -> None:
    maker.tick()
    (bought,) = maker.follow([("98.5", "98.9")], minutes=0.1)
    assert (bought.quantity, bought.average_price) == (Decimal(1), Decimal("98.9"))
    assert standing(maker) == ["buy 1 at 96.73", "sell 1 at 98.70"]


def test_it_never_holds_more_than_it_may_however_far_the_market_falls(maker: StrategyRun[Any]) -> None:
    maker.follow([str(100 - 5 * number) for number in range(12)], minutes=0.1)
    assert maker.context.orders.position().quantity == 2
    assert [one.split()[0] for one in standing(maker)] == ["sell"]
    assert maker.widget("state")["label"] == "full"


def test_it_never_sells_more_than_it_holds_however_far_the_market_rises(maker: StrategyRun[Any]) -> None:
    maker.follow(["98", "96", *(str(96 + number) for number in range(20))], minutes=0.1)
    assert maker.context.orders.position().quantity == 0
    assert maker.strategy.sold == maker.strategy.bought > 0
    assert all(order.request.reduce_only for order in maker.context.orders.all() if order.side == "sell")


def test_an_order_near_enough_stays_and_one_that_is_not_is_moved(maker: StrategyRun[Any]) -> None:
    maker.tick()
    maker.follow(["100.05"], minutes=0.1)
    assert len(maker.context.orders.all()) == 1
    maker.follow(["101"], minutes=0.1)
    assert standing(maker) == ["buy 1 at 99.99"]
    assert len(maker.context.orders.all()) == 2


def test_while_nobody_knows_what_stands_nothing_is_added(maker: StrategyRun[Any]) -> None:
    maker.context.orders.answer_next("unknown")
    maker.tick()
    maker.follow(["105", "110"], minutes=0.1)
    assert len(maker.context.orders.all()) == 1
    assert Decimal(1) == maker.context.orders.all()[0].quantity

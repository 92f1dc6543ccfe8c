from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.strategy.testing import FakeContext, StrategyRun, load_strategy, run

PATH = Path(__file__).parents[2] / "strategies" / "rebalance.py"


@pytest.fixture
def context() -> FakeContext:
    context = FakeContext(mode="active")
    context.market.set_quote("99", "101")
    context.add_data_market("ETH/USD").set_quote("10")
    context.account.set_balance("USD", "1000")
    context.account.set_balance("BTC", "5")
    return context


def balanced(context: FakeContext, **config: Any) -> StrategyRun[Any]:
    return run(
        load_strategy(PATH), {"weight": "0.5", "markets": ["ETH/USD"], "quantity_step": "0.01", **config}, context
    )


def placed(context: FakeContext) -> list[str]:
    return [f"{order.side} {order.quantity}" for order in context.orders.all()]


def test_it_buys_its_share_of_what_the_account_is_worth(context: FakeContext) -> None:
    context.account.set_position("ETH/USD", "20")
    balanced(context).tick()
    assert placed(context) == ["buy 5.94"], "half of 1,000 and 20 × 10, at the ask, in whole steps"


def test_within_its_band_it_leaves_things_as_they_are(context: FakeContext) -> None:
    context.account.set_position("BTC/USD", "9.5")
    one = balanced(context)
    one.tick()
    assert placed(context) == []
    assert one.widget("state")["label"] == "within its band"


def test_it_sells_what_is_too_much_and_never_more_than_it_bought(context: FakeContext) -> None:
    one = balanced(context)
    one.tick()
    assert context.orders.position().quantity == Decimal("4.95")
    context.account.set_position("BTC/USD", "30")
    one.tick()
    assert placed(context) == ["buy 4.95", "sell 4.95"]
    assert context.orders.all()[-1].request.reduce_only


def test_a_market_that_the_record_does_not_name_or_in_another_currency_is_refused(context: FakeContext) -> None:
    with pytest.raises(ValueError, match="expected markets in USD, was ETH/EUR"):
        balanced(context, markets=["ETH/EUR"])
    with pytest.raises(ValueError, match="name it in the record"):
        balanced(context, markets=["SOL/USD"])


def test_what_was_refused_is_not_asked_for_at_once(context: FakeContext) -> None:
    one = balanced(context)
    context.orders.answer_next("rejected", "insufficient balance")
    one.tick()
    one.tick()
    assert len(placed(context)) == 1
    context.advance(minutes=11)
    one.tick()
    assert len(placed(context)) == 2

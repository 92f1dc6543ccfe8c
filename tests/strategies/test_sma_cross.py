from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reconciler.strategy.testing import FakeContext, StrategyRun, run

Start = Callable[..., StrategyRun[Any]]
CONFIG = {"quantity": "2", "fast": 2, "slow": 4}
FLAT = ["10"] * 6
UP, DOWN = [*FLAT, "12"], [*FLAT, "8"]
RISING = [*FLAT, "12", "14"]


@pytest.fixture(params=["observe", "active"])
def context(request: pytest.FixtureRequest) -> FakeContext:
    context = FakeContext(mode=request.param)
    context.market.set_quote("11", "12")
    return context


@pytest.fixture
def start(sma_cross_class: Any, context: FakeContext) -> Start:
    return lambda **config: run(sma_cross_class, {**CONFIG, **config}, context)


def placed(context: FakeContext) -> list[str]:
    return [f"{order.side} {order.quantity}" for order in context.orders.all()]


def test_a_cross_above_buys_and_a_fall_below_closes(start: Start, context: FakeContext) -> None:
    cross = start()
    context.market.set_closes("1m", FLAT)
    cross.tick()
    assert placed(context) == []
    context.market.set_closes("1m", UP)
    cross.tick()
    assert placed(context) == ["buy 2"]
    context.advance(minutes=1)
    context.market.set_closes("1m", RISING)
    cross.tick()
    assert placed(context) == ["buy 2"]
    context.market.set_closes("1m", [*UP, "1"])
    cross.tick()
    assert placed(context) == ["buy 2", "sell 2"]
    assert context.orders.all()[-1].request.reduce_only
    cross.tick()
    assert len(placed(context)) == 2


def test_a_trend_that_began_earlier_is_not_joined(start: Start, context: FakeContext) -> None:
    context.market.set_closes("1m", RISING)
    start().tick()
    assert placed(context) == []


def test_a_fall_missed_while_nothing_ran_still_closes(start: Start, context: FakeContext) -> None:
    cross = start()
    context.market.set_closes("1m", UP)
    cross.tick()
    cross.reload()
    context.advance(minutes=30)
    context.market.set_closes("1m", [*FLAT, "8", "7", "6"])
    cross.tick()
    assert placed(context) == ["buy 2", "sell 2"]


@pytest.mark.parametrize("outcome", ["unknown", "pending"])
def test_nothing_is_stacked_on_an_order_that_is_not_settled(start: Start, context: FakeContext, outcome: str) -> None:
    context.orders.answer_next(outcome)
    context.market.set_closes("1m", UP)
    cross = start()
    cross.tick()
    cross.reload()
    context.advance(minutes=1)
    context.market.set_closes("1m", UP)
    cross.tick()
    assert placed(context) == ["buy 2"]
    context.fill(context.orders.settle(context.orders.all()[0], "accepted"))
    context.orders.answer_next(outcome)
    context.market.set_closes("1m", DOWN)
    for _ in range(3):
        cross.tick()
        cross.reload()
    assert placed(context) == ["buy 2", "sell 2"]


def test_a_refused_purchase_is_tried_again_only_in_another_candle(start: Start, context: FakeContext) -> None:
    context.orders.answer_next("rejected")
    context.market.set_closes("1m", UP)
    cross = start()
    cross.tick()
    context.advance(seconds=6)
    cross.tick()
    assert placed(context) == ["buy 2"]
    context.advance(minutes=1)
    context.market.set_closes("1m", UP)
    cross.tick()
    assert placed(context) == ["buy 2", "buy 2"]


def test_a_partly_filled_purchase_is_closed_by_what_is_held(start: Start, context: FakeContext) -> None:
    cross = start()
    context.orders.answer_next("unknown")
    context.market.set_closes("1m", UP)
    cross.tick()
    order = context.orders.settle(context.orders.all()[0], "accepted")
    context.fill(order, quantity="0.5", price="11")
    context.orders.cancel(order.client_order_id)
    context.market.set_closes("1m", DOWN)
    cross.tick()
    assert placed(context) == ["buy 2", "sell 0.5"]


def test_too_few_candles_trade_nothing_and_say_so(start: Start, context: FakeContext) -> None:
    context.market.set_closes("1m", ["1", "2", "3", "9"])
    cross = start()
    cross.tick()
    assert placed(context) == []
    assert cross.widget("candles")["value"] == "4 of 5 candles"


def test_the_page_draws_the_averages_that_decide(start: Start, context: FakeContext) -> None:
    context.market.set_closes("1m", UP)
    cross = start()
    cross.tick()
    close, fast, slow = cross.widget("averages")["series"]
    assert [s["name"] for s in (close, fast, slow)] == ["close", "fast 2", "slow 4"]
    assert [close["points"][-1][1], fast["points"][-1][1], slow["points"][-1][1]] == [12.0, 11.0, 10.5]
    assert cross.widget("trend")["label"] == "rising"


def test_before_the_first_tick_there_is_something_to_show(start: Start) -> None:
    assert start().strategy.render()[0]["label"] == "gathering candles"


def test_a_fast_average_that_is_not_faster_is_refused(start: Start) -> None:
    with pytest.raises(ValueError, match=r"config\.fast: expected fewer candles than config\.slow \(4\), was 4"):
        start(fast=4)


def holding(start: Start, context: FakeContext) -> StrategyRun[Any]:
    """It bought 2, and wants to sell."""
    cross = start()
    context.market.set_closes("1m", UP)
    cross.tick()
    context.advance(minutes=1)
    context.market.set_closes("1m", DOWN)
    return cross


def test_a_refused_sale_is_asked_for_again_after_ten_minutes_and_not_at_every_tick(
    start: Start, context: FakeContext
) -> None:
    cross = holding(start, context)
    context.orders.answer_next("rejected")
    for _ in range(50):
        cross.tick()
        cross.reload()
        context.advance(seconds=6)
    assert placed(context) == ["buy 2", "sell 2"]
    assert "refused by the exchange, next try at" in cross.widget("state")["label"]
    context.advance(minutes=6)
    context.market.set_closes("1m", DOWN)
    cross.tick()
    assert placed(context) == ["buy 2", "sell 2", "sell 2"]


@pytest.mark.parametrize(
    ("available", "sold"), [("1.998", "1.998"), ("7", "2"), ("0", "2"), (None, "2")], ids=["fee", "more", "none", "no"]
)
def test_after_a_refusal_it_sells_what_the_account_can_sell(
    start: Start, context: FakeContext, available: str | None, sold: str
) -> None:
    if available is not None:
        context.account.set_balance("BTC", available)
    cross = holding(start, context)
    context.orders.answer_next("rejected")
    cross.tick()
    context.advance(minutes=11)
    context.market.set_closes("1m", DOWN)
    cross.tick()
    assert placed(context) == ["buy 2", "sell 2", f"sell {sold}"]


def test_what_is_less_than_a_step_is_kept_and_stands_in_no_purchases_way(start: Start, context: FakeContext) -> None:
    cross = holding(lambda: start(quantity_step="1.5"), context)
    cross.tick()
    assert placed(context) == ["buy 2", "sell 1.5"]
    context.advance(minutes=1)
    context.market.set_closes("1m", UP)
    cross.tick()
    assert placed(context) == ["buy 2", "sell 1.5", "buy 2"]

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.strategy.testing import FakeContext, StrategyRun, run

Start = Callable[..., StrategyRun[Any]]
CONFIG = {"notional": "50", "every_minutes": 60}


@pytest.fixture(params=["observe", "active"])
def context(request: pytest.FixtureRequest) -> FakeContext:
    context = FakeContext(mode=request.param, now="2026-01-05T12:10:00Z")
    context.market.set_quote("99", "100")
    return context


@pytest.fixture
def start(dca_class: Any, context: FakeContext) -> Start:
    return lambda **config: run(dca_class, {**CONFIG, **config}, context)


def bought(context: FakeContext) -> list[Decimal]:
    return [order.quantity for order in context.orders.all() if order.outcome != "rejected"]


def test_it_buys_once_an_interval(start: Start, context: FakeContext) -> None:
    dca = start()
    for _ in range(3):
        dca.tick()
        context.advance(minutes=10)
    assert bought(context) == [Decimal("0.5")]
    context.advance(minutes=20)
    dca.tick()
    assert len(bought(context)) == 2


def test_intervals_are_aligned_to_the_clock(start: Start, context: FakeContext) -> None:
    dca = start()
    dca.tick()
    context.advance(minutes=49, seconds=59)
    dca.tick()
    assert len(bought(context)) == 1
    context.advance(seconds=1)
    dca.tick()
    assert len(bought(context)) == 2


@pytest.mark.parametrize("notional", ["50", "80"])
def test_a_reload_between_ticks_never_buys_twice(start: Start, context: FakeContext, notional: str) -> None:
    dca = start()
    dca.tick()
    dca.reload({**CONFIG, "notional": notional})
    dca.tick()
    dca.reload()
    context.advance(minutes=1)
    dca.tick()
    assert len(bought(context)) == 1


@pytest.mark.parametrize("outcome", ["unknown", "pending"])
def test_an_outcome_that_is_not_known_counts_as_bought(start: Start, context: FakeContext, outcome: str) -> None:
    context.orders.answer_next(outcome)
    dca = start()
    for _ in range(3):
        dca.tick()
        dca.reload()
    assert len(context.orders.all()) == 1
    context.orders.settle(context.orders.all()[0], "accepted")
    dca.tick()
    assert len(context.orders.all()) == 1


def test_what_the_exchange_refused_is_tried_again_after_ten_minutes_and_not_at_every_tick(
    start: Start, context: FakeContext
) -> None:
    context.orders.answer_next("rejected", "no funds")
    dca = start()
    dca.tick()
    assert len(context.orders.all()) == 1
    assert context.log.lines[-1] == ("info", "buy 0.5 at about 100: rejected no funds")
    dca.tick()
    context.advance(minutes=9)
    dca.reload()
    dca.tick()
    assert len(context.orders.all()) == 1
    assert dca.widget("state")["label"] == "refused by the exchange, next try at 12:20 UTC"
    context.advance(minutes=1)
    dca.tick()
    assert len(context.orders.all()) == 2
    assert bought(context) == [Decimal("0.5")]
    dca.tick()
    assert len(context.orders.all()) == 2


def test_nothing_is_bought_above_the_ceiling(start: Start, context: FakeContext) -> None:
    dca = start(price_ceiling="99.99")
    dca.tick()
    assert bought(context) == []
    assert dca.widget("state")["label"] == "above the ceiling"
    context.market.set_quote("99", "99.99")
    dca.tick()
    assert len(bought(context)) == 1
    assert dca.widget("state")["label"] == "bought"


@pytest.mark.parametrize(
    ("ask", "step", "quantity"),
    [("100", "0.00000001", "0.5"), ("3", "0.00000001", "16.66666666"), ("3", "0.01", "16.66"), ("3", "5", "15")],
)
def test_the_quantity_is_rounded_down_to_a_step(
    start: Start, context: FakeContext, ask: str, step: str, quantity: str
) -> None:
    context.market.set_quote(ask)
    start(quantity_step=step).tick()
    assert bought(context) == [Decimal(quantity)]


def test_less_than_one_step_is_not_bought_and_said(start: Start, context: FakeContext) -> None:
    start(quantity_step="1").tick()
    assert context.orders.all() == ()
    assert context.log.lines == [("warning", "50 buys less than one step of 1 at 100")]


def test_a_clock_set_back_does_not_buy_again(start: Start, context: FakeContext) -> None:
    dca = start()
    dca.tick()
    context.clock.set_wall(context.clock.time() - 7200)
    dca.tick()
    assert len(bought(context)) == 1


def test_the_page_shows_the_plan(start: Start) -> None:
    dca = start(price_ceiling="200")
    dca.tick()
    assert dca.widget("ask")["value"] == "100"
    assert dca.widget("interval")["value"] == 600
    assert dca.widget("plan")["pairs"] == [
        ["notional", "50"],
        ["ceiling", "200"],
        ["next interval", "2026-01-05T13:00:00.000Z"],
    ]
    assert dca.widget("purchases")["rows"][0][1:3] == ["0.5", "100"]


@pytest.mark.parametrize("config", [{"notional": 50}, {"notional": "0"}, {"every_minutes": 0}, {"every": 5}])
def test_a_config_that_makes_no_sense_is_refused(start: Start, config: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"config\."):
        start(**config)


events = st.lists(
    st.sampled_from(["tick", "reload", "edit", "minute", "half an hour", "reject", "unknown", "settle"]), max_size=40
)


@given(events)
def test_whatever_happens_it_never_buys_twice_in_an_interval(dca_class: Any, happening: list[str]) -> None:
    context = FakeContext(now="2026-01-05T12:10:00Z")
    context.market.set_quote("99", "100")
    dca = run(dca_class, CONFIG, context)
    for event in happening:
        match event:
            case "tick":
                dca.tick()
            case "reload":
                dca.reload()
            case "edit":
                dca.reload({**CONFIG, "price_ceiling": "1000", "notional": "70"})
            case "minute":
                context.advance(minutes=1)
            case "half an hour":
                context.advance(minutes=30)
            case "reject" | "unknown":
                context.orders.answer_next({"reject": "rejected"}.get(event, event))
            case "settle":
                for order in context.orders.all():
                    if order.outcome == "unknown":
                        context.orders.settle(order, "accepted")
    hours = [order.created_at.hour for order in context.orders.all() if order.outcome != "rejected"]
    assert len(hours) == len(set(hours))

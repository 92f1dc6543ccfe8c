from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.strategy import Order, Outcome
from reconciler.strategy.testing import FakeContext, StrategyRun, run

Start = Callable[..., StrategyRun[Any]]
CONFIG = {"quantity": "0.1", "levels": 3, "spacing": "0.01", "price_step": "0.01", "changes_per_tick": 20}


@pytest.fixture(params=["observe", "active"])
def context(request: pytest.FixtureRequest) -> FakeContext:
    context = FakeContext(mode=request.param)
    context.market.set_quote("99.9", "100.1")
    hold(context, "1")
    return context


def hold(context: FakeContext, quantity: str) -> None:
    """Let it have bought so much before: what covers the sells of its ladder."""
    with context.orders.placing():
        context.orders.place("buy", quantity)


def placed(context: FakeContext) -> list[Order]:
    """What the grid itself has placed, oldest first."""
    return [order for order in context.orders.all() if order.type == "limit"]


@pytest.fixture
def start(grid_class: Any, context: FakeContext) -> Start:
    return lambda **config: run(grid_class, {**CONFIG, **config}, context)


def ladder(context: FakeContext) -> list[str]:
    """What rests in the book, from the lowest price up."""
    return [f"{o.side} {o.limit_price}" for o in sorted(context.orders.open(), key=lambda o: o.limit_price or 0)]


# Powers of 1.01: 461 → 98.21, 462 → 99.19, 463 → 100.18, 464 → 101.19; a market at 100 is between 462 and 463.
FULL = ["buy 97.24", "buy 98.21", "sell 101.19", "sell 102.20", "sell 103.22"]


def test_it_hangs_a_ladder_around_the_market_and_leaves_the_nearest_rungs_empty(
    start: Start, context: FakeContext
) -> None:
    grid = start()
    grid.tick()
    assert ladder(context) == FULL
    grid.tick()
    assert ladder(context) == FULL
    assert grid.widget("ladder")["label"] == "complete"


def test_a_reload_finds_its_own_orders_where_it_would_put_them(start: Start, context: FakeContext) -> None:
    grid = start()
    grid.tick()
    context.market.set_quote("100.6", "100.8")
    for _ in range(3):
        grid.reload()
        grid.tick()
    assert [o for o in placed(context) if not o.is_open] == []
    assert ladder(context) == ["buy 97.24", "buy 98.21", "buy 99.19", "sell 101.19", "sell 102.20", "sell 103.22"]
    assert grid.widget("centre")["value"] == "100.18"


def fill(context: FakeContext, *prices: str) -> None:
    for order in context.orders.open():
        if str(order.limit_price) in prices:
            context.fill(order)


def test_what_was_bought_is_sold_a_rung_higher_and_not_bought_again_before(start: Start, context: FakeContext) -> None:
    grid = start()
    grid.tick()
    fill(context, "98.21")
    context.market.set_quote("98.10", "98.20")
    grid.tick()
    assert ladder(context) == ["buy 97.24", "sell 99.19", "sell 100.18", "sell 101.19", "sell 102.20", "sell 103.22"]
    context.market.set_quote("98.50", "98.60")
    grid.tick()
    assert "buy 98.21" not in ladder(context)
    fill(context, "99.19")
    context.market.set_quote("99.20", "99.30")
    grid.tick()
    assert "buy 98.21" in ladder(context)
    assert context.orders.position().quantity == 1


def test_a_market_that_runs_away_takes_the_ladder_with_it(start: Start, context: FakeContext) -> None:
    grid = start(recentre_after=4)
    grid.tick()
    fill(context, "101.19", "102.20", "103.22")
    context.market.set_quote("103.9", "104.1")
    grid.tick()
    assert grid.widget("centre")["value"] == "100.18"
    context.market.set_quote("104.9", "105.1")
    grid.tick()
    assert grid.widget("centre")["value"] == "105.29"
    assert ladder(context) == ["buy 102.20", "buy 103.22", "sell 106.35", "sell 107.41", "sell 108.48"]
    cancelled = [str(o.limit_price) for o in context.orders.all() if o.state == "cancelled"]
    assert sorted(cancelled) == ["100.18", "101.19", "97.24", "98.21", "99.19"]


def test_a_centre_of_its_own_stays(start: Start, context: FakeContext) -> None:
    grid = start(centre="100")
    context.market.set_quote("149", "151")
    grid.tick()
    assert grid.widget("centre")["value"] == "100.18"
    assert all(line.startswith("buy") for line in ladder(context))
    assert len(ladder(context)) == 7


@pytest.mark.parametrize("most", [1, 2])
def test_a_tick_changes_no_more_than_it_may(start: Start, context: FakeContext, most: int) -> None:
    grid = start(changes_per_tick=most)
    grid.tick()
    assert len(placed(context)) == most
    assert ladder(context)[0] == ("buy 98.21" if most == 2 else "sell 101.19")
    for _ in range(5):
        grid.tick()
    assert ladder(context) == FULL
    before = len(placed(context))
    grid.reload({**CONFIG, "changes_per_tick": most, "levels": 1})
    grid.tick()
    assert len([o for o in context.orders.all() if o.state == "cancelled"]) == most
    assert len(placed(context)) == before


def test_an_edit_replaces_what_no_longer_fits(start: Start, context: FakeContext) -> None:
    grid = start()
    grid.tick()
    grid.reload({**CONFIG, "quantity": "0.2"})
    grid.tick()
    assert {o.quantity for o in context.orders.open()} == {Decimal("0.2")}
    assert ladder(context) == FULL


def test_a_refusal_ends_its_side_but_not_the_other(start: Start, context: FakeContext) -> None:
    context.orders.answer_next("rejected", "nothing to sell")
    grid = start()
    grid.tick()
    assert ladder(context) == ["buy 97.24", "buy 98.21"]
    assert context.log.lines[-1] == ("warning", "sell at 101.19: rejected nothing to sell")
    grid.tick()
    assert ladder(context) == ["buy 97.24", "buy 98.21"]
    context.advance(minutes=10)
    grid.tick()
    assert ladder(context) == FULL


def test_what_the_exchange_refused_is_not_asked_again_at_every_tick_nor_after_a_reload(
    start: Start, context: FakeContext
) -> None:
    """Each would be a row of its own in the ledger: it was sent."""
    context.orders.answer_next("rejected", "insufficient balance")
    grid = start()
    for _ in range(9):
        grid.tick()
        context.advance(minutes=1)
        grid.reload()
    assert [order.outcome for order in placed(context)].count(Outcome.REJECTED) == 1


def bare(start_class: Any, mode: str, **config: Any) -> tuple[FakeContext, StrategyRun[Any]]:
    context = FakeContext(mode=mode)
    context.market.set_quote("99.9", "100.1")
    return context, run(start_class, {**CONFIG, **config}, context)


@pytest.mark.parametrize("mode", ["observe", "active"])
def test_it_sells_only_what_its_own_position_covers(grid_class: Any, mode: str) -> None:
    context, grid = bare(grid_class, mode)
    grid.tick()
    assert ladder(context) == FULL[:2]
    assert grid.widget("ladder")["label"] == "complete"
    fill(context, "98.21")
    grid.tick()
    assert [line for line in ladder(context) if line.startswith("sell")] == ["sell 101.19"]
    (sell,) = [order for order in context.orders.open() if order.side == "sell"]
    context.fill(sell, quantity="0.04")
    grid.tick()
    assert [line for line in ladder(context) if line.startswith("sell")] == ["sell 101.19"]
    hold(context, "0.15")
    grid.tick()
    assert [line for line in ladder(context) if line.startswith("sell")] == ["sell 101.19", "sell 102.20"]


def test_a_reload_of_a_ladder_of_buys_alone_keeps_it_where_it_is(grid_class: Any) -> None:
    context, grid = bare(grid_class, "active", recentre_after=3)
    grid.tick()
    context.market.set_quote("101.9", "102.1")
    grid.reload()
    grid.tick()
    assert grid.widget("centre")["value"] == "100.18"
    assert [order for order in placed(context) if not order.is_open] == []


@pytest.mark.parametrize("outcome", ["unknown", "pending"])
def test_an_order_whose_outcome_is_not_known_is_neither_repeated_nor_cancelled(
    start: Start, context: FakeContext, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    cancelled: list[str] = []
    monkeypatch.setattr(context.orders, "cancel", cancelled.append)
    context.orders.answer_next(outcome)
    grid = start()
    grid.tick()
    (unsettled,) = context.orders.open()
    grid.reload({**CONFIG, "quantity": "0.2"})
    grid.tick()
    assert cancelled == []
    assert [o for o in placed(context) if o.limit_price == unsettled.limit_price] == [unsettled]


def test_before_the_first_tick_there_is_something_to_show(start: Start) -> None:
    assert start().strategy.render()[0]["label"] == "waiting for the first tick"


moves = st.lists(st.sampled_from(["up", "down", "jump", "tick", "reload", "reject"]), max_size=60)


@given(moves)
def test_whatever_happens_no_rung_ever_holds_two_orders(grid_class: Any, happening: list[str]) -> None:
    context = FakeContext()
    price = Decimal(100)
    context.market.set_quote(price)
    grid = run(grid_class, {**CONFIG, "changes_per_tick": 3}, context)
    for event in happening:
        match event:
            case "tick":
                grid.tick()
            case "reload":
                grid.reload()
            case "reject":
                context.orders.answer_next("rejected")
            case _:
                price *= {"up": Decimal("1.004"), "down": Decimal("0.996"), "jump": Decimal("1.09")}[event]
                context.market.set_quote(price.quantize(Decimal("0.01")))
                for order in context.orders.open():
                    limit = order.limit_price or Decimal(0)
                    if limit >= price if order.side == "buy" else limit <= price:
                        context.fill(order)
        offered = sum(o.quantity - o.filled_quantity for o in context.orders.open() if o.side == "sell")
        assert offered <= context.orders.position().quantity
        prices = [order.limit_price for order in context.orders.open()]
        assert len(prices) == len(set(prices))
        assert len(prices) <= 2 * CONFIG["levels"] + 1 + 6  # type: ignore[operator]


@pytest.mark.parametrize(("held", "sold"), [("0.0999", "0.0999"), ("0.0951", "0.0951"), ("0.09", None), ("0.1", "0.1")])
def test_where_a_fee_was_kept_of_what_was_bought_it_sells_that_much_less(
    grid_class: Any, held: str, sold: str | None
) -> None:
    context, grid = bare(grid_class, "active", quantity_step="0.0001")
    hold(context, held)
    grid.tick()
    grid.tick()
    sells = [str(order.quantity.normalize()) for order in context.orders.open() if order.side == "sell"]
    assert sells == ([] if sold is None else [sold]), "and what it sells is no stray at the next tick"


def test_it_says_what_it_waits_for_after_a_refusal(start: Start, context: FakeContext) -> None:
    context.orders.answer_next("rejected", "nothing to sell")
    grid = start()
    grid.tick()
    assert grid.widget("ladder")["label"].startswith("sell refused by the exchange, next try at ")

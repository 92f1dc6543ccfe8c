from __future__ import annotations

import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.strategy import OrderType
from reconciler.strategy.testing import FakeContext, StrategyRun, load_strategy, run

PATH = Path(__file__).parents[2] / "strategies" / "mean_reversion.py"
CALM = ["100", "101", "99", "100", "101", "99", "100", "101", "99"]


@pytest.fixture(params=["observe", "active"])
def reverting(request: pytest.FixtureRequest) -> StrategyRun[Any]:
    context = FakeContext(mode=request.param)
    context.market.set_quote("99.9", "100.1")
    context.market.set_closes("15m", [*CALM, "100"])
    return run(load_strategy(PATH), {"quantity": "2", "candles": 10, "stop": "0.05"}, context)


def fallen(reverting: StrategyRun[Any]) -> FakeContext:
    """It has bought what fell, at 95."""
    context = reverting.context
    context.market.set_closes("15m", [*CALM, "90"])
    context.market.set_quote("94.9", "95.0")
    reverting.tick()
    assert context.orders.position().quantity == 2
    return context


def test_it_waits_while_closes_are_near_their_average(reverting: StrategyRun[Any]) -> None:
    reverting.tick()
    assert reverting.context.orders.all() == ()
    assert reverting.widget("waits")["label"] == "for a close far enough below the average"


def test_it_buys_what_fell_far_and_sets_a_stop_at_the_loss_that_is_allowed(reverting: StrategyRun[Any]) -> None:
    context = fallen(reverting)
    reverting.tick()
    (stop,) = context.orders.open()
    assert (stop.type, stop.request.stop_price, stop.quantity) == (OrderType.STOP, Decimal("90.2"), Decimal(2))
    assert stop.request.reduce_only
    reverting.tick()
    assert len(context.orders.all()) == 2, "one stop is enough"


def test_the_stop_sells_and_nothing_is_bought_for_a_while(reverting: StrategyRun[Any]) -> None:
    context = fallen(reverting)
    reverting.follow([("94", "94.1"), ("90", "90.1"), ("88", "88.1")])
    assert context.orders.position().quantity == 0
    assert "stopped: sold 2 at 90" in context.log.lines[-1][1]
    assert reverting.widget("waits")["label"] == "after a stop"
    bought = len(context.orders.all())
    reverting.reload()
    reverting.follow([("80", "80.1")] * 3)
    assert len(context.orders.all()) == bought
    context.advance(minutes=15 * 21)
    context.market.set_closes("15m", [*CALM, "80"])
    reverting.tick()
    assert len(context.orders.all()) == bought + 1


def test_back_at_the_average_it_cancels_the_stop_and_sells(reverting: StrategyRun[Any]) -> None:
    context = fallen(reverting)
    reverting.tick()
    context.market.set_closes("15m", [*CALM, "101"])
    context.market.set_quote("101", "101.1")
    reverting.tick()
    assert context.orders.open() == ()
    assert context.orders.position().quantity == 0


def test_an_order_whose_outcome_is_not_known_is_waited_for(reverting: StrategyRun[Any]) -> None:
    context = reverting.context
    context.market.set_closes("15m", [*CALM, "90"])
    context.orders.answer_next("unknown")
    reverting.tick()
    reverting.tick()
    assert len(context.orders.all()) == 1


def test_with_an_index_it_buys_only_what_is_oversold(reverting: StrategyRun[Any]) -> None:
    pytest.importorskip("talipp", reason="the extra `indicators` is not installed")
    context = reverting.context
    rising = [str(100 + step) for step in range(99)]
    context.market.set_closes("15m", [*rising, "190"])
    config = {"quantity": "2", "candles": 10, "stop": "0.05", "deviations": "1", "rsi_below": 30}
    reverting.reload(config)
    reverting.tick()
    assert context.orders.all() == ()
    assert reverting.widget("waits")["label"] == "for a relative strength that is low enough"
    assert 30 < float(reverting.widget("rsi")["value"]) < 100
    context.market.set_closes("15m", [*reversed(rising), "90"])
    reverting.tick()
    assert reverting.strategy.rsi < 30
    assert context.orders.position().quantity == 2


def test_an_index_of_so_few_candles_is_none_and_is_waited_for(reverting: StrategyRun[Any]) -> None:
    pytest.importorskip("talipp", reason="the extra `indicators` is not installed")
    reverting.reload({"quantity": "2", "candles": 10, "rsi_below": 30})
    reverting.tick()
    assert reverting.widget("waits")["label"] == "for 100 candles, which the relative strength index needs"


def test_without_the_library_it_says_what_to_install_and_does_without_where_nothing_is_asked(
    reverting: StrategyRun[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "talipp.indicators", None)
    reverting.reload({"quantity": "2", "candles": 10})
    reverting.tick()
    with pytest.raises(RuntimeError, match=r"pip install 'strategy-reconciler\[indicators\]'"):
        reverting.reload({"quantity": "2", "candles": 10, "rsi_below": 30})

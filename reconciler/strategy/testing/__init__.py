"""Fakes to test a strategy with: no engine, no exchange, no waiting.

    from reconciler.strategy.testing import FakeContext, load_strategy, run

    Dca = load_strategy("strategies/dca.py")

    def test_it_buys_once_an_hour():
        context = FakeContext(market="BTC/USD")
        context.market.set_quote("99", "100")
        dca = run(Dca, {"notional": "50", "every_minutes": 60}, context)
        dca.tick()
        dca.reload()
        dca.tick()
        assert [order.quantity for order in context.orders.all()] == [Decimal("0.5")]
        context.advance(minutes=60)
        dca.tick()
        assert len(context.orders.all()) == 2

The fakes refuse what the engine refuses: floats, placing outside `on_tick`, a new order while the outcome of an
earlier one is unknown, widgets of a wrong shape, a config that its schema does not allow.
"""

from reconciler.strategy.testing.fake_context import FakeContext, FakeLog, StrategyRun, load_strategy, run
from reconciler.strategy.testing.fake_exchange import FakeAccount, FakeInstance, FakeMarket, FakeOrders, candles_of

__all__ = [
    "FakeAccount",
    "FakeContext",
    "FakeInstance",
    "FakeLog",
    "FakeMarket",
    "FakeOrders",
    "StrategyRun",
    "candles_of",
    "load_strategy",
    "run",
]

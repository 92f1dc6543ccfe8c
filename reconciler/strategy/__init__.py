"""What a strategy author imports: the class to subclass, the widgets to render, the values that come back.

`reconciler.strategy.testing` has the fakes to test a strategy with.
"""

from reconciler.errors import CapabilityUnavailable, ExecError, TradingClosed
from reconciler.orders.market import Balance, Candle, InstrumentRules, Position, Quote, gaps
from reconciler.orders.order import Order, OrderState, OrderType, Outcome, RejectedBy, Side, TimeInForce
from reconciler.strategy.base import AMOUNT, FRACTION, Context, Strategy
from reconciler.strategy.widgets import badge, bar, candles, keyvalue, line, log, metric, progress, table, text

__all__ = [
    "AMOUNT",
    "FRACTION",
    "Balance",
    "Candle",
    "CapabilityUnavailable",
    "Context",
    "ExecError",
    "InstrumentRules",
    "Order",
    "OrderState",
    "OrderType",
    "Outcome",
    "Position",
    "Quote",
    "RejectedBy",
    "Side",
    "Strategy",
    "TimeInForce",
    "TradingClosed",
    "badge",
    "bar",
    "candles",
    "gaps",
    "keyvalue",
    "line",
    "log",
    "metric",
    "progress",
    "table",
    "text",
]

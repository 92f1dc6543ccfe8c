"""Trend following with two moving averages of closed candles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from reconciler.strategy import AMOUNT, Candle, Side, Strategy, badge, keyvalue, line, metric

MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
SHOWN = 60


class SmaCross(Strategy):
    """Goes long when the fast average crosses above the slow one, and closes when it is below.

    A purchase needs a cross in the last closed candle and is tried once for each candle; closing only needs the
    fast average to be below, so that a cross missed while nothing ran still ends the position. While an order is
    open, or its outcome not known, nothing is added to it.
    """

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {
        "type": "object",
        "additionalProperties": False,
        "required": ["quantity"],
        "properties": {
            "quantity": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Quantity",
                "description": "What to hold while the trend is up, in the base currency, as a quoted decimal",
                "examples": ["0.01"],
            },
            "fast": {
                "type": "integer",
                "minimum": 1,
                "maximum": 200,
                "default": 5,
                "title": "Fast average",
                "description": "Candles in the fast average; fewer than in the slow one",
            },
            "slow": {
                "type": "integer",
                "minimum": 2,
                "maximum": 400,
                "default": 20,
                "title": "Slow average",
                "description": "Candles in the slow average",
            },
            "timeframe": {
                "enum": list(MINUTES),
                "default": "1m",
                "title": "Timeframe",
                "description": "Length of a candle",
            },
        },
    }

    def init(self) -> None:
        self.fast, self.slow = self.config["fast"], self.config["slow"]
        if self.fast >= self.slow:
            raise ValueError(f"config.fast: expected fewer candles than config.slow ({self.slow}), was {self.fast}")
        self.quantity = Decimal(self.config["quantity"])
        self.timeframe = self.config["timeframe"]
        self.candles: Sequence[Candle] = ()

    def on_tick(self) -> None:
        self.candles = self.context.market.candles(self.timeframe, self.slow + SHOWN)
        if len(self.candles) <= self.slow or self.has_open_orders():
            return
        held = self.context.orders.position().quantity
        if held > 0 and self.gap(0) < 0:
            self.trade("sell", held)
        elif held <= 0 and self.gap(1) <= 0 < self.gap(0) and not self.tried_in_this_candle():
            self.trade("buy", self.quantity)

    def trade(self, side: str, quantity: Decimal) -> None:
        order = self.context.orders.place(side, quantity, reduce_only=side == "sell")
        self.context.log.info(f"{side} {quantity}: {order.outcome} {order.reason}".rstrip())

    def has_open_orders(self) -> bool:
        """Orders whose outcome is not known included."""
        return any(order.is_open for order in (*self.context.orders.open(), *self.context.orders.recent()))

    def tried_in_this_candle(self) -> bool:
        closed_at = self.candles[-1].opened_at + timedelta(minutes=MINUTES[self.timeframe])
        return any(o.side is Side.BUY and o.created_at >= closed_at for o in self.context.orders.recent())

    def gap(self, ago: int) -> Decimal:
        """How far the fast average is above the slow one, `ago` candles before the last."""
        return self.average(self.fast, ago) - self.average(self.slow, ago)

    def average(self, count: int, ago: int = 0) -> Decimal:
        end = len(self.candles) - ago
        return sum((candle.close for candle in self.candles[end - count : end]), Decimal(0)) / count

    def render(self) -> Sequence[dict[str, Any]]:
        if len(self.candles) <= self.slow:
            seen = f"{len(self.candles)} of {self.slow + 1} candles"
            return [badge("trend", "Trend", "gathering candles", "info"), metric("candles", "Candles", seen)]
        rising = self.gap(0) > 0
        shown = range(min(SHOWN, len(self.candles) - self.slow) - 1, -1, -1)
        when = [self.candles[-1 - ago].opened_at for ago in shown]
        return [
            badge("trend", "Trend", "rising" if rising else "falling", "ok" if rising else "neutral"),
            metric("close", "Last close", self.candles[-1].close),
            line(
                "averages",
                "Averages",
                {
                    "close": zip(when, [self.candles[-1 - ago].close for ago in shown], strict=True),
                    f"fast {self.fast}": zip(when, [self.average(self.fast, ago) for ago in shown], strict=True),
                    f"slow {self.slow}": zip(when, [self.average(self.slow, ago) for ago in shown], strict=True),
                },
            ),
            keyvalue("plan", "Plan", {"timeframe": self.timeframe, "quantity": self.quantity}),
        ]

"""Buys the dip: an example to read, change and replace."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from reconciler.strategy import AMOUNT, FRACTION, Strategy, badge, metric


class Dip(Strategy):
    """Buys once when the price has fallen far enough below its recent high, and sells when it is back there."""

    TICK_MINUTES = 0.2
    CONFIG_SCHEMA = {
        "type": "object",
        "required": ["quantity"],
        "properties": {
            "quantity": {
                "type": "string",
                "pattern": AMOUNT,
                "description": "How much to buy, in the base currency, as a quoted decimal",
                "examples": ["100"],
            },
            "dip": {
                "type": "string",
                "pattern": FRACTION,
                "default": "0.002",
                "description": "How far the price must have fallen, as a fraction of the high: 0.002 is 0.2 %",
            },
            "minutes": {
                "type": "integer",
                "minimum": 2,
                "maximum": 500,
                "default": 30,
                "description": "How many minutes back the high is looked for",
            },
        },
    }

    def init(self) -> None:
        self.high: Decimal | None = None
        self.fallen: Decimal | None = None

    def on_tick(self) -> None:
        closes = [candle.close for candle in self.context.market.candles("1m", self.config["minutes"])]
        if not closes:
            return
        quote = self.context.market.quote()
        self.high = max(closes)
        self.fallen = 1 - quote.ask / self.high
        if self.context.orders.open():
            return  # wait for what is under way
        if self.held() == 0 and self.fallen >= Decimal(self.config["dip"]):
            self.context.orders.place("buy", self.config["quantity"])
        elif self.held() > 0 and quote.bid >= self.high:
            self.context.orders.place("sell", self.held(), reduce_only=True)

    def held(self) -> Decimal:
        """Read from the orders, not remembered: so it outlives a reload."""
        return self.context.orders.position().quantity

    def render(self) -> Sequence[dict[str, Any]]:
        return [
            badge("state", "State", "in the dip" if self.held() else "waiting", "info"),
            metric("high", "High", self.high),
            metric("fallen", "Fallen", self.fallen and f"{self.fallen:.2%}"),
        ]

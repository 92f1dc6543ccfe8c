"""Trend following with two moving averages of closed candles."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from reconciler.strategy import (
    AMOUNT,
    Candle,
    CapabilityUnavailable,
    ExecError,
    Order,
    RejectedBy,
    Side,
    Strategy,
    badge,
    keyvalue,
    line,
    metric,
)

MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
SHOWN = 60
WAIT = timedelta(minutes=10)
"""After the exchange refused an order, how long none of its side is placed."""


class SmaCross(Strategy):
    """Goes long when the fast average crosses above the slow one, and closes when it is below.

    A purchase needs a cross in the last closed candle and is tried once for each candle; closing only needs the
    fast average to be below, so that a cross missed while nothing ran still ends the position. While an order is
    open, or its outcome not known, nothing is added to it. What the exchange refused is asked for again some minutes
    later: a sale then of what the account can sell, where that is less than what it holds by its fills.
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
            "quantity_step": {
                "type": "string",
                "pattern": AMOUNT,
                "default": "0.00000001",
                "title": "Quantity step",
                "description": "A sale is rounded down to a multiple of this: what the exchange accepts",
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
        self.step = Decimal(self.config["quantity_step"])
        self.timeframe = self.config["timeframe"]
        self.candles: Sequence[Candle] = ()

    def on_tick(self) -> None:
        self.candles = self.context.market.candles(self.timeframe, self.slow + SHOWN)
        if len(self.candles) <= self.slow or self.has_open_orders():
            return
        held = self.held()
        if held > 0 and self.gap(0) < 0 and not self.lately_refused(Side.SELL):
            self.trade("sell", self.sellable(held))
        elif held <= 0 and self.gap(1) <= 0 < self.gap(0) and not self.tried_in_this_candle():
            self.trade("buy", self.quantity)

    def held(self) -> Decimal:
        """The position, in whole steps: what is less than one can only be kept."""
        return self.in_steps(self.context.orders.position().quantity)

    def in_steps(self, quantity: Decimal) -> Decimal:
        steps = quantity // self.step
        return quantity if steps * self.step == quantity else steps * self.step

    def sellable(self, held: Decimal) -> Decimal:
        """What of it the account can sell: all, until the exchange refused a sale; a fee may have been kept of it."""
        if not self.refused(Side.SELL):
            return held
        asset = self.context.instance.market.partition("/")[0]
        try:
            found = [one.available for one in self.context.account.balances() if one.asset == asset]
        except (CapabilityUnavailable, ExecError):
            return held
        available = min((self.in_steps(one) for one in found), default=held)
        return min(held, available) if available > 0 else held

    def refused(self, side: Side) -> Order | None:
        """The last order of that side, where the exchange refused it."""
        last = next((o for o in self.context.orders.recent() if o.side is side), None)
        return last if last is not None and last.rejected_by is RejectedBy.EXCHANGE else None

    def lately_refused(self, side: Side) -> Order | None:
        """An order of that side that the exchange refused not long ago: asking at every tick would change nothing."""
        since = self.context.now() - WAIT
        for order in self.context.orders.recent():
            if order.side is side and order.rejected_by is RejectedBy.EXCHANGE and order.created_at > since:
                return order
        return None

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

    def waiting(self) -> dict[str, Any]:
        """What it waits for, in a word."""
        for side in (Side.SELL, Side.BUY):
            if (order := self.lately_refused(side)) is not None:
                until = f"{order.created_at + WAIT:%H:%M} UTC"
                return badge("state", "State", f"{side} refused by the exchange, next try at {until}", "warning")
        if self.has_open_orders():
            return badge("state", "State", "waiting for its order", "info")
        return badge("state", "State", "waiting to sell" if self.held() > 0 else "waiting for a cross", "info")

    def render(self) -> Sequence[dict[str, Any]]:
        if len(self.candles) <= self.slow:
            seen = f"{len(self.candles)} of {self.slow + 1} candles"
            return [badge("trend", "Trend", "gathering candles", "info"), metric("candles", "Candles", seen)]
        rising = self.gap(0) > 0
        shown = range(min(SHOWN, len(self.candles) - self.slow) - 1, -1, -1)
        when = [self.candles[-1 - ago].opened_at for ago in shown]
        return [
            badge("trend", "Trend", "rising" if rising else "falling", "ok" if rising else "neutral"),
            self.waiting(),
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

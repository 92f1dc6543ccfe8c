"""Mean reversion with a stop: buys what has fallen unusually far, sells it at its average, or at a loss that is set."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from reconciler.strategy import (
    AMOUNT,
    FRACTION,
    Candle,
    Order,
    OrderState,
    OrderType,
    Outcome,
    RejectedBy,
    Side,
    Strategy,
    badge,
    keyvalue,
    metric,
)

MINUTES = {"1m": 1, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}
WAIT = timedelta(minutes=10)
"""After the exchange refused an order, how long none of its side is placed."""
RSI_CANDLES, RSI_MEMORY = 14, 100
"""Of the relative strength index, which is smoothed: it must see more candles than it is named after."""
RSI_MISSING = "config.rsi_below: needs the package talipp: pip install 'strategy-reconciler[indicators]'"


def rsi_indicator() -> Any:
    """The library's indicator, looked for only where it is asked for: whoever does without needs no extra."""
    try:
        from talipp.indicators import RSI
    except ImportError as error:
        raise RuntimeError(RSI_MISSING) from error
    return RSI


class MeanReversion(Strategy):
    """Buys a close unusually far below its average, sells it back at the average, and bounds the loss by a stop.

    How far is told in deviations of the last closes. The stop is an order at the exchange, so it holds while nothing
    runs here; it is placed anew where it is missing. After a stop it waits, for what falls may go on falling. With
    `rsi_below` it buys only what the relative strength index calls oversold, too.
    """

    TICK_MINUTES = 1.0
    CONFIG_SCHEMA = {
        "type": "object",
        "additionalProperties": False,
        "required": ["quantity"],
        "properties": {
            "quantity": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Quantity",
                "description": "What to buy, in the base currency, as a quoted decimal",
                "examples": ["0.01"],
            },
            "candles": {
                "type": "integer",
                "minimum": 5,
                "maximum": 500,
                "default": 20,
                "title": "Window",
                "description": "Closed candles that make the average and the deviation",
            },
            "deviations": {
                "type": "string",
                "pattern": AMOUNT,
                "default": "2",
                "title": "Entry",
                "description": "It buys so many deviations below the average",
            },
            "stop": {
                "type": "string",
                "pattern": FRACTION,
                "default": "0.02",
                "title": "Stop",
                "description": "It sells at a loss of this fraction of what it paid",
            },
            "pause_candles": {
                "type": "integer",
                "minimum": 0,
                "maximum": 500,
                "default": 20,
                "title": "Pause",
                "description": "After a stop it buys nothing for so many candles",
            },
            "rsi_below": {
                "type": "integer",
                "minimum": 1,
                "maximum": 99,
                "title": "Oversold",
                "description": "It buys only while the relative strength index of 14 candles is below this; "
                "left out, that is not asked. Needs the package talipp, the extra `indicators`",
                "examples": [30],
            },
            "timeframe": {
                "enum": list(MINUTES),
                "default": "15m",
                "title": "Timeframe",
                "description": "Length of a candle",
            },
        },
    }

    def init(self) -> None:
        self.quantity = Decimal(self.config["quantity"])
        self.entry = Decimal(self.config["deviations"])
        self.length = timedelta(minutes=MINUTES[self.config["timeframe"]])
        self.mean: Decimal | None = None
        self.deviation = Decimal(0)
        self.waits = "for its first tick"
        self.window = self.config["candles"]
        self.rsi: float | None = None
        self.indicator = rsi_indicator() if "rsi_below" in self.config else None

    def on_order(self, order: Order) -> None:
        if order.type is OrderType.STOP and order.state is OrderState.FILLED:
            self.context.log.warning(f"stopped: sold {order.filled_quantity} at {order.average_price}")

    def on_tick(self) -> None:
        wanted = self.window if self.indicator is None else max(self.window, RSI_MEMORY)
        candles = self.context.market.candles(self.config["timeframe"], wanted)
        if len(candles) < self.window:
            self.waits = f"for candles: {len(candles)} of {self.window}"
            return
        self.measure(candles)
        position = self.context.orders.position()
        if any(order.outcome in (Outcome.PENDING, Outcome.UNKNOWN) for order in self.context.orders.open()):
            self.waits = "for an order whose outcome is not known"
        elif position.quantity > 0:
            self.hold(position.quantity, position.average_price, candles[-1].close)
        else:
            self.look(candles[-1])

    def measure(self, candles: Sequence[Candle]) -> None:
        if self.indicator is not None and len(candles) >= RSI_MEMORY:
            self.rsi = self.indicator(RSI_CANDLES, [float(candle.close) for candle in candles])[-1]
        closes = [candle.close for candle in candles[-self.window :]]
        self.mean = sum(closes, Decimal(0)) / len(closes)
        self.deviation = (sum(((one - self.mean) ** 2 for one in closes), Decimal(0)) / len(closes)).sqrt()

    def hold(self, held: Decimal, paid: Decimal | None, close: Decimal) -> None:
        """What it does with what it has: sell it at the average, else see that the stop stands."""
        assert self.mean is not None
        stops = [order for order in self.context.orders.open() if order.side is Side.SELL]
        if self.lately_refused(Side.SELL):
            self.waits = "some minutes, for the exchange refused a sale"
        elif close >= self.mean:
            for order in stops:
                self.context.orders.cancel(order.client_order_id)
            self.context.orders.place("sell", held, reduce_only=True)
            self.waits = "for its sale at the average"
        elif not stops and paid is not None:
            self.place_stop(held, paid)
        else:
            self.waits = "for the average, or the stop"

    def place_stop(self, held: Decimal, paid: Decimal) -> None:
        bid = self.context.market.quote().bid
        price = (paid * (1 - Decimal(self.config["stop"]))).quantize(bid)
        order = self.context.orders.place("sell", held, type="stop", stop_price=min(price, bid), reduce_only=True)
        self.context.log.info(f"stop at {price}: {order.outcome} {order.reason}".rstrip())
        self.waits = "for the average, or the stop"

    def look(self, last: Candle) -> None:
        """What it does while it has nothing."""
        assert self.mean is not None
        if self.context.orders.open():
            self.waits = "for the order that is under way"
        elif self.lately_refused(Side.BUY):
            self.waits = "some minutes, for the exchange refused a purchase"
        elif self.lately_stopped():
            self.waits = "after a stop"
        elif self.indicator is not None and self.rsi is None:
            self.waits = f"for {RSI_MEMORY} candles, which the relative strength index needs"
        elif self.rsi is not None and self.rsi >= self.config["rsi_below"]:
            self.waits = "for a relative strength that is low enough"
        elif last.close < self.mean - self.entry * self.deviation and not self.tried_in(last):
            self.context.orders.place("buy", self.quantity)
            self.waits = "for its purchase"
        else:
            self.waits = "for a close far enough below the average"

    def lately_stopped(self) -> bool:
        since = self.context.now() - self.config["pause_candles"] * self.length
        recent = self.context.orders.recent(50)
        return any(o.type is OrderType.STOP and o.filled_quantity and o.updated_at > since for o in recent)

    def tried_in(self, last: Candle) -> bool:
        closed_at = last.opened_at + self.length
        return any(o.side is Side.BUY and o.created_at >= closed_at for o in self.context.orders.recent())

    def lately_refused(self, side: Side) -> bool:
        since, recent = self.context.now() - WAIT, self.context.orders.recent()
        return any(o.side is side and o.rejected_by is RejectedBy.EXCHANGE and o.created_at > since for o in recent)

    def render(self) -> Sequence[dict[str, Any]]:
        held = self.context.orders.position().quantity
        return [
            badge("state", "State", "holding" if held else "flat", "ok" if held else "neutral"),
            badge("waits", "Waits", self.waits, "info"),
            metric("mean", "Average", None if self.mean is None else f"{self.mean:.6g}"),
            *([] if self.rsi is None else [metric("rsi", "Relative strength", f"{self.rsi:.1f}")]),
            keyvalue("plan", "Plan", {"quantity": self.quantity, "stop": self.config["stop"]}),
        ]

"""Rebalancing: each instance keeps its market at a share of what an account is worth over several markets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

from reconciler.strategy import (
    AMOUNT,
    FRACTION,
    RejectedBy,
    Strategy,
    badge,
    keyvalue,
    metric,
    progress,
)

WAIT = timedelta(minutes=10)
"""After the exchange refused an order, how long none is placed."""


class Rebalance(Strategy):
    """Keeps its market at a weight of the account, and trades only where it has strayed further than a band.

    One instance for each market of the basket, on one account, each naming the others' markets in `data_markets`; all
    of them priced in one currency. What the account is worth is its balance of that currency and its positions in
    these markets, whoever made them. An instance sells no more than it bought itself.
    """

    TICK_MINUTES = 60.0
    CONFIG_SCHEMA = {
        "type": "object",
        "additionalProperties": False,
        "required": ["weight"],
        "properties": {
            "weight": {
                "type": "string",
                "pattern": FRACTION,
                "title": "Weight",
                "description": "Its market's share of what the account is worth",
                "examples": ["0.3"],
            },
            "band": {
                "type": "string",
                "pattern": FRACTION,
                "default": "0.1",
                "title": "Band",
                "description": "It trades where the position is off by more than this fraction of what it should be",
            },
            "markets": {
                "type": "array",
                "items": {"type": "string"},
                "uniqueItems": True,
                "default": [],
                "title": "Other markets",
                "description": "The other markets of the basket: those of `data_markets` that count",
            },
            "quantity_step": {
                "type": "string",
                "pattern": AMOUNT,
                "default": "0.00000001",
                "title": "Quantity step",
                "description": "Quantities are rounded down to a multiple of this: what the exchange accepts",
            },
        },
    }

    def init(self) -> None:
        self.weight, self.band = Decimal(self.config["weight"]), Decimal(self.config["band"])
        self.step = Decimal(self.config["quantity_step"])
        self.base, _, self.currency = self.context.instance.market.partition("/")
        for symbol in self.config["markets"]:
            if symbol.partition("/")[2] != self.currency:
                raise ValueError(f"config.markets: expected markets in {self.currency}, was {symbol}")
            self.context.market_of(symbol)  # raises where data_markets does not name it
        self.worth = self.share = Decimal(0)
        self.waits = "for its first tick"

    def on_tick(self) -> None:
        quote = self.context.market.quote()
        held = {one.symbol: one.quantity for one in self.context.account.positions()}
        cash = sum((one.total for one in self.context.account.balances() if one.asset == self.currency), Decimal(0))
        own = held.get(self.context.instance.market, Decimal(0)) * quote.mid
        others = sum(
            (held.get(one, Decimal(0)) * self.context.market_of(one).quote().mid for one in self.config["markets"]),
            Decimal(0),
        )
        self.worth = cash + own + others
        if self.worth <= 0 or self.context.orders.open() or self.lately_refused():
            self.waits = "for an order that is under way, or was refused"
            return
        self.share = own / self.worth
        target = self.weight * self.worth
        if abs(own - target) <= self.band * target:
            self.waits = "within its band"
        elif own < target:
            self.trade("buy", (target - own) / quote.ask)
        else:
            self.trade("sell", min((own - target) / quote.bid, self.context.orders.position().quantity))

    def trade(self, side: str, quantity: Decimal) -> None:
        quantity = quantity // self.step * self.step
        if quantity <= 0:
            self.waits = "for it is off by less than a step"
            return
        order = self.context.orders.place(side, quantity, reduce_only=side == "sell")
        self.waits = f"{side} {quantity.normalize():f}: {order.outcome} {order.reason}".rstrip()
        self.context.log.info(self.waits)

    def lately_refused(self) -> bool:
        since, recent = self.context.now() - WAIT, self.context.orders.recent()
        return any(o.rejected_by is RejectedBy.EXCHANGE and o.created_at > since for o in recent)

    def render(self) -> Sequence[dict[str, Any]]:
        return [
            badge("state", "State", self.waits, "info"),
            progress("share", "Share", self.share, 1),
            metric("worth", "Worth", f"{self.worth:.2f}", unit=self.currency),
            keyvalue("plan", "Plan", {"weight": self.weight, "band": self.band}),
        ]

"""Market making on a spot market: a bid and an ask around the middle, leaning away from what it already holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from reconciler.strategy import (
    AMOUNT,
    FRACTION,
    Order,
    Outcome,
    RejectedBy,
    Side,
    Strategy,
    badge,
    keyvalue,
    metric,
    table,
)

WAIT = timedelta(minutes=10)
"""After the exchange refused an order, how long none of its side is placed."""


class MarketMaker(Strategy):
    """Bids below the middle and asks above it, and holds no more than it may.

    Both prices move down as it fills up, and up again as it sells: at its most it bids for nothing, with nothing it
    asks for nothing. An order stays while its price is near enough to the one it should have, so that not each move of
    the market costs two calls. It sells only what it bought.
    """

    TICK_MINUTES = 0.1
    CONFIG_SCHEMA = {
        "type": "object",
        "additionalProperties": False,
        "required": ["quantity", "max_inventory"],
        "properties": {
            "quantity": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Quantity",
                "description": "Of each order, in the base currency, as a quoted decimal",
                "examples": ["0.01"],
            },
            "max_inventory": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Most held",
                "description": "It bids for nothing that would make it hold more, in the base currency",
                "examples": ["0.1"],
            },
            "half_spread": {
                "type": "string",
                "pattern": FRACTION,
                "default": "0.002",
                "title": "Half spread",
                "description": "How far bid and ask are from the middle, as a fraction; more than the fee of a fill, "
                "or each round trip loses",
            },
            "lean": {
                "type": "string",
                "pattern": FRACTION,
                "default": "0.002",
                "title": "Lean",
                "description": "How far both prices are moved down when it holds its most, as a fraction",
            },
            "tolerance": {
                "type": "string",
                "pattern": FRACTION,
                "default": "0.0005",
                "title": "Tolerance",
                "description": "An order stays while its price is no further than this from where it should be",
            },
            "price_step": {
                "type": "string",
                "pattern": AMOUNT,
                "default": "0.01",
                "title": "Price step",
                "description": "Prices are multiples of this: what the exchange accepts",
            },
        },
    }

    def init(self) -> None:
        self.quantity = Decimal(self.config["quantity"])
        self.most = Decimal(self.config["max_inventory"])
        self.half, self.lean = Decimal(self.config["half_spread"]), Decimal(self.config["lean"])
        self.tolerance, self.step = Decimal(self.config["tolerance"]), Decimal(self.config["price_step"])
        self.held = Decimal(0)
        self.bought = self.sold = 0

    def on_order(self, order: Order) -> None:
        if order.filled_quantity and not order.is_open:
            self.bought += order.side is Side.BUY
            self.sold += order.side is Side.SELL

    def on_tick(self) -> None:
        middle = self.context.market.quote().mid
        self.held = self.context.orders.position().quantity
        centre = middle * (1 - self.lean * min(Decimal(1), max(Decimal(0), self.held) / self.most))
        bid = (centre * (1 - self.half) / self.step).to_integral_value(ROUND_FLOOR) * self.step
        ask = (centre * (1 + self.half) / self.step).to_integral_value(ROUND_CEILING) * self.step
        self.keep(Side.BUY, bid, min(self.quantity, self.most - self.held))
        self.keep(Side.SELL, ask, min(self.quantity, self.held))

    def keep(self, side: Side, price: Decimal, quantity: Decimal) -> None:
        """See that one order of `side` stands at about `price`, and no other; none where `quantity` is nothing."""
        standing = False
        for order in self.context.orders.open():
            if order.side is not side:
                continue
            if order.outcome in (Outcome.PENDING, Outcome.UNKNOWN):
                return  # nobody knows yet what stands
            at = order.limit_price or price
            left = order.quantity - order.filled_quantity
            if not standing and left <= quantity and abs(at - price) <= self.tolerance * price:
                standing = True
            else:
                self.context.orders.cancel(order.client_order_id)
        if not standing and quantity > 0 and price > 0 and not self.lately_refused(side):
            self.context.orders.place(side, quantity, type="limit", limit_price=price, reduce_only=side is Side.SELL)

    def lately_refused(self, side: Side) -> bool:
        since, recent = self.context.now() - WAIT, self.context.orders.recent()
        return any(o.side is side and o.rejected_by is RejectedBy.EXCHANGE and o.created_at > since for o in recent)

    def render(self) -> Sequence[dict[str, Any]]:
        orders = sorted(self.context.orders.open(), key=lambda o: o.limit_price or Decimal(0), reverse=True)
        rows = [[order.side, order.limit_price, order.quantity] for order in orders]
        return [
            badge("state", "State", "full" if self.held >= self.most else "quoting", "info"),
            metric("held", "Held", self.held),
            table("orders", "Orders", ["side", "price", "quantity"], rows),
            keyvalue("fills", "Orders that ended with a fill, since the load", {"buy": self.bought, "sell": self.sold}),
        ]

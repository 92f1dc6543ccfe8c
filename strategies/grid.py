"""A grid: buy a little lower, sell a little higher, over and over."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from reconciler.strategy import (
    AMOUNT,
    FRACTION,
    Order,
    OrderType,
    Outcome,
    RejectedBy,
    Side,
    Strategy,
    badge,
    bar,
    keyvalue,
    metric,
    table,
)

SENT = (Outcome.ACCEPTED, Outcome.SHADOW)
LEAST_SOLD = Decimal("0.95")
"""The part of a rung's quantity that must be held for it to be sold: fees may be kept of what was bought."""
WAIT = timedelta(minutes=10)
"""After the exchange refused an order, how long none of its side is placed."""


class Grid(Strategy):
    """Keeps a ladder of limit orders around a centre: buys below the market, sells above it.

    It sells only what its own position covers, so it begins with buys alone; where a fee was kept of what was bought,
    it sells that much less. Rungs are powers of 1 + spacing, the
    same ones for ever, so that a reload finds its own orders where it would put them; its centre is then the nearest
    to the market that keeps them all. A rung closer to the market than one spacing is left empty: what was just
    bought there would be sold at the same price. Without a `centre` of its own the ladder follows the market once
    that is more than `recentre_after` rungs away.
    """

    TICK_MINUTES = 0.2
    CONFIG_SCHEMA = {
        "type": "object",
        "additionalProperties": False,
        "required": ["quantity"],
        "properties": {
            "quantity": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Quantity",
                "description": "Of each order, in the base currency, as a quoted decimal",
                "examples": ["0.01"],
            },
            "levels": {
                "type": "integer",
                "minimum": 1,
                "maximum": 50,
                "default": 5,
                "title": "Levels",
                "description": "Rungs on each side of the centre",
            },
            "spacing": {
                "type": "string",
                "pattern": FRACTION,
                "default": "0.005",
                "title": "Spacing",
                "description": "From one rung to the next, as a fraction of the price: 0.005 is half a percent",
            },
            "centre": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Centre",
                "description": "Where the ladder stays, to the nearest rung; left out, it begins at the market and "
                "follows it",
            },
            "recentre_after": {
                "type": "integer",
                "minimum": 1,
                "maximum": 100,
                "default": 5,
                "title": "Recentre after",
                "description": "How many rungs the market may be away from the centre before the ladder moves there",
            },
            "price_step": {
                "type": "string",
                "pattern": AMOUNT,
                "default": "0.00001",
                "title": "Price step",
                "description": "Prices are rounded to a multiple of this: what the exchange accepts",
            },
            "quantity_step": {
                "type": "string",
                "pattern": AMOUNT,
                "default": "0.00000001",
                "title": "Quantity step",
                "description": "What is sold of less than a rung is rounded down to a multiple of this: what the "
                "exchange accepts",
            },
            "changes_per_tick": {
                "type": "integer",
                "minimum": 1,
                "maximum": 20,
                "default": 4,
                "title": "Changes per tick",
                "description": "At most this many orders are placed or cancelled in one tick, nearest rungs first",
            },
        },
    }

    def init(self) -> None:
        self.quantity = Decimal(self.config["quantity"])
        self.ratio = 1 + Decimal(self.config["spacing"])
        self.price_step = Decimal(self.config["price_step"])
        self.step = Decimal(self.config["quantity_step"])
        self.market = Decimal(0)
        self.stays = "centre" in self.config
        self.centre = round(self.rung(Decimal(self.config["centre"]))) if self.stays else None
        self.is_complete = False

    def on_tick(self) -> None:
        self.market = self.rung(self.context.market.quote().mid)
        if self.centre is None:
            self.centre = self.centre_of_own_orders()
        if self.centre is None or self.left_behind(self.centre):
            self.centre = round(self.market)
            self.context.log.info(f"centre at {self.price(self.centre)}")
        most = self.config["changes_per_tick"]
        self.place_missing(most - self.cancel_strays(most))

    def left_behind(self, centre: int) -> bool:
        return not self.stays and abs(self.market - centre) > self.config["recentre_after"]

    def cancel_strays(self, most: int) -> int:
        """Cancel own orders that are on no rung of the ladder, or of another size; returns how many."""
        prices = {self.price(rung) for rung in self.ladder()}
        sent = [order for order in self.context.orders.open() if order.outcome in SENT]
        strays = [o for o in sent if o.limit_price not in prices or not self.is_of_size(o)]
        for order in strays[:most]:
            self.context.orders.cancel(order.client_order_id)
        return len(strays[:most])

    def is_of_size(self, order: Order) -> bool:
        smallest = self.quantity if order.side is Side.BUY else self.quantity * LEAST_SOLD
        return smallest <= order.quantity <= self.quantity

    def place_missing(self, most: int) -> None:
        """Place at most this many missing orders, nearest to the market first; a refusal ends its side for now."""
        taken = {order.limit_price for order in self.context.orders.open()}
        missing = [r for r in self.ladder() if abs(r - self.market) >= 1 and self.price(r) not in taken]
        closed, covered = set(self.lately_refused()), self.covered()
        self.is_complete = True
        for rung in sorted(missing, key=lambda r: abs(r - self.market)):
            side = Side.BUY if rung < self.market else Side.SELL
            quantity = self.quantity if side is Side.BUY else min(self.quantity, covered // self.step * self.step)
            if side is Side.SELL and quantity < self.quantity * LEAST_SOLD:
                continue
            if side in closed or not most:
                self.is_complete = False
                continue
            order = self.context.orders.place(side, quantity, type="limit", limit_price=self.price(rung))
            most -= 1
            if side is Side.SELL:
                covered -= quantity
            if order.outcome not in SENT:
                closed.add(side)
                self.context.log.warning(f"{side} at {self.price(rung)}: {order.outcome} {order.reason}".rstrip())

    def covered(self) -> Decimal:
        """How much of its own position is not offered yet; in observe, of the simulated one."""
        sells = [order for order in self.context.orders.open() if order.side is Side.SELL]
        offered = sum((order.quantity - order.filled_quantity for order in sells), Decimal(0))
        return self.context.orders.position().quantity - offered

    def lately_refused(self) -> dict[Side, datetime]:
        """When the exchange last refused an order of a side, not long ago: asking at every tick would change nothing.

        Read from the book, so that neither an edit nor a restart asks sooner.
        """
        since = self.context.now() - WAIT
        recent = self.context.orders.recent(50)
        refused = [o for o in recent if o.rejected_by is RejectedBy.EXCHANGE and o.created_at > since]
        return {order.side: order.created_at for order in reversed(refused)}

    def ladder(self) -> range:
        """The rungs of the ladder, its centre included; none before the first tick."""
        levels = self.config["levels"]
        return range(0) if self.centre is None else range(self.centre - levels, self.centre + levels + 1)

    def centre_of_own_orders(self) -> int | None:
        """The centre, as near to the market as can be, of a ladder that holds all its resting orders; None without."""
        prices = [o.limit_price for o in self.context.orders.open() if o.type is OrderType.LIMIT and o.limit_price]
        if not prices:
            return None
        levels, rungs = self.config["levels"], [round(self.rung(price)) for price in prices]
        lowest, highest = max(rungs) - levels, min(rungs) + levels
        return min(max(round(self.market), lowest), highest) if lowest <= highest else None

    def rung(self, price: Decimal) -> Decimal:
        """Which rung a price is on; a fraction between two."""
        return price.ln() / self.ratio.ln()

    def price(self, rung: int) -> Decimal:
        exact: Decimal = self.ratio**rung
        return (exact / self.price_step).quantize(Decimal(1), ROUND_HALF_EVEN) * self.price_step

    def state(self) -> dict[str, Any]:
        """How far the ladder is, and what it waits for."""
        if refused := self.lately_refused():
            sides, until = ", ".join(sorted(refused)), f"{max(refused.values()) + WAIT:%H:%M} UTC"
            return badge("ladder", "Ladder", f"{sides} refused by the exchange, next try at {until}", "warning")
        return badge(
            "ladder",
            "Ladder",
            "complete" if self.is_complete else "filling",
            "ok" if self.is_complete else "info",
        )

    def render(self) -> Sequence[dict[str, Any]]:
        if self.centre is None:
            return [badge("ladder", "Ladder", "waiting for the first tick", "info")]
        orders = sorted(self.context.orders.open(), key=lambda o: o.limit_price or Decimal(0), reverse=True)
        buys = sum(order.side is Side.BUY for order in orders)
        return [
            self.state(),
            metric("centre", "Centre", self.price(self.centre)),
            bar("sides", "Resting orders", {"buy": buys, "sell": len(orders) - buys}),
            table(
                "rungs", "Rungs", ["side", "price", "quantity"], [[o.side, o.limit_price, o.quantity] for o in orders]
            ),
            keyvalue("plan", "Plan", {"levels": self.config["levels"], "spacing": self.config["spacing"]}),
        ]

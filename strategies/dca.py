"""Dollar-cost averaging: the same amount of money, again and again, whatever the price."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from reconciler.strategy import (
    AMOUNT,
    Order,
    Outcome,
    RejectedBy,
    Side,
    Strategy,
    badge,
    keyvalue,
    metric,
    progress,
    table,
)

WAIT = timedelta(minutes=10)
"""After the exchange refused a purchase, how long none is tried."""


class Dca(Strategy):
    """Buys a fixed notional once every interval of the clock, and never above a ceiling.

    Whether this interval's purchase was made is read from the book, so neither an edit nor a restart buys twice.
    An order whose outcome is not known counts as bought. One that the engine refused is tried again at the next tick;
    one that the exchange refused, some minutes later.
    """

    TICK_MINUTES = 0.5
    CONFIG_SCHEMA = {
        "type": "object",
        "additionalProperties": False,
        "required": ["notional"],
        "properties": {
            "notional": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Notional",
                "description": "Money to spend on each purchase, in the quote currency, as a quoted decimal",
                "examples": ["100"],
            },
            "every_minutes": {
                "type": "integer",
                "minimum": 1,
                "maximum": 527_040,
                "default": 60,
                "title": "Interval",
                "description": "Minutes in an interval; intervals are counted from the Unix epoch, so 60 begins each "
                "full hour and 1440 each day, UTC",
            },
            "price_ceiling": {
                "type": "string",
                "pattern": AMOUNT,
                "title": "Price ceiling",
                "description": "Nothing is bought while the ask is above this price; left out, there is no ceiling",
            },
            "quantity_step": {
                "type": "string",
                "pattern": AMOUNT,
                "default": "0.00000001",
                "title": "Quantity step",
                "description": "The quantity is rounded down to a multiple of this: what the exchange accepts",
            },
        },
    }

    def init(self) -> None:
        self.notional = Decimal(self.config["notional"])
        self.interval_s = self.config["every_minutes"] * 60
        self.ceiling = Decimal(self.config["price_ceiling"]) if "price_ceiling" in self.config else None
        self.step = Decimal(self.config["quantity_step"])
        self.ask: Decimal | None = None

    def on_tick(self) -> None:
        self.ask = self.context.market.quote().ask
        if self.bought() or self.too_dear() or self.lately_refused():
            return
        quantity = self.notional / self.ask // self.step * self.step
        if not quantity:
            self.context.log.warning(f"{self.notional} buys less than one step of {self.step} at {self.ask}")
            return
        order = self.context.orders.place("buy", quantity)
        self.context.log.info(
            f"buy {quantity.normalize():f} at about {self.ask}: {order.outcome} {order.reason}".rstrip()
        )

    def bought(self) -> Order | None:
        """This interval's purchase, None where there was none."""
        now = self.interval(self.context.now())
        for order in self.context.orders.recent():
            spent = order.side is Side.BUY and order.outcome is not Outcome.REJECTED
            if spent and self.interval(order.created_at) >= now:
                return order
        return None

    def lately_refused(self) -> bool:
        """True where the exchange refused a purchase not long ago: asking at every tick would change nothing."""
        since, recent = self.context.now() - WAIT, self.context.orders.recent()
        return any(o.rejected_by is RejectedBy.EXCHANGE and o.created_at > since for o in recent)

    def next_try(self) -> datetime:
        """When a purchase is tried again after the exchange refused one."""
        refused = (o.created_at for o in self.context.orders.recent() if o.rejected_by is RejectedBy.EXCHANGE)
        return max(refused) + WAIT

    def too_dear(self) -> bool:
        return self.ceiling is not None and self.ask is not None and self.ask > self.ceiling

    def interval(self, moment: datetime) -> int:
        """The number of the interval that `moment` falls into."""
        return int(moment.timestamp() // self.interval_s)

    def render(self) -> Sequence[dict[str, Any]]:
        now = self.context.now()
        begun_s = now.timestamp() % self.interval_s
        ends = datetime.fromtimestamp((self.interval(now) + 1) * self.interval_s, UTC)
        recent = self.context.orders.recent(10)
        return [
            self.state(),
            metric("ask", "Ask", self.ask),
            progress("interval", "This interval", begun_s, self.interval_s),
            keyvalue("plan", "Plan", {"notional": self.notional, "ceiling": self.ceiling, "next interval": ends}),
            table(
                "purchases",
                "Last purchases",
                ["when", "quantity", "price", "outcome"],
                [[o.created_at, o.quantity, o.average_price, o.outcome] for o in recent],
            ),
        ]

    def state(self) -> dict[str, Any]:
        if self.bought():
            return badge("state", "State", "bought", "ok")
        if self.too_dear():
            return badge("state", "State", "above the ceiling", "warning")
        if self.lately_refused():
            return badge(
                "state", "State", f"refused by the exchange, next try at {self.next_try():%H:%M} UTC", "warning"
            )
        return badge("state", "State", "waiting", "info")

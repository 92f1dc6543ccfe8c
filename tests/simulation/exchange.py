"""A model exchange: takes orders, keeps them whatever becomes of the engine, and tells what it may only later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from reconciler.clock import Clock, iso
from reconciler.errors import ExecRejected
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.orders.order import OrderState, decimal_text

BID, PRICE, ASK = Decimal(99), Decimal(100), Decimal(101)


@dataclass
class Placed:
    """One order as the exchange has it. Until `visible_s` (wall time) it tells nobody that it is there."""

    arguments: dict[str, Any]
    visible_s: float
    clock: Clock
    state: OrderState = OrderState.OPEN
    filled: Decimal = Decimal(0)
    fills: list[tuple[float, Decimal]] = field(default_factory=list)
    """When (wall time) how much was filled."""

    @property
    def quantity(self) -> Decimal:
        return Decimal(self.arguments["quantity"])

    @property
    def is_open(self) -> bool:
        return not self.state.is_final

    @property
    def is_over_unfilled(self) -> bool:
        return self.state.is_final and not self.filled

    def fill(self, quantity: Decimal) -> None:
        self.filled += quantity
        self.fills.append((self.clock.time(), quantity))
        self.state = OrderState.FILLED if self.filled >= self.quantity else OrderState.PARTIALLY_FILLED

    def expire(self) -> None:
        self.state = OrderState.EXPIRED

    def told(self) -> dict[str, Any]:
        about = {name: self.arguments[name] for name in ("client_order_id", "symbol", "side", "quantity")}
        return {
            **about,
            "order_id": f"x-{about['client_order_id']}",
            "status": self.state.value,
            "filled_quantity": decimal_text(self.filled),
            **({"average_price": str(PRICE)} if self.filled else {}),
        }


@dataclass
class Exchange:
    """`received` has every `place_order` that got here, refused ones too; `orders` those it took."""

    clock: Clock
    received: list[dict[str, Any]] = field(default_factory=list)
    orders: dict[str, Placed] = field(default_factory=dict)
    quoted_ago_s: float | None = 0.0
    """How old its quotes are, None where it has none."""
    at_once: Decimal = Decimal(0)
    """How much of a limit order that could trade at once does so, as a part of it; what does not rests."""
    strangers: set[str] = field(default_factory=set)
    """The client_order_ids of orders that others placed."""
    fires_at_s: dict[str, float] = field(default_factory=dict)
    """By account: when all that is open there is cancelled."""
    by_hand: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """By account and symbol: what somebody else traded there."""
    untrue: dict[tuple[str, str], Decimal | None] = field(default_factory=dict)
    """By account and symbol: what it says is held there, whatever is; None where it leaves it out."""
    bid: Decimal = BID
    ask: Decimal = ASK
    equity: defaultdict[str, Decimal] = field(default_factory=lambda: defaultdict(lambda: Decimal(1_000_000)))
    """By account, in USD."""

    def take(self, arguments: Mapping[str, Any], delay_s: float) -> Placed:
        """Take an order. A second one of the same client_order_id is a second order: this exchange forgives nothing."""
        order = Placed(dict(arguments), self.clock.time() + delay_s, self.clock)
        if arguments["type"] == "market":
            order.fill(order.quantity)
        elif self.at_once and self._could_trade(arguments):
            order.fill(order.quantity * self.at_once)
        self.orders[arguments["client_order_id"]] = order
        return order

    def _could_trade(self, arguments: Mapping[str, Any]) -> bool:
        limit = Decimal(arguments["limit_price"])
        return limit >= self.ask if arguments["side"] == "buy" else limit <= self.bid

    def visible(self) -> list[Placed]:
        return [order for order in self.orders.values() if order.visible_s <= self.clock.time()]

    def seen(self, client_order_id: str) -> Placed | None:
        """What somebody sees who looks at the exchange's own pages."""
        return next((order for order in self.visible() if order.arguments["client_order_id"] == client_order_id), None)

    def find(self, arguments: Mapping[str, Any]) -> Placed:
        """The order asked for, by whoever placed it. Raises OrderNotFound."""
        for order in self.visible():
            if all(order.arguments[name] == arguments[name] for name in ("client_order_id", "account_id", "client_id")):
                return order
        raise OrderNotFound("no such order")

    def answer(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Everything but `place_order`."""
        tools: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "get_quote": self._quote,
            "get_rules": lambda asked: {},
            "get_order": lambda asked: self.find(asked).told(),
            "cancel_order": self._cancel,
            "cancel_all": self._cancel_all,
            "cancel_all_after": self._cancel_all_after,
            "list_orders": self._list,
            "get_positions": self._positions,
            "get_balances": self._balances,
        }
        return tools[tool](arguments)

    def _quote(self, _: Mapping[str, Any]) -> dict[str, Any]:
        if self.quoted_ago_s is None:
            raise ExecRejected("symbol not found")
        return {"bid": str(self.bid), "ask": str(self.ask), "as_of": iso(self.clock.time() - self.quoted_ago_s)}

    def _cancel(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        order = self.find(arguments)
        if not order.is_open:
            raise ExecRejected(f"it is {order.state}")
        order.state = OrderState.CANCELLED
        return order.told()

    def rest(self, account_id: str, client_id: str) -> None:
        """Somebody else leaves an order resting there."""
        id_ = f"stranger-{len(self.strangers)}"
        asked = {"client_order_id": id_, "symbol": "BTC/USD", "side": "buy", "type": "limit", "quantity": "1"}
        self.strangers.add(id_)
        self.take({**asked, "limit_price": "50", "account_id": account_id, "client_id": client_id}, 0.0)

    def open_of(self, **who: str) -> list[Placed]:
        own = [order for order in self.visible() if order.is_open]
        return [order for order in own if all(order.arguments[name] == value for name, value in who.items())]

    def _cancel_all(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        for order in self.open_of(**arguments):
            order.state = OrderState.CANCELLED
        return {}

    def _cancel_all_after(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.fires_at_s.pop(arguments["account_id"], None)
        if arguments["seconds"]:
            self.fires_at_s[arguments["account_id"]] = self.clock.time() + arguments["seconds"]
        return {}

    def fire(self) -> list[str]:
        """The accounts whose switch fires now: nobody has said for too long that he is there."""
        due = [account_id for account_id, at_s in self.fires_at_s.items() if at_s <= self.clock.time()]
        for account_id in due:
            del self.fires_at_s[account_id]
            for order in self.open_of(account_id=account_id):
                order.state = OrderState.CANCELLED
        return due

    def _list(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        who = (arguments["account_id"], arguments["client_id"])
        return {
            "orders": [
                order.told()
                for order in self.visible()
                if order.is_open and (order.arguments["account_id"], order.arguments["client_id"]) == who
            ]
        }

    def held(self, account_id: str) -> dict[str, Decimal]:
        """What is held on the account, by symbol, by whoever traded there."""
        held: dict[str, Decimal] = {}
        for order in self.visible():
            if order.arguments["account_id"] == account_id:
                sign = 1 if order.arguments["side"] == "buy" else -1
                symbol = order.arguments["symbol"]
                held[symbol] = held.get(symbol, Decimal(0)) + sign * order.filled
        for (account, symbol), quantity in self.by_hand.items():
            if account == account_id:
                held[symbol] = held.get(symbol, Decimal(0)) + quantity
        return held

    def says_held(self, account_id: str) -> dict[str, Decimal]:
        """What it says is."""
        held: dict[str, Decimal | None] = {**self.held(account_id)}
        held.update({symbol: said for (account, symbol), said in self.untrue.items() if account == account_id})
        return {symbol: quantity for symbol, quantity in held.items() if quantity is not None}

    def _positions(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Whichever of the account's clients asks."""
        held = self.says_held(arguments["account_id"])
        return {"positions": [{"symbol": symbol, "quantity": decimal_text(held[symbol])} for symbol in held]}

    def _balances(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The same for whichever of its clients asks."""
        return {
            "balances": [],
            "equity": {"amount": decimal_text(self.equity[arguments["account_id"]]), "currency": "USD"},
        }

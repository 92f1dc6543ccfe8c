"""Orders as tests write them, and what they look at afterwards."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from reconciler.paper.exchange import PaperExchange
from reconciler.paper.paper_order import PaperOrder, read_ticket


def place(exchange: PaperExchange, id: str = "o1", **changed: Any) -> PaperOrder:
    asked: dict[str, Any] = {
        "account_id": "main",
        "client_id": "a",
        "client_order_id": id,
        "symbol": "BTC/USD",
        "side": "buy",
        "type": "market",
        "quantity": "2",
    }
    return exchange.place_order(read_ticket(**{**asked, **changed}))


def limit(exchange: PaperExchange, price: str, id: str = "o1", **changed: Any) -> PaperOrder:
    return place(exchange, id, type="limit", limit_price=price, **changed)


def held(exchange: PaperExchange, account_id: str = "main") -> dict[str, tuple[Decimal, Decimal]]:
    return {b.asset: (b.total, b.available) for b in exchange.get_balances(account_id)}


def get(exchange: PaperExchange, id: str = "o1") -> PaperOrder:
    return exchange.get_order("main", "a", id)

"""What exec-mcp servers answer, read into records. Pure: JSON values in, frozen values out.

Field names are the contract's; a server with other words is translated before it gets here. Every
function raises Unreadable for an answer that does not say what it must.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from reconciler.errors import ExecError
from reconciler.records.market import Balance, Candle, Position, Quote
from reconciler.records.order import OrderState


class Unreadable(ExecError):
    """The server answered, but not with what the contract asks for."""


@dataclass(frozen=True, slots=True)
class ReportedFill:
    """One execution, as the exchange tells it."""

    fill_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime


@dataclass(frozen=True, slots=True)
class OrderReport:
    """The exchange's word on one order. `refusal` says why it never became one, empty where it did.

    `fills` is None where the server does not tell executions apart. `tells_filled` is False where it says nothing of
    what was filled.
    """

    order_id: str | None
    state: OrderState | None
    filled_quantity: Decimal
    average_price: Decimal | None
    fee: Decimal | None
    refusal: str = ""
    fills: tuple[ReportedFill, ...] | None = None
    tells_filled: bool = True

    @property
    def hides_fills(self) -> bool:
        """True where it says that the order ended, but not what was filled before: then that must be looked up.

        Taken for the last word, it would hide what was filled in between.
        """
        return self.state in (OrderState.CANCELLED, OrderState.EXPIRED) and not self.tells_filled


@dataclass(frozen=True, slots=True)
class Listed:
    """One order of a list, its texts as they came; empty where they did not. `answer` is what `order` reads."""

    client_order_id: str
    order_id: str
    symbol: str
    side: str
    quantity: str
    status: str
    answer: Mapping[str, Any]


def order(answer: Mapping[str, Any]) -> OrderReport:
    """`place_order`, `cancel_order`, `get_order`."""
    status = answer.get("status")
    refused = status == "rejected"
    try:
        state = None if refused else OrderState(str(status))
    except ValueError:
        wanted = ", ".join(OrderState)
        raise Unreadable(f"order status: expected one of {wanted}, rejected, was {status!r}") from None
    fills = answer.get("fills")
    return OrderReport(
        order_id=_optional_text(answer.get("order_id")),
        state=state,
        filled_quantity=_number(answer.get("filled_quantity", "0"), "filled_quantity"),
        average_price=_optional_number(answer.get("average_price"), "average_price"),
        fee=_optional_number(answer.get("fee"), "fee"),
        refusal=str(answer.get("reason") or "rejected without a reason") if refused else "",
        fills=None if fills is None else tuple(_fill(item) for item in _list(fills, "fills")),
        tells_filled=fills is not None or answer.get("filled_quantity") is not None,
    )


def listed(answer: Mapping[str, Any]) -> tuple[Listed, ...]:
    """`list_orders`: whatever is there, also what others placed, in words that need not be the contract's."""

    def text(item: Mapping[str, Any], name: str) -> str:
        return _optional_text(item.get(name)) or ""

    return tuple(
        Listed(
            client_order_id=text(item, "client_order_id"),
            order_id=text(item, "order_id"),
            symbol=text(item, "symbol"),
            side=text(item, "side"),
            quantity=text(item, "quantity"),
            status=text(item, "status"),
            answer=item,
        )
        for item in _items(answer, "orders")
    )


def quote(answer: Mapping[str, Any], symbol: str) -> Quote:
    """`get_quote`. `last` may be missing: then it is the middle."""
    bid = _number(answer.get("bid"), "bid")
    ask = _number(answer.get("ask"), "ask")
    if not 0 < bid <= ask:
        raise Unreadable(f"quote of {symbol}: expected 0 < bid ≤ ask, was {bid} and {ask}")
    last = _optional_number(answer.get("last"), "last")
    return Quote(symbol, bid, ask, (bid + ask) / 2 if last is None else last, _time(answer.get("as_of"), "as_of"))


def candles(answer: Mapping[str, Any]) -> tuple[Candle, ...]:
    """`get_candles`, oldest first whatever order they came in."""
    read = (
        Candle(
            opened_at=_time(item.get("opened_at"), "opened_at"),
            open=_number(item.get("open"), "open"),
            high=_number(item.get("high"), "high"),
            low=_number(item.get("low"), "low"),
            close=_number(item.get("close"), "close"),
            volume=_number(item.get("volume", "0"), "volume"),
        )
        for item in _items(answer, "candles")
    )
    return tuple(sorted(read, key=lambda candle: candle.opened_at))


def positions(answer: Mapping[str, Any]) -> tuple[Position, ...]:
    """`get_positions`."""
    return tuple(
        Position(
            symbol=_text(item.get("symbol"), "symbol"),
            quantity=_number(item.get("quantity"), "quantity"),
            average_price=_optional_number(item.get("average_price"), "average_price"),
        )
        for item in _items(answer, "positions")
    )


def balances(answer: Mapping[str, Any]) -> tuple[Balance, ...]:
    """`get_balances`. `available` may be missing: then it is the total."""
    read = []
    for item in _items(answer, "balances"):
        total = _number(item.get("total"), "total")
        available = _optional_number(item.get("available"), "available")
        read.append(Balance(_text(item.get("asset"), "asset"), total, total if available is None else available))
    return tuple(read)


def _fill(item: Mapping[str, Any]) -> ReportedFill:
    return ReportedFill(
        fill_id=_text(item.get("fill_id"), "fill_id"),
        quantity=_number(item.get("quantity"), "quantity"),
        price=_number(item.get("price"), "price"),
        fee=_optional_number(item.get("fee"), "fee") or Decimal(0),
        at=_time(item.get("at"), "at"),
    )


def _items(answer: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """The list under `name`, or under `result`, where servers that answer with a bare list have it put."""
    return _list(answer.get(name, answer.get("result")), name)


def _list(value: Any, name: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable(f"{name}: expected a list of objects, was {value!r:.80}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise Unreadable(f"{name}: expected text, was {value!r}")
    return value


def _optional_text(value: Any) -> str | None:
    return None if value is None else str(value)


def _number(value: Any, name: str) -> Decimal:
    """A decimal string, or the shortest decimal of a JSON number where a server sends one."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise Unreadable(f"{name}: expected a decimal string, was {value!r}")
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise Unreadable(f"{name}: expected a decimal string, was {value!r}") from None
    if not number.is_finite():
        raise Unreadable(f"{name}: expected a finite number, was {value!r}")
    return number


def _optional_number(value: Any, name: str) -> Decimal | None:
    return None if value is None else _number(value, name)


def _time(value: Any, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(_text(value, name))
    except ValueError:
        raise Unreadable(f"{name}: expected an ISO 8601 time, was {value!r}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

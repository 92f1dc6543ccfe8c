"""What exec-mcp servers answer, read into records. Pure: JSON values in, frozen values out.

Field names are the contract's; a server with other words is translated before it gets here. Every
function raises Unreadable for an answer that does not say what it must.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

from reconciler import exact
from reconciler.errors import ExecUnknown
from reconciler.orders.market import Balance, Candle, Equity, InstrumentRules, Position, Quote, is_same_step
from reconciler.orders.order import OrderState

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?")
_PLAIN: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_LONGEST_NUMBER: Final = 100
_DIGITS: Final = 40
"""A number has at most so many digits before its point, and so many after it, written out without an exponent."""
LONGEST_TEXT: Final = 500


class Unreadable(ExecUnknown):
    """The server answered, but not with what the contract asks for, or with what cannot be read at all."""


def objects(value: Any, name: str) -> Sequence[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise Unreadable(f"{name}: expected a list of objects, was {value!r:.80}")
    return value


def text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise Unreadable(f"{name}: expected text, was {value!r:.80}")
    return value


def optional_text(value: Any) -> str | None:
    return None if value is None else str(value)[:LONGEST_TEXT]


def number(value: Any, name: str) -> Decimal:
    """A decimal string, or the shortest decimal of a JSON number where a server sends one."""
    if type(value) is str and (known := _read(value)) is not None:
        return known
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise Unreadable(f"{name}: expected a decimal string, was {value!r:.80}")
    # Python refuses to write an integer of thousands of digits.
    spelled = "too many digits" if isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER else str(value).strip()
    if spelled.lower().lstrip("+-").startswith(("nan", "snan", "inf")):
        raise Unreadable(f"{name}: expected a finite number, was {spelled!r:.80}")
    if len(spelled) > _LONGEST_NUMBER or not _NUMBER.fullmatch(spelled):
        raise Unreadable(f"{name}: expected a decimal string, was {spelled!r:.80}")
    # Written as the ledger will write it: 0.1010 is 0.101.
    read = Decimal(spelled.rstrip("0") if "." in spelled and "e" not in spelled.lower() else spelled)
    if read.adjusted() >= _DIGITS or int(read.as_tuple().exponent) < -_DIGITS:
        raise Unreadable(f"{name}: expected at most {_DIGITS} digits before and after the point, was {spelled!r:.80}")
    return read


@lru_cache(1_000)
def _read(text: str) -> Decimal | None:
    """What `number` reads where it is written as nearly all are: plain digits, few of them. Each is told often."""
    if len(text) > _DIGITS or not _PLAIN.fullmatch(text):
        return None
    return Decimal(text.rstrip("0") if "." in text else text)


def positive(read: Decimal, name: str) -> Decimal:
    if read <= 0:
        raise Unreadable(f"{name}: expected more than zero, was {read}")
    return read


def optional_number(value: Any, name: str) -> Decimal | None:
    return None if value is None else number(value, name)


def time(value: Any, name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text(value, name))
    except ValueError:
        raise Unreadable(f"{name}: expected an ISO 8601 time, was {value!r:.80}") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


SIDES: Final = ("side", "positionSide", "position_side", "posSide", "holdSide", "direction")
"""Where servers tell the side of a position apart from its quantity."""
SHORT: Final = frozenset({"short", "sell"})
LONG: Final = frozenset({"long", "buy"})
_OVER: Final = frozenset({"filled", "cancelled", "canceled", "expired", "rejected", "closed", "done"})
"""Words for an order that is over, ours and others that are plain."""


@dataclass(frozen=True, slots=True)
class ReportedFill:
    """One execution, as the exchange tells it; `price`, `fee` and what that is in are None where it does not."""

    fill_id: str
    quantity: Decimal
    price: Decimal | None
    fee: Decimal | None
    at: datetime
    fee_currency: str | None = None


@dataclass(frozen=True, slots=True)
class OrderReport:
    """The exchange's word on one order. `refusal` says why it never became one, empty where it did.

    `fills` is None where the server does not tell executions apart. Of fees in several currencies, `fee` is what was
    charged in that of the first execution. `tells_filled` is False where it says nothing of
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
    fee_currency: str | None = None

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

    @property
    def is_over(self) -> bool:
        """True where it is no open order, though some servers list it among those."""
        return self.status.lower() in _OVER


def order(answer: Mapping[str, Any]) -> OrderReport:
    """What an answer says of an order, whichever that is: `subject.Subject.report` looks at that."""
    told = answer.get("fills")
    filled = optional_number(answer.get("filled_quantity"), "filled_quantity")
    fills = None if told is None else _fills(told, filled)
    if filled is not None and filled < 0:
        raise Unreadable(f"filled_quantity: expected zero or more, was {filled}")
    state = _state(answer.get("status"), is_filled=bool(filled or fills))
    fee, currency = _fee(answer)
    if fee is None:
        fee, currency = _fee_of(fills)
    return OrderReport(
        order_id=optional_text(answer.get("order_id")),
        state=state,
        filled_quantity=Decimal(0) if filled is None else filled,
        average_price=_price(answer.get("average_price"), "average_price"),
        fee=fee,
        refusal=str(answer.get("reason") or "rejected without a reason")[:LONGEST_TEXT] if state is None else "",
        fills=fills,
        tells_filled=told is not None or filled is not None,
        fee_currency=currency,
    )


def listed(answer: Mapping[str, Any]) -> tuple[Listed, ...]:
    """`list_orders`: whatever is there, also what others placed, in words that need not be the contract's."""

    def text(item: Mapping[str, Any], name: str) -> str:
        return optional_text(item.get(name)) or ""

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
    bid = number(answer.get("bid"), "bid")
    ask = number(answer.get("ask"), "ask")
    if not 0 < bid <= ask:
        raise Unreadable(f"quote of {symbol}: expected 0 < bid ≤ ask, was {bid} and {ask}")
    last = optional_number(answer.get("last"), "last") or None  # of what never traded many servers say 0
    if last is not None and last < 0:
        raise Unreadable(f"quote of {symbol}: expected a last price above zero, was {last}")
    return Quote(symbol, bid, ask, exact.middle(bid, ask) if last is None else last, time(answer.get("as_of"), "as_of"))


def rules(answer: Mapping[str, Any]) -> InstrumentRules:
    """`get_rules`. What is not told is unknown; so is what is told as 0 or as an empty text, as many servers do."""
    read: dict[str, Decimal | None] = {}
    for name in ("price_step", "quantity_step", "min_quantity", "min_notional", "contract_size"):
        value = optional_number(answer.get(name) or None, name) or None
        if value is not None and value < 0:
            raise Unreadable(f"{name}: expected more than zero, was {value}")
        read[name] = value
    return InstrumentRules(**read)


def candles(answer: Mapping[str, Any], timeframe: str = "1m") -> tuple[Candle, ...]:
    """`get_candles`: every step of the timeframe once, oldest first, whatever order they came in.

    A candle told twice is one. What no market can have is refused: a price of zero, a close above its high, two candles
    of one step that differ.
    """
    read = sorted(
        {_candle(item): None for item in _items(answer, "candles")},
        key=lambda candle: candle.opened_at,
    )
    for candle, following in pairwise(read):
        if is_same_step(candle.opened_at, following.opened_at, timeframe):
            raise Unreadable(
                f"candles: expected one for each {timeframe}, was two that differ: opened {candle.opened_at:%FT%T},"
                f" closed at {candle.close}, and opened {following.opened_at:%FT%T}, closed at {following.close}"
            )
    return tuple(read)


def _candle(item: Mapping[str, Any]) -> Candle:
    opened = time(item.get("opened_at"), "opened_at")
    prices = {name: number(item.get(name), name) for name in ("open", "high", "low", "close")}
    volume = number(item.get("volume", "0"), "volume")
    low, high = prices["low"], prices["high"]
    if not all(0 < low <= price <= high for price in prices.values()) or volume < 0:
        told = ", ".join(f"{name} {value}" for name, value in {**prices, "volume": volume}.items())
        raise Unreadable(
            f"candle opened {opened:%FT%T}: expected 0 < low ≤ open and close ≤ high, and a volume of 0 or more,"
            f" was {told}"
        )
    return Candle(opened, **prices, volume=volume)


def positions(answer: Mapping[str, Any]) -> tuple[Position, ...]:
    """`get_positions`. Rows of one symbol, of lots or of both sides, are added up by their sign.

    Raises Unreadable where a row says that it is short beside a quantity without a sign: nobody reads that.
    """
    found: dict[str, Position] = {}
    for item in _items(answer, "positions"):
        row = Position(
            symbol=text(item.get("symbol"), "symbol"),
            quantity=number(item.get("quantity"), "quantity"),
            average_price=optional_number(item.get("average_price"), "average_price"),
        )
        _require_sign(row, item)
        found[row.symbol] = _together(found[row.symbol], row) if row.symbol in found else row
    return tuple(found.values())


def _require_sign(row: Position, item: Mapping[str, Any]) -> None:
    for name in SIDES:
        if row.quantity > 0 and str(item.get(name)).strip().lower() in SHORT:
            raise Unreadable(
                f"positions: unsupported: a row of {row.symbol} tells its side, {name} {item[name]!r:.20}, and no sign"
                f" with its quantity; have the mapping of get_positions read it: result: {{side: $.{name}}}; or use no"
                " positions: get_positions: null"
            )


def _together(one: Position, other: Position) -> Position:
    """Both rows of a symbol as one; what it cost on average, where that can be told."""
    quantity = exact.add(one.quantity, other.quantity)
    same_side = exact.multiply(one.quantity, other.quantity) > 0
    if not same_side or one.average_price is None or other.average_price is None:
        return Position(one.symbol, quantity)
    paid = [exact.multiply(row.quantity, row.average_price or exact.ZERO) for row in (one, other)]
    return Position(one.symbol, quantity, exact.quotient(exact.total(paid), quantity))


def balances(answer: Mapping[str, Any]) -> tuple[Balance, ...]:
    """`get_balances`. `available` may be missing: then it is the total."""
    read = []
    for item in _items(answer, "balances"):
        total = number(item.get("total"), "total")
        available = optional_number(item.get("available"), "available")
        read.append(Balance(text(item.get("asset"), "asset"), total, total if available is None else available))
    return tuple(read)


def equity(answer: Mapping[str, Any]) -> Equity | None:
    """What `get_balances` says that the account is worth; None where it does not, or not so that it can be read."""
    told = answer.get("equity")
    if not isinstance(told, Mapping):
        return None
    try:
        amount = number(told.get("amount"), "equity")
    except Unreadable:
        return None
    return Equity(amount, (optional_text(told.get("currency")) or "").strip())


def _state(status: Any, *, is_filled: bool) -> OrderState | None:
    """The state that `status` tells, None for a refusal. What was filled in part is neither just open nor refused."""
    if status == "rejected":
        return OrderState.CANCELLED if is_filled else None
    try:
        state = OrderState(str(status))
    except ValueError:
        wanted = ", ".join(OrderState)
        raise Unreadable(f"order status: expected one of {wanted}, rejected, was {status!r:.80}") from None
    return OrderState.PARTIALLY_FILLED if state is OrderState.OPEN and is_filled else state


def _price(value: Any, name: str) -> Decimal | None:
    """The price of what was filled. Many servers say 0 or nothing where they do not tell it, or nothing is filled."""
    price = optional_number(_told(value), name)
    return None if not price else positive(price, name)


def _told(value: Any) -> Any:
    """What is told; None for an empty text, which many servers send instead of nothing."""
    return None if isinstance(value, str) and not value.strip() else value


def _fee(item: Mapping[str, Any]) -> tuple[Decimal | None, str | None]:
    """A fee and what it is in, as far as both are told."""
    fee = optional_number(_told(item.get("fee")), "fee")
    currency = (optional_text(item.get("fee_currency")) or "").strip()
    return fee, currency or None if fee is not None else None


def _fills(told: Any, filled: Decimal | None) -> tuple[ReportedFill, ...]:
    """Every execution once, however often it is told."""
    fills = tuple(dict.fromkeys(_fill(item) for item in objects(told, "fills")))
    if filled is None and len({fill.fill_id for fill in fills}) < len(fills):
        raise Unreadable("fills: expected an id for each, was one of two that differ, and no filled_quantity")
    return fills


def _fill(item: Mapping[str, Any]) -> ReportedFill:
    fee, currency = _fee(item)
    return ReportedFill(
        fill_id=text(item.get("fill_id"), "fill_id"),
        quantity=positive(number(item.get("quantity"), "fill quantity"), "fill quantity"),
        price=_price(item.get("price"), "fill price"),
        fee=fee,
        at=time(item.get("at"), "at"),
        fee_currency=currency,
    )


def _fee_of(fills: Sequence[ReportedFill] | None) -> tuple[Decimal | None, str | None]:
    """The order's fee, where it is told of every execution instead."""
    if not fills or any(fill.fee is None for fill in fills):
        return None, None
    currency = fills[0].fee_currency
    return exact.total(fill.fee or exact.ZERO for fill in fills if fill.fee_currency == currency), currency


def _items(answer: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    """The list under `name`, or under `result`, where servers that answer with a bare list have it put."""
    return objects(answer.get(name, answer.get("result")), name)

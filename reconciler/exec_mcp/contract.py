"""The contract's own words: its tools, their arguments, the fields of their answers. Values only.

What an author of a mapping may name is what stands here; the check, the translation and the settings' schema
all go by it.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from reconciler.orders.market import TIMEFRAMES_S
from reconciler.orders.order import OrderState, OrderType, Side, TimeInForce

JsonType = Literal["string", "number", "integer", "boolean"]

PLACE: Final = "place_order"
CANCEL: Final = "cancel_order"
CANCEL_ALL: Final = "cancel_all"
CANCEL_AFTER: Final = "cancel_all_after"
LOOK_UP: Final = "get_order"
CANDLES: Final = "get_candles"
RULES: Final = "get_rules"
POSITIONS: Final = "get_positions"
BALANCES: Final = "get_balances"

STATES: Final = (*(str(state) for state in OrderState), "rejected")
"""What a mapping's `states` may lead to."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a tool. `required` is in every call, others where the order has a use for them.

    An `offered` one is no part of the contract: it is there for servers that ask for it, and only a mapping sends it.
    One that `may_be_dropped` changes nothing by not being sent, or the check closes the gate where it does.
    """

    name: str
    type: JsonType = "string"
    required: bool = True
    words: tuple[str, ...] = ()
    offered: bool = False
    may_be_dropped: bool = False


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: its arguments by name, the fields of its answer, and, where it answers with a list, the list's name."""

    arguments: Mapping[str, Argument]
    fields: tuple[str, ...]
    items: str = ""


def _tool(*arguments: Argument, fields: tuple[str, ...], items: str = "") -> Tool:
    who = (Argument("account_id", may_be_dropped=True), Argument("client_id", may_be_dropped=True))
    return Tool({argument.name: argument for argument in (*who, *arguments)}, fields, items)


_ID = Argument("client_order_id", may_be_dropped=True)
_SYMBOL = Argument("symbol")
_EXCHANGE_ID = Argument("order_id", required=False, offered=True)
_ORDER = (
    "order_id",
    "client_order_id",
    "status",
    "filled_quantity",
    "average_price",
    "fee",
    "fee_currency",
    "fills",
    "reason",
)
_OWN = (*_ORDER, "symbol", "side")
_LISTED = (*_OWN, "type", "quantity", "limit_price")
_REQUESTED = (
    _ID,
    _SYMBOL,
    Argument("side", words=tuple(Side)),
    Argument("type", words=tuple(OrderType)),
    Argument("quantity"),
    Argument("limit_price", required=False),
    Argument("stop_price", required=False),
    Argument("time_in_force", required=False, words=tuple(TimeInForce)),
    Argument("reduce_only", "boolean", required=False, may_be_dropped=True),
)

TOOLS: Final[Mapping[str, Tool]] = {
    PLACE: _tool(*_REQUESTED, fields=_OWN),
    CANCEL: _tool(_ID, Argument("symbol", may_be_dropped=True), _EXCHANGE_ID, fields=_OWN),
    LOOK_UP: _tool(_ID, Argument("symbol", required=False, offered=True), _EXCHANGE_ID, fields=_LISTED),
    "list_orders": _tool(
        Argument("status", words=("open", "closed", "all")),
        Argument("symbol", required=False, may_be_dropped=True),
        fields=_LISTED,
        items="orders",
    ),
    # `side` is read where a mapping says so, by words such as long and short, for quantities without a sign.
    POSITIONS: _tool(fields=("symbol", "quantity", "average_price", "side"), items="positions"),
    # `equity` and what it is in are of the account: in a mapping, paths to where any item tells them.
    BALANCES: _tool(fields=("asset", "total", "available", "equity", "equity_currency"), items="balances"),
    "get_quote": _tool(_SYMBOL, fields=("bid", "ask", "last", "as_of")),
    CANDLES: _tool(
        _SYMBOL,
        Argument("timeframe", words=tuple(TIMEFRAMES_S)),
        Argument("limit", "integer", may_be_dropped=True),
        fields=("opened_at", "open", "high", "low", "close", "volume"),
        items="candles",
    ),
    CANCEL_ALL: _tool(Argument("symbol", required=False, may_be_dropped=True), fields=()),
    CANCEL_AFTER: Tool(
        {"account_id": Argument("account_id", may_be_dropped=True), "seconds": Argument("seconds", "integer")}, ()
    ),
    RULES: _tool(_SYMBOL, fields=("price_step", "quantity_step", "min_quantity", "min_notional", "contract_size")),
}
"""Every tool of the contract, by name: those of `ports.CONTRACT_TOOLS`."""

OPTIONAL: Final = frozenset({RULES, CANCEL_ALL, CANCEL_AFTER})
"""What a server may lack without a word about it."""

DATA: Final = frozenset({"get_quote", "get_candles", "get_positions", BALANCES, RULES})
"""The tools that only tell, and that orders go before."""

SHARED: Final = ("type", "time_in_force")
"""The two that may go to one place: servers that know order types such as `ioc` and `fok`, which are limit orders."""

TIMES: Final = frozenset({"as_of", "opened_at"})
"""The fields that say when."""


Form = Literal["uuid", "hex128"]

_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
_LONGEST: Final = 18
_BITS: Final = 96
_HEX_MARK: Final = 0x7265636F
_UUID_MARK: Final = 0x2C6563C
"""What stands before the number: 32 bits, or the 26 that a UUID of version 4 leaves."""
_VERSION: Final = 4
_VARIANT: Final = 0b10
_CLOCK_BITS: Final = 62


def formed(client_order_id: str, form: Form) -> str:
    """`client_order_id` in that form, always the same. Raises ValueError where it is none of ours."""
    if not 0 < len(client_order_id) <= _LONGEST or not set(client_order_id) <= set(_DIGITS):
        raise ValueError(f"expected at most {_LONGEST} characters of a-z and 0-9, was {client_order_id!r}")
    number = 0
    for character in client_order_id:
        number = number * 37 + _DIGITS.index(character) + 1
    if form == "hex128":
        return f"0x{(_HEX_MARK << _BITS) | number:032x}"
    bits = (_UUID_MARK << _BITS) | number
    high, low = bits >> (_CLOCK_BITS + 12), bits & ((1 << _CLOCK_BITS) - 1)
    middle = (bits >> _CLOCK_BITS) & 0xFFF
    written = (high << 80) | (_VERSION << 76) | (middle << 64) | (_VARIANT << _CLOCK_BITS) | low
    return str(uuid.UUID(int=written))


def unformed(told: str, form: Form) -> str | None:
    """Our id of what is told in that form, in whatever case and with or without what is written around the digits.

    None where it is none of ours.
    """
    digits = told.strip().lower().removeprefix("0x").replace("-", "")
    try:
        written = int(digits, 16) if len(digits) == 32 and digits.isalnum() else -1
    except ValueError:
        return None
    if written < 0:
        return None
    if form == "uuid":
        if (written >> 76) & 0xF != _VERSION or (written >> _CLOCK_BITS) & 0b11 != _VARIANT:
            return None
        middle = (written >> 64) & 0xFFF
        written = ((written >> 80) << (_CLOCK_BITS + 12)) | (middle << _CLOCK_BITS) | written & ((1 << _CLOCK_BITS) - 1)
    mark, number = written >> _BITS, written & ((1 << _BITS) - 1)
    return _spelled(number) if mark == (_HEX_MARK if form == "hex128" else _UUID_MARK) else None


def _spelled(number: int) -> str | None:
    characters = []
    while number:
        number, digit = divmod(number, 37)
        if not digit:
            return None
        characters.append(_DIGITS[digit - 1])
    return "".join(reversed(characters)) if 0 < len(characters) <= _LONGEST else None

"""A call in the contract's words → the call in the server's; and the order that its answer must be about. Pure.

What cannot be said exactly is not said at all: `Unsayable` is raised before anything is sent. A decimal that goes
out as a JSON number is such a case, where the number's nearest binary double is not that decimal: the SDK writes
numbers from doubles, as the shortest digits that give the same double. Up to 15 significant digits that is always
the very same decimal.

An answer about another order, once booked, is a position that nobody holds: what plainly is not about ours, or tells
of it what cannot be, is unreadable, and the order stays what it is known to be.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from reconciler import exact
from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.answers import OrderReport, Unreadable
from reconciler.exec_mcp.contract import PLACE, TOOLS, Argument, JsonType, formed
from reconciler.exec_mcp.words import Confirmation, Target, ToolWords
from reconciler.orders.order import Order, OrderState, OrderType, Side, decimal_text

_OTHER_NAMES: Final = {"xbt": "btc", "xdg": "doge"}
"""What some exchanges call what others call so."""
_DOUBLES: Final = Decimal("1e-9")
"""By less than this part of what was ordered, more is filled only because a server added doubles up."""
_ROUNDED_UP: Final = Decimal("0.02")
"""By up to this part of what was ordered, exchanges that round up fill more, and it is believed."""
_LETTERS: Final = re.compile(r"[a-z0-9]+")


class Unsayable(ExecUnavailable):
    """The call cannot be put in the server's words; nothing was sent."""


def chosen(tool: str, words: ToolWords, arguments: Mapping[str, Any]) -> ToolWords:
    """The one tool of several that is meant by these arguments. Raises Unsayable where none is."""
    if not words.variants:
        return words
    value = arguments.get(words.by)
    found = words.variants.get(str(value))
    if found is None:
        known = ", ".join(words.variants)
        raise Unsayable(f"{tool}: the server has no tool for {words.by} {value!r}, only for {known}")
    return found


def confirming(confirmation: Confirmation, answer: Any, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the second call is sent, read from the answer of the first; None where something is not there."""
    sent: dict[str, Any] = copy.deepcopy(dict(confirmation.const))
    for name, path in confirmation.args.items():
        found = path.find(answer, answer, arguments)
        if found is None:
            return None
        sent[name] = found
    return sent


def request(tool: str, words: ToolWords, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The server's arguments for `arguments`, which are ours. Raises Unsayable."""
    sent: dict[str, Any] = copy.deepcopy(dict(words.const)) if words.const else {}
    for name, argument in TOOLS[tool].arguments.items():
        value = arguments.get(name)
        if argument.offered and name not in words.args:
            continue
        targets = words.targets(name)
        if value is None:
            if argument.offered and targets:
                raise Unsayable(f"{tool}: the server asks for {name}, which is not known")
            continue
        if not targets and name != words.by and name not in words.pick:
            _drop(tool, argument, value)
        for target in targets:
            if not (name == "time_in_force" and _is_type(words, target, arguments)):
                _require_room(tool, name, sent, target)
            _put(sent, target, _said(tool, argument, target, words.enums.get(name), value))
    return sent


def _is_type(words: ToolWords, target: Target, arguments: Mapping[str, Any]) -> bool:
    """True where the time in force takes the place of the type, `limit`: servers that know types such as `ioc`."""
    if target.path not in (shared.path for shared in words.targets("type")):
        return False
    if arguments["type"] != OrderType.LIMIT:
        both = f"{arguments['type']} with {arguments['time_in_force']}"
        raise Unsayable(f"{PLACE}: the server takes one word for type and time_in_force, and has none for {both}")
    return True


def _require_room(tool: str, name: str, sent: Mapping[str, Any], target: Target) -> None:
    """Raises Unsayable where something was put there before: of the two, only one would arrive."""
    inner: Any = sent
    for depth, key in enumerate(target.path):
        if not isinstance(inner, dict):
            above = ".".join(target.path[:depth])
            raise Unsayable(f"{tool}: {name} goes to {str(target)!r}, but what was put at {above} is no object")
        if key not in inner:
            return
        inner = inner[key]
    raise Unsayable(f"{tool}: {name} goes to {str(target)!r}, where something else was put already")


def _drop(tool: str, argument: Argument, value: Any) -> None:
    if argument.may_be_dropped or (tool, argument.name, value) == ("list_orders", "status", "open"):
        return
    raise Unsayable(f"{tool}: the server takes no {argument.name}, and this call has one: {value}")


def _said(tool: str, argument: Argument, target: Target, words: Mapping[str, str] | None, value: Any) -> Any:
    if words is not None:
        if value not in words and argument.words:
            raise Unsayable(
                f"{tool}: the server has no word for {argument.name} {value!r}, only for {', '.join(words)}"
            )
        value = words.get(value, value)
    try:
        if target.form is not None:
            value = formed(value, target.form)
        if target.type is None or target.type == argument.type:
            return value
        return converted(value, target.type)
    except ValueError as error:
        raise Unsayable(f"{tool}: {argument.name}: {error}") from None


def converted(value: Any, wanted: JsonType) -> Any:
    """`value` as a JSON value of type `wanted`, exactly. Raises ValueError where it cannot be."""
    if wanted == "string":
        return str(value).lower() if isinstance(value, bool) else str(value)
    if wanted == "boolean":
        if value in (True, False, "true", "false"):
            return value in (True, "true")
        raise ValueError(f"expected true or false, was {value!r}")
    number = _decimal(value)
    if number == number.to_integral_value():
        return int(number)
    if wanted == "integer":
        raise ValueError(f"expected a whole number, was {value}")
    nearest = float(number)
    if Decimal(repr(nearest)) != number:
        raise ValueError(f"{value} has too many digits to be sent as a JSON number exactly; it would become {nearest}")
    return nearest


def _decimal(value: Any) -> Decimal:
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        raise ValueError(f"expected a number, was {value!r}") from None
    if not number.is_finite():
        raise ValueError(f"expected a finite number, was {value!r}")
    return number


def _put(sent: dict[str, Any], target: Target, value: Any) -> None:
    *above, last = target.path
    inner = sent
    for key in above:
        inner = inner.setdefault(key, {})
    inner[last] = value


@dataclass(frozen=True, slots=True)
class Subject:
    """What is known of the order that a server is asked about."""

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal

    @classmethod
    def of(cls, order: Order) -> Subject:
        return cls(order.client_order_id, order.provenance.symbol, order.side, order.quantity)

    def report(self, answer: Mapping[str, Any]) -> OrderReport:
        """`place_order`, `cancel_order`, `get_order` or an item of a list: what it says of this order.

        What is filled whole is filled, and no more open, whatever the state that is told with it.

        Raises Unreadable, which says what was answered, also where that is another order, or clearly more than was
        ordered.
        """
        self._recognise(answer)
        report = self._believed(answers.order(answer))
        is_whole = report.filled_quantity >= self.quantity and report.state is not None and not report.state.is_final
        return replace(report, state=OrderState.FILLED) if is_whole else report

    def _believed(self, report: OrderReport) -> OrderReport:
        """The report, where what it says to be filled can be."""
        filled = max(report.filled_quantity, exact.total(fill.quantity for fill in report.fills or ()))
        excess = exact.subtract(filled, self.quantity)
        if excess <= 0:
            return report
        if excess < exact.multiply(self.quantity, _DOUBLES):
            return replace(report, filled_quantity=self.quantity)
        if excess <= exact.multiply(self.quantity, _ROUNDED_UP):
            return report
        raise Unreadable(
            f"{self.client_order_id}: filled_quantity: expected at most {decimal_text(self.quantity)}, all that"
            f" was ordered, and 2 % more at most, was {decimal_text(filled)}"
        )

    def ending(self, answer: Mapping[str, Any]) -> OrderReport | None:
        """`cancel_order`: what it says of this order; None where it is an acknowledgement, and no more.

        That is one that names no state, or an end without what was filled before it: the order is looked up then.
        Raises Unreadable, as `report` does.
        """
        if answer.get("status") in (None, ""):
            self._recognise(answer)
            return None
        report = self.report(answer)
        return None if report.hides_fills else report

    def _recognise(self, answer: Mapping[str, Any]) -> None:
        """Raise where it plainly is another order. By its symbol only where nothing calls it by our name."""
        told = {name: str(answer[name]).strip() for name in ("client_order_id", "symbol", "side") if answer.get(name)}
        id = told.get("client_order_id")
        if id is not None and not is_called(self.client_order_id, id):
            raise self._another("client_order_id", self.client_order_id, id)
        if id is None and names_another(self.symbol, symbol := told.get("symbol", self.symbol)):
            raise self._another("symbol", self.symbol, symbol)
        # What is neither is a word of the server's own, which the mapping does not translate.
        if (side := told.get("side", self.side).lower()) in tuple(Side) and side != self.side:
            raise self._another("side", self.side, side)

    def _another(self, name: str, expected: str, was: str) -> Unreadable:
        return Unreadable(
            f"the answer is about another order than {self.client_order_id}: {name}: expected {expected}, was {was:.80}"
        )


def is_called(client_order_id: str, told: str) -> bool:
    """True where `told` is that order's client_order_id; some exchanges put a prefix of theirs before it: `t-`."""
    if told == client_order_id:  # as nearly all do; what follows costs as much as booking the order
        return True
    return re.fullmatch(rf"(.*[^a-z0-9])?{re.escape(client_order_id.lower())}", told.lower()) is not None


def own_part(told: str) -> str:
    """What is ours of a client_order_id as an exchange tells it: all of it that comes after a prefix of theirs."""
    parts = _LETTERS.findall(told.lower())
    return parts[-1] if parts else ""


def names_another(symbol: str, told: str) -> bool:
    """True where `told` plainly is not the market `symbol`, of which exchanges have several spellings.

    BTC/USD may be told as BTCUSD, btc-usd, XBT/USD, XXBTZUSD or BTC/USD:USD. In the same spelling, it is another
    wherever it differs: WBTC/USD. In another one, where it does not hold every part of ours: BTC-EUR. A bare number
    is an id, which says nothing of this.
    """
    ours, theirs = _parts(symbol), _parts(told)
    if "".join(ours) == "".join(theirs) or told.isdecimal():
        return False
    if len(ours) > 1 and _signs(symbol) == _signs(told):
        return True
    return not all(part in "".join(theirs) for part in ours)


def _parts(symbol: str) -> list[str]:
    text = symbol.lower()
    for name, usual in _OTHER_NAMES.items():
        text = text.replace(name, usual)
    return _LETTERS.findall(text)


def _signs(symbol: str) -> list[str]:
    return [sign for sign in _LETTERS.split(symbol.lower()) if sign]

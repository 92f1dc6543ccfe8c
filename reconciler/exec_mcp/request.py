"""A call in the contract's words → the call in the server's. Pure.

What cannot be said exactly is not said at all: `Unsayable` is raised before anything is sent. A decimal that goes
out as a JSON number is such a case, where the number's nearest binary double is not that decimal: the SDK writes
numbers from doubles, as the shortest digits that give the same double. Up to 15 significant digits that is always
the very same decimal.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from reconciler.errors import ExecUnavailable
from reconciler.exec_mcp.contract import PLACE, TOOLS, Argument, JsonType, formed
from reconciler.exec_mcp.words import Confirmation, Target, ToolWords
from reconciler.orders.order import OrderType


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
    sent: dict[str, Any] = copy.deepcopy(dict(words.const))
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

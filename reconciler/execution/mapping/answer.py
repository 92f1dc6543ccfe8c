"""What a server answered → the answer in the contract's words, or what went wrong. Pure.

Numbers that came as text keep every digit. Of those that came as JSON numbers the SDK keeps the nearest binary
double, whose shortest digits are read: exact up to 15 significant digits, beyond that off by at most 2⁻⁵² of the
value. Where a server sends the same answer as text, too, as it should, the digits are read from there: exact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from reconciler.clock import iso
from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.execution.answers import Unreadable
from reconciler.execution.mapping.contract import CANDLES, LOOK_UP, PLACE, TIMES, TOOLS
from reconciler.execution.mapping.words import Condition, ToolWords
from reconciler.execution.subject import is_called
from reconciler.records import exact
from reconciler.records.market import TIMEFRAMES_S

_CRASHED: Final = ("Error executing tool {}", "Error calling tool '{}'")
"""What servers made with the official SDK, and with FastMCP, say of a tool that raised, and then what it raised."""
_REJECTED: Final = re.compile(r"(?is)(?:order )?rejected: *(.*)")
"""How a failure of `place_order` that is only text begins to say that the order was refused."""
_IN_DOUBT: Final = re.compile(
    r"(?i)tim(?:ed?|ing)[ _-]?out|time ?out|deadline|network|connect|socket|reset|broken pipe|unreachable|\bEOF\b"
    r"|ECONN|EPIPE|EAI_|fetch failed|unavailable|\b5[023]\d\b|gateway|try again|temporar|internal (?:server )?error"
)
"""Words of failures that leave it open whether the exchange behind the server took the order."""
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_NOT_FOUND: Final = re.compile(
    r"(?i)(?:order (?:(?P<within>\S+) )?(?:not found|does not exist)|(?:unknown|no such) order)"
    r"(?:: *(?P<after>\S+?))?\.?"
)
"""What a server whose mapping names no `not_found_when` says, and no more, where it knows no such order.

Told narrowly, and of no other id than the one asked for: an order that is wrongly taken for never placed is worse
than one that stays unknown.
"""
_MILLISECONDS: Final = 100_000_000_000
"""From here on a number is milliseconds since the epoch, below it is seconds: the year 1973, or 5138."""


class OrderNotFound(ExecRejected):
    """The server knows no such order: as far as it knows, it was never placed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one call. `failed` is the server's own word; `structured` is None where it sent only text."""

    failed: bool
    structured: Any
    text: str

    def read(self, tool: str) -> Any:
        """The JSON value of the answer, decimals exact where they can be had. A failure may be no JSON: None then."""
        spelled = self._spelled()
        if self.structured is None:
            if spelled is None and not self.failed:
                raise ExecUnknown(f"{tool} answered neither structured content nor JSON: {self.text[:200]!r}")
            return spelled
        if (wrapped := _wrapped(self.structured)) is not None:
            return wrapped
        if spelled is not None and _has_float(self.structured) and json.loads(self.text) == self.structured:
            return spelled
        return self.structured

    def _spelled(self) -> Any:
        return _json(self.text)


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_float=Decimal)
    except ValueError:
        return None


def _wrapped(structured: Any) -> Any:
    """What a tool wrote as JSON text, where its server, told that it returns text, made `{"result": text}` of it."""
    text = structured["result"] if isinstance(structured, dict) and structured.keys() == {"result"} else None
    value = _json(text) if isinstance(text, str) else None
    return value if isinstance(value, (dict, list)) else None


def answered(tool: str, words: ToolWords, arguments: Mapping[str, Any], reply: Reply, now: datetime) -> dict[str, Any]:
    """The answer of our `tool` in the contract's words. `arguments` are the call's, in ours.

    Raises ExecUnknown where it says that nobody knows, OrderNotFound, and ExecRejected for every other failure.
    """
    found = reply.read(words.name)
    try:
        _judge(tool, words, arguments, reply, found)
    except ExecRejected as refusal:
        if tool == LOOK_UP and not words.not_found_when and _is_not_found(str(refusal), arguments):
            raise OrderNotFound(str(refusal)) from None
        raise
    if isinstance(found, dict) and not (words.result or words.items or words.states):
        return _closed_only(found, arguments, now) if tool == CANDLES else found
    if TOOLS[tool].items:
        items = [_translated(tool, words, arguments, item, found) for item in _items(words, arguments, found, tool)]
        return {TOOLS[tool].items: _closed(items, arguments, now) if tool == CANDLES else items}
    if tool == LOOK_UP and words.items is not None:
        return _own(words, arguments, found)
    answer = _translated(tool, words, arguments, found, found)
    if tool == PLACE and "status" not in answer and "order_id" in answer:
        answer["status"] = "open"  # taken, and no more is said: looked up at the next beat
    if tool == "get_quote":
        answer.setdefault("as_of", iso(now.timestamp()))
    return answer


def _is_not_found(said: str, arguments: Mapping[str, Any]) -> bool:
    found = _NOT_FOUND.fullmatch(said.strip())
    named = [] if found is None else [id.strip("\"'`()[]<>") for id in found.groupdict().values() if id]
    return found is not None and all(
        id in (arguments.get("client_order_id"), arguments.get("order_id")) for id in named
    )


def _judge(tool: str, words: ToolWords, arguments: Mapping[str, Any], reply: Reply, found: Any) -> None:
    """Raise for whatever failure the answer tells.

    Of one that names none of the mapping's conditions, an order that it is about is unknown where it is but a text,
    as what a tool raised is, or speaks of what lies between the server and the exchange: it is looked up, which costs
    little. One that was taken and is heard as refused would be placed twice.
    """
    said = found if found is not None else {"error": _reason(words.name, reply.text)}
    for kind, conditions in (
        (ExecUnknown, words.unknown_when),
        (OrderNotFound, words.not_found_when),
        (ExecRejected, words.error_when),
    ):
        for condition in conditions:
            if (what := condition.met_by(said, arguments)) is not None:
                raise kind(_told(condition, what, said))
    if reply.failed and reply.text in (crashed.format(words.name) for crashed in _CRASHED):
        raise ExecUnknown(f"{words.name} crashed on the server")
    refusal = _refusal(words.name, reply, found, said)
    if refusal is None:
        return
    if tool == PLACE and (found is None or _IN_DOUBT.search(refusal)):
        if (rejected := _REJECTED.fullmatch(refusal)) is None:
            raise ExecUnknown(f"{words.name} failed, which does not say that the order was refused: {refusal}")
        refusal = rejected[1]
    raise ExecRejected(refusal or f"{words.name} failed without a reason")


def _refusal(name: str, reply: Reply, found: Any, said: Any) -> str | None:
    """Why it failed, in the server's words, which may be none; None where it did not."""
    if reply.failed:
        return _message(said)
    if isinstance(found, dict):
        if found.get("error"):  # empty, as `[]`, it is none
            return _message(found)
        if found.get("success") is False:
            return str(found.get("message") or found.get("reason") or f"{name} was not successful")
    return None


def _reason(name: str, text: str) -> str:
    for crashed in _CRASHED:
        text = text.removeprefix(f"{crashed.format(name)}: ")
    return text


def _told(condition: Condition, what: Any, said: Any) -> str:
    """What a condition found, in words: a text as it is, a bare sign with the message beside it."""
    if isinstance(what, dict):
        return _message(what) or json.dumps(what, default=str)
    message = _message(said) if isinstance(said, dict) else ""
    if isinstance(what, str) and len(what) > len("12345678") and what not in message:
        return what
    return message or f"{condition.path} is {what}"


def _message(said: Any) -> str:
    """The most telling text of a failure, with what it adds as its detail."""
    if not isinstance(said, dict):
        return "" if said in (None, False, True) else said if isinstance(said, str) else json.dumps(said, default=str)
    error = said.get("error")
    texts = (_message(error), *(said[key] for key in ("message", "reason", "msg") if isinstance(said.get(key), str)))
    told = next((text for text in texts if text), json.dumps(error, default=str) if isinstance(error, dict) else "")
    detail = _message(said.get("detail"))
    return f"{told}: {detail}" if told and detail else told or detail


def _items(words: ToolWords, arguments: Mapping[str, Any], found: Any, tool: str) -> list[Any]:
    if words.items is None:
        named = found if isinstance(found, dict) else {}
        listed = found if isinstance(found, list) else named.get(TOOLS[tool].items, named.get("result"))
    else:
        # The SDK makes `{"result": [...]}` of a tool's bare list; whoever wrote the mapping may have seen either.
        bare = found["result"] if isinstance(found, dict) and found.keys() == {"result"} else found
        bare = bare if isinstance(bare, list) else found
        listed = words.items.find(bare, bare, arguments)
        if listed is None:
            listed = words.items.find(found, found, arguments)
    if listed is None:
        raise Unreadable(
            f"{words.name}: expected a list at {words.items or '$.' + TOOLS[tool].items}, found nothing there"
        )
    return listed if isinstance(listed, list) else [listed]


def _own(words: ToolWords, arguments: Mapping[str, Any], found: Any) -> dict[str, Any]:
    """The one order that was asked for, out of a list of orders."""
    wanted, order_id = arguments["client_order_id"], arguments.get("order_id")
    orders = [_translated(LOOK_UP, words, arguments, item, found) for item in _items(words, arguments, found, LOOK_UP)]
    for order in orders:
        told = order.get("client_order_id")
        if is_called(wanted, str(told)) if told else order_id and str(order.get("order_id")) == order_id:
            return order
    if orders and not any("client_order_id" in order for order in orders):
        raise Unreadable(f"{words.name} tells no client_order_id of the orders that it lists: {wanted} may be there")
    if words.lists_finished:
        raise OrderNotFound(f"{words.name} lists no order {wanted}")
    raise Unreadable(f"{words.name} lists no order {wanted}, which may be over: only with lists_finished it says more")


def _translated(tool: str, words: ToolWords, arguments: Mapping[str, Any], item: Any, found: Any) -> dict[str, Any]:
    """Our fields of one item, those that are there."""
    variables = {**arguments, **({"key": item["key"]} if isinstance(item, dict) and "key" in item else {})}
    answer: dict[str, Any] = {}
    for name in TOOLS[tool].fields:
        if name in words.result:
            path = words.result[name]
            value = None if path is None else path.find(item, found, variables)
        else:
            value = item.get(name) if isinstance(item, dict) else None
        if value is None or value == "":
            continue
        answer[name] = _worded(name, words, value)
    return answer


def _worded(name: str, words: ToolWords, value: Any) -> Any:
    if name == "status":
        return words.states.get(str(value), value)
    if name in TIMES:
        return _moment(value)
    spoken = words.enums.get(name)
    if spoken is not None and isinstance(value, str):
        return next((ours for ours, theirs in spoken.items() if theirs == value), value)
    return value


def _moment(value: Any) -> Any:
    """ISO 8601 for a time since the epoch; what is none is left as it is, and refused where answers are read."""
    if isinstance(value, bool) or not _NUMBER.fullmatch(str(value)):
        return value
    number = Decimal(str(value))
    try:
        return iso(float(exact.shifted(number, -3) if number >= _MILLISECONDS else number))
    except (ValueError, OverflowError, OSError):
        return value


def _closed(candles: list[Any], arguments: Mapping[str, Any], now: datetime) -> list[Any]:
    """Without the candle whose interval still runs: many servers give that, too, and the contract asks for closed ones.

    What says no readable time stays: it is refused where answers are read.
    """
    length = timedelta(seconds=TIMEFRAMES_S.get(str(arguments.get("timeframe")), 0))
    return [candle for candle in candles if (opened := _opened(candle)) is None or opened + length <= now]


def _closed_only(found: dict[str, Any], arguments: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The same of a server that speaks the contract, and gives the running candle all the same."""
    name = TOOLS[CANDLES].items
    listed = found.get(name, found.get("result"))
    return {name: _closed(listed, arguments, now)} if isinstance(listed, list) else found


def _opened(candle: Any) -> datetime | None:
    if not isinstance(candle, Mapping):
        return None
    try:
        moment = datetime.fromisoformat(str(candle.get("opened_at")))
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_float(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_has_float(inner) for inner in value)
    return isinstance(value, float)

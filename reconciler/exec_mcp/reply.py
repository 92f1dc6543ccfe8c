"""What a server answered → the answer in the contract's words, or what went wrong. Pure.

Numbers that came as text keep every digit. Of those that came as JSON numbers the SDK keeps the nearest binary
double, whose shortest digits are read: exact up to 15 significant digits, beyond that off by at most 2⁻⁵² of the
value. Where a server sends the same answer as text, too, as it should, the digits are read from there: exact.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from reconciler import exact
from reconciler.clock import iso
from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.exec_mcp import refusals
from reconciler.exec_mcp.answers import LONG, SHORT, SIDES, Unreadable, optional_number
from reconciler.exec_mcp.contract import BALANCES, CANDLES, LOOK_UP, PLACE, POSITIONS, TIMES, TOOLS, formed, unformed
from reconciler.exec_mcp.request import is_called
from reconciler.exec_mcp.words import AnswerCondition, ToolWords
from reconciler.orders.market import TIMEFRAMES_S

_CRASHED: Final = ("Error executing tool {}", "Error calling tool '{}'")
"""What servers made with the official SDK, and with FastMCP, say of a tool that raised, and then what it raised."""
_REJECTED: Final = re.compile(r"(?is)(?:order )?rejected: *(.*)")
"""How a failure of `place_order` that is only text begins to say that the order was refused."""
_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_NOT_FOUND: Final = re.compile(
    r"(?i)(?:order (?:(?P<within>\S+) )?(?:not found|does not exist)|(?:unknown|no such) order)"
    r"(?:: *(?P<after>\S+?))?\.?"
)
"""What a server whose mapping names no `not_found_when` says, and no more, where it knows no such order.

Told narrowly, and of no other id than the one asked for: an order that is wrongly taken for never placed is worse
than one that stays unknown.
"""
_TAKEN: Final = frozenset({"open", "partially_filled", "filled"})
"""What an exchange says of an order that it did not refuse."""
_DEEPEST: Final = 64
_MILLISECONDS: Final = 100_000_000_000
"""From here on a number is milliseconds since the epoch, below it is seconds: the year 1973, or 5138."""


class OrderNotFound(ExecRejected):
    """The server knows no such order: as far as it knows, it was never placed."""


class NotListed(Unreadable):
    """A list lacks the order, which may be over: of that the list says nothing."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for one call. `failed` is the server's own word; `structured` is None where it sent only text.

    `is_wrapped` is True where the tool's outputSchema says that `{"result": …}` is put around whatever it answers.
    """

    failed: bool
    structured: Any
    text: str
    is_wrapped: bool = False

    def read(self, tool: str, *, keeps_result: bool = False) -> Any:
        """The JSON value of the answer, decimals exact where they can be had. A failure may be no JSON: None then.

        What the SDK wraps as `{"result": …}` is read without that, but for whoever `keeps_result`.
        """
        if self.structured is None:
            spelled = _json(self.text, tool)
            if spelled is None and not self.failed:
                raise Unreadable(f"{tool} answered neither structured content nor JSON: {self.text[:200]!r}")
            return spelled
        _require_shallow(self.structured, tool)
        inner = _inside(self.structured)
        if isinstance(inner, str) and isinstance(value := _json(inner, tool), (dict, list)):
            return value
        said = inner if isinstance(inner, dict) and not keeps_result else self.structured
        if said is self.structured and not _has_float(said):
            return said
        spelled = _json(self.text, tool)
        if spelled is not None and spelled_alike(self.text, said):
            return spelled
        return said if self.is_wrapped or said is not inner else self.structured

    def only_text(self, tool: str) -> str | None:
        """The text that is all of the answer; None where it is anything else."""
        said = self.text if self.structured is None else _inside(self.structured)
        if not isinstance(said, str) or not said.strip():
            return None
        value = _json(said, tool)
        return said if value is None else value if isinstance(value, str) else None


def spelled_alike(text: str, value: Any) -> bool:
    """True where `text` is JSON of just that value."""
    try:
        return bool(json.loads(text) == value)
    except ValueError:
        return False


def _json(text: str, tool: str) -> Any:
    """None for what is no JSON. Raises Unreadable for what nobody could read, whatever it is."""
    try:
        value = json.loads(text, parse_float=Decimal)
    except ValueError:
        return None
    except (RecursionError, MemoryError, ArithmeticError):
        raise _too_deep(tool) from None
    _require_shallow(value, tool)
    return value


def _require_shallow(value: Any, tool: str) -> None:
    """Raises Unreadable for what is nested so deeply that whoever walks through it may fall over."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for outer in level if isinstance(outer, (dict, list)) for inner in _within(outer)]
        if not level:
            return
    raise _too_deep(tool)


def _within(outer: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return outer.values() if isinstance(outer, dict) else outer


def _too_deep(tool: str) -> Unreadable:
    return Unreadable(f"{tool} answered what cannot be read: it is too long or nested too deeply")


def _inside(structured: Any) -> Any:
    """What stands within `{"result": …}`, and nothing beside it; None where there is no such thing."""
    return structured["result"] if isinstance(structured, dict) and structured.keys() == {"result"} else None


def answered(tool: str, words: ToolWords, arguments: Mapping[str, Any], reply: Reply, now: datetime) -> dict[str, Any]:
    """The answer of our `tool` in the contract's words. `arguments` are the call's, in ours.

    Raises ExecUnknown where it says that nobody knows, OrderNotFound, and ExecRejected for every other failure.
    """
    theirs = _as_formed(words, arguments)
    found = understood(tool, words, theirs, reply)
    answer = _in_our_words(tool, words, theirs, found, now)
    if tool in (PLACE, LOOK_UP):
        _require_refused(tool, answer, found)
    return answer


def understood(tool: str, words: ToolWords, arguments: Mapping[str, Any], reply: Reply) -> Any:
    """What the server answered, in its own words. Raises as `answered` does."""
    if tool in (PLACE, LOOK_UP) and not reply.failed and not words.reads_result:
        _require_order(tool, words, arguments, reply)
    found = reply.read(words.name, keeps_result=words.reads_result)
    try:
        _judge(tool, words, arguments, reply, found)
    except ExecRejected as refusal:
        if tool == LOOK_UP and not words.not_found_when and _is_not_found(str(refusal), arguments):
            raise OrderNotFound(str(refusal)) from None
        raise
    return found


def _require_order(tool: str, words: ToolWords, arguments: Mapping[str, Any], reply: Reply) -> None:
    """Raise where nothing was answered in place of an order, or a text, which is heard as that of a failure."""
    if tool == LOOK_UP and reply.structured == {"result": None}:
        raise Unreadable(f"{words.name} answered null, which does not say that there is no such order, nor why")
    if (text := reply.only_text(words.name)) is None:
        return
    try:
        understood(tool, words, arguments, Reply(True, None, text))
    except ExecRejected as refusal:
        if tool == PLACE or isinstance(refusal, OrderNotFound):
            raise
    except ExecUnknown:
        pass
    if reply.structured is not None:
        raise Unreadable(f"{words.name} answered a text, and no order: {text[:200]!r}")


def _as_formed(words: ToolWords, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The call's arguments with our id in the form in which the server has it: so it is found in answers."""
    if words.form is None or not arguments.get("client_order_id"):
        return arguments
    return {**arguments, "client_order_id": formed(arguments["client_order_id"], words.form)}


def _in_our_words(
    tool: str, words: ToolWords, arguments: Mapping[str, Any], found: Any, now: datetime
) -> dict[str, Any]:
    if isinstance(found, dict) and not (words.result or words.items or words.states or words.form):
        return _closed_only(found, arguments, now) if tool == CANDLES else found
    if TOOLS[tool].items:
        items = [_translated(tool, words, arguments, item, found) for item in _items(words, arguments, found, tool)]
        listed = {TOOLS[tool].items: _closed(items, arguments, now) if tool == CANDLES else items}
        return {**listed, **_equity(items, found)} if tool == BALANCES else listed
    if tool == LOOK_UP and words.items is not None:
        return _own(words, arguments, found)
    item = found if words.items is None else _picked_one(words, arguments, found, tool)
    answer = _translated(tool, words, arguments, item, found)
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

    Of one that the mapping does not name, an order that it is about was refused only where it names why; it is unknown
    where it is but a text, as what a tool raised is. It is looked up then, which costs little. One that was taken and
    is heard as refused would be placed twice.
    """
    said = found if found is not None else {"error": _reason(words.name, reply.text)}

    def met(conditions: tuple[AnswerCondition, ...]) -> str | None:
        for condition in conditions:
            if (what := condition.met_by(said, arguments)) is not None:
                return _told(condition, what, said)
        return None

    def why(otherwise: str) -> str:
        path = words.result.get("reason")
        own = None if path is None else path.find(said, said, arguments)
        return own if isinstance(own, str) and own else otherwise

    if (unknown := met(words.unknown_when)) is not None:
        raise ExecUnknown(why(unknown))
    if reply.failed and reply.text in (crashed.format(words.name) for crashed in _CRASHED):
        raise ExecUnknown(f"{words.name} crashed on the server")
    if tool != PLACE and (absent := met(words.not_found_when)) is not None:
        raise OrderNotFound(why(absent))
    refused, failed = met(words.refused_when), met(words.error_when)
    found_out = (failed, refused, _refusal(words.name, reply, found, said))
    failure = next((told for told in found_out if told is not None), None)
    if failure is None:
        return
    failure = why(failure)
    if tool == PLACE:
        named = _REJECTED.fullmatch(failure) if refused is None else None
        failure = failure if named is None else named[1]
        texts = f"{failure}\n{refusals.told(said)}"
        if refusals.says_taken(texts):
            raise ExecUnknown(f"{words.name} says that there is such an order already: {failure}")
        if refused is None and _tells_order(words, arguments, found):
            raise ExecUnknown(f"{words.name} tells of a failure, and of an order that it took all the same: {failure}")
        is_named = not refusals.leaves_open(texts) if named else refusals.says_refused(texts)
        is_bare = found is None and failed is None and named is None
        if refused is None and (is_bare or not is_named):
            raise ExecUnknown(f"{words.name} failed, which does not say that the order was refused: {failure}")
    raise ExecRejected(failure or f"{words.name} failed without a reason")


def _tells_order(words: ToolWords, arguments: Mapping[str, Any], found: Any) -> bool:
    """True where what tells of a failure has an order in it, too, which is open or was filled."""
    if not isinstance(found, dict):
        return False
    told = [
        _translated(PLACE, words, arguments, one, found) for one in (found, *found.values()) if isinstance(one, dict)
    ]
    return any(one.get("status") in _TAKEN or _is_more_than_zero(one.get("filled_quantity")) for one in told)


def _is_more_than_zero(value: Any) -> bool:
    try:
        filled = optional_number(value, "filled_quantity")
    except Unreadable:
        return False
    return filled is not None and filled > 0


def _require_refused(tool: str, answer: Mapping[str, Any], found: Any) -> None:
    """Raise where an order is said to be rejected for what is no refusal."""
    if answer.get("status") != "rejected":
        return
    reason = str(answer.get("reason") or "")
    texts = f"{reason}\n{refusals.told(found)}" if tool == PLACE else reason  # a look-up's answer may tell of others
    if refusals.says_taken(texts):
        raise ExecUnknown(f"the order is said to be rejected, for there is such an order already: {reason}")
    if tool == PLACE and reason and not (refusals.says_refused(reason) and not refusals.leaves_open(texts)):
        raise ExecUnknown(f"the order is said to be rejected, for what does not say that it was refused: {reason}")


def _refusal(name: str, reply: Reply, found: Any, said: Any) -> str | None:
    """Why it failed, in the server's words, which may be none; None where it did not."""
    if reply.failed:
        return _message(said)
    found = inner if isinstance(inner := _inside(found), dict) else found
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


def _told(condition: AnswerCondition, what: Any, said: Any) -> str:
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
    items = listed if isinstance(listed, list) else [listed]
    for argument, path in words.pick.items():
        if (wanted := arguments.get(argument)) is not None:
            spelled = str(words.enums.get(argument, {}).get(wanted, wanted))
            items = [item for item in items if str(path.find(item, found, arguments)) == spelled]
    return items


def _picked_one(words: ToolWords, arguments: Mapping[str, Any], found: Any, tool: str) -> Any:
    """The one item that is meant, out of a list that the server does not filter."""
    items = _items(words, arguments, found, tool)
    if len(items) == 1:
        return items[0]
    meant = ", ".join(f"{path} is {arguments.get(argument)}" for argument, path in words.pick.items())
    if not items:
        raise ExecRejected(f"{words.name} lists nothing of which {meant}")
    raise Unreadable(f"{words.name}: expected one item of which {meant}, was {len(items)}")


def _own(words: ToolWords, arguments: Mapping[str, Any], found: Any) -> dict[str, Any]:
    """The one order that was asked for, out of a list of orders."""
    wanted, order_id = _ours(words, arguments["client_order_id"]), arguments.get("order_id")
    orders = [_translated(LOOK_UP, words, arguments, item, found) for item in _items(words, arguments, found, LOOK_UP)]
    for order in orders:
        told = order.get("client_order_id")
        if is_called(wanted, str(told)) if told else order_id and str(order.get("order_id")) == order_id:
            # Of a list of open orders, some servers do not say of each that it is open.
            return order if words.lists_finished else {"status": "open", **order}
    if orders and not any("client_order_id" in order for order in orders):
        raise Unreadable(f"{words.name} tells no client_order_id of the orders that it lists: {wanted} may be there")
    if words.lists_finished:
        raise OrderNotFound(f"{words.name} lists no order {wanted}")
    raise NotListed(f"{words.name} lists no order {wanted}, which may be over: only with lists_finished it says more")


def _translated(tool: str, words: ToolWords, arguments: Mapping[str, Any], item: Any, found: Any) -> dict[str, Any]:
    """Our fields of one item, those that are there."""
    variables = {**arguments, **({"key": item["key"]} if isinstance(item, dict) and "key" in item else {})}
    answer: dict[str, Any] = {}
    if tool == POSITIONS and isinstance(item, dict):
        answer |= {name: item[name] for name in SIDES if item.get(name)}
    for name in TOOLS[tool].fields:
        if name in words.result:
            path = words.result[name]
            value = None if path is None else path.find(item, found, variables)
        else:
            value = item.get(name) if isinstance(item, dict) else None
        if value is None or value == "":
            continue
        answer[name] = _worded(name, words, value)
    if tool == POSITIONS and words.result.get("side") is not None:
        return _signed(answer)
    return answer


def _equity(items: Iterable[Mapping[str, Any]], found: Any) -> dict[str, Any]:
    """The account's equity, where any item or the answer itself tells it, in the contract's words."""
    for item in items:
        if "equity" in item:
            return {"equity": {"amount": item["equity"], "currency": item.get("equity_currency", "")}}
    return {"equity": found["equity"]} if isinstance(found, dict) and "equity" in found else {}


def _signed(position: Mapping[str, Any]) -> dict[str, Any]:
    """A position whose quantity has the sign of its side, as the mapping says where that stands."""
    side = str(position.get("side", "")).strip().lower()
    size = str(position.get("quantity", "")).strip().lstrip("+-")
    kept = {name: value for name, value in position.items() if name not in SIDES}
    if side in SHORT | LONG and size:
        kept["quantity"] = f"-{size}" if side in SHORT else size
    return kept


def _worded(name: str, words: ToolWords, value: Any) -> Any:
    if name == "status":
        return words.states.get(str(value), value)
    if name in TIMES:
        return _moment(value)
    if name == "client_order_id":
        return _ours(words, value)
    spoken = words.enums.get(name)
    if spoken is not None and isinstance(value, str):
        return next((ours for ours, theirs in spoken.items() if theirs == value), value)
    return value


def _ours(words: ToolWords, told: Any) -> Any:
    """Our id of what the server has in a form of its own; of any other order, what was told."""
    return told if words.form is None else unformed(str(told), words.form) or told


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

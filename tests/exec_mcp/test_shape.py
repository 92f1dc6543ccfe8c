"""What a mapping relies on of a server's tools, and how a change of that is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from reconciler.exec_mcp.fit import Offer, difference, shape
from reconciler.exec_mcp.written import read

WORDS = read({"tools": {"place_order": {"name": "createOrder"}}})
TAKES: dict[str, Any] = {
    "type": "object",
    "title": "createOrderArguments",
    "properties": {
        "symbol": {"type": "string", "title": "Symbol"},
        "title": {"type": "string", "description": "of the order"},
        "limit": {"type": "integer", "default": 50},
    },
    "required": ["symbol"],
}
GIVES: dict[str, Any] = {"type": "object", "properties": {"id": {"type": "string", "description": "the id"}}}


def told(takes: dict[str, Any], gives: dict[str, Any] | None = GIVES) -> str:
    first = shape(WORDS, {"createOrder": Offer(TAKES, GIVES)})
    return difference(first, shape(WORDS, {"createOrder": Offer(takes, gives)}))


def altered(*path: str, to: Any) -> dict[str, Any]:
    takes = copy.deepcopy(TAKES)
    inner = takes
    for key in path[:-1]:
        inner = inner[key]
    if to is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = to
    return takes


@pytest.mark.parametrize(
    ("takes", "said"),
    [
        (altered("properties", "symbol", "type", to="integer"), "argument symbol is another"),
        (altered("properties", "symbol", to=None), "argument symbol is gone"),
        (altered("properties", "title", to=None), "argument title is gone"),
        (altered("properties", "amount", to={}), "argument amount is new"),
        (altered("properties", "limit", "default", to=100), "the default of limit is another"),
        (altered("properties", "limit", "default", to=None), "the default of limit is gone"),
        (altered("required", to=["symbol", "limit"]), "argument limit is another"),
        (altered("additionalProperties", to=True), "the form of its arguments is another"),
    ],
)
def test_a_change_of_what_a_tool_takes_is_told_argument_by_argument(takes: dict[str, Any], said: str) -> None:
    assert told(takes) == f"createOrder has changed: {said}"


def test_a_change_of_what_a_tool_answers_is_told() -> None:
    other = {"type": "object", "properties": {"order_id": {"type": "string"}}}
    assert told(TAKES, other) == "createOrder has changed: the form of its answers is another"
    assert told(TAKES, None) == "createOrder has changed: the form of its answers is gone"


def test_how_a_tool_is_described_is_no_change() -> None:
    takes = altered("properties", "symbol", "description", to="BTC/USD, say")
    takes["title"] = "another"
    gives = {"type": "object", "title": "more", "properties": {"id": {"type": "string"}}}
    assert told(takes, gives) == ""


def test_tools_that_go_and_come_are_told_and_those_that_no_mapping_uses_are_not() -> None:
    both = {"createOrder": Offer(TAKES), "weather": Offer({})}
    with_order, without = shape(WORDS, both), shape(WORDS, {})
    assert difference(with_order, without) == "createOrder is gone"
    assert difference(without, with_order) == "createOrder is new"
    assert "weather" not in with_order

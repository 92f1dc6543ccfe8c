"""What a mapping reads, held against what a server promises; and servers that only ask whether it is meant."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.exec_mcp.contract import TOOLS
from reconciler.exec_mcp.fit import Fit, fit
from reconciler.exec_mcp.written import read
from tests.exec_mcp.test_check import contract_server

TEXT = {"type": "string"}


def reading(tool: str, mapping: dict[str, Any], gives: dict[str, Any]) -> Fit:
    return fit(read({"tools": {tool: mapping}}), contract_server(), ("main",), {tool: gives})


def answer(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


ORDER = answer(id=TEXT, status=TEXT, filled=TEXT)
ORDERS = {"type": "array", "items": ORDER}


@pytest.mark.parametrize(
    ("tool", "mapping", "gives", "sentence"),
    [
        ("get_order", {"items": "$.orders"}, answer(result=ORDERS),
         "items is read at $.orders, which is not in the outputSchema of get_order (it has result)"),
        ("get_order", {"items": "$.result"}, answer(result=ORDERS),
         "no answer could be read: the outputSchema of get_order has no client_order_id or order_id where it is looked "
         "for"),
        ("get_order", {}, answer(id=TEXT, state=TEXT),
         "no answer could be read: the outputSchema of get_order has no status where it is looked for"),
        ("place_order", {"result": {"order_id": "$.data.id"}}, answer(data={"type": "string"}),
         "no answer could be read: the outputSchema of place_order has no status or order_id where it is looked for"),
        ("list_orders", {}, answer(found=ORDERS),
         "items is read at $.orders, which is not in the outputSchema of list_orders (it has found)"),
        ("get_candles", {"items": "$", "result": {"opened_at": "$[0]", "open": "$[1]", "high": "$[2]", "low": "$[3]"}},
         answer(result={"type": "array", "items": {"type": "array"}}),
         "no answer could be read: the outputSchema of get_candles has no close where it is looked for"),
        ("get_quote", {"result": {"bid": "$.quotes[symbol].bp", "ask": "$.quotes[symbol].ap"}},
         answer(quotes={"additionalProperties": answer(bp=TEXT)}),
         "no answer could be read: the outputSchema of get_quote has no ask where it is looked for"),
        ("get_balances", {"items": "$.total.*", "result": {"asset": "$.key", "total": "$.worth"}},
         answer(total={"type": "object"}),
         "no answer could be read: the outputSchema of get_balances has no total where it is looked for"),
        ("get_order", {"states": {"NEW": "open"}}, answer(status={"enum": ["LIVE", "DONE"]}),
         "status may be DONE, LIVE, for which states has no word of ours"),
    ],
)  # fmt: skip
def test_a_tool_of_whose_answers_nothing_can_be_read_is_of_no_use(
    tool: str, mapping: dict[str, Any], gives: dict[str, Any], sentence: str
) -> None:
    fitting = reading(tool, mapping, gives)
    assert sentence in fitting.why_not(tool)
    assert tool not in fitting.tools


@pytest.mark.parametrize(
    ("mapping", "gives", "sentence"),
    [
        ({"result": {"fee": "$.fees.taker"}}, answer(status=TEXT, fees=TEXT),
         "fee is read at $.fees.taker, which is not in the outputSchema of get_order (it has fees, status)"),
        ({"not_found_when": [{"path": "$.code", "is": "51603"}]}, answer(status=TEXT),
         "not_found_when is read at $.code, which is not in the outputSchema of get_order (it has status)"),
        ({"states": {"LIVE": "open"}}, answer(status={"enum": ["LIVE", "HELD"]}),
         "status may be HELD, for which states has no word of ours"),
    ],
)  # fmt: skip
def test_what_can_never_come_about_is_said_and_disables_nothing(
    mapping: dict[str, Any], gives: dict[str, Any], sentence: str
) -> None:
    fitting = reading("get_order", mapping, gives)
    assert fitting.hindrances == (f"get_order: {sentence}",)
    assert fitting.tools == tuple(TOOLS)


@pytest.mark.parametrize(
    ("mapping", "gives"),
    [
        ({}, {"type": "object", "additionalProperties": True}),
        ({}, answer(result=TEXT)),  # JSON as a text
        ({"result": {"status": "$.data[0].state"}}, answer(result=TEXT)),
        ({}, {"anyOf": [answer(status=TEXT), answer(error=TEXT)]}),
        ({}, answer(result={"anyOf": [{"$ref": "#/$defs/order"}, {"type": "null"}]}) | {"$defs": {"order": ORDER}}),
        ({"not_found_when": ["$.error"], "error_when": ["$.error.code"]}, answer(status=TEXT)),  # of a failure's text
        ({"lists_finished": True, "items": "$", "result": {"client_order_id": "$.id"}}, answer(result=ORDERS)),
        ({"lists_finished": True, "items": "$.result", "result": {"client_order_id": "$.id"}}, answer(result=ORDERS)),
        (
            {"lists_finished": True, "items": "$.orders", "result": {"order_id": "$.id"}},
            answer(orders={"anyOf": [ORDERS, {"type": "null"}]}),
        ),
        ({}, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}),
    ],
)
def test_what_may_be_there_is_believed(mapping: dict[str, Any], gives: dict[str, Any]) -> None:
    assert reading("get_order", mapping, gives) == Fit((), tuple(TOOLS))


def placing(mapping: dict[str, Any], more: dict[str, Any], gives: dict[str, Any] | None = None) -> tuple[str, ...]:
    listed = contract_server()
    listed["place_order"]["properties"] |= more.pop("properties", {})
    return fit(read({"tools": {"place_order": mapping}}), listed | more, ("main",), {"place_order": gives}).hindrances


CONFIRM = {"confirm_order": {"properties": {"confirmation_id": TEXT}, "required": ["confirmation_id"]}}
STAGED = {"status": TEXT, "confirmation_id": TEXT}
FLAG: dict[str, Any] = {"type": "boolean", "default": False}


@pytest.mark.parametrize(
    ("mapping", "more", "gives", "sentence"),
    [
        ({}, CONFIRM, None, "the server has confirm_order; say so with confirm"),
        ({}, {}, answer(**STAGED), "its outputSchema has 'confirmation_id'; say so with confirm"),
        ({}, {"properties": {"confirm": FLAG}}, None, "asks for 'confirm', which is not sent: it may place nothing"),
        ({}, {"properties": {"dry_run": FLAG | {"default": True}}}, None, "only rehearses unless 'dry_run' is false"),
        ({"const": {"confirm": True}}, {"properties": {"confirm": FLAG}}, None, ""),
        ({}, {"properties": {"dry_run": FLAG}}, None, ""),
        ({}, {"confirm_email": {"properties": {"email": TEXT}, "required": ["email"]}}, None, ""),
    ],
)
def test_a_server_that_only_asks_for_a_confirmation_is_seen_through(
    mapping: dict[str, Any], more: dict[str, Any], gives: dict[str, Any] | None, sentence: str
) -> None:
    said = placing(mapping, dict(more), gives)
    assert len(said) == (1 if sentence else 0)
    assert not sentence or sentence in said[0]

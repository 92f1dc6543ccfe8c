"""Putting a call into a server's words: every digit, or not at all."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import CallToolRequest, CallToolRequestParams, JSONRPCRequest

from reconciler.exec_mcp.request import Unsayable, converted, request
from reconciler.exec_mcp.words import CONTRACT, Target, ToolWords
from reconciler.exec_mcp.written import read
from reconciler.orders.order import decimal_text

ORDER = {
    "account_id": "main",
    "client_id": "desk",
    "client_order_id": "abc",
    "symbol": "BTC/USD",
    "side": "buy",
    "type": "limit",
    "quantity": "0.10",
    "limit_price": "60000",
}
decimals = st.decimals(allow_nan=False, allow_infinity=False, min_value=Decimal("-1e20"), max_value=Decimal("1e20"))
short = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places), st.integers(-(10**15) + 1, 10**15 - 1), st.integers(0, 18)
)


def said(tool: str, arguments: dict[str, Any], mapping: dict[str, Any]) -> dict[str, Any]:
    tools = {key: value for key, value in mapping.items() if key != "bind"}
    words = read({"bind": mapping.get("bind", {}), "tools": {tool: tools}}).tool(tool)
    assert words is not None
    return request(tool, words, arguments)


def on_the_wire(value: Any) -> tuple[str, str]:
    """The texts that the SDK's two transports write for `value`, as one argument of a call."""
    params = CallToolRequestParams(name="t", arguments={"v": value})
    data = CallToolRequest(params=params).model_dump(by_alias=True, mode="json", exclude_none=True)
    message = JSONRPCRequest(jsonrpc="2.0", id=1, **data)
    stdio = message.model_dump_json(by_alias=True, exclude_unset=True)
    http = json.dumps(message.model_dump(by_alias=True, mode="json", exclude_unset=True))
    return stdio, http


def sent_digits(text: str) -> Any:
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)["params"]["arguments"]["v"]


def test_a_server_of_the_contract_gets_what_it_is_given() -> None:
    words = CONTRACT.tool("place_order")
    assert words is not None
    assert request("place_order", words, ORDER) == ORDER


def test_names_paths_types_words_and_constants_are_the_servers() -> None:
    mapping = {
        "bind": {"account_id": "accountName", "client_id": None},
        "name": "createOrder",
        "args": {
            "quantity": {"to": "amount", "as": "number"},
            "limit_price": "price",
            "client_order_id": ["id", "params.clientOrderId"],
            "reduce_only": None,
        },
        "const": {"timeInForce": "GTC", "params": {"hidden": True}},
        "enums": {"side": {"buy": "BUY", "sell": "SELL"}},
    }
    assert said("place_order", {**ORDER, "reduce_only": True}, mapping) == {
        "accountName": "main",
        "id": "abc",
        "params": {"hidden": True, "clientOrderId": "abc"},
        "symbol": "BTC/USD",
        "side": "BUY",
        "type": "limit",
        "amount": 0.1,
        "price": "60000",
        "timeInForce": "GTC",
    }
    assert mapping["const"] == {"timeInForce": "GTC", "params": {"hidden": True}}


def test_a_tool_that_takes_no_account_gets_none() -> None:
    quote = {"account_id": "main", "client_id": "", "symbol": "BTC/USD"}
    words = read({"tools": {"get_quote": {"name": "fetchTicker", "bind": "none"}}}).tool("get_quote")
    assert words is not None
    assert request("get_quote", words, quote) == {"symbol": "BTC/USD"}


def test_what_only_some_servers_ask_for_is_sent_where_it_is_mapped() -> None:
    arguments = {"account_id": "m", "client_id": "d", "client_order_id": "abc", "symbol": "BTC/USD", "order_id": "x"}
    assert "symbol" not in said("get_order", arguments, {})
    assert said("get_order", arguments, {"args": {"symbol": "instId"}})["instId"] == "BTC/USD"
    del arguments["symbol"]
    with pytest.raises(Unsayable, match="get_order: the server asks for symbol, which is not known"):
        said("get_order", arguments, {"args": {"symbol": "instId"}})


@pytest.mark.parametrize(
    ("more", "mapping", "sentence"),
    [
        (
            {"stop_price": "1"},
            {"args": {"stop_price": None}},
            "place_order: the server takes no stop_price, and this call has one: 1",
        ),
        (
            {"time_in_force": "day"},
            {"enums": {"time_in_force": {"ioc": "IOC", "fok": "FOK"}}},
            "place_order: the server has no word for time_in_force 'day', only for ioc, fok",
        ),
        (
            {"quantity": "0.123456789123456789"},
            {"args": {"quantity": {"to": "amount", "as": "number"}}},
            "place_order: quantity: 0.123456789123456789 has too many digits to be sent as a JSON number exactly; "
            "it would become 0.12345678912345678",
        ),
        (
            {"quantity": "0.5"},
            {"args": {"quantity": {"to": "lots", "as": "integer"}}},
            "place_order: quantity: expected a whole number, was 0.5",
        ),
        (
            {"type": "market", "limit_price": None, "time_in_force": "ioc"},
            {"args": {"type": "kind", "time_in_force": "kind"}},
            "place_order: the server takes one word for type and time_in_force, and has none for market with ioc",
        ),
    ],
)
def test_what_cannot_be_said_is_not_sent(more: dict[str, Any], mapping: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Unsayable) as caught:
        said("place_order", {**ORDER, **more}, mapping)
    assert str(caught.value) == sentence


def test_the_time_in_force_of_a_limit_order_may_be_its_type() -> None:
    mapping = {"args": {"type": "kind", "time_in_force": "kind"}, "enums": {"time_in_force": {"ioc": "IOC"}}}
    assert said("place_order", ORDER, mapping)["kind"] == "limit"
    assert said("place_order", {**ORDER, "time_in_force": "ioc"}, mapping)["kind"] == "IOC"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            {"args": {"symbol": (Target(("side",)),)}},
            "place_order: side goes to 'side', where something else was put already",
        ),
        (
            {"const": {"symbol": "ETH/USD"}},
            "place_order: symbol goes to 'symbol', where something else was put already",
        ),
        (
            {"args": {"quantity": (Target(("symbol", "amount")),)}},
            "place_order: quantity goes to 'symbol.amount', but what was put at symbol is no object",
        ),
        (
            {"args": {"symbol": (Target(("p", "x")),)}, "const": {"p": {"x": None}}},
            "place_order: symbol goes to 'p.x', where something else was put already",
        ),
    ],
)
def test_nothing_that_was_put_into_a_call_is_overwritten(words: dict[str, Any], sentence: str) -> None:
    """Reading a mapping refuses these; a call would refuse them, too."""
    with pytest.raises(Unsayable) as caught:
        request("place_order", ToolWords("place_order", **words), ORDER)
    assert str(caught.value) == sentence


@given(decimals)
def test_a_decimal_goes_out_as_a_json_number_of_the_same_digits_or_not_at_all(value: Decimal) -> None:
    try:
        number = converted(decimal_text(value), "number")
    except ValueError:
        assert len(value.as_tuple().digits) > 15
        return
    assert [sent_digits(text) for text in on_the_wire(number)] == [value, value]


@given(short)
def test_a_decimal_of_fifteen_digits_always_goes_out_as_a_json_number(value: Decimal) -> None:
    number = converted(decimal_text(value), "number")
    assert [sent_digits(text) for text in on_the_wire(number)] == [value, value]


@given(decimals)
def test_a_decimal_that_goes_out_as_text_keeps_every_digit(value: Decimal) -> None:
    text = decimal_text(value)
    assert [sent_digits(sent) for sent in on_the_wire(converted(text, "string"))] == [text, text]


@pytest.mark.parametrize(
    ("value", "wanted", "is_"),
    [(100, "string", "100"), (True, "string", "true"), ("true", "boolean", True), ("12", "integer", 12)],
)
def test_a_value_becomes_the_type_that_is_wanted(value: Any, wanted: Any, is_: Any) -> None:
    made = converted(value, wanted)
    assert (made, type(made)) == (is_, type(is_))


@pytest.mark.parametrize(("value", "wanted"), [("abc", "number"), ("NaN", "number"), ("yes", "boolean")])
def test_a_value_that_is_none_of_the_kind_is_refused(value: Any, wanted: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        converted(value, wanted)

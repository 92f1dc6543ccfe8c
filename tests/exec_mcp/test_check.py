"""A mapping held against a server's tools: what fits, and one sentence for what does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reconciler.exec_mcp.contract import OPTIONAL, TOOLS
from reconciler.exec_mcp.fit import Fit, fit
from reconciler.exec_mcp.words import CONTRACT
from reconciler.exec_mcp.written import read

TEXT = {"type": "string"}


def contract_server() -> dict[str, dict[str, Any]]:
    """The tools of a server that speaks the contract."""
    return {
        name: {
            "type": "object",
            "properties": {a.name: {"type": a.type} for a in tool.arguments.values() if not a.offered},
            "required": [a.name for a in tool.arguments.values() if a.required],
        }
        for name, tool in TOOLS.items()
    }


def place_order(
    properties: dict[str, Any],
    required: Sequence[str] = (),
    definitions: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, dict[str, Any]]:
    """A server of the contract, but for the arguments of its `place_order`; those that are None it has not."""
    listed = contract_server()
    known = {k: v for k, v in (listed["place_order"]["properties"] | properties).items() if v is not None}
    schema = {"properties": known, "required": list(required), "$defs": definitions or {}, **more}
    return {**listed, "place_order": schema}


def found(mapping: dict[str, Any], listed: dict[str, dict[str, Any]], accounts: tuple[str, ...] = ("main",)) -> Fit:
    return fit(read(mapping), listed, accounts)


def test_a_server_of_the_contract_fits_as_it_is() -> None:
    assert fit(CONTRACT, contract_server(), ("main", "spare")) == Fit((), tuple(TOOLS))


@pytest.mark.parametrize(
    ("mapping", "listed", "sentence"),
    [
        (
            {"tools": {"place_order": {"name": "createOrdr"}}},
            {**contract_server(), "createOrder": {}},
            "place_order: the server has no tool 'createOrdr'; did you mean 'createOrder'?",
        ),
        (
            {},
            place_order({"quantity": None, "amount": TEXT}, additionalProperties=False),
            "place_order: quantity goes to 'quantity', which is not in the inputSchema of place_order (it has "
            "account_id, amount, client_id, client_order_id, limit_price, reduce_only, side, stop_price, symbol, "
            "time_in_force, type): write quantity: null where it takes none",
        ),
        (
            {},
            place_order({"side": {"type": "string", "enum": ["BUY", "SELL"]}}),
            "place_order: side may be buy, sell, but 'side' knows only BUY, SELL",
        ),
        (
            {},
            place_order({"quantity": {"anyOf": [{"type": "number"}, {"type": "null"}]}}),
            "place_order: quantity goes to 'quantity' as string, which wants number",
        ),
        (
            {},
            place_order({"tdMode": TEXT}, ("symbol", "tdMode")),
            "place_order: place_order requires 'tdMode', which is never sent; map an argument to it, or const",
        ),
        (
            {"tools": {"place_order": {"const": {"cahs": 1}}}},
            place_order({"cash": {"type": "integer"}}, additionalProperties=False),
            "place_order: const sends 'cahs', which is not in the inputSchema of place_order (it has account_id, cash, "
            "client_id, client_order_id, limit_price, quantity, reduce_only, side, stop_price, symbol, time_in_force, "
            "type; did you mean 'cash'?)",
        ),
        (
            {"tools": {"place_order": {"args": {"client_order_id": None}}}},
            place_order({}),
            "place_order: client_order_id has nowhere to go: the order could never be told from others",
        ),
        (
            {"tools": {"place_order": {"args": {"account_id": None}}}},
            place_order({}),
            "place_order: account_id has nowhere to go: args or bind leave it out",
        ),
        (
            {"tools": {"place_order": {"bind": "none"}}},
            place_order({}),
            "place_order: account_id has nowhere to go: args or bind leave it out",
        ),
    ],
)
def test_what_keeps_orders_from_being_placed_is_one_sentence(
    mapping: dict[str, Any], listed: dict[str, dict[str, Any]], sentence: str
) -> None:
    fitting = found(mapping, listed)
    assert [str(mismatch) for mismatch in fitting.mismatches] == [sentence]
    assert fitting.why_not("place_order") == sentence.removeprefix("place_order: ")
    assert set(TOOLS) - {"place_order"} == set(fitting.tools)


@pytest.mark.parametrize(
    ("mapping", "listed", "sentence"),
    [
        (
            {},
            place_order({"stop_price": None}, additionalProperties=False),
            "place_order: stop_price goes to 'stop_price', which is not in the inputSchema of place_order (it has "
            "account_id, client_id, client_order_id, limit_price, quantity, reduce_only, side, symbol, time_in_force, "
            "type): calls that have one are refused",
        ),
        (
            {},
            place_order({"type": {"enum": ["market", "limit"]}}),
            "place_order: type may be stop, stop_limit, but 'type' knows only limit, market",
        ),
        (
            {},
            place_order({}, ("limit_price",)),
            "place_order: place_order requires 'limit_price', which not every call has",
        ),
    ],
)
def test_what_keeps_only_some_orders_back_is_said_and_disables_nothing(
    mapping: dict[str, Any], listed: dict[str, dict[str, Any]], sentence: str
) -> None:
    fitting = found(mapping, listed)
    assert [str(mismatch) for mismatch in fitting.mismatches] == [sentence]
    assert fitting.tools == tuple(TOOLS)


def test_orders_that_cannot_be_looked_up_afterwards_are_said_so() -> None:
    by_exchange_id = {"args": {"client_order_id": None, "order_id": "id"}}
    listed = contract_server()
    listed["get_order"] = {"properties": {"account_id": TEXT, "client_id": TEXT, "id": TEXT}}
    fitting = found({"tools": {"get_order": by_exchange_id}}, listed)
    assert [str(mismatch) for mismatch in fitting.mismatches] == [
        "get_order: client_order_id has nowhere to go, so that nothing says which order is meant"
    ]
    assert "get_order" not in fitting.tools
    assert "get_order" not in found({"tools": {"get_order": None}}, contract_server()).tools


def test_an_order_may_be_cancelled_by_the_exchanges_id_and_looked_up_in_a_list() -> None:
    listed = contract_server()
    listed["cancel_order"] = listed["get_order"] = {"properties": {"account_id": TEXT, "client_id": TEXT, "id": TEXT}}
    tools = {
        "cancel_order": {"args": {"client_order_id": None, "symbol": None, "order_id": "id"}},
        "get_order": {"args": {"client_order_id": None}, "items": "$", "lists_finished": True},
    }
    assert found({"tools": tools}, listed) == Fit((), tuple(TOOLS))


def test_look_ups_that_see_open_orders_alone_are_not_called_fine() -> None:
    listed = contract_server()
    del listed["get_order"]["properties"]["client_order_id"]
    listed["get_order"]["required"].remove("client_order_id")
    fitting = found({"tools": {"get_order": {"args": {"client_order_id": None}, "items": "$"}}}, listed)
    (said,) = fitting.hindrances
    assert said.startswith("get_order: it looks in lists of open orders alone, where an order that filled at once")
    assert fitting.tools == tuple(TOOLS)


def test_a_server_that_takes_no_account_is_one_account() -> None:
    mapping, listed = {"bind": {"account_id": None}}, contract_server()
    for schema in listed.values():
        schema["required"].remove("account_id")
    assert found(mapping, listed, ("main",)) == Fit((), tuple(TOOLS))
    several = found(mapping, listed, ("main", "spare"))
    assert "place_order" not in several.tools
    assert several.why_not("place_order") == (
        "account_id has nowhere to go: the server takes no account, and main, spare are declared under it"
    )


def test_schemas_are_followed_through_references_choices_and_nested_objects() -> None:
    params = {"properties": {"cid": TEXT}, "required": []}
    listed = place_order(
        {"quantity": {"$ref": "#/$defs/amount"}, "params": {"anyOf": [{"$ref": "#/$defs/params"}, {"type": "null"}]}},
        definitions={"amount": {"type": ["number", "string"]}, "params": params},
    )
    good = {"tools": {"place_order": {"args": {"client_order_id": "params.cid"}}}}
    assert found(good, listed).mismatches == ()
    bad = {"tools": {"place_order": {"args": {"client_order_id": "params.cit"}}}}
    assert [m.sentence for m in found(bad, listed).mismatches] == [
        "client_order_id goes to 'params.cit', which is not in the inputSchema of place_order (it has "
        "params.cid; did you mean 'params.cid'?): write client_order_id: null where it takes none"
    ]
    loose = place_order({"params": {"type": "object", "additionalProperties": True}})
    assert found(bad, loose).mismatches == ()


def test_a_reference_that_goes_round_in_a_circle_is_taken_for_anything() -> None:
    listed = place_order({"quantity": {"$ref": "#/$defs/a"}}, definitions={"a": {"$ref": "#/$defs/a"}})
    assert found({}, listed).mismatches == ()


def test_a_look_up_that_asks_for_the_exchanges_id_can_never_find_an_order_in_doubt() -> None:
    listed = contract_server()
    listed["get_order"]["properties"]["id"] = TEXT
    fitting = found({"tools": {"get_order": {"args": {"order_id": "id"}}}}, listed)
    assert [str(mismatch) for mismatch in fitting.mismatches] == [
        "get_order: it asks for order_id, the exchange's own id, which nobody has of an order of which it is unknown "
        "whether it was placed: map client_order_id alone"
    ]
    assert "get_order" not in fitting.tools


@pytest.mark.parametrize("tool", ["place_order", "cancel_order", "get_order"])
def test_an_account_written_as_a_constant_is_no_account_of_several(tool: str) -> None:
    mapping = {"tools": {tool: {"bind": "none", "const": {"account_id": "main", "client_id": "desk"}}}}
    fitting = found(mapping, contract_server(), ("main", "spare"))
    assert fitting.why_not(tool) == "account_id has nowhere to go: args or bind leave it out"


@pytest.mark.parametrize("tool", ["list_orders", "get_positions", "get_balances"])
def test_what_is_told_of_an_account_must_say_of_which_where_there_are_several(tool: str) -> None:
    mapping = {"tools": {tool: {"bind": "none", "const": {"account_id": "main", "client_id": "desk"}}}}
    assert found(mapping, contract_server(), ("main",)).mismatches == ()
    fitting = found(mapping, contract_server(), ("main", "spare"))
    assert fitting.why_not(tool) == "account_id has nowhere to go, and main, spare are declared under the server"


@pytest.mark.parametrize(
    ("tool", "was", "there", "hint"),
    [
        ("place_order", "createOrder", ["cancelOrder", "fetchOrder"], "where it has none, write place_order: null"),
        ("place_order", "createOrder", ["createOrders"], "did you mean 'createOrders'?"),
        ("place_order", "cancelOrders", ["cancelOrder"], "where it has none, write place_order: null"),
        ("cancel_order", "cancelOrdr", ["cancelOrder"], "did you mean 'cancelOrder'?"),
        ("get_order", "fetchOrder", ["createOrder"], "where it has none, write get_order: null"),
    ],
)
def test_only_a_tool_that_is_nearly_meant_is_suggested_and_never_one_of_another_meaning(
    tool: str, was: str, there: list[str], hint: str
) -> None:
    fitting = found({"tools": {tool: {"name": was}}}, contract_server() | {name: {} for name in there})
    assert fitting.why_not(tool) == f"the server has no tool {was!r}; {hint}"


def test_a_server_without_rules_lacks_nothing_but_one_that_is_said_to_have_them() -> None:
    listed = contract_server()
    del listed["get_rules"]
    fitting = found({}, listed)
    assert (fitting.mismatches, fitting.tools) == ((), tuple(tool for tool in TOOLS if tool != "get_rules"))
    said = found({"tools": {"get_rules": {"name": "instruments"}}}, listed)
    assert said.why_not("get_rules").startswith("the server has no tool 'instruments'")


PLACING = {"args": {"stop_price": None, "time_in_force": None, "reduce_only": None}}


@pytest.mark.parametrize(
    ("tool", "argument"),
    [("place_order", "type"), ("place_order", "quantity"), ("get_quote", "symbol"), ("get_candles", "timeframe")],
)
def test_what_is_in_every_call_and_goes_nowhere_makes_its_tool_unusable(tool: str, argument: str) -> None:
    listed = contract_server()
    listed[tool]["required"].remove(argument)
    fitting = found({"tools": {tool: {"args": {argument: None}}}}, listed)
    assert fitting.why_not(tool) == f"{argument} has nowhere to go, and every call has one: each would be refused"
    assert tool not in fitting.tools


def test_what_need_not_be_sent_may_go_nowhere() -> None:
    listed = contract_server()
    listed["list_orders"]["required"].remove("status")
    listed["get_candles"]["required"].remove("limit")
    tools = {"list_orders": {"args": {"status": None}}, "get_candles": {"args": {"limit": None}}}
    assert found({"tools": tools}, listed) == Fit((), tuple(TOOLS))


@pytest.mark.parametrize(
    ("const", "sentence"),
    [
        ({"exchange": 7}, "const sends 'exchange' as integer, which wants string"),
        ({"exchange": True}, "const sends 'exchange' as boolean, which wants string"),
        ({"exchange": {"env": "NAME"}}, ""),
        ({"leverage": {"file": "path"}}, "const sends 'leverage' as string, which wants number"),
        ({"leverage": 2}, ""),
        ({"leverage": 2.5}, ""),
        ({"params": {"mode": "isolated"}}, "const sends 'params.mode' as 'isolated', which knows only cash, cross"),
        ({"params": {"mode": "cash", "mood": 1}}, "const sends 'params.mood', which is not in the inputSchema of "
         "place_order (it has params.mode; did you mean 'params.mode'?)"),
        ({"params": {"mode": "cash"}}, ""),
    ],
)  # fmt: skip
def test_constants_are_held_against_the_types_and_words_that_the_server_takes(
    const: dict[str, Any], sentence: str
) -> None:
    params = {"type": "object", "properties": {"mode": {"enum": ["cash", "cross"]}}}
    listed = place_order({"exchange": TEXT, "leverage": {"type": "number"}, "params": params})
    fitting = found({"tools": {"place_order": {"const": const}}}, listed)
    assert fitting.why_not("place_order") == sentence


def test_what_an_object_within_requires_must_be_filled_too() -> None:
    params = {"properties": {"cid": TEXT, "mode": TEXT, "stop": TEXT}, "required": ["cid", "mode", "stop"]}
    listed = place_order({"params": {"$ref": "#/$defs/params"}}, definitions={"params": params})
    args = {"client_order_id": "params.cid", "stop_price": "params.stop"}
    fitting = found({"tools": {"place_order": {"args": args}}}, listed)
    assert [(one.sentence, one.disables) for one in fitting.mismatches] == [
        ("place_order requires 'params.mode', which is never sent; map an argument to it, or const", True),
        ("place_order requires 'params.stop', which not every call has", False),
    ]
    only_stops = found({"tools": {"place_order": {"args": {"stop_price": "params.stop"}}}}, listed)
    assert not any(one.disables for one in only_stops.mismatches)  # only orders with a stop have that object


def test_a_cancel_all_that_reaches_more_than_is_listed_cannot_be_used() -> None:
    listed = {name: {**schema, "required": []} for name, schema in contract_server().items()}
    kept = found({"tools": {"cancel_all": {"args": {"client_id": None}}}}, listed)
    assert "cancel_all" not in kept.tools
    assert [str(one) for one in kept.mismatches] == [
        "cancel_all: it is not told client_id, and list_orders is: it reaches more than is listed"
    ]
    both = {"cancel_all": {"args": {"client_id": None}}, "list_orders": {"args": {"client_id": None}}}
    assert "cancel_all" in found({"tools": both}, listed).tools


def test_a_server_without_what_is_optional_fits_as_it_is() -> None:
    listed = {name: schema for name, schema in contract_server().items() if name not in OPTIONAL}
    assert found({}, listed) == Fit((), tuple(tool for tool in TOOLS if tool not in OPTIONAL))

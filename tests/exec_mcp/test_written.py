"""Reading a mapping as it is written, and putting one on top of a ready-made one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from reconciler.exec_mcp.contract import TOOLS
from reconciler.exec_mcp.words import CONTRACT, AnswerCondition, Target, ToolWords, parse
from reconciler.exec_mcp.written import BadMapping, merged, read


def test_what_is_not_mapped_keeps_the_contracts_name() -> None:
    words = read({})
    for name in TOOLS:
        assert words.tool(name) == CONTRACT.tool(name) == ToolWords(name)
    assert ToolWords("place_order").targets("quantity") == (Target(("quantity",)),)


def test_what_the_settings_write_comes_on_top_key_by_key_and_replaces_what_is_no_map() -> None:
    base = {
        "bind": {"account_id": "acc", "client_id": None},
        "tools": {
            "place_order": {"name": "a", "args": {"side": "s", "type": "t"}, "error_when": ["$.x"], "const": {"k": 1}},
            "get_quote": {"name": "q"},
            "get_positions": None,
        },
    }
    written = {
        "bind": {"client_id": "desk"},
        "tools": {
            "place_order": {"args": {"side": "S"}, "error_when": ["$.y"], "states": {"done": "filled"}},
            "get_quote": None,
            "get_positions": {"name": "p"},
        },
    }
    assert merged(base, written) == {
        "bind": {"account_id": "acc", "client_id": "desk"},
        "tools": {
            "place_order": {
                "name": "a",
                "args": {"side": "S", "type": "t"},
                "error_when": ["$.y"],
                "const": {"k": 1},
                "states": {"done": "filled"},
            },
            "get_quote": None,
            "get_positions": {"name": "p"},
        },
    }
    assert base["tools"]["place_order"]["args"] == {"side": "s", "type": "t"}  # type: ignore[index]


def test_every_fault_is_told_at_once_with_its_place() -> None:
    tools = {
        "place_order": {"enums": {"side": {"bye": "B"}}, "result": {"id": "$.id", "status": "id"}},
        "get_quote": {"result": {"bid": "$.*"}},
    }
    with pytest.raises(BadMapping) as caught:
        read({"tools": tools})
    assert [(where, sentence.partition(",")[0]) for where, sentence in caught.value.faults] == [
        (("tools", "place_order", "result", "id"), "expected a field of place_order"),
        (("tools", "place_order", "enums", "side", "bye"), "expected a word for side"),
        (("tools", "place_order", "result", "status"), "expected a path from $"),
        (("tools", "get_quote", "result", "bid"), "expected a path to one thing"),
    ]


def test_a_sign_is_turned_of_a_fee_and_of_nothing_else() -> None:
    words = read({"tools": {"get_order": {"result": {"fee": "-$.fee"}}}}).tool("get_order")
    assert words is not None
    assert str(words.result["fee"]) == "-$.fee"
    tools = {
        "get_order": {"result": {"filled_quantity": "-$.sz"}, "error_when": ["-$.code"]},
        "list_orders": {"items": "-$.orders", "result": {"fee": "-$.*"}},
    }
    with pytest.raises(BadMapping) as caught:
        read({"tools": tools})
    alone = "a minus before it is for a fee alone"
    assert [(where[1:], sentence) for where, sentence in caught.value.faults] == [
        (("get_order", "error_when", 0), f"expected a path from $, was '-$.code': {alone}"),
        (("get_order", "result", "filled_quantity"), f"expected a path from $, was '-$.sz': {alone}"),
        (("list_orders", "result", "fee"), "expected a path to one thing, was '-$.*': .* is for items"),
        (("list_orders", "items"), f"expected a path from $, was '-$.orders': {alone}"),
    ]


def condition(**written: Any) -> AnswerCondition:
    words = read({"tools": {"place_order": {"error_when": [{"path": "$.code", **written}]}}}).tool("place_order")
    assert words is not None
    return words.error_when[0]


@pytest.mark.parametrize("code", [0, 0.0, Decimal("0.00"), "0", 200, "200", 200.0])
def test_numbers_are_compared_as_numbers_and_words_may_spell_them(code: object) -> None:
    assert condition(is_not=[0, 200]).met_by({"code": code}, {}) is None
    assert condition(**{"is": ["0", 200]}).met_by({"code": code}, {}) == code


@pytest.mark.parametrize("code", [1, "00", "", "200.0", True, False, [0], {}])
def test_what_is_another_number_or_none_is_told_from_it(code: object) -> None:
    assert condition(is_not=[0, 200]).met_by({"code": code}, {}) == code
    assert condition(**{"is": [0, 200]}).met_by({"code": code}, {}) is None


def test_true_and_false_are_compared_as_json_spells_them() -> None:
    assert condition(**{"is": True}).met_by({"code": True}, {}) is True
    assert condition(**{"is": True}).met_by({"code": "true"}, {}) == "true"
    assert condition(**{"is": True}).met_by({"code": 1}, {}) is None
    assert condition(is_not=False).met_by({"code": False}, {}) is None


@pytest.mark.parametrize("empty", [None, False, "", 0, 0.0, [], {}])
def test_a_bare_path_is_not_met_by_what_is_empty(empty: object) -> None:
    bare = AnswerCondition(parse("$.err"))
    assert bare.met_by({"err": empty}, {}) is None
    assert bare.met_by({"err": ["no funds"]}, {}) == ["no funds"]


@pytest.mark.parametrize(
    ("mapping", "where", "said"),
    [
        (
            {"bind": {"account_id": "acc", "client_id": "acc"}},
            ("bind", "client_id"),
            "expected a place of its own, was 'acc', where account_id goes",
        ),
        (
            {"bind": {"account_id": "acc"}, "tools": {"place_order": {"args": {"symbol": "acc"}}}},
            ("tools", "place_order", "args", "symbol"),
            "expected a place of its own, was 'acc', where account_id goes",
        ),
        (
            {"tools": {"place_order": {"args": {"symbol": "side"}}}},
            ("tools", "place_order", "args", "symbol"),
            "expected a place of its own, was 'side', where side goes",
        ),
        (
            {"tools": {"place_order": {"args": {"symbol": "x.y", "side": "x"}}}},
            ("tools", "place_order", "args", "side"),
            "expected a place of its own, was 'x', and symbol goes to 'x.y'",
        ),
        (
            {"tools": {"get_quote": {"args": {"symbol": ["pair", "acc"]}, "const": {"acc": "A"}}}},
            ("tools", "get_quote", "const", "acc"),
            "expected a place of its own, was 'acc', where symbol goes",
        ),
        (
            {"tools": {"place_order": {"args": {"symbol": "p.x"}, "const": {"p": {"x": 1, "y": 2}}}}},
            ("tools", "place_order", "const", "p"),
            "expected a place of its own, was 'p.x', where symbol goes",
        ),
        (
            {"tools": {"place_order": {"args": {"time_in_force": "side"}}}},
            ("tools", "place_order", "args", "time_in_force"),
            "expected a place of its own, was 'side', where side goes",
        ),
    ],
)
def test_two_things_that_would_be_sent_in_the_same_place_are_a_fault(
    mapping: dict[str, Any], where: tuple[str, ...], said: str
) -> None:
    with pytest.raises(BadMapping) as caught:
        read(mapping)
    assert (where, said) in caught.value.faults


def test_one_fault_of_bind_is_told_once() -> None:
    with pytest.raises(BadMapping) as caught:
        read({"bind": {"account_id": "acc", "client_id": "acc"}})
    assert len(caught.value.faults) == 1


def test_constants_beside_an_argument_in_one_object_and_a_type_that_says_the_time_in_force_are_none() -> None:
    args = {"client_order_id": ["id", "p.cid"], "type": "ordType", "time_in_force": "ordType"}
    assert read({"tools": {"place_order": {"args": args, "const": {"p": {"venue": "k"}}}}})


def test_what_place_order_says_of_answers_holds_for_the_other_answers_on_an_order_unless_they_say_their_own() -> None:
    placing = {"result": {"order_id": "$.id", "fee": None}, "states": {"closed": "filled"}}
    own = {"result": {"status": "$.st"}, "states": {"done": "cancelled"}}
    words = read({"tools": {"place_order": placing, "cancel_order": own, "list_orders": {"items": "$"}}})

    def heard(tool: str) -> tuple[dict[str, str], dict[str, str]]:
        spoken = words.tool(tool)
        assert spoken is not None
        return {name: str(path) for name, path in spoken.result.items()}, dict(spoken.states)

    assert heard("get_order") == ({"order_id": "$.id", "fee": "None"}, {"closed": "filled"})
    assert heard("cancel_order") == ({"status": "$.st"}, {"done": "cancelled"})
    assert heard("list_orders") == ({}, {"closed": "filled"})  # paths within an item are others
    assert heard("get_quote") == ({}, {})

"""Reading a mapping as it is written, and putting one on top of a ready-made one."""

from __future__ import annotations

import pytest

from reconciler.execution.mapping.contract import TOOLS
from reconciler.execution.mapping.words import CONTRACT, BadMapping, Target, ToolWords, merged, read


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

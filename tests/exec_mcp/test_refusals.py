"""What failures say of an order: a table of what others are known to say, told in every way of failing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import utc
from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.exec_mcp import refusals
from reconciler.exec_mcp.options import ready
from reconciler.exec_mcp.reply import OrderNotFound, Reply, answered
from reconciler.exec_mcp.words import CONTRACT, ServerWords
from reconciler.exec_mcp.written import read

TABLE = Path(__file__).with_name("failures.tsv")
FACTS = [tuple(row.split("\t")) for row in TABLE.read_text().splitlines() if not row.startswith("#")]
ORDER = {"client_order_id": "abc", "symbol": "BTC/USD", "side": "buy", "type": "limit", "quantity": "1"}
ALPACA, CCXT, OKX = (read(ready(name)) for name in ("alpaca", "ccxt", "okx"))
ORDERED = {"order_id": "x", "client_order_id": "abc", "symbol": "BTC/USD", "side": "buy", "type": "limit"}

Way = Callable[[str], Reply]


def structured(told: Callable[[str], Any], *, failed: bool = False) -> Way:
    return lambda said: Reply(failed, told(said), "")


def as_text(told: Callable[[str], Any], *, failed: bool = False) -> Way:
    return lambda said: Reply(failed, None, json.dumps(told(said)))


def wrapped(told: Callable[[str], Any]) -> Way:
    return lambda said: Reply(False, {"result": told(said)}, json.dumps(told(said)))


def error(said: str) -> dict[str, Any]:
    return {"error": said}


def message(said: str) -> dict[str, Any]:
    return {"message": said}


def unsuccessful(said: str) -> dict[str, Any]:
    return {"success": False, "message": said}


def rejected(said: str) -> dict[str, Any]:
    return {**ORDERED, "status": "rejected", "reason": said}


def okx(said: str) -> dict[str, Any]:
    return {"data": {"code": "1", "data": [{"clOrdId": "abc", "ordId": "", "sCode": "1", "sMsg": said}]}}


WAYS: dict[str, tuple[ServerWords, Way]] = {
    "an error": (CONTRACT, structured(error)),
    "an error, as JSON text": (CONTRACT, as_text(error)),
    "an error within": (CONTRACT, structured(lambda said: {"error": {"message": said}})),
    "an error with its cause": (CONTRACT, structured(lambda said: {"error": True, "message": "no", "detail": said})),
    "an error in a list": (CONTRACT, structured(lambda said: {"error": [said]})),
    "a wrapped error": (CONTRACT, wrapped(error)),
    "an error wrapped as its schema says": (CONTRACT, lambda said: Reply(False, {"result": error(said)}, "", True)),
    "no success": (CONTRACT, structured(unsuccessful)),
    "no success, wrapped": (CONTRACT, wrapped(unsuccessful)),
    "a status": (CONTRACT, structured(rejected)),
    "a status, as JSON text": (CONTRACT, as_text(rejected)),
    "a status, wrapped": (CONTRACT, wrapped(rejected)),
    "a tool error with an answer": (CONTRACT, structured(error, failed=True)),
    "a tool error with JSON": (CONTRACT, as_text(error, failed=True)),
    "a tool error of ccxt": (CCXT, lambda said: Reply(True, None, f"Error creating order for account 'main': {said}")),
    "an error of ccxt": (CCXT, structured(error)),
    "alpaca": (ALPACA, structured(lambda said: {"data": {"error": {"message": "no", "detail": {"message": said}}}})),
    "alpaca with a status": (ALPACA, structured(lambda said: {"data": {"error": {"status": 422, **message(said)}}})),
    "okx": (OKX, structured(okx)),
    "an error of okx": (OKX, structured(lambda said: {"error": True, "type": "OkxApiError", **message(said)})),
}  # fmt: skip


def heard(words: ServerWords, reply: Reply) -> tuple[type[Exception], str]:
    placing = words.tool("place_order")
    assert placing is not None
    try:
        answer = answered("place_order", placing, ORDER, reply, utc(0))
    except (ExecRejected, ExecUnknown) as error:
        return type(error), str(error)
    assert answer["status"] == "rejected"
    return ExecRejected, answer["reason"]


@pytest.mark.parametrize("way", WAYS)
def test_only_what_names_a_refusal_is_one_in_whatever_way_it_is_told(way: str) -> None:
    words, told = WAYS[way]
    wrong = []
    for verdict, _, said in FACTS:
        kind, why = heard(words, told(said))
        wanted = ExecRejected if verdict == "refused" else ExecUnknown
        is_told = verdict != "taken" or "there is such an order already" in why
        named = said.removeprefix("Order rejected: ").strip()
        is_named = named in why or json.dumps(named)[1:-1] in why
        if not (kind is wanted and is_named and is_told):
            wrong.append((verdict, said, why))
    assert wrong == []


def test_a_tool_error_that_is_only_text_is_a_refusal_only_by_its_first_word() -> None:
    for verdict, _, said in FACTS:
        if not said.lower().startswith("order rejected"):
            assert heard(CONTRACT, Reply(True, None, f"Error executing tool place_order: {said}"))[0] is ExecUnknown
        wanted = ExecRejected if verdict == "refused" else ExecUnknown
        assert verdict == "unknown" or heard(CONTRACT, Reply(True, None, f"rejected: {said}"))[0] is wanted


def test_the_table_holds_enough_of_each() -> None:
    verdicts = [verdict for verdict, _, _ in FACTS]
    assert set(verdicts) == {"refused", "taken", "unknown"}
    assert len(set(FACTS)) == len(FACTS) >= 100
    assert all(verdicts.count(verdict) >= 20 for verdict in ("refused", "taken", "unknown"))


@pytest.mark.parametrize(
    ("words", "answer", "why"),
    [
        (OKX, {"data": {"data": [{"sCode": "51008", "sMsg": "Your account lacks it"}]}}, "Your account lacks it"),
        (OKX, {"error": True, "type": "OkxApiError", "code": "51020", "message": "too little"}, "too little"),
        (ALPACA, {"data": {"error": {"message": "no", "detail": {"code": 40310000}}}}, "no"),
        (CCXT, {"error": "NotSupported: kraken createOrder() does not do that"}, "NotSupported"),
    ],
)
def test_a_ready_made_mapping_knows_its_exchanges_codes_of_refusals_and_tells_its_words(
    words: ServerWords, answer: Any, why: str
) -> None:
    kind, told = heard(words, Reply(False, answer, ""))
    assert (kind, why in told) == (ExecRejected, True)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (OKX, {"data": {"data": [{"sCode": "51016", "sMsg": "no"}]}}),
        (OKX, {"error": True, "type": "OkxApiError", "code": "51016", "message": "no"}),
        (ALPACA, {"data": {"error": {"message": "no", "detail": {"code": 40010001}}}}),
        (CONTRACT, {"error": {"code": -4116, "message": "no"}}),
        (CONTRACT, {"success": False, "code": "DUPLICATE_ORDER", "message": "no"}),
        (CONTRACT, {"error": "insufficient balance", "code": "51016"}),
    ],
)
def test_a_code_that_says_that_our_id_is_there_already_is_no_refusal(words: ServerWords, answer: Any) -> None:
    kind, told = heard(words, Reply(False, answer, ""))
    assert (kind, "there is such an order already" in told) == (ExecUnknown, True)


def test_a_rejected_order_needs_no_reason_but_not_a_wrong_one() -> None:
    placing, looking = CONTRACT.tool("place_order"), CONTRACT.tool("get_order")
    assert placing is not None
    assert looking is not None
    bare = Reply(False, {**ORDERED, "status": "rejected"}, "")
    assert answered("place_order", placing, ORDER, bare, utc(0))["status"] == "rejected"
    # Whoever is asked what became of an order knows it: only that it was there before says nothing of it.
    told = Reply(False, rejected("whatever it was"), "")
    assert answered("get_order", looking, ORDER, told, utc(0))["status"] == "rejected"
    with pytest.raises(ExecUnknown, match="there is such an order already"):
        answered("get_order", looking, ORDER, Reply(False, rejected("Duplicate order sent."), ""), utc(0))


def test_what_merely_stands_in_an_answer_is_no_reason() -> None:
    help_ = {"error": "failed", "hint": "insufficient balance?", "docs": "order size too small", "request": {"id": "x"}}
    assert heard(CONTRACT, Reply(False, help_, ""))[0] is ExecUnknown
    page = "insufficient balance " + "x" * 5_000
    assert heard(CONTRACT, Reply(False, {"error": page}, ""))[0] is ExecUnknown
    assert refusals.told({"error": {"a": [1, True, None, {"b": "c"}]}, "data": [{"sMsg": "d", "e": "f"}]}) == "1\nd"


@pytest.mark.parametrize("name", ["status", "http_status", "code", "statusCode"])
@pytest.mark.parametrize("number", [408, 502, "503", 529])
def test_a_status_of_whatever_lies_between_leaves_it_open_whatever_is_said_beside_it(name: str, number: Any) -> None:
    for answer in ({"error": "market closed", name: number}, {"error": {"message": "market closed", name: number}}):
        assert heard(CONTRACT, Reply(False, answer, ""))[0] is ExecUnknown
    assert heard(CONTRACT, Reply(False, {"error": "market closed", name: 422}, ""))[0] is ExecRejected


RECORDED = [json.loads(line) for line in Path(__file__).with_name("recorded.jsonl").read_text().splitlines()]
"""Answers of alpaca-mcp-server 2.4.0 and okx-trade-mcp 1.2.9, shortened, in front of stand-ins of their exchanges."""
HEARD: dict[tuple[str, str], Any] = {
    ("place_order", "taken"): {"client_order_id": "abtaken", "order_id": "x-1"},
    ("place_order", "504"): ExecUnknown,
    ("place_order", "duplicate"): ExecUnknown,
    ("place_order", "refuse"): ExecRejected,
    ("place_order", "resting"): {"client_order_id": "abrest", "order_id": "x-4", "status": "open"},
    ("get_order", "taken"): {"status": "filled", "filled_quantity": "0.1", "average_price": "100"},
    ("get_order", "not there"): OrderNotFound,
    ("list_orders", "listed"): {"client_order_id": "abrest", "status": "open", "quantity": "0.5"},
}


@pytest.mark.parametrize("told", RECORDED, ids=lambda told: f"{told['mapping']} {told['tool']} {told['what']}")
@pytest.mark.parametrize("is_text", [False, True])
def test_what_servers_were_seen_to_answer_is_heard_as_what_it_was(told: dict[str, Any], is_text: bool) -> None:
    answer, tool, wanted = told["answer"], told["tool"], HEARD[told["tool"], told["what"]]
    words = {"alpaca": ALPACA, "okx": OKX}[told["mapping"]].tool(tool)
    assert words is not None
    text = answer if isinstance(answer, str) else json.dumps(answer)
    reply = Reply(told["is_error"], None if is_text or not told["is_structured"] else answer, text)
    asked = {**ORDER, "client_order_id": told["client_order_id"]}
    if isinstance(wanted, type):
        with pytest.raises(wanted) as caught:
            answered(tool, words, asked, reply, utc(0))
        assert type(caught.value) is wanted
        return
    found = answered(tool, words, asked, reply, utc(0))
    (item,) = found["orders"] if tool == "list_orders" else [found]
    assert item.items() >= wanted.items()


@pytest.mark.parametrize(
    ("said", "is_refused"),
    [
        ("Invalid arguments for tool place_order: quantity: Required", True),
        ("Input validation error: 'side' is a required property", True),
        ("Unknown tool: place_order", True),
        ("Tool place_order not found", True),
        ("Tool place_order has an output schema but no structured content was provided", False),
        ("Output validation error: Invalid structured content for tool place_order: missing argument", False),
        ("Duplicate client_order_id", False),
        ("something else", False),
    ],
)
def test_wrong_parameters_are_a_refusal_only_where_they_are_the_calls(said: str, is_refused: bool) -> None:
    assert refusals.says_call_refused(said) is is_refused

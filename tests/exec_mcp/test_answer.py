"""Reading a server's answers: into the contract's words, or into what went wrong."""

from __future__ import annotations

import contextlib
import json
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import utc
from reconciler.errors import ExecError, ExecRejected, ExecUnknown
from reconciler.exec_mcp.answers import Unreadable, quote
from reconciler.exec_mcp.contract import TOOLS
from reconciler.exec_mcp.options import names, ready
from reconciler.exec_mcp.reply import OrderNotFound, Reply, answered
from reconciler.exec_mcp.written import merged, read

NOW = utc(1_767_225_690)  # half a minute into 2026-01-01 00:01 UTC


def heard(tool: str, answer: Any, mapping: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """What `answer`, structured, means."""
    return replied(tool, Reply(False, answer, ""), mapping, **more)


def replied(tool: str, reply: Reply, mapping: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    words = read({"tools": {tool: {"name": "theirs", **(mapping or {})}}}).tool(tool)
    assert words is not None
    return answered(tool, words, {"client_order_id": "abc", "symbol": "BTC/USD", **more}, reply, NOW)


def test_an_answer_in_the_contracts_words_is_left_as_it_is() -> None:
    answer = {"status": "open", "order_id": "x", "more": {"a": 1}}
    assert heard("place_order", answer) == answer


def test_fields_states_and_words_are_translated_and_what_is_not_mapped_keeps_its_name() -> None:
    mapping = {
        "result": {"order_id": "$.data.id", "status": "$.data.st", "fee": None},
        "states": {"closed": "filled"},
        "enums": {"side": {"buy": "B", "sell": "S"}},
    }
    answer = {"data": {"id": "x", "st": "closed"}, "filled_quantity": "2", "fee": "9", "average_price": "", "side": "B"}
    assert heard("get_order", answer, mapping) == {
        "order_id": "x",
        "status": "filled",
        "filled_quantity": "2",
        "side": "buy",
    }


def test_an_order_that_was_taken_without_a_word_on_its_state_is_open_until_looked_up() -> None:
    mapping = {"result": {"order_id": "$.id", "status": "$.status"}}
    assert heard("place_order", {"id": "x", "status": None}, mapping) == {"order_id": "x", "status": "open"}
    assert heard("place_order", {}, mapping) == {}
    assert heard("cancel_order", {"id": "x"}, mapping) == {"order_id": "x"}


@pytest.mark.parametrize(
    ("moment", "is_"),
    [
        (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
        (1_767_225_600, "2026-01-01T00:00:00.000Z"),
        ("1767225600123", "2026-01-01T00:00:00.123Z"),
        (1_767_225_600.5, "2026-01-01T00:00:00.500Z"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ],
)
def test_times_since_the_epoch_are_read_in_seconds_and_in_milliseconds(moment: Any, is_: str) -> None:
    assert heard("get_quote", {"bid": "1", "ask": "2", "t": moment}, {"result": {"as_of": "$.t"}})["as_of"] == is_


def test_a_quote_without_a_time_is_of_now() -> None:
    assert heard("get_quote", {"b": 1}, {"result": {"bid": "$.b"}}) == {"bid": 1, "as_of": "2026-01-01T00:01:30.000Z"}


def test_items_are_found_in_lists_in_objects_and_alone() -> None:
    result = {"asset": "$.key", "total": "$.value", "available": "$$.free[key]"}
    answer = {"total": {"BTC": "1", "USD": "2"}, "free": {"BTC": "0.5"}}
    assert heard("get_balances", answer, {"items": "$.total.*", "result": result}) == {
        "balances": [{"asset": "BTC", "total": "1", "available": "0.5"}, {"asset": "USD", "total": "2"}]
    }
    one = {"items": "$.account", "result": {"asset": "$.ccy", "total": "$.cash"}}
    assert heard("get_balances", {"account": {"ccy": "USD", "cash": "7"}}, one) == {
        "balances": [{"asset": "USD", "total": "7"}]
    }
    bare = {"result": {"total": "$.cash"}}
    assert heard("get_balances", [{"asset": "USD", "cash": "7"}], bare) == {
        "balances": [{"asset": "USD", "total": "7"}]
    }


def test_a_list_that_is_not_there_is_not_an_empty_list() -> None:
    mapping = {"items": "$.data.list"}
    assert heard("get_positions", {"data": {"list": []}}, mapping) == {"positions": []}
    with pytest.raises(Unreadable, match=r"theirs: expected a list at \$\.data\.list, found nothing there"):
        heard("get_positions", {"data": {}}, mapping)


@pytest.mark.parametrize("name", ["candles", "result"])
def test_a_server_without_a_mapping_that_gives_running_and_future_candles_is_not_believed_either(name: str) -> None:
    told = [{"opened_at": f"2026-01-01T00:0{minute}:00Z", "open": str(minute)} for minute in range(3)]
    candles = heard("get_candles", {name: told}, {}, timeframe="1m")["candles"]
    assert [candle["open"] for candle in candles] == ["0"]
    words = {name: ["no candle", {"opened_at": 7}]}  # what is none stays, to be refused where answers are read
    assert heard("get_candles", words, {}, timeframe="1m")["candles"] == words[name]


def test_a_candle_whose_interval_still_runs_is_left_out() -> None:
    mapping = {"items": "$", "result": {"opened_at": "$[0]", "open": "$[1]"}}
    candles = [[1_767_225_600_000 + 60_000 * minute, minute] for minute in range(3)]
    heard_candles = heard("get_candles", candles, mapping, timeframe="1m")["candles"]
    assert [candle["open"] for candle in heard_candles] == [0]  # the second began 30 s ago, the third is to come
    at_minute = heard("get_candles", [[1_767_225_630_000, 7]], mapping, timeframe="1m")["candles"]
    assert [candle["open"] for candle in at_minute] == [7]  # it has just ended


def test_an_order_is_found_in_a_list_of_orders_by_our_id() -> None:
    mapping = {"items": "$", "result": {"client_order_id": "$.cid", "status": "$.s"}}
    listed = [{"cid": "other", "s": "open"}, {"cid": "abc", "s": "filled"}]
    assert heard("get_order", listed, mapping) == {"client_order_id": "abc", "status": "filled"}


def test_an_order_that_a_list_lacks_was_never_placed_only_where_the_list_shows_what_is_over() -> None:
    mapping = {"items": "$", "result": {"client_order_id": "$.cid", "status": "$.s"}}
    for listed in ([{"cid": "other", "s": "open"}], []):
        with pytest.raises(Unreadable, match="theirs lists no order abc, which may be over"):
            heard("get_order", listed, mapping)
        with pytest.raises(OrderNotFound, match="theirs lists no order abc"):
            heard("get_order", listed, {**mapping, "lists_finished": True})


CONDITIONS = {
    "unknown_when": ["$.error.timeout", {"path": "$.code", "is": [50004, "x"]}],
    "not_found_when": [{"path": "$.code", "is": "51603"}, {"path": "$.error", "matches": "(?i)not found"}],
    "error_when": [{"path": "$.data[0].sCode", "is_not": "0"}, "$.fault"],
    "refused_when": [{"path": "$.code", "is": 7}],
}


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ({"error": {"timeout": True, "message": "no answer"}}, ExecUnknown, "no answer"),
        ({"code": "50004", "msg": "busy"}, ExecUnknown, "busy"),
        ({"code": 50004}, ExecUnknown, r"\$\.code is 50004"),
        ({"code": "51603", "msg": "Order does not exist"}, OrderNotFound, "Order does not exist"),
        ({"error": "Order Not Found: abc"}, OrderNotFound, "Order Not Found: abc"),
        ({"data": [{"sCode": "51008"}]}, ExecRejected, r"\$\.data\[0\]\.sCode is 51008"),
        ({"fault": {"message": "no", "detail": {"message": "insufficient balance"}}}, ExecRejected, "no: insufficient"),
        ({"error": "no funds"}, ExecRejected, "no funds"),
        ({"error": {"code": 7}}, ExecRejected, '{"code": 7}'),
        ({"success": False, "message": "too late"}, ExecRejected, "too late"),
        ({"code": "7", "message": "refused"}, ExecRejected, "refused"),
    ],
)
def test_every_failure_that_an_answer_tells_is_heard(answer: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as caught:
        heard("get_order", answer, CONDITIONS)
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "answer",
    [
        {"status": "open", "error": {"timeout": False}} | {"error": None},
        {"status": "open", "code": "0", "data": [{"sCode": "0"}], "fault": "", "success": True},
        {"status": "open", "fault": False},
    ],
)
def test_what_is_no_failure_is_none(answer: Any) -> None:
    assert heard("get_order", answer, CONDITIONS)["status"] == "open"


def test_an_order_that_the_contract_does_not_find_is_told_from_other_failures() -> None:
    unknown = Reply(True, None, "Error executing tool theirs: order not found: abc")
    with pytest.raises(OrderNotFound, match="order not found: abc"):
        replied("get_order", unknown)
    for said in ("Order not found", "order abc not found", "no such order: abc", "Unknown order"):
        with pytest.raises(OrderNotFound):
            heard("get_order", {"error": said})
        with pytest.raises(OrderNotFound):
            heard("get_order", {"success": False, "message": said})
    for said in (
        "account not found",
        "order book of BTC not found",
        "order book not found",
        "order service: key not found",
        "No such order book: BTC/USD, gateway reloading",
        "No such order: BTC/USD",
        "Unknown order service error 503, try again",
        "Unknown order type in upstream reply",
        "order not found: abc in the cache, asking again",
        "order not found in this region",
        "order def not found",
        "order not found: abcd",
    ):
        with pytest.raises(ExecRejected) as caught:
            heard("get_order", {"error": said})
        assert type(caught.value) is ExecRejected
    with pytest.raises(ExecRejected) as caught:
        replied("cancel_order", unknown)
    assert type(caught.value) is ExecRejected


def test_a_failure_in_plain_words_is_judged_by_what_it_says() -> None:
    mapping = {"unknown_when": [{"path": "$.error", "matches": "timed out"}]}
    with pytest.raises(ExecUnknown, match="request timed out"):
        replied("place_order", Reply(True, None, "Error executing tool theirs: request timed out"), mapping)
    with pytest.raises(ExecRejected, match=r"^no funds$"):
        replied("cancel_order", Reply(True, None, "Error calling tool 'theirs': no funds"), mapping)
    for crashed in ("Error executing tool theirs", "Error calling tool 'theirs'"):
        with pytest.raises(ExecUnknown, match="theirs crashed on the server"):
            replied("place_order", Reply(True, None, crashed), mapping)
    with pytest.raises(ExecUnknown, match="neither structured content nor JSON: 'done!'"):
        replied("place_order", Reply(False, None, "done!"), mapping)
    with pytest.raises(ExecRejected, match="theirs failed without a reason"):
        replied("cancel_order", Reply(True, None, ""), mapping)


@pytest.mark.parametrize("prefix", ["Error executing tool theirs: ", "Error calling tool 'theirs': ", ""])
@pytest.mark.parametrize("raised", ["The read operation timed out", "no funds", "list index out of range", ""])
def test_what_a_tool_raised_does_not_say_that_an_order_was_refused(prefix: str, raised: str) -> None:
    with pytest.raises(ExecUnknown):
        replied("place_order", Reply(True, None, f"{prefix}{raised}"))


@pytest.mark.parametrize("said", ["rejected: no funds", "Order rejected: no funds", "REJECTED:no funds"])
def test_a_tool_that_raises_says_by_its_first_word_that_an_order_was_refused(said: str) -> None:
    with pytest.raises(ExecRejected, match=r"^no funds$"):
        replied("place_order", Reply(True, None, f"Error executing tool theirs: {said}"))
    with pytest.raises(ExecUnknown):
        replied("place_order", Reply(True, None, f"Error executing tool theirs: cannot say whether it was {said}"))


def test_the_mapping_says_which_texts_mean_that_an_order_was_refused() -> None:
    raised = Reply(True, None, "Error executing tool theirs: the desk is asleep")
    refused = {"refused_when": [{"path": "$.error", "matches": "asleep"}]}
    with pytest.raises(ExecRejected, match=r"^the desk is asleep$"):
        replied("place_order", raised, refused)
    # Of what the mapping only calls a failure, the order was refused where that names why.
    failed = {"error_when": ["$.error"]}
    with pytest.raises(ExecUnknown, match="the desk is asleep"):
        replied("place_order", raised, failed)
    with pytest.raises(ExecRejected, match=r"^no funds$"):
        replied("place_order", Reply(True, None, "Error executing tool theirs: no funds"), failed)
    with pytest.raises(ExecRejected, match="asleep"):
        replied("cancel_order", raised, failed)
    # What is unknown comes first, and an id that is taken is no refusal, whatever the mapping calls it.
    with pytest.raises(ExecUnknown, match="asleep"):
        replied("place_order", raised, {**refused, "unknown_when": ["$.error"]})
    with pytest.raises(ExecUnknown, match="there is such an order already"):
        replied("place_order", Reply(True, {"error": "asleep: duplicate id"}, ""), refused)


@pytest.mark.parametrize(
    "said",
    ["request timed out", "Read timeout", "Connection reset by peer", "HTTP 502 from upstream", "Internal Server Error",
     "fetch failed", "exchange temporarily unavailable", "ECONNRESET", "unexpected EOF"],
)  # fmt: skip
def test_a_failure_that_speaks_of_the_way_to_the_exchange_leaves_an_order_unknown(said: str) -> None:
    for answer in ({"error": said}, {"error": {"message": said}}, {"success": False, "message": said}):
        with pytest.raises(ExecUnknown):
            heard("place_order", answer)
        with pytest.raises(ExecRejected):
            heard("cancel_order", answer)


@pytest.mark.parametrize("said", ["insufficient funds", "post only would cross", "invalid price", "market is closed"])
def test_an_answer_that_says_why_it_refused_an_order_is_a_refusal(said: str) -> None:
    for answer in ({"error": said}, {"success": False, "message": said}):
        with pytest.raises(ExecRejected, match=said):
            heard("place_order", answer)


@pytest.mark.parametrize(
    "beside",
    [
        {"status": "filled"},
        {"filled_quantity": "0.4"},
        {"order": {"status": "open"}},
        {"order": {"filled_quantity": 1}},
    ],
)
def test_a_failure_with_an_order_that_was_taken_beside_it_is_no_refusal(beside: dict[str, Any]) -> None:
    for answer in ({"error": "insufficient balance"}, {"success": False, "message": "insufficient balance"}):
        with pytest.raises(ExecUnknown, match="and of an order that it took all the same: insufficient balance"):
            heard("place_order", {**answer, **beside})
        with pytest.raises(ExecRejected, match="insufficient balance"):
            heard("place_order", {**answer, "order": {"status": "rejected", "filled_quantity": "0"}})


MAPPINGS = {name: read(merged(ready(name), {})) for name in names()}
keys = st.one_of(
    st.sampled_from(["data", "error", "result", "id", "status", "timeout", "message", "detail", "sCode", "bars"]),
    st.sampled_from(["quotes", "BTC/USD", "total", "free", "BTC", "timestamp", "t", "bid", "client_order_id", "key"]),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "0", "open", "9" * 30, "abc", "²"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from(sorted(MAPPINGS)), st.sampled_from(sorted(TOOLS)), st.booleans(), anything)
def test_whatever_a_server_answers_is_an_answer_or_a_failure_of_ours(
    name: str, tool: str, failed: bool, answer: Any
) -> None:
    words = MAPPINGS[name].tool(tool)
    if words is None:
        return
    arguments = {"client_order_id": "abc", "symbol": "BTC/USD", "timeframe": "1m"}
    for reply in (Reply(failed, answer, ""), Reply(failed, None, json.dumps(answer))):
        with contextlib.suppress(ExecError):
            assert isinstance(answered(tool, words, arguments, reply, NOW), dict)


digits = st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=Decimal("1e12"), places=12)


@given(digits)
def test_the_digits_of_a_json_number_are_read_from_the_text_where_a_server_sends_it_too(value: Decimal) -> None:
    text = json.dumps({"bid": "?"}).replace('"?"', format(value, "f"))
    structured = json.loads(text)
    for reply in (Reply(False, structured, text), Reply(False, None, text)):
        assert Decimal(str(replied("get_quote", reply)["bid"])) == value


@given(digits)
def test_without_the_text_a_number_is_off_by_no_more_than_a_double_and_its_shortest_digits_are(value: Decimal) -> None:
    bid = Decimal(str(replied("get_quote", Reply(False, {"bid": float(value)}, ""))["bid"]))
    assert abs(bid - value) <= abs(value) * Decimal(2) ** -52
    if len(value.normalize().as_tuple().digits) <= 15:
        assert bid == value


def test_a_text_that_tells_another_story_than_the_structured_answer_is_not_believed() -> None:
    reply = Reply(False, {"bid": 1.5}, '{"bid": 2.5}')
    assert replied("get_quote", reply)["bid"] == 1.5


@pytest.mark.parametrize("empty", [[], {}, "", 0, None, False])
def test_an_error_that_is_empty_is_none(empty: Any) -> None:
    answer = {"error": empty, "status": "open", "order_id": "x"}
    assert heard("place_order", answer)["order_id"] == "x"
    assert heard("place_order", {**answer, "err": empty}, {"error_when": ["$.err"]})["order_id"] == "x"
    with pytest.raises(ExecRejected, match="EOrder:Insufficient funds"):
        heard("place_order", {"error": ["EOrder:Insufficient funds"]})


def test_a_json_text_that_was_wrapped_as_a_result_is_read() -> None:
    """What servers made with the official SDK send where a tool is annotated `-> str`."""
    text = '{"status": "open", "order_id": "x", "filled_quantity": 0.1000000000000000055}'
    for sent in (text, ""):  # with the text beside it, or without
        answer = replied("place_order", Reply(False, {"result": text}, sent))
        assert (answer["status"], answer["order_id"]) == ("open", "x")
        assert answer["filled_quantity"] == Decimal("0.1000000000000000055")
    with pytest.raises(ExecRejected, match="no funds"):
        replied("place_order", Reply(False, {"result": '{"error": "no funds"}'}, ""))
    quote = replied("get_quote", Reply(False, {"result": '{"b": 1}'}, ""), {"result": {"bid": "$.b"}})
    assert quote["bid"] == 1


@pytest.mark.parametrize("word", ["done", "12", '"a"', "{not json"])
def test_a_result_that_is_no_json_object_or_list_is_left_as_it_is(word: str) -> None:
    answer = replied("place_order", Reply(False, {"result": word}, word), {"result": {"order_id": "$.result"}})
    assert answer["order_id"] == word


@pytest.mark.parametrize("items", ["$", "$.result"])
@pytest.mark.parametrize("ids", [[], ["x-1"], ["x-1", "x-2"]])
def test_a_list_that_was_wrapped_as_a_result_is_found_at_either_place(items: str, ids: list[str]) -> None:
    """What servers made with the official SDK send where a tool is annotated `-> list[...]`: a text for each item."""
    listed = [{"id": id_} for id_ in ids]
    reply = Reply(False, {"result": listed}, "\n".join(map(json.dumps, listed)))
    mapping = {"items": items, "result": {"order_id": "$.id"}}
    assert replied("list_orders", reply, mapping) == {"orders": [{"order_id": id_} for id_ in ids]}
    as_text = Reply(False, {"result": json.dumps(listed)}, json.dumps(listed))
    assert replied("list_orders", as_text, {**mapping, "items": "$"}) == replied("list_orders", reply, mapping)


def test_an_order_is_looked_up_in_a_list_that_was_wrapped_as_a_result() -> None:
    mapping = {"items": "$", "result": {"client_order_id": "$.cid", "order_id": "$.id"}, "lists_finished": True}
    reply = Reply(False, {"result": [{"cid": "abc", "id": "x"}]}, "")
    assert replied("get_order", reply, mapping)["order_id"] == "x"
    with pytest.raises(OrderNotFound):
        replied("get_order", Reply(False, {"result": []}, ""), mapping)


OURS_IN_A_LIST = {"items": "$", "result": {"client_order_id": "$.cid", "order_id": "$.id"}, "lists_finished": True}


@pytest.mark.parametrize("told", ["t-abc", "x-broker_abc", "T-ABC"])
def test_an_order_is_found_in_a_list_under_what_the_exchange_makes_of_our_id(told: str) -> None:
    listed = [{"cid": "t-other", "id": "1"}, {"cid": told, "id": "2"}]
    assert heard("get_order", listed, OURS_IN_A_LIST)["order_id"] == "2"


def test_an_order_is_found_in_a_list_by_the_exchanges_id_where_nothing_says_that_it_is_another() -> None:
    assert heard("get_order", [{"id": "1"}, {"id": "2"}], OURS_IN_A_LIST, order_id="2")["order_id"] == "2"
    with pytest.raises(OrderNotFound):
        heard("get_order", [{"cid": "t-other", "id": "2"}], OURS_IN_A_LIST, order_id="2")


def test_a_list_that_tells_nobodys_id_does_not_say_that_ours_is_not_there() -> None:
    with pytest.raises(Unreadable, match="theirs tells no client_order_id of the orders that it lists"):
        heard("get_order", [{"id": "1"}, {"id": "2"}], OURS_IN_A_LIST)
    with pytest.raises(OrderNotFound):
        heard("get_order", [{"id": "1"}, {"cid": "xabc", "id": "2"}], OURS_IN_A_LIST)


@pytest.mark.parametrize("status", [500, 502, 520, 522, 524, 525, 529, 530])
@pytest.mark.parametrize(
    ("mapping", "answer"),
    [
        ("alpaca", lambda status: {"data": {"error": {"http_status": status, "message": "error code"}}}),
        ("ccxt", lambda status: {"error": f"ExchangeError: kraken POST https://api.kraken.com {status} InvalidOrder"}),
        ("okx", lambda status: {"error": True, "type": "OkxApiError", "code": str(status), "message": "no"}),
    ],
)
def test_whatever_a_gateway_in_between_says_leaves_an_order_unknown(mapping: str, answer: Any, status: int) -> None:
    words = MAPPINGS[mapping].tool("place_order")
    assert words is not None
    with pytest.raises(ExecUnknown):
        answered("place_order", words, {"client_order_id": "abc"}, Reply(False, answer(status), ""), NOW)
    with pytest.raises(ExecUnknown):
        heard("place_order", {"error": f"upstream answered {status}"})


def positions(rows: list[dict[str, Any]], **result: str) -> list[dict[str, Any]]:
    mapping = {"items": "$.rows", "result": {"symbol": "$.instrument", "quantity": "$.size", **result}}
    found: list[dict[str, Any]] = heard("get_positions", {"rows": rows}, mapping)["positions"]
    return found


@pytest.mark.parametrize(
    ("side", "size", "quantity"),
    [("short", "2", "-2"), ("Sell", 2.5, "-2.5"), ("short", "-2", "-2"), ("LONG", "2", "2"), ("net", "-2", "-2")],
)
def test_the_side_that_a_mapping_reads_gives_a_position_its_sign(side: str, size: Any, quantity: str) -> None:
    rows = [{"instrument": "BTC-USD", "size": size, "posSide": side}]
    assert positions(rows, side="$.posSide") == [{"symbol": "BTC-USD", "quantity": quantity}]


def test_a_side_that_a_mapping_does_not_read_reaches_whoever_reads_positions() -> None:
    rows = [{"instrument": "BTC-USD", "size": "2", "posSide": "short"}]
    assert positions(rows) == [{"symbol": "BTC-USD", "quantity": "2", "posSide": "short"}]


@pytest.mark.parametrize(
    "tool", ["place_order", "cancel_order", "get_order", "list_orders", "get_quote", "get_candles"]
)
@pytest.mark.parametrize("depth", [65, 300, 200_000])
def test_an_answer_that_is_nested_too_deeply_cannot_be_read(tool: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    text = f'{{"bid": {deep}, "status": "open"}}'
    replies = [Reply(False, None, text), Reply(True, None, text), Reply(False, {"result": text}, "")]
    if depth < 900:
        replies += [Reply(False, json.loads(text), ""), Reply(True, json.loads(text), "")]
    for reply in replies:
        with pytest.raises(Unreadable, match="theirs answered what cannot be read"):
            replied(tool, reply)


def test_an_answer_that_is_nested_as_answers_are_can_be_read() -> None:
    told: Any = "open"
    for _ in range(60):
        told = [told]
    assert heard("place_order", {"status": "open", "more": told})["more"] == told


@pytest.mark.parametrize("failed", [False, True])
def test_a_number_without_end_is_no_fault_of_the_strategys(failed: bool) -> None:
    for text in (f'{{"bid": {"9" * 10_000}}}', f'{{"bid": 1e{"9" * 100}}}'):
        with pytest.raises(ExecError):
            answers_quote(replied("get_quote", Reply(failed, None, text)))


def answers_quote(answer: dict[str, Any]) -> object:
    return quote(answer, "BTC/USD")


def test_a_look_up_that_is_answered_with_a_wrapped_text_or_with_nothing_is_heard() -> None:
    for text in ("order not found: abc", "Order not found"):
        with pytest.raises(OrderNotFound):
            replied("get_order", Reply(False, {"result": text}, text))
    for said in ("order not found: def", "not available"):
        with pytest.raises(Unreadable, match=f"theirs answered a text, and no order: '{said}'"):
            replied("get_order", Reply(False, {"result": said}, said))
    with pytest.raises(Unreadable, match="theirs answered null, which does not say that there is no such order"):
        replied("get_order", Reply(False, {"result": None}, "null", is_wrapped=True))
    mapped = {"result": {"status": "$.result"}}
    assert replied("get_order", Reply(False, {"result": "open"}, "open"), mapped)["status"] == "open"


@pytest.mark.parametrize("is_wrapped", [True, False])
def test_a_text_in_place_of_an_order_is_heard_as_that_of_a_failure(is_wrapped: bool) -> None:
    def told(tool: str, text: str, mapping: dict[str, Any] | None = None) -> dict[str, Any]:
        return replied(tool, Reply(False, {"result": text} if is_wrapped else None, text), mapping)

    with pytest.raises(ExecRejected, match=r"^insufficient funds$"):
        told("place_order", "rejected: insufficient funds")
    for doubtful in ("insufficient funds", "Order placed, id 5", "rejected: timed out", "rejected: duplicate id", "{"):
        with pytest.raises(Unreadable, match=re.escape(doubtful)):
            told("place_order", doubtful)
    with pytest.raises(OrderNotFound):
        told("get_order", "Order not found")
    for nothing in ("order not found: def", "rejected: no such page", "Rate limit exceeded"):
        with pytest.raises(Unreadable, match=nothing):
            told("get_order", nothing)
    absent = {"not_found_when": [{"path": "$.error", "matches": "^no trace of it$"}]}
    with pytest.raises(OrderNotFound):
        told("get_order", "no trace of it", absent)
    with pytest.raises(Unreadable, match="Order not found"):
        told("get_order", "Order not found", absent)
    refused = {"refused_when": [{"path": "$.error", "matches": "^no funds$"}]}
    with pytest.raises(ExecRejected, match=r"^no funds$"):
        told("place_order", "no funds", refused)


@pytest.mark.parametrize("tool", ["place_order", "get_order", "cancel_order"])
def test_one_of_several_kinds_of_object_is_read_without_its_wrapping(tool: str) -> None:
    order = {"status": "open", "order_id": "x", "filled_quantity": 0.1}
    text = '{"status": "open", "order_id": "x", "filled_quantity": 0.1000}'
    for reply in (Reply(False, {"result": order}, text), Reply(False, {"result": order}, "", is_wrapped=True)):
        answer = replied(tool, reply)
        assert (answer["status"], answer["order_id"]) == ("open", "x")
        assert Decimal(str(answer["filled_quantity"])) == Decimal("0.1")
    # Neither its schema nor its text says that it is a wrapping: it is whatever it is.
    assert "status" not in replied(tool, Reply(False, {"result": order}, ""))
    # A mapping that reads through it reads it as it came, and hears what fails within all the same.
    through = {"result": {"order_id": "$.result.order_id", "status": "$.result.status"}}
    for reply in (Reply(False, {"result": order}, text), Reply(False, {"result": order}, "", is_wrapped=True)):
        assert replied(tool, reply, through)["order_id"] == "x"
    failed = {"result": {"error": "no funds"}}
    for mapping in ({}, through):
        with pytest.raises(ExecRejected, match="no funds"):
            replied(tool, Reply(False, failed, json.dumps(failed["result"])), mapping)


def test_a_wrapped_failure_of_a_look_up_may_say_that_there_is_no_such_order() -> None:
    failed = {"result": {"error": "order not found: abc"}}
    with pytest.raises(OrderNotFound):
        replied("get_order", Reply(False, failed, json.dumps(failed["result"])))

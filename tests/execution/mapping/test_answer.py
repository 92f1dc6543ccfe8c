"""Reading a server's answers: into the contract's words, or into what went wrong."""

from __future__ import annotations

import contextlib
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.clock import utc
from reconciler.errors import ExecError, ExecRejected, ExecUnknown
from reconciler.execution.answers import Unreadable
from reconciler.execution.mapping.answer import OrderNotFound, Reply, answered
from reconciler.execution.mapping.contract import TOOLS
from reconciler.execution.mapping.ready import names, ready
from reconciler.execution.mapping.words import merged, read

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
    with pytest.raises(OrderNotFound, match="theirs lists no order abc"):
        heard("get_order", listed[:1], mapping)


CONDITIONS = {
    "unknown_when": ["$.error.timeout", {"path": "$.code", "is": [50004, "x"]}],
    "not_found_when": [{"path": "$.code", "is": "51603"}, {"path": "$.error", "matches": "(?i)not found"}],
    "error_when": [{"path": "$.data[0].sCode", "is_not": "0"}, "$.fault"],
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
    for said in ("account not found", "order book of BTC not found", "order service: key not found"):
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
        replied("place_order", Reply(True, None, "Error calling tool 'theirs': no funds"), mapping)
    for crashed in ("Error executing tool theirs", "Error calling tool 'theirs'"):
        with pytest.raises(ExecUnknown, match="theirs crashed on the server"):
            replied("place_order", Reply(True, None, crashed), mapping)
    with pytest.raises(ExecUnknown, match="neither structured content nor JSON: 'done!'"):
        replied("place_order", Reply(False, None, "done!"), mapping)
    with pytest.raises(ExecRejected, match="theirs failed without a reason"):
        replied("place_order", Reply(True, None, ""), mapping)


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

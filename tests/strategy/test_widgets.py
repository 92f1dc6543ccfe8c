from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from reconciler.orders.market import Candle
from reconciler.strategy import widgets
from reconciler.strategy.widgets import (
    MAX_BYTES,
    MAX_POINTS,
    MAX_ROWS,
    MAX_WIDGETS,
    WIDGETS,
    check_widgets,
    widgets_schema,
)

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
CANDLE = Candle(NOON, Decimal(1), Decimal(3), Decimal("0.5"), Decimal(2), Decimal(9))

ONE_OF_EACH: list[widgets.Widget] = [
    widgets.metric("spread", "Spread", Decimal("0.120"), unit="%", trend="up", tone="ok"),
    widgets.badge("state", "State", "waiting", "info"),
    widgets.progress("done", "Done", 3, 4),
    widgets.table("rungs", "Rungs", ["side", "price"], [["buy", Decimal("1E+3")], ["sell", None]]),
    widgets.line("ma", "Averages", {"fast": [(NOON, Decimal("1.5"))], "slow": []}),
    widgets.bar("flow", "Flow", {"Mon": 3, "Tue": -1}),
    widgets.candles("chart", "Chart", [CANDLE]),
    widgets.log("lines", "Lines", ["one", "two"]),
    widgets.text("note", "Note", "<b>plain</b>"),
    widgets.keyvalue("plan", "Plan", {"armed": True, "at": NOON, "ratio": 0.5}),
]


def says(rendered: object) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is what is asserted
        check_widgets(rendered)
    return str(caught.value)


def test_one_of_each_passes_and_comes_back_as_plain_json() -> None:
    checked = check_widgets(ONE_OF_EACH)
    assert [w["type"] for w in checked] == list(WIDGETS)
    assert json.loads(json.dumps(checked)) == list(checked)


def test_text_places_hold_exact_text_and_chart_places_numbers() -> None:
    metric, _, progress, table, line, _, candles, *_, keyvalue = check_widgets(ONE_OF_EACH)
    assert metric["value"] == "0.12"
    assert progress["value"] == 3.0
    assert table["rows"] == [["buy", "1000"], ["sell", "–"]]
    assert line["series"][0]["points"] == [["2026-01-05T12:00:00.000Z", 1.5]]
    assert candles["candles"] == [["2026-01-05T12:00:00.000Z", 1.0, 3.0, 0.5, 2.0, 9.0]]
    assert keyvalue["pairs"] == [["armed", "yes"], ["at", "2026-01-05T12:00:00.000Z"], ["ratio", "0.5"]]


def test_what_comes_back_shares_nothing_with_the_strategy() -> None:
    lines = ["kept"]
    rendered = [{"type": "log", "id": "a", "title": "A", "lines": lines}]
    checked = check_widgets(rendered)
    lines.append("later")
    rendered.clear()
    assert checked[0]["lines"] == ["kept"]


def test_a_time_is_written_in_utc_and_needs_its_offset() -> None:
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert widgets.metric("a", "A", tokyo)["value"] == "2026-01-05T12:00:00.000Z"
    with pytest.raises(ValueError, match="expected a time with its offset"):
        widgets.metric("a", "A", datetime(2026, 1, 5))  # noqa: DTZ001 - the fault under test


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), Decimal("Infinity")])
def test_a_chart_refuses_what_is_not_finite_where_it_is_made(value: float | Decimal) -> None:
    with pytest.raises(ValueError, match="fast: expected a finite number"):
        widgets.line("a", "A", {"fast": [(1, value)]})


def table(**changes: Any) -> dict[str, Any]:
    return {"type": "table", "id": "t", "title": "T", "columns": ["a"], "rows": [["1"]], **changes}


def line(*points: Any) -> dict[str, Any]:
    return {"type": "line", "id": "l", "title": "L", "series": [{"name": "s", "points": list(points)}]}


@pytest.mark.parametrize(
    ("rendered", "message"),
    [
        (None, "render: expected a list of widgets, was NoneType"),
        ({"type": "text"}, "render: expected a list of widgets, was dict"),
        (iter(()), "render: expected a list of widgets, was tuple_iterator"),
        (["text"], "widget 1: expected a widget (an object with a type), was 'text'"),
        ([{"type": "html", "id": "x"}], "widget 1 ('x'): expected one of the types metric, badge,"),
        ([{"type": ["text"]}], "widget 1: expected a widget (an object with a type)"),
        ([{"type": "text", "id": "x", "title": "X"}], "widget 1 ('x'): \"text\" is a required property"),
        ([table(extra=1)], "widget 1 ('t'): Additional properties are not allowed ('extra' was unexpected)"),
        ([table(id="No Spaces")], "widget 1 ('No Spaces'): id: "),
        ([table(rows=[["1"], ["1", "2"]])], "widget 1 ('t'): rows.1: expected 1 cells, one for each column, was 2"),
        ([table(rows=[[1]])], "widget 1 ('t'): rows.0.0: 1 is not of type \"string\""),
        ([table(), table()], "widget 2 ('t'): expected a unique id, was the second 't'"),
        ([line(["2026-01-05", 1], [2, 2])], "widget 1 ('l'): series: expected named series of [x, y] points"),
        ([line([1, float("nan")])], "widget 1 ('l'): expected finite numbers and no cycles"),
        ([line([1, 10**400])], "widget 1 ('l'): series: expected named series"),
        ([line([1, Decimal(1)])], "widget 1 ('l'): expected plain JSON values"),
        ([{"type": "text", "id": "x", "title": "X", "text": "\ud800"}], "widget 1 ('x'): expected valid Unicode text"),
    ],
)
def test_a_fault_names_the_widget_and_what_is_wrong_with_it(rendered: object, message: str) -> None:
    assert message in says(rendered)


def many(count: int) -> list[widgets.Widget]:
    return [widgets.metric(f"m{i}", "M", i) for i in range(count)]


@pytest.mark.parametrize(
    ("make", "most", "message"),
    [
        (many, MAX_WIDGETS, "expected at most 20 widgets, was 21"),
        (lambda n: [table(rows=[["1"]] * n)], MAX_ROWS, "rows: "),
        (lambda n: [line(*[[i, 1] for i in range(n)])], MAX_POINTS, "series: "),
    ],
)
def test_each_limit_is_reached_and_not_passed(
    make: Callable[[int], list[dict[str, Any]]], most: int, message: str
) -> None:
    assert check_widgets(make(most))
    assert message in says(make(most + 1))


def test_points_are_counted_over_all_series() -> None:
    half = [(i, 1) for i in range(MAX_POINTS // 2)]
    assert check_widgets([widgets.line("l", "L", {"a": half, "b": half})])
    more = widgets.line("l", "L", {"a": half, "b": [*half, (0, 0)]})
    assert "series: expected at most 2,000 points in all, was 2,001" in says([more])


def test_bytes_are_counted_over_all_widgets() -> None:
    half = "é" * (MAX_BYTES // 4)
    assert "expected at most 262,144 bytes of JSON" in says(
        [widgets.text("a", "A", half), widgets.text("b", "B", half)]
    )


def test_a_list_that_holds_itself_is_refused() -> None:
    rendered: list[Any] = []
    rendered.append(rendered)
    assert "cycles" in says(rendered)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def nearly_widgets(draw: st.DrawFn) -> list[Any]:
    """Good widgets, most of them spoilt in one place."""
    chosen = draw(st.lists(st.sampled_from(ONE_OF_EACH), max_size=4, unique_by=lambda w: str(w["id"])))
    spoilt: list[Any] = json.loads(json.dumps(chosen))
    for widget in spoilt:
        if draw(st.booleans()):
            key = draw(st.sampled_from([*widget, "other"]))
            if draw(st.booleans()):
                widget.pop(key, None)
            else:
                widget[key] = draw(json_values)
    return spoilt


def beyond_the_schema(rendered: list[Any]) -> bool:
    """What no schema says: unique ids, rows as wide as columns. (Points and bytes are never reached here.)"""
    ids = [w["id"] for w in rendered]
    wide = all(len(row) == len(w["columns"]) for w in rendered if w["type"] == "table" for row in w["rows"])
    return len(set(ids)) == len(ids) and wide


@given(nearly_widgets())
def test_the_check_and_the_schema_agree(rendered: list[Any]) -> None:
    try:
        plain = json.loads(json.dumps(rendered, allow_nan=False))
        expected = Draft202012Validator(widgets_schema()).is_valid(plain) and beyond_the_schema(plain)
    except ValueError:
        expected = False
    try:
        check_widgets(rendered)
        accepted = True
    except ValueError:
        accepted = False
    assert accepted == expected


@given(st.one_of(json_values, st.lists(json_values, max_size=4), st.binary(), st.sets(st.integers())))
def test_nothing_but_a_value_error_comes_of_what_is_no_widget(rendered: object) -> None:
    try:
        checked = check_widgets(rendered)
    except ValueError:
        return
    assert checked == ()


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (
            widgets.line,
            [[(1, 2)]],
            'line: series: expected a mapping of series, such as {"close": [(x, y), …]}, was list',
        ),
        (widgets.line, [{"b": 3}], "line: series 'b': expected (x, y) points, was int"),
        (widgets.line, [{"b": [3]}], "line: series 'b': expected (x, y) points, was 3"),
        (widgets.line, [{"b": ["xy"]}], "line: series 'b': expected (x, y) points, was 'xy'"),
        (widgets.line, [{"b": [(1, None)]}], "b: expected a number, was NoneType"),
        (widgets.bar, [[3]], 'bar: bars: expected a mapping of amounts, such as {"Mon": 3}, was list'),
        (widgets.bar, [{"b": "3"}], "b: expected a number, was str"),
        (
            widgets.keyvalue,
            [[("b", 1)]],
            'keyvalue: pairs: expected a mapping of names to what they stand for, such as {"next buy": when}, was list',
        ),
        (widgets.table, ["b", []], 'table: columns: expected a list of names, such as ["when", "what"], was str'),
        (widgets.table, [["b"], [1]], "table: rows: expected a list of rows, such as [[when, what], …], was int"),
        (widgets.log, ["one line"], "log: lines: expected a list of texts, was str"),
        (widgets.candles, [[3]], "candles: candles: expected what context.market.candles returned, was a list of int"),
        (widgets.progress, ["half"], "value: expected a number, was str"),
    ],
)
def test_each_widget_says_what_it_expected(make: Callable[..., object], given: list[Any], message: str) -> None:
    with pytest.raises(TypeError) as raised:
        make("a", "A", *given)
    assert str(raised.value) == message


SECRET = "planted-" + "x" * 100 + "-planted"


@pytest.mark.parametrize(
    "rendered",
    [
        [SECRET],
        [{"type": "metric", "id": SECRET, "title": "x", "value": "1"}],
        [{"type": "metric", "id": "m", "title": "x", "value": {SECRET: SECRET}}],
        [{"type": "metric", "id": SECRET, "title": "x", "value": float("nan")}],
    ],
)
def test_what_messages_quote_is_seen_whole_by_what_hides_secrets(rendered: object) -> None:
    with pytest.raises(ValueError, match="widget 1") as refused:
        check_widgets(rendered, lambda text: text.replace(SECRET, "•••"))
    assert "planted" not in str(refused.value)

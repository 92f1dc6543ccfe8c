"""The path language: what is written is read, what is read is written, and it leads where it says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.exec_mcp.words import Each, Element, Member, Named, Path, parse

ANSWER: dict[str, Any] = {
    "id": "x-1",
    "nothing": None,
    "data": [{"ordId": "1"}, {"ordId": "2"}],
    "quotes": {"BTC/USD": {"ap": 100}, "a key": 1, 'q"]': 2},
    "total": {"BTC": "0.5", "USD": "7"},
}

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,8}", fullmatch=True)
steps = st.one_of(
    st.builds(Member, st.text(max_size=8)),
    st.builds(Element, st.integers(-999_999_999, 999_999_999)),
    st.builds(Named, names),
)
paths = st.builds(
    lambda inner, last, whole, turns: Path((*inner, *last), whole, turns),
    st.lists(steps, max_size=6),
    st.sampled_from([(), (Each(),)]),
    st.booleans(),
    st.booleans(),
)


@given(paths)
def test_a_path_that_is_written_is_read_as_the_same_path(path: Path) -> None:
    assert parse(str(path)) == path


@given(st.text(alphabet='$.[]*"\\a0-_ ', max_size=12))
def test_whatever_is_written_is_a_path_or_a_sentence(text: str) -> None:
    try:
        path = parse(text)
    except ValueError:
        return
    assert parse(str(path)) == path


answers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(paths, answers)
def test_a_path_leads_somewhere_or_nowhere_in_anything(path: Path, answer: Any) -> None:
    path.find(answer, answer, {})


@given(st.dictionaries(st.text(max_size=6), st.integers(), min_size=1))
def test_every_member_can_be_named(answer: dict[str, int]) -> None:
    for name, value in answer.items():
        assert parse(str(Path((Member(name),)))).find(answer, answer, {}) == value


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$", ANSWER),
        ("$.id", "x-1"),
        ("$.data[0].ordId", "1"),
        ("$.data[-1].ordId", "2"),
        ('$.quotes["a key"]', 1),
        ('$.quotes["q\\"]"]', 2),
        ("$.quotes[symbol].ap", 100),
        ("$.total.*", [{"key": "BTC", "value": "0.5"}, {"key": "USD", "value": "7"}]),
        ("$.data.*", ANSWER["data"]),
        ("$.nothing", None),
        ("$.nothing.more", None),
        ("$.data[2]", None),
        ("$.data[-3]", None),
        ("$.data.ordId", None),
        ("$.id[0]", None),
        ("$.quotes[market]", None),
        ("$.id.*", None),
    ],
)
def test_a_path_leads_where_it_says(path: str, found: Any) -> None:
    assert parse(path).find(ANSWER, ANSWER, {"symbol": "BTC/USD"}) == found


@pytest.mark.parametrize(
    ("told", "turned"),
    [("-0.10", "0.10"), ("0.1", "-0.1"), (" +0.1 ", "-0.1"), (-3, "3"), (Decimal("1E-8"), "-1E-8"), (-2e-05, "2e-05"),
     ("0", "0"), ("0.00", "0.00"), (0, "0"), (-0.0, "0.0"), ("", ""), (None, None), (True, True), (["1"], ["1"]),
     ("--1", "--1"), ("-", "-"), ("free", "free")],
)  # fmt: skip
def test_a_minus_before_a_path_turns_the_sign_of_the_number_there(told: Any, turned: Any) -> None:
    assert parse("-$.fee").find({"fee": told}, None, {}) == turned
    assert parse("-$$.fee").find(None, {"fee": told}, {}) == turned


def test_two_dollars_begin_at_the_whole_answer_from_within_an_item() -> None:
    item = {"key": "BTC"}
    assert parse("$$.total[key]").find(item, ANSWER, item) == "0.5"
    assert parse("$.key").find(item, ANSWER, item) == "BTC"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id", "expected a path from $, was 'id'"),
        ("", "expected a path from $, was ''"),
        ("-", "expected a path from $, was '-'"),
        ("--$.a", "expected a path from $, was '--$.a'"),
        ("$.", "expected .name, [0], [\"name\"], [argument] or .* at '.', in '$.'"),
        ("$id", "expected .name, [0], [\"name\"], [argument] or .* at 'id', in '$id'"),
        ("$.a[01]", "expected .name, [0], [\"name\"], [argument] or .* at '[01]', in '$.a[01]'"),
        ("$.a[0", "expected .name, [0], [\"name\"], [argument] or .* at '[0', in '$.a[0'"),
        ("$.*.a", "expected nothing after .*, was '$.*.a'"),
    ],
)
def test_what_is_no_path_is_refused_with_a_sentence(text: str, said: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        parse(text)
    assert str(caught.value) == said

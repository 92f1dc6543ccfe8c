from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.errors import Problem
from reconciler.review.validate.report import code_span, count, hinted, inert, position, statement
from reconciler.visible import visible

PROBLEM = Problem("instances/a.yaml", 14, 11, "config.levels", 'expected an integer, was "five"', "remove the quotes")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("größe → ±1 🙂", "größe → ±1 🙂"),
        ("👩‍💻 👩🏽‍🚀 ❤️‍🔥", "👩‍💻 👩🏽‍🚀 ❤️‍🔥"),
        ("a\u200db\u200d👩", r"a\u200db\u200d👩"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x85\u2028", r"\x85\u2028"),
        ("a\u202egnp.exe", r"a\u202egnp.exe"),
        ("\ud800\ufeff\uffff", r"\ud800\ufeff\uffff"),
        ("a\u200bb\u00adc\u2060", r"a\u200bb\xadc\u2060"),
        ("\u3164\u2800\u115f\uffa0\u034f", r"\u3164\u2800\u115f\uffa0\u034f"),
        ("\U000e0041\U000e01ef\ufe0f\xa0", r"\U000e0041\U000e01ef\ufe0f\xa0"),
    ],
)
def test_what_cannot_be_seen_is_escaped_and_all_else_stays(text: str, seen: str) -> None:
    assert visible(text) == seen


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_becomes_one_line_that_utf_8_holds(text: str) -> None:
    assert len(visible(text).splitlines()) <= 1
    assert visible(text).encode().decode() == visible(visible(text))


def test_a_statement_is_the_value_and_what_is_wrong_with_it() -> None:
    assert statement(PROBLEM) == 'config.levels: expected an integer, was "five"'
    assert statement(Problem("a", 0, 0, "", "expected a\nfile")) == r"expected a\nfile"


def test_a_hint_follows_where_there_is_one() -> None:
    assert hinted(PROBLEM, "; ") == "; hint: remove the quotes"
    assert hinted(Problem("a", 0, 0, "", "wrong"), "; ") == ""


def test_a_file_as_a_whole_has_no_position() -> None:
    assert position(PROBLEM) == "14:11"
    assert position(Problem("a", 0, 0, "", "wrong")) == ""


def test_counts_are_words() -> None:
    assert [count(n, "file") for n in (0, 1, 10_000)] == ["0 files", "1 file", "10,000 files"]


def test_no_line_of_a_log_holds_a_command() -> None:
    assert inert("dip printed: ::error::x\n##[error]y") == r"dip printed: ::error::x\n##\[error]y"


@pytest.mark.parametrize(
    ("text", "span"),
    [("a", "`a`"), ("", '`""`'), ("  ", '`"  "`'), ("`a", "`` `a ``"), ("a\n``b", r"```a\n``b```"), (" a", "`  a `")],
)
def test_nothing_ends_a_code_span(text: str, span: str) -> None:
    assert code_span(text) == span

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reconciler.review.plan
from reconciler.review.plan.differences import phrase
from reconciler.visible import visible


def test_foreign_words_are_made_safe_and_ours_are_not() -> None:
    assert phrase("moved from {} to {}", "a", "{}").render(str.upper) == "moved from A to {}"
    assert str(phrase("moved from {}", "a")) == "moved from a"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("größe → 7", "größe → 7"),
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\u202eevil", r"\u202eevil"),
        ("le\u200bvels", r"le\u200bvels"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_cannot_be_seen_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_printable_is_always_one_line_that_utf_8_can_hold(text: str) -> None:
    assert visible(text).isprintable()
    visible(text).encode()


def test_no_sentence_of_ours_lets_two_foreign_words_touch() -> None:
    """Two code spans side by side would become one."""
    for module in Path(reconciler.review.plan.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert "{}{}" not in node.value, (module.name, node.value)

from __future__ import annotations

import pytest

from reconciler.validation.schema_tree import is_usable, matches


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        ("^(a+)+$", "a" * 40 + "!", False),
        ("b", "abc", True),
        ("^a$", "a\n", False),
        ("^\\d$", "٣", False),
        ("^\\w$", "é", False),
        ("^.$", "é", True),
        ("^[0-9]+(\\.[0-9]+)?$", "1.5", True),
    ],
)
def test_a_pattern_is_found_somewhere_in_a_text(pattern: str, text: str, found: bool) -> None:
    assert matches(pattern, text) is found


@pytest.mark.parametrize("pattern", ["(?=a)", "(?<=a)b", "(a)\\1", "(", "(.{0,300}){0,30}", "\ud800"])
def test_what_the_engine_does_not_take_is_said_before_it_is_used(pattern: str) -> None:
    assert not is_usable(pattern)
    with pytest.raises(ValueError):  # noqa: PT011 - the words are the engine's
        matches(pattern, "a")

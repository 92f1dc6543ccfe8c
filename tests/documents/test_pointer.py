from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.documents.wording import Path, parse_pointer, spell


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("config", "levels"), "config.levels"),
        (("accounts", 2, "name"), "accounts[2].name"),
        ((0, 1, "a"), "[0][1].a"),
        (("x-note", "max_position"), "x-note.max_position"),
        (("labels", "two words"), 'labels["two words"]'),
        (("labels", 'a "b" \\ c'), 'labels["a \\"b\\" \\\\ c"]'),
        (("", "é"), '[""]["é"]'),
    ],
)
def test_a_path_is_spelled_the_way_people_write_it_and_read_back(path: Path, text: str) -> None:
    assert spell(path) == text
    assert parse_pointer(text) == path


@settings(deadline=None)
@given(st.lists(st.one_of(st.text(max_size=5), st.integers(0, 99)), max_size=5))
def test_every_path_survives_being_spelled(path: list[str | int]) -> None:
    assert parse_pointer(spell(tuple(path))) == tuple(path)


@pytest.mark.parametrize("text", ["a..b", "a[", "a[x]", "[1", ".", "a b"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a pointer"):
        parse_pointer(text)


def test_a_key_that_looks_like_a_credential_is_not_spelled_out() -> None:
    assert spell(("config", "AKIAIOSFODNN7EXAMPLE")) == 'config["…"]'

from __future__ import annotations

from reconciler.visible import is_storable, said, storable


def test_only_what_utf_8_cannot_hold_is_escaped() -> None:
    assert (storable("é😀"), storable("a\ud800b")) == ("é😀", "a\\ud800b")
    assert (is_storable("é😀"), is_storable("\udcff")) == (True, False)


def test_an_error_is_told_on_one_bounded_line() -> None:
    assert said(ValueError("two\nlines \ud800")) == "ValueError: two lines \\ud800"
    assert len(said(ValueError("x" * 1_000))) <= 300

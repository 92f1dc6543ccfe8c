from __future__ import annotations

import pytest

from reconciler.strategy.definition import ModuleSource, parse

TEXT = """# coding: utf-8
class A:
    é = 1; X = 2
    X: int = 3
    Y: int
    if True:
        HIDDEN = 4
    S = {"a": {"b": [10, 20]}, **{}}
"""


@pytest.fixture
def source() -> ModuleSource:
    parsed = parse("a.py", "a.py@1", TEXT.encode())
    assert isinstance(parsed, ModuleSource)
    return parsed


@pytest.mark.parametrize(
    ("name", "place"), [("X", (4, 14)), ("é", (3, 9)), ("Y", (2, 1)), ("HIDDEN", (2, 1)), ("none", (2, 1))]
)
def test_a_member_stands_where_it_was_last_set_or_else_at_its_class(
    source: ModuleSource, name: str, place: tuple[int, int]
) -> None:
    assert source.member_at("A", name) == place


def test_columns_count_characters_not_bytes() -> None:
    parsed = parse("a.py", "a.py@1", "class A:\n    é = 'ü'; X = 2\n".encode())
    assert isinstance(parsed, ModuleSource)
    assert parsed.member_at("A", "X") == (2, 18)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("a.b[1]", ((8, 26), True)),
        ("a.b[7]", ((8, 21), True)),
        ("a.none", ((8, 15), True)),
        ("some words", ((8, 9), False)),
        ("", ((8, 9), False)),
    ],
)
def test_a_place_is_followed_as_far_as_it_is_written_out(
    source: ModuleSource, place: str, expected: tuple[tuple[int, int], bool]
) -> None:
    assert source.inside("A", "S", place) == expected


def test_an_unknown_class_is_the_file_itself(source: ModuleSource) -> None:
    assert source.class_at("B") == (1, 1)


def test_line_endings_and_a_byte_order_mark_do_not_shift_places() -> None:
    parsed = parse("a.py", "a.py@1", b"\xef\xbb\xbfclass A:\r\n    X = 1\r\n")
    assert isinstance(parsed, ModuleSource)
    assert parsed.member_at("A", "X") == (2, 9)

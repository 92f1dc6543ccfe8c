"""Many names, told short: in one way, wherever they are told."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

import reconciler
from reconciler.documents.wording import quoted, some

HOUSE = Path(reconciler.__file__).parent


@pytest.mark.parametrize(
    ("names", "most", "told"),
    [
        ((), 3, ""),
        (("a",), 3, "a"),
        (("a", "b", "c"), 3, "a, b, c"),
        (("a", "b", "c", "d"), 3, "a, b, c and 1 more"),
        (["x"] * 1_235, 1, "x and 1,234 more"),
    ],
)
def test_of_many_the_first_are_named_and_the_rest_counted(names: Sequence[str], most: int, told: str) -> None:
    assert some(names, most) == told


def test_where_each_has_its_line_so_has_the_rest() -> None:
    assert some(("a", "b", "c"), 2, "\n") == "a\nb\nand 1 more"


def test_nobody_counts_the_rest_of_names_in_another_way() -> None:
    counts = re.compile(r" and \{len\([^}]*\} more\"? if ")
    rooms = [
        path.relative_to(HOUSE).as_posix()
        for path in HOUSE.rglob("*.py")
        if counts.search(path.read_text(encoding="utf-8"))
    ]
    assert rooms == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("m\u043ede", "U+043E cyrillic small letter o"),
        ("\u0392TC/USD", "U+0392 greek capital letter beta"),
        ("\u0430", "U+0430 cyrillic small letter a"),
        ("\uff15", "U+FF15 fullwidth digit five"),
        ("1\u0665", "U+0665 arabic-indic digit five"),
        ("\uff4dode", "U+FF4D fullwidth latin small letter m"),
        ("\u22125", "U+2212 minus sign"),
        ("five", ""),
        ("caf\u00e9", ""),
        ("M\u00fcnchen 5", ""),
        ("\u043f\u043e\u043a\u0443\u043f\u043a\u0430", ""),
        ("\u8cb7\u3044 BTC", ""),
    ],
)
def test_a_letter_of_another_script_among_latin_ones_is_named(text: str, named: str) -> None:
    assert quoted(text) == f'"{text}"' + (f" (with {named})" if named else "")

"""What is spelled reads back as the same value, by our reader and by one of YAML 1.1."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.documents.document import Document, parse
from reconciler.documents.syntax import has_control_character
from reconciler.review.scaffold import can_be_spelled, entry, scalar
from reconciler.visible import is_storable

TEXT = st.text(st.characters().filter(lambda c: is_storable(c) and not has_control_character(c)), max_size=30)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=8)


def read(key: str, value: Any) -> Any:
    document = parse("\n".join(entry(key, value)).encode(), "x.yaml")
    assert isinstance(document, Document), document
    return document.values


@given(TEXT, VALUES)
def test_every_value_reads_back(key: str, value: Any) -> None:
    assert can_be_spelled(key, value)
    assert json.dumps(read(key, value)) == json.dumps({key: value})


@given(st.dictionaries(TEXT, TEXT | st.booleans() | st.none() | st.integers()))
def test_readers_of_yaml_1_1_read_the_same(value: dict[str, Any]) -> None:
    assert yaml.safe_load("\n".join(entry("key", value))) == {"key": value}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("grid", "grid"),
        ("BTC/USD", "BTC/USD"),
        ("Grid on the spot pair", "Grid on the spot pair"),
        ("0.005", '"0.005"'),
        ("off", '"off"'),
        ("No", '"No"'),
        ("null", '"null"'),
        ("", '""'),
        ("1m", '"1m"'),
        ("2026-01-01", '"2026-01-01"'),
        ("a: b", '"a: b"'),
        ("# not a comment", '"# not a comment"'),
        (" led", '" led"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("two\nlines", '"two\\nlines"'),
        ("hidden\u200btext", '"hidden\\U0000200Btext"'),
        ("größer", '"größer"'),
        (True, "true"),
        (None, "null"),
        (5, "5"),
        (5.0, "5.0"),
        ([], "[]"),
        ({}, "{}"),
        (["a", 1, {"b": "2"}], '[a, 1, {b: "2"}]'),
    ],
)
def test_text_is_bare_only_where_nobody_could_take_it_for_something_else(value: Any, text: str) -> None:
    assert scalar(value) == text


def test_what_does_not_fit_on_a_line_goes_below() -> None:
    rungs = [{"price": f"{n}.5", "quantity": "1"} for n in range(4)]
    assert list(entry("rungs", rungs)) == ["rungs:", *(f'  - {{price: "{n}.5", quantity: "1"}}' for n in range(4))]
    inner = {f"key_{n}": "a rather long text" for n in range(4)}
    assert list(entry("deep", {"inner": inner})) == [
        "deep:",
        "  inner:",
        *(f"    key_{n}: a rather long text" for n in range(4)),
    ]


@pytest.mark.parametrize("value", ["\x1b[31m", "\x00", 2**63, [2**80], {"a": "\x07"}, "line\u2028separator"])
def test_what_a_file_cannot_hold_is_known(value: Any) -> None:
    assert not can_be_spelled("key", value)
    assert not can_be_spelled("k" * 2000, "a key longer than any line")

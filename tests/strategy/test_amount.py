from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.strategy import AMOUNT, FRACTION
from reconciler.validation.validator import acceptor


@given(st.decimals(min_value="0.000000000001", max_value="1e12", allow_nan=False, places=12))
def test_every_positive_decimal_in_plain_digits_is_an_amount(value: Decimal) -> None:
    assert re.search(AMOUNT, format(value, "f"))


@pytest.mark.parametrize("text", ["0", "0.0", "-1", "1e3", "01", ".5", "5.", "1,000", "NaN", "", " 1"])
def test_what_is_not_a_positive_decimal_is_no_amount(text: str) -> None:
    assert not re.search(AMOUNT, text)


@pytest.mark.parametrize(
    ("text", "is_one"), [("0.005", True), ("0.99", True), ("1.0", False), ("0", False), ("0.0", False)]
)
def test_a_fraction_lies_between_0_and_1(text: str, is_one: bool) -> None:
    assert bool(re.search(FRACTION, text)) is is_one


@pytest.mark.parametrize("pattern", [AMOUNT, FRACTION])
def test_the_patterns_are_among_those_checked_the_fast_way(pattern: str) -> None:
    assert acceptor({"type": "string", "pattern": pattern})

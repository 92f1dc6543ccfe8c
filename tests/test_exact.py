"""Exact arithmetic: against fractions, and in whatever decimal context a thread was left."""

from __future__ import annotations

import decimal
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import exact
from reconciler.records.cadence import steps
from tests.hostile import hostile_context

amounts = st.decimals(min_value=-(10**30), max_value=10**30, allow_nan=False, places=30)


@pytest.mark.parametrize("raises", [True, False])
@given(one=amounts, other=amounts)
def test_whatever_the_threads_context_nothing_is_lost(raises: bool, one: Decimal, other: Decimal) -> None:
    first, second = Fraction(one), Fraction(other)
    with hostile_context(raises=raises):
        found = [
            exact.add(one, other),
            exact.subtract(one, other),
            exact.multiply(one, other),
            exact.negative(one),
            exact.size(one),
            exact.total([one, other, one]),
            exact.middle(one, other),
            exact.shifted(one, -3),
        ]
    expected = [
        first + second,
        first - second,
        first * second,
        -first,
        abs(first),
        first + second + first,
        (first + second) / 2,
        first / 1000,
    ]
    assert [Fraction(value) for value in found] == expected


@pytest.mark.parametrize(
    ("reckon", "expected"),
    [
        (lambda: exact.quotient(Decimal(2), Decimal(3)), "0.6666666666666666666666666667"),
        (lambda: exact.rounded(Decimal("12.341"), Decimal("0.01"), ROUND_CEILING), "12.35"),
        (lambda: exact.rounded(Decimal("12.349"), Decimal("0.01"), ROUND_DOWN), "12.34"),
    ],
)
@pytest.mark.parametrize("raises", [True, False])
def test_what_must_be_rounded_is_rounded_as_it_says_here(
    raises: bool, reckon: Callable[[], Decimal], expected: str
) -> None:
    with hostile_context(raises=raises):
        assert str(reckon()) == expected


@pytest.mark.parametrize("raises", [True, False])
def test_a_cadence_is_the_same_in_any_context(raises: bool) -> None:
    with hostile_context(raises=raises):
        assert [steps(2.1), steps(1440.0), steps(0.25)] == [21, 14400, 3]


def test_a_standard_context_is_new_and_owes_nothing_to_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decimal.DefaultContext, "prec", 2)
    monkeypatch.setattr(decimal.DefaultContext, "rounding", ROUND_DOWN)
    one = exact.standard_context()
    assert (one.prec, one.rounding, one.Emax) == (28, decimal.ROUND_HALF_EVEN, 999_999)
    assert {trap for trap, raises in one.traps.items() if raises} == {
        decimal.InvalidOperation,
        decimal.DivisionByZero,
        decimal.Overflow,
    }
    one.prec = 3
    assert exact.standard_context().prec == 28
    assert exact.fixed(50).rounding == decimal.ROUND_HALF_EVEN

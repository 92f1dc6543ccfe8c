"""Exact arithmetic on money and quantities, which no thread's decimal context can change. Pure.

The operators, `sum` and `abs` round to the digits, and raise by the traps, of the decimal context that the thread
happens to have; strategies set it, on threads that are shared. So amounts are reckoned with by what is here, and by
nothing else. Comparing, `format` and `Decimal(text)` do not look at that context.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DecimalException,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from typing import Final

ZERO = Decimal(0)
_HALF = Decimal("0.5")
_LARGEST = 999_999
"""The exponent beyond which nothing is reckoned with: decimal.Overflow."""


def fixed(digits: int, *traps: type[DecimalException]) -> Context:
    """A context of `digits` that owes nothing to `decimal.DefaultContext`, which is anyone's to change."""
    raising: list[type[DecimalException]] = [InvalidOperation, DivisionByZero, Overflow, *traps]
    return Context(digits, ROUND_HALF_EVEN, -_LARGEST, _LARGEST, capitals=1, clamp=0, flags=[], traps=raising)


_EXACT = fixed(400)
"""Far more digits than sums and products of any amounts that occur have."""
_QUOTIENT = fixed(28)
"""As Python documents its default."""
_STRICT = fixed(80, Inexact)
_ROUNDED = fixed(80)


def exactly() -> AbstractContextManager[Context]:
    """The operators' sums and products inside are exact; one that cannot be raises decimal.Inexact."""
    return localcontext(_STRICT)


standard_context: Final = _QUOTIENT.copy
"""A new context as Python documents its default, whatever `decimal.DefaultContext` has been made. Once each tick."""


def add(one: Decimal, other: Decimal) -> Decimal:
    return _EXACT.add(one, other)


def subtract(one: Decimal, other: Decimal) -> Decimal:
    return _EXACT.subtract(one, other)


def multiply(one: Decimal, other: Decimal) -> Decimal:
    return _EXACT.multiply(one, other)


def negative(value: Decimal) -> Decimal:
    return _EXACT.minus(value)


def size(value: Decimal) -> Decimal:
    """The value without its sign."""
    return value.copy_abs()


def total(values: Iterable[Decimal]) -> Decimal:
    found = ZERO
    for value in values:
        found = _EXACT.add(found, value)
    return found


def middle(one: Decimal, other: Decimal) -> Decimal:
    """Halfway between the two."""
    return _EXACT.multiply(_EXACT.add(one, other), _HALF)


def quotient(dividend: Decimal, divisor: Decimal) -> Decimal:
    """Rounded half even to 28 digits."""
    return _QUOTIENT.divide(dividend, divisor)


def rounded(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    """With as many decimals as `step` has, a power of ten; `rounding` is one of decimal's."""
    return value.quantize(step, rounding, context=_EXACT)


def multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    """The multiple of `step` that `value` is rounded to; `rounding` is one of decimal's."""
    return _ROUNDED.multiply(_ROUNDED.divide(value, step).to_integral_value(rounding, context=_ROUNDED), step)


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`amount` × `part` ÷ `whole`, to 80 digits."""
    return _ROUNDED.divide(_ROUNDED.multiply(amount, part), whole)


def shifted(value: Decimal, places: int) -> Decimal:
    """Times ten to the power of `places`."""
    return _EXACT.scaleb(value, Decimal(places))

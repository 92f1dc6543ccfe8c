"""Exact sums: none here is ever rounded by accident, and where something is rounded, it says which way. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal, Inexact, localcontext

from reconciler.exact import fixed
from reconciler.orders import filling

ZERO = Decimal(0)
_EXACT = fixed(80, Inexact)
_ROUNDED = fixed(80)
_FEE_STEP = Decimal("0.00000001")
_PRICE_STEP = Decimal("0.0000000001")


@contextmanager
def exact() -> Iterator[None]:
    """Sums and products inside are exact; one that cannot be raises decimal.Inexact."""
    with localcontext(_EXACT):
        yield


def fee_on(quantity: Decimal, price: Decimal, rate: Decimal) -> Decimal:
    """The fee of an execution, in what `price` is in, rounded down to eight decimals.

    Down, so that many executions never cost more than one of all their quantity would.
    """
    return filling.fee_on(quantity, price, rate, ROUND_FLOOR)


def average(notional: Decimal, quantity: Decimal) -> Decimal:
    """A price, rounded half up to ten decimals."""
    with localcontext(_ROUNDED):
        return (notional / quantity).quantize(_PRICE_STEP, ROUND_HALF_UP)


def share(amount: Decimal, part: Decimal, whole: Decimal) -> Decimal:
    """`amount` × `part` ÷ `whole`, rounded up to eight decimals."""
    with localcontext(_ROUNDED):
        return (amount * part / whole).quantize(_FEE_STEP, ROUND_CEILING)


def quotient(value: Decimal, divisor: Decimal) -> Decimal:
    """Rounded half even to 80 digits."""
    return _ROUNDED.divide(value, divisor)


def multiple(value: Decimal, step: Decimal, rounding: str) -> Decimal:
    """The multiple of `step` that `value` is rounded to; `rounding` is one of decimal's."""
    with localcontext(_ROUNDED):
        return (value / step).to_integral_value(rounding) * step

"""Decimal contexts as a careless strategy may leave them on a thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import (
    ROUND_DOWN,
    Clamped,
    Context,
    DecimalException,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
    Underflow,
    localcontext,
)

EVERY_TRAP: list[type[DecimalException]] = [
    Clamped,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    Rounded,
    Subnormal,
    Underflow,
]


@contextmanager
def hostile_context(*, raises: bool) -> Iterator[None]:
    """All that is reckoned in it loses every digit but one; where it `raises`, it raises instead."""
    traps = EVERY_TRAP if raises else []
    with localcontext(Context(prec=1, rounding=ROUND_DOWN, Emin=-1, Emax=1, traps=traps)):
        yield

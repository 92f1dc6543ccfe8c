"""The tally of an account: what the exchange says is held on it, against what the instances' own fills make. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal

from reconciler.records.order import decimal_text

_EXACT = Context(prec=100)
_ZERO = Decimal(0)

Held = Mapping[str, Decimal]
"""Quantities by symbol, signed; what is not there is zero."""


def whole(told: Sequence[Held]) -> Held:
    """What is held on an account, of what was told to each of its clients.

    Some exchanges tell of the account whoever asks, others of the client: the same answer to all is the account's.
    """
    if all(held == told[0] for held in told):
        return told[0]
    total: dict[str, Decimal] = {}
    for held in told:
        for symbol, quantity in held.items():
            total[symbol] = _EXACT.add(total.get(symbol, _ZERO), quantity)
    return total


def difference(theirs: Held, ours: Held) -> str:
    """Where the two differ, in words; empty where they do not."""
    return "; ".join(
        f"the exchange holds {decimal_text(theirs.get(symbol, _ZERO))} {symbol},"
        f" the instances' fills make {decimal_text(ours.get(symbol, _ZERO))}"
        for symbol in sorted({*theirs, *ours})
        if theirs.get(symbol, _ZERO) != ours.get(symbol, _ZERO)
    )

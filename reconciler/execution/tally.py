"""The tally of an account: what the exchange says is held on it, against what the instances' own fills make. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from reconciler.records import exact
from reconciler.records.order import decimal_text

_ZERO = Decimal(0)

Held = Mapping[str, Decimal]
"""Quantities by symbol, signed; what is not there is zero."""


def whole(told: Sequence[Held], ours: Held) -> Held:
    """What is held on an account, of what was told to each of its clients; `ours` is what it is compared with.

    Some exchanges tell of the account whoever asks, others of the client. Answers that differ are of the clients. The
    same answer to all may be either: it is of the clients where their sum is `ours`, else the account's.
    """
    total = added_up(item for held in told for item in held.items())
    return told[0] if all(held == told[0] for held in told) and total != ours else total


def added_up(told: Iterable[tuple[str, Decimal]]) -> dict[str, Decimal]:
    """Quantities by symbol, each of which may be told more than once."""
    total: dict[str, Decimal] = {}
    for symbol, quantity in told:
        total[symbol] = exact.add(total.get(symbol, _ZERO), quantity)
    return {symbol: quantity for symbol, quantity in total.items() if quantity}


def differences(theirs: Held, ours: Held) -> dict[str, Decimal]:
    """What is held beside what is booked, by symbol; nothing that is zero."""
    found = {symbol: exact.subtract(theirs.get(symbol, _ZERO), ours.get(symbol, _ZERO)) for symbol in {*theirs, *ours}}
    return {symbol: quantity for symbol, quantity in found.items() if quantity}


def difference(theirs: Held, ours: Held) -> str:
    """Where the two differ, in words; empty where they do not."""
    return "; ".join(
        f"the exchange holds {decimal_text(theirs.get(symbol, _ZERO))} {symbol},"
        f" the instances' fills make {decimal_text(ours.get(symbol, _ZERO))}"
        for symbol in sorted({*theirs, *ours})
        if theirs.get(symbol, _ZERO) != ours.get(symbol, _ZERO)
    )

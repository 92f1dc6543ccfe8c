"""What the money of a market is in, and what it counts as in another currency. Exact, pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Final

from reconciler import exact
from reconciler.orders.market import usual

_ONE: Final = Decimal(1)
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{1,11}")
_NO_CURRENCY: Final = frozenset({"PERP", "PERPETUAL", "SWAP", "FUTURE", "FUTURES", "SPOT"})

Factors = Mapping[str, Mapping[str, Decimal]]
"""What one of a currency counts as in others: `{"USDT": {"USD": 1.02}}`."""


@lru_cache(maxsize=4096)
def named_currency(symbol: str) -> str:
    """What prices of the market are in, as its name says it: what stands behind `/` or `-`. Empty where it says none.

    What is settled in another currency than it is priced in (BTC/USD:BTC) says none: its profit is in neither's terms.
    """
    market, _, settled = symbol.upper().partition(":")
    parts = re.split(r"[/-]", market)
    if len(parts) < 2 or not _NAME.fullmatch(parts[1]) or parts[1] in _NO_CURRENCY:
        return ""
    quoted = usual(parts[1])
    return quoted if not settled or usual(settled.partition("-")[0]) == quoted else ""


def market_currency(symbol: str, markets: Mapping[str, str]) -> str:
    """What prices of the market are in: as `markets` says, else as its name does. Empty where neither tells."""
    told = markets.get(symbol)
    return usual(told) if told else named_currency(symbol)


def factor(currency: str, into: str, count_as: Factors) -> Decimal | None:
    """What one of `currency` counts as `into` another; None where nobody has said."""
    if not currency or not into:
        return None
    if currency == into:
        return _ONE
    if usual(currency) == usual(into):
        return _ONE
    for name, others in count_as.items():
        if usual(name) == usual(currency):
            return next((one for other, one in others.items() if usual(other) == usual(into)), None)
    return None


def counted(amount: Decimal, currency: str, into: str, count_as: Factors) -> Decimal | None:
    """An amount in another currency, by the factor that was reviewed for it; None where there is none."""
    found = factor(currency, into, count_as)
    return None if found is None else exact.multiply(amount, found)

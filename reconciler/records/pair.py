"""The currencies of a market, as far as its symbol tells: what a fee is to it, and how else it is spelled. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

_USUAL: Final = {
    "XBT": "BTC",
    "XXBT": "BTC",
    "XDG": "DOGE",
    "XXDG": "DOGE",
    "XETH": "ETH",
    "ZUSD": "USD",
    "ZEUR": "EUR",
    "ZGBP": "GBP",
    "ZCAD": "CAD",
    "ZJPY": "JPY",
    "ZAUD": "AUD",
}
"""What some exchanges call what others call so."""
_QUOTES: Final = (
    *("FDUSD", "USDT", "USDC", "USD", "EUR", "GBP", "JPY", "AUD", "CAD", "CHF"),
    *("TRY", "BRL", "DAI", "XBT", "BTC", "ETH", "BNB"),
)
"""How a symbol in one word ends where that is what its price is in, the longer endings first: BTCUSDT."""
_OLD: Final = re.compile(r"(X[A-Z]{3})(Z[A-Z]{3})")
"""Symbols in one word with a letter before each currency: XXBTZUSD."""
_CURRENCY: Final = re.compile(r"[A-Z]*[0-9]*[A-Z]+[A-Z0-9]*")
_CONTRACTS: Final = frozenset({"PERP", "PERPETUAL", "SWAP", "FUTURE", "FUTURES", "SPOT"})


class FeeIn(StrEnum):
    """What a fee is in. One in the base currency is taken out of what is held; one in another is neither that nor
    money that the profit is in."""

    QUOTE = "quote"
    BASE = "base"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Pair:
    """`base` is what is held, None where that is no currency: contracts, shares. `quotes` are what profit is in."""

    base: str | None = None
    quotes: tuple[str, ...] = ()

    def fee_in(self, currency: str | None) -> FeeIn:
        """What a fee in `currency` is; None, one that was not told, is the quote currency.

        So is any on a market that does not name its own: who trades AAPL pays in what it is priced in.
        """
        if currency is None or not (self.base or self.quotes):
            return FeeIn.QUOTE
        named = usual(currency)
        if named in self.quotes:
            return FeeIn.QUOTE
        return FeeIn.BASE if named == self.base else FeeIn.OTHER


@lru_cache(maxsize=4096)
def pair_of(symbol: str) -> Pair:
    """The pair that `symbol` names: BTC/USD, BTC-USD, btc_usd and BTCUSD alike.

    What is settled in a third thing (BTC/USDT:USDT), or has more than two parts (BTC-USD-SWAP), is a contract: its
    quantity counts contracts, of which no fee is taken.
    """
    market, _, settled = symbol.upper().partition(":")
    parts = [part for part in re.split(r"[/_-]", market) if part]
    if len(parts) == 1:
        quote = next((end for end in _QUOTES if market.endswith(end) and len(market) >= len(end) + 2), "")
        old = _OLD.fullmatch(market)
        parts = [*old.groups()] if old else [market.removesuffix(quote), quote] if quote else []
    if len(parts) < 2 or not all(_CURRENCY.fullmatch(part) for part in parts[:2]) or parts[1] in _CONTRACTS:
        return Pair()
    is_contract = bool(settled) or len(parts) > 2
    base, quote = usual(parts[0]), usual(parts[1])
    priced_in = (quote, usual(settled)) if settled and usual(settled) != base else (quote,)
    return Pair(None if is_contract else base, tuple(dict.fromkeys(priced_in)))


def spelled_as(told: str, ours: Iterable[str]) -> str:
    """The one of `ours`, symbols of markets, that `told` is another spelling of; `told` itself where none is, or two.

    BTCUSD, btc-usd and XXBTZUSD are BTC/USD, and BTC/USDT:USDT, too, may be told as BTCUSDT. Never by a part alone: BTC
    is not BTC/USD, nor is WBTC/USD.
    """
    known = sorted(set(ours))
    if told in known:
        return told
    letters, pair = _letters(told), pair_of(told)
    for found in (
        [symbol for symbol in known if _letters(symbol) == letters],
        [symbol for symbol in known if pair.base is not None and pair_of(symbol) == pair],
        [symbol for symbol in known if ":" in symbol and _letters(symbol.partition(":")[0]) == letters],
    ):
        if found:
            return found[0] if len(found) == 1 else told
    return told


def _letters(symbol: str) -> str:
    """Without the signs between its parts, currencies by their usual names."""
    return "".join(map(usual, re.findall("[A-Z0-9]+", symbol.upper())))


def usual(currency: str) -> str:
    """The usual name of a currency: XBT is BTC."""
    name = currency.strip().upper()
    return _USUAL.get(name, name)

"""What a market and an account look like: quotes, candles, positions, balances. Frozen, Decimal, UTC. Pure.

And what the money of a market is in, and what it counts as in another currency.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, Decimal
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from typing import Final

from reconciler import exact
from reconciler.orders.order import Side

TIMEFRAMES_S = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "1d": 86400}
"""Every timeframe a strategy may ask for, and its length in seconds."""

_CONTRACT: Final = re.compile(
    r"/[^/:]+:|[-_/ ](?:SWAP|PERP(?:ETUAL)?|FUT(?:URES?)?)\b|\wPERP$|[-_]\d{6,8}(?:[-_]|$)", re.IGNORECASE
)
"""BTC/USDT:USDT, BTC-USDT-SWAP, BTC-PERPETUAL, BTCUSDT_260327, BTC-USD-260327-90000-C."""
_CLOCK_CHANGE_S = 3600
"""By so much a step that is longer may be shorter or longer: exchanges that go by a local clock put it back and on."""
_ONE: Final = Decimal(1)
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{1,11}")
_NO_CURRENCY: Final = frozenset({"PERP", "PERPETUAL", "SWAP", "FUTURE", "FUTURES", "SPOT"})

Factors = Mapping[str, Mapping[str, Decimal]]
"""What one of a currency counts as in others: `{"USDT": {"USD": 1.02}}`."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The best prices of a symbol; `as_of` is the exchange's time of them."""

    symbol: str
    bid: Decimal
    ask: Decimal
    last: Decimal
    as_of: datetime

    @property
    def mid(self) -> Decimal:
        """Halfway between bid and ask."""
        return exact.middle(self.bid, self.ask)


@dataclass(frozen=True, slots=True)
class Candle:
    """One closed candle; `opened_at` is where its interval begins."""

    opened_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """What a market lets through, as far as its server tells; None where it does not.

    Steps are those that prices and quantities are multiples of, `min_notional` is in the quote currency,
    `contract_size` how much of the base currency one unit of quantity is: 1 where quantities are in the base currency.
    """

    price_step: Decimal | None = None
    quantity_step: Decimal | None = None
    min_quantity: Decimal | None = None
    min_notional: Decimal | None = None
    contract_size: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Position:
    """What is held of a symbol: positive long, negative short. `average_price` is None where flat."""

    symbol: str
    quantity: Decimal
    average_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account holds of an asset; `available` is not tied up in open orders."""

    asset: str
    total: Decimal
    available: Decimal


@dataclass(frozen=True, slots=True)
class Equity:
    """What an account is worth as a whole, as its exchange reckons it; `currency` is empty where not told."""

    amount: Decimal
    currency: str = ""


def is_contract(symbol: str) -> bool:
    """True where the name says that it is a future, a swap or an option: its quantities may be numbers of contracts."""
    return _CONTRACT.search(symbol) is not None


def is_same_step(one: datetime, other: datetime, timeframe: str) -> bool:
    """True where two candles that opened then, `one` first, are of the same step of the timeframe.

    Some servers say when the first trade of a step was; up to an hour, a step begins at a whole one of its length.
    """
    length_s = TIMEFRAMES_S[timeframe]
    if length_s <= _CLOCK_CHANGE_S:
        return one.timestamp() // length_s == other.timestamp() // length_s
    return (other - one).total_seconds() < length_s - _CLOCK_CHANGE_S


def gaps(candles: Iterable[Candle], timeframe: str) -> tuple[tuple[datetime, datetime], ...]:
    """Where steps are missing between `candles`, oldest first: from when to when nothing is told, each time.

    A market in which nobody trades has them, and so has an exchange that was down.
    """
    length_s = TIMEFRAMES_S[timeframe]
    slack_s = _CLOCK_CHANGE_S if length_s > _CLOCK_CHANGE_S else 0
    steps = [
        (candle.opened_at + timedelta(seconds=length_s), following.opened_at) for candle, following in pairwise(candles)
    ]
    return tuple((end, begin) for end, begin in steps if (begin - end).total_seconds() >= length_s - slack_s)


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


_FINEST = Decimal("1E-8")
"""What a slice is rounded to where the server tells no step."""


def limit_price(side: Side, quote: Quote, collar: Decimal, step: Decimal | None) -> Decimal:
    """The worst price it may trade at: within `collar` of the quote, rounded to `step` towards it."""
    near = quote.bid if side is Side.SELL else quote.ask
    part = exact.subtract(Decimal(1), collar) if side is Side.SELL else exact.add(Decimal(1), collar)
    rounding = ROUND_CEILING if side is Side.SELL else ROUND_FLOOR
    worst = exact.multiply(near, part)
    if step:
        return exact.multiple(worst, step, rounding)
    return exact.rounded(worst, Decimal(1).scaleb(min(0, int(near.as_tuple().exponent))), rounding)


def slice_of(
    quantity: Decimal, price: Decimal, most: Decimal | None, rules: InstrumentRules, size: Decimal
) -> Decimal | None:
    """How much of it one order may be: no more than is worth `most`, in steps; None where that is too small."""
    step, unit = rules.quantity_step, exact.multiply(price, size)
    if most is not None and exact.multiply(quantity, unit) > most:
        quantity = exact.multiple(exact.share(most, Decimal(1), unit), step or _FINEST, ROUND_DOWN)
    elif step:
        quantity = exact.multiple(quantity, step, ROUND_DOWN)
    worth = exact.multiply(quantity, unit)
    is_dust = (
        quantity <= 0
        or (rules.min_quantity is not None and quantity < rules.min_quantity)
        or (rules.min_notional is not None and worth < rules.min_notional)
    )
    return None if is_dust else quantity

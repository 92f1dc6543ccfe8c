"""What the money of a market is in, and what it counts as."""

from __future__ import annotations

from decimal import Decimal

import pytest

from reconciler.orders.market import counted, factor, market_currency, named_currency

MARKETS = {"AAPL": "USD", "BRK-B": "USD"}
FACTORS = {"USDT": {"USD": Decimal("1.02")}}


@pytest.mark.parametrize(
    ("symbol", "currency"),
    [
        ("BTC/USD", "USD"),
        ("btc/usd", "USD"),
        ("BTC-USD", "USD"),
        ("XBT/ZUSD", "USD"),
        ("ETH/XBT", "BTC"),
        ("BTC/USDT:USDT", "USDT"),
        ("BTC/USDT:USDT-260327", "USDT"),
        ("BTC-USDT-SWAP", "USDT"),
        ("BTC/USD:BTC", ""),
        ("BTC-PERPETUAL", ""),
        ("BTC-260327", ""),
        ("AAPL", ""),
        ("BTCUSD", ""),
        ("BTC/", ""),
        ("", ""),
    ],
)
def test_the_currency_is_what_stands_behind_the_slash_or_the_hyphen(symbol: str, currency: str) -> None:
    assert named_currency(symbol) == currency


@pytest.mark.parametrize(("symbol", "currency"), [("AAPL", "USD"), ("BRK-B", "USD"), ("MSFT", ""), ("BTC/EUR", "EUR")])
def test_the_settings_say_it_where_the_name_does_not(symbol: str, currency: str) -> None:
    assert market_currency(symbol, MARKETS) == currency


@pytest.mark.parametrize(
    ("currency", "into", "one"),
    [
        ("USD", "USD", Decimal(1)),
        ("ZUSD", "USD", Decimal(1)),
        ("USDT", "USD", Decimal("1.02")),
        ("USD", "USDT", None),
        ("EUR", "USD", None),
        ("", "USD", None),
        ("USD", "", None),
        ("", "", None),
    ],
)
def test_nothing_counts_as_something_else_unless_somebody_said_so(
    currency: str, into: str, one: Decimal | None
) -> None:
    assert factor(currency, into, FACTORS) == one
    assert counted(Decimal(100), currency, into, FACTORS) == (None if one is None else 100 * one)

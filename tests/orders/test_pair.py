"""What the symbol of a market tells of its currencies, and what a fee is to it."""

from __future__ import annotations

import pytest

from reconciler.orders.market import FeeIn, pair_of, spelled_as


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC-USDT", "btc_usdt", "BTCUSDT", "XBT/USDT"])
def test_a_fee_is_told_apart_however_the_market_is_spelled(symbol: str) -> None:
    told = {currency: pair_of(symbol).fee_in(currency) for currency in ("BTC", "xbt", "USDT", "BNB", None)}
    assert told == {
        "BTC": FeeIn.BASE,
        "xbt": FeeIn.BASE,
        "USDT": FeeIn.QUOTE,
        "BNB": FeeIn.OTHER,
        None: FeeIn.QUOTE,
    }


@pytest.mark.parametrize(
    ("symbol", "currency", "fee_in"),
    [
        ("BTC/USDT:USDT", "USDT", FeeIn.QUOTE),
        ("BTC/USD:USDC", "USDC", FeeIn.QUOTE),
        ("BTC/USD:BTC", "BTC", FeeIn.OTHER),  # contracts are held, and no bitcoin
        ("BTC-USDT-SWAP", "USDT", FeeIn.QUOTE),
        ("BTC-USD-SWAP", "BTC", FeeIn.OTHER),
        ("BTC-PERP", "USDC", FeeIn.QUOTE),
        ("AAPL", "USD", FeeIn.QUOTE),  # a market that names no currency
        ("XXBTZUSD", "XXBT", FeeIn.BASE),
        ("XXBTZUSD", "USD", FeeIn.QUOTE),
        ("XTZUSD", "XTZ", FeeIn.BASE),
        ("1INCH/USD", "1INCH", FeeIn.BASE),
        ("BTC", "BTC", FeeIn.QUOTE),
    ],
)
def test_contracts_shares_and_old_names(symbol: str, currency: str, fee_in: FeeIn) -> None:
    assert pair_of(symbol).fee_in(currency) is fee_in


OURS = ["BTC/USD", "ETH/USD", "WBTC/USD", "BTC/USDT:USDT", "SOL/USDT", "SOL-USDT"]


@pytest.mark.parametrize(
    ("told", "ours"),
    [
        ("BTC/USD", "BTC/USD"),
        ("BTCUSD", "BTC/USD"),
        ("btc-usd", "BTC/USD"),
        ("XBT/USD", "BTC/USD"),
        ("XBTUSD", "BTC/USD"),
        ("XXBTZUSD", "BTC/USD"),
        ("WBTCUSD", "WBTC/USD"),
        ("BTCUSDT", "BTC/USDT:USDT"),
        ("SOL/USDT", "SOL/USDT"),
        ("SOLUSDT", "SOLUSDT"),  # two of ours are spelled so
        ("BTC", "BTC"),
        ("BTC/EUR", "BTC/EUR"),
        ("USDBTC", "USDBTC"),
        ("", ""),
    ],
)
def test_another_spelling_of_a_market_is_that_market_and_nothing_else_is(told: str, ours: str) -> None:
    assert spelled_as(told, OURS) == ours

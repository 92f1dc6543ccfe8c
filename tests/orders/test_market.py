"""Candles by their steps."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from reconciler.orders.market import Candle, is_contract
from reconciler.strategy import gaps

ONE = Decimal(1)


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("BTC/USDT:USDT", True), ("BTC-USDT-SWAP", True), ("BTC-PERPETUAL", True), ("ETHPERP", True),
        ("BTCUSDT_260327", True), ("BTC-USD-260327-90000-C", True), ("BTC-USDT", False), ("BTC/USD", False),
        ("NASDAQ:AAPL", False), ("SWAP/USD", False), ("AAPL", False), ("PERP/USD", False),
    ],
)  # fmt: skip
def test_what_is_a_contract_says_so_in_its_name(symbol: str, expected: bool) -> None:
    assert is_contract(symbol) is expected


@pytest.mark.parametrize(
    ("timeframe", "opened", "missing"),
    [
        ("1m", ("12:00:00", "12:01:00", "12:02:00"), []),
        ("1m", ("12:00:00", "12:01:07", "12:02:00"), []),
        ("1m", ("12:00:00", "12:02:00", "12:05:00"), [("12:01:00", "12:02:00"), ("12:03:00", "12:05:00")]),
        ("4h", ("00:00:00", "05:00:00"), []),
        ("4h", ("00:00:00", "08:00:00"), [("04:00:00", "08:00:00")]),
        ("1m", (), []),
    ],
)
def test_missing_steps_are_told(timeframe: str, opened: tuple[str, ...], missing: list[tuple[str, str]]) -> None:
    at = [datetime.fromisoformat(f"2026-03-08T{time}").replace(tzinfo=UTC) for time in opened]
    found = gaps([Candle(one, ONE, ONE, ONE, ONE, ONE) for one in at], timeframe)
    assert [(f"{begin:%T}", f"{end:%T}") for begin, end in found] == missing

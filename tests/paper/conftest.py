"""A paper exchange on prices that a test can read: one step a minute."""

from __future__ import annotations

import pytest

from reconciler.clock import FakeClock
from reconciler.paper.csv_feed import CsvFeed
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.feed import Prices

PRICES = "# a comment\ndate,BTC/USD\n1,100.00\n2,102.00\n3,95.00\n4,98.00\n"
"""Middle prices at steps 0 to 3; then backwards, 95.00 and 102.00, and again."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(0)


@pytest.fixture
def prices() -> Prices:
    return Prices([CsvFeed(PRICES.splitlines(), 60)], 60)


@pytest.fixture
def exchange(prices: Prices, clock: FakeClock) -> PaperExchange:
    return PaperExchange(prices, clock)

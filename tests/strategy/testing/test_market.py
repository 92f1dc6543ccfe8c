from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from reconciler.errors import CapabilityUnavailable
from reconciler.strategy import InstrumentRules
from reconciler.strategy.testing import FakeContext, candles_of


@pytest.fixture
def context() -> FakeContext:
    return FakeContext(market="EUR/USD", now="2026-01-05T12:00:30Z")


def test_a_quote_is_of_the_moment_it_was_set(context: FakeContext) -> None:
    context.market.set_quote("1.1", "1.2", last="1.15")
    quote = context.market.quote()
    assert (quote.symbol, quote.bid, quote.ask, quote.last, quote.as_of) == (
        "EUR/USD",
        Decimal("1.1"),
        Decimal("1.2"),
        Decimal("1.15"),
        context.now(),
    )


@pytest.mark.parametrize(("bid", "ask"), [("2", "1"), ("0", "1"), ("-1", None)])
def test_a_quote_that_no_market_has_is_refused(context: FakeContext, bid: str, ask: str | None) -> None:
    with pytest.raises(ValueError, match="expected 0 < bid ≤ ask"):
        context.market.set_quote(bid, ask)


def test_a_float_is_no_price(context: FakeContext) -> None:
    with pytest.raises(TypeError, match="bid: expected str or Decimal, was float"):
        context.market.set_quote(1.1)  # type: ignore[arg-type]


def test_candles_are_closed_aligned_and_oldest_first(context: FakeContext) -> None:
    context.market.set_closes("5m", ["1", "2", "3"])
    candles = context.market.candles("5m", 2)
    assert [c.close for c in candles] == [2, 3]
    assert candles[-1].opened_at == datetime(2026, 1, 5, 11, 55, tzinfo=UTC)
    assert context.market.candles("5m", 0) == ()
    assert candles_of(["9"], "1h", context.now())[0].opened_at.hour == 11


def test_what_the_test_did_not_set_is_said_so(context: FakeContext) -> None:
    with pytest.raises(AssertionError, match=r"call context\.market\.set_quote"):
        context.market.quote()
    with pytest.raises(AssertionError, match="has set no 1m candles"):
        context.market.candles("1m", 5)
    with pytest.raises(ValueError, match="timeframe: expected one of 1m, 5m"):
        context.market.candles("2m", 5)


def test_a_market_lets_through_what_the_test_says(context: FakeContext) -> None:
    assert context.market.rules() == InstrumentRules()
    context.market.set_rules(quantity_step="0.001", min_notional="5")
    assert context.market.rules() == InstrumentRules(quantity_step=Decimal("0.001"), min_notional=Decimal(5))
    with pytest.raises(TypeError):
        context.market.set_rules(quantity="1")


@pytest.mark.parametrize("tool", ["get_quote", "get_candles", "get_rules", "get_positions", "get_balances"])
def test_a_tool_that_is_withdrawn_is_unavailable(context: FakeContext, tool: str) -> None:
    context.market.set_quote("1")
    context.market.set_closes("1m", ["1"])
    calls = {
        "get_quote": context.market.quote,
        "get_candles": lambda: context.market.candles("1m", 1),
        "get_rules": context.market.rules,
        "get_positions": context.account.positions,
        "get_balances": context.account.balances,
    }
    context.withdraw(tool)
    for name, call in calls.items():
        if name == tool:
            with pytest.raises(CapabilityUnavailable, match=tool):
                call()
        else:
            call()


def test_the_account_is_what_the_test_says(context: FakeContext) -> None:
    context.account.set_position("EUR/USD", "5", "1.1")
    context.account.set_balance("USD", "100", "40")
    assert context.account.positions()[0].average_price == Decimal("1.1")
    assert context.account.balances()[0].available == 40
    assert context.orders.position().quantity == 0

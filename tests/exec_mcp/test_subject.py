"""Whether an answer is about the order that was asked for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.request import Subject, names_another
from reconciler.orders.order import OrderState, Side

OURS = Subject("8fl267loyw3v28", "BTC/USD", Side.BUY, Decimal(1))


def test_what_is_not_told_is_not_held_against_an_answer() -> None:
    assert OURS.report({"status": "open", "client_order_id": None, "symbol": "", "side": None}).state is OrderState.OPEN


@pytest.mark.parametrize(
    "told",
    [
        {"client_order_id": "8FL267LOYW3V28", "symbol": "XBTUSD", "side": "BUY"},
        {"client_order_id": "t-8fl267loyw3v28"},  # some put a prefix of theirs before it
        {"client_order_id": "x-broker_8fl267loyw3v28"},
        {
            "client_order_id": "8fl267loyw3v28",
            "symbol": "BTC/USDT:USDT",
        },  # told by its id, whatever the market is called
        {"client_order_id": "t-8fl267loyw3v28", "symbol": "a word of theirs"},
        {"side": "B"},  # a word that nobody translated
        {"side": "bid"},
    ],
)
def test_our_order_is_known_in_a_servers_own_spelling(told: dict[str, Any]) -> None:
    assert OURS.report({"status": "filled", "filled_quantity": "1", **told}).filled_quantity == 1


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"client_order_id": "other"}, "client_order_id: expected 8fl267loyw3v28, was other"),
        ({"client_order_id": "18fl267loyw3v28"}, "client_order_id: expected 8fl267loyw3v28, was 18fl267loyw3v28"),
        ({"client_order_id": 17}, "client_order_id: expected 8fl267loyw3v28, was 17"),
        ({"symbol": "ETH/USD"}, "symbol: expected BTC/USD, was ETH/USD"),
        ({"side": "Sell"}, "side: expected buy, was sell"),
    ],
)
def test_an_answer_about_another_order_is_unreadable_and_says_what_was_answered(
    told: dict[str, Any], message: str
) -> None:
    with pytest.raises(Unreadable) as raised:
        OURS.report({"status": "filled", "filled_quantity": "1", "average_price": "100", **told})
    assert str(raised.value) == f"the answer is about another order than 8fl267loyw3v28: {message}"


@pytest.mark.parametrize(
    "told",
    [
        {"filled_quantity": "1.0200001"},
        {"filled_quantity": "1E+30"},
        {"fills": [{"fill_id": id, "quantity": "0.6", "price": "1", "at": "2026-01-31"} for id in "ab"]},
    ],
)
def test_more_than_was_ordered_is_never_filled(told: dict[str, Any]) -> None:
    with pytest.raises(
        Unreadable, match="filled_quantity: expected at most 1, all that was ordered, and 2 % more at most, was 1"
    ):
        OURS.report({"status": "filled", **told})


@pytest.mark.parametrize("filled", ["1.000000001", "1.005", "1.02"])
@pytest.mark.parametrize("status", ["filled", "open", "partially_filled"])
def test_what_an_exchange_that_rounds_up_filled_is_booked_as_told(filled: str, status: str) -> None:
    report = OURS.report({"status": status, "filled_quantity": filled})
    assert (report.filled_quantity, report.state) == (Decimal(filled), OrderState.FILLED)


@pytest.mark.parametrize(
    ("status", "filled", "state"),
    [
        ("open", "1", OrderState.FILLED),
        ("partially_filled", "1", OrderState.FILLED),
        ("open", "0.99", OrderState.PARTIALLY_FILLED),
        ("open", "0", OrderState.OPEN),
        ("cancelled", "1", OrderState.CANCELLED),
    ],
)
def test_what_is_filled_whole_is_filled(status: str, filled: str, state: OrderState) -> None:
    assert OURS.report({"status": status, "filled_quantity": filled}).state is state


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("BTC/USD", "BTC/USD"),
        ("BTC/USD", "btcusd"),
        ("BTC/USD", "BTC-USD"),
        ("BTC/USD", "XBT/USD"),
        ("XBT/USD", "BTC/USD"),
        ("BTC/USD", "XXBTZUSD"),
        ("BTC/USD", "PI_XBTUSD"),
        ("BTC/USD", "tBTCUSD"),
        ("BTC/USD", "BTC/USD:USD"),
        ("BTC-USDT", "BTC-USDT-SWAP"),
        ("BTCUSDT", "BTC/USDT:USDT"),
        ("DOGE/USD", "XDGUSD"),
        ("BTC/USD", "4711"),
        ("AAPL", "AAPL.US"),
    ],
)
def test_one_market_has_many_spellings(symbol: str, told: str) -> None:
    assert not names_another(symbol, told)


@pytest.mark.parametrize(
    ("symbol", "told"),
    [
        ("BTC/USD", "ETH/USD"),
        ("BTC/USD", "BTC/EUR"),
        ("BTC/USD", "BTC-EUR"),
        ("BTC/USD", "ETHUSD"),
        ("BTC/USD", "SOL"),
        ("BTC/USD", "WBTC/USD"),
        ("BTC/USD", "BTC/USDT"),
        ("ETH/BTC", "BTC/ETH"),
        ("BTCUSD", "ETHUSD"),
        ("AAPL", "MSFT"),
    ],
)
def test_another_market_is_told_from_ours(symbol: str, told: str) -> None:
    assert names_another(symbol, told)


@given(st.text(max_size=20), st.text(max_size=20))
def test_whatever_a_market_is_called_it_is_itself(symbol: str, told: str) -> None:
    assert not names_another(symbol, symbol)
    assert names_another(symbol, told) in (True, False)


@pytest.mark.parametrize("told", [{"filled_quantity": 0.1 + 0.2}, {"filled_quantity": "0.3000000002"}])
def test_what_a_server_adds_up_in_doubles_is_all_that_was_ordered(told: dict[str, Any]) -> None:
    ours = Subject("8fl267loyw3v28", "BTC/USD", Side.BUY, Decimal("0.3"))
    assert ours.report({"status": "filled", **told}).filled_quantity == Decimal("0.3")


def test_so_are_executions_that_a_server_made_of_doubles() -> None:
    fills = [{"fill_id": id, "quantity": "0.5000000000000001", "price": "1", "at": "2026-01-31"} for id in "ab"]
    assert OURS.report({"status": "filled", "fills": fills}).filled_quantity == 1

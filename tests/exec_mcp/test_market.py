"""Market data: one fetch for however many ask."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from reconciler.errors import CapabilityUnavailable, ExecUnavailable
from reconciler.exec_mcp.answers import Unreadable
from reconciler.exec_mcp.market_data import MarketData
from reconciler.orders.market import Position
from tests.execution.standins import QUOTE, Desk, ScriptedServer, events


@pytest.fixture
def market(desk: Desk) -> MarketData:
    return MarketData(desk.servers, desk.bridge)


def candles(count: int) -> dict[str, Any]:
    prices = {"open": "1", "high": "2", "low": "0.5", "close": "1.5", "volume": "7"}
    return {"candles": [{"opened_at": f"2026-01-31T12:{i:02}:00Z", **prices} for i in range(count)]}


def test_many_threads_in_one_beat_cost_one_fetch(market: MarketData, server: ScriptedServer) -> None:
    threads = 8
    asking = threading.Barrier(threads)

    def ask(_: int) -> Decimal:
        asking.wait()
        return market.quote("main", "BTC/USD", 7).bid

    with ThreadPoolExecutor(threads) as pool:
        assert list(pool.map(ask, range(threads))) == [Decimal(99)] * threads
    assert len(server.asked("get_quote")) == 1


def test_the_next_beat_fetches_anew_and_a_late_tick_gets_what_is_newest(
    market: MarketData, server: ScriptedServer
) -> None:
    for beat in (7, 8, 7, 8):
        market.quote("main", "BTC/USD", beat)
    assert len(server.asked("get_quote")) == 2


def test_accounts_on_one_server_share_a_quote_but_not_their_balances(
    market: MarketData, server: ScriptedServer
) -> None:
    server.answers("get_balances", {"balances": [{"asset": "USD", "total": "12.50", "available": "2.5"}]})
    for account_id in ("main", "real"):
        market.quote(account_id, "BTC/USD", 7)
        assert market.balances(account_id, "a", 7)[0].total == Decimal("12.5")
    assert len(server.asked("get_quote")) == 1
    assert [call["account_id"] for call in server.asked("get_balances")] == ["main", "real"]


def test_differing_numbers_of_candles_are_one_fetch_and_each_gets_its_own(
    market: MarketData, server: ScriptedServer
) -> None:
    server.answers("get_candles", candles(5))
    assert [c.opened_at.minute for c in market.candles("main", "BTC/USD", "1m", 2, 7)] == [3, 4]
    assert len(market.candles("main", "BTC/USD", "1m", 5, 7)) == 5
    market.candles("main", "BTC/USD", "1m", 99, 7)
    assert [call["limit"] for call in server.asked("get_candles")] == [100]


def test_one_candle_more_is_asked_for_than_is_wanted_for_the_running_one_is_left_out(
    market: MarketData, server: ScriptedServer
) -> None:
    server.answers("get_candles", candles(5))
    for beat, (limit, asked) in enumerate(((99, 100), (100, 300), (300, 500), (999, 1_000), (1_000, 1_000))):
        market.candles("main", "BTC/USD", "1m", limit, beat)
        assert server.asked("get_candles")[-1]["limit"] == asked


def test_far_more_candles_are_a_fetch_of_their_own_which_then_serves_the_fewer(
    market: MarketData, server: ScriptedServer
) -> None:
    server.answers("get_candles", candles(5))
    for limit in (100, 101, 300, 301, 501, 1_001, 7):
        market.candles("main", "BTC/USD", "1m", limit, 7)
    assert [call["limit"] for call in server.asked("get_candles")] == [300, 500, 1_000, 1_001]


def test_a_failure_is_shared_within_its_beat_and_tried_again_in_the_next(
    market: MarketData, server: ScriptedServer
) -> None:
    server.fails("get_quote", ExecUnavailable("down"))
    for _ in range(2):
        with pytest.raises(ExecUnavailable, match="down"):
            market.quote("main", "BTC/USD", 7)
    assert len(server.asked("get_quote")) == 1
    server.answers("get_quote", QUOTE)
    assert market.quote("main", "BTC/USD", 8).ask == Decimal(101)


def test_what_no_later_beat_asks_for_is_forgotten(market: MarketData) -> None:
    for beat in range(50):
        market.quote("main", f"SYM{beat}/USD", beat)
    assert len(market._fetches) <= 2


def test_what_a_market_lets_through_is_asked_for_once_a_connection(market: MarketData, server: ScriptedServer) -> None:
    server.answers("get_rules", {"quantity_step": "0.001"})
    assert market.last_rules("main", "BTC/USD") is None
    for beat in (1, 2, 3):
        market.quote("main", "BTC/USD", beat)
        assert market.rules("main", "BTC/USD").quantity_step == Decimal("0.001")
    assert len(server.asked("get_rules")) == 1
    server.returned()
    server.answers("get_rules", {"quantity_step": "0.01"})
    market.quote("main", "BTC/USD", 4)
    assert market.rules("main", "BTC/USD") == market.last_rules("main", "BTC/USD")
    assert market.rules("main", "BTC/USD").quantity_step == Decimal("0.01")
    assert len(server.asked("get_rules")) == 2


def test_rules_that_could_not_be_had_are_asked_for_again_in_a_later_beat(
    market: MarketData, server: ScriptedServer
) -> None:
    server.fails("get_rules", ExecUnavailable("down"))
    for beat in (1, 2):
        market.quote("main", "BTC/USD", beat)
        for _ in range(2):
            with pytest.raises(ExecUnavailable, match="down"):
                market.rules("main", "BTC/USD")
    assert len(server.asked("get_rules")) == 2
    server.lost_tool("get_rules")
    market.quote("main", "BTC/USD", 3)
    with pytest.raises(CapabilityUnavailable, match="offers no 'get_rules'"):
        market.rules("main", "BTC/USD")


def test_what_cannot_be_is_told_once_and_again_when_it_was_something_else_meanwhile(
    desk: Desk, server: ScriptedServer
) -> None:
    market = MarketData(desk.servers, desk.bridge, desk.store.events)
    good, bad, worse = candles(2), candles(2), candles(2)
    bad["candles"][1]["high"] = "0.1"
    worse["candles"][0]["low"] = "0"
    for beat, answer in enumerate((bad, bad, good, bad, worse)):
        server.answers("get_candles", answer)
        if answer is not good:
            with pytest.raises(Unreadable, match="candle opened"):
                market.candles("main", "BTC/USD", "1m", 2, beat)
        else:
            assert len(market.candles("main", "BTC/USD", "1m", 2, beat)) == 2
    told = events(desk)
    assert [reason for reason, _ in told] == ["AnswerUnreadable"] * 2
    assert told[1][1].startswith("paper: get_candles of BTC/USD, 1m: an answer was not taken: candle opened 2026-01-31")


def test_a_missing_tool_and_a_missing_server_are_named(market: MarketData, server: ScriptedServer) -> None:
    server.lost_tool("get_candles")
    with pytest.raises(CapabilityUnavailable, match="'paper' offers no 'get_candles'"):
        market.candles("main", "BTC/USD", "1m", 5, 7)
    with pytest.raises(ExecUnavailable, match="no exec-mcp server is declared for account 'nobody'"):
        market.quote("nobody", "BTC/USD", 7)


def test_arguments_that_make_no_sense_never_reach_the_server(market: MarketData, server: ScriptedServer) -> None:
    with pytest.raises(ValueError, match="timeframe: expected one of 1m, 5m"):
        market.candles("main", "BTC/USD", "2m", 5, 7)
    with pytest.raises(ValueError, match="limit: expected at least 1, was 0"):
        market.candles("main", "BTC/USD", "1m", 0, 7)
    assert server.calls == []


def test_positions_are_read_as_exact_decimals(market: MarketData, server: ScriptedServer) -> None:
    server.answers("get_positions", {"result": [{"symbol": "BTC/USD", "quantity": "-0.10", "average_price": None}]})
    assert market.positions("main", "a", 7) == (Position("BTC/USD", Decimal("-0.1"), None),)


def test_at_shutdown_whoever_waits_is_released(desk: Desk, market: MarketData, server: ScriptedServer) -> None:
    asked = threading.Event()

    async def never(_: Mapping[str, Any]) -> dict[str, Any]:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    server.script["get_quote"] = never
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(market.quote, "main", "BTC/USD", 7)
        assert asked.wait(5)
        desk.bridge.close()
        with pytest.raises(ExecUnavailable, match="the engine is stopping"):
            waiting.result(5)
    with pytest.raises(ExecUnavailable, match="the engine is stopping"):
        market.quote("main", "BTC/USD", 8)

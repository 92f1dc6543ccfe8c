"""Everything on the calling thread: coroutines are completed where they are asked for, the exchange is a function."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import pytest

from reconciler.clock import FakeClock, SimulatedClock
from reconciler.errors import CapabilityUnavailable, ExecError, ExecRejected, ExecUnavailable
from reconciler.exec_mcp.bridge import Handover, InlineBridge
from reconciler.exec_mcp.market_data import MarketData
from reconciler.exec_mcp.options import embedded
from reconciler.exec_mcp.paper_venue import PaperMarket, PaperVenue
from reconciler.exec_mcp.reply import OrderNotFound
from reconciler.exec_mcp.servers import PaperSite, Servers, open_servers
from reconciler.exec_mcp.venue import Venue
from reconciler.paper.mcp_server import open_exchange
from reconciler.records.accounts import Accounts

WHO = {"account_id": "main", "client_id": "desk"}
ORDER = {**WHO, "client_order_id": "a-1", "symbol": "EUR/USD", "side": "buy", "type": "market", "quantity": "10"}
RESTING = {**ORDER, "client_order_id": "a-2", "type": "limit", "limit_price": "0.5"}
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("get_quote", {**WHO, "symbol": "EUR/USD"}),
    ("get_candles", {**WHO, "symbol": "EUR/USD", "timeframe": "1m", "limit": 3}),
    ("get_rules", {**WHO, "symbol": "EUR/USD"}),
    ("place_order", ORDER),
    ("place_order", RESTING),
    ("place_order", {**RESTING, "quantity": "11"}),
    ("place_order", {**ORDER, "client_order_id": "a-3", "quantity": "1000000000"}),
    ("place_order", {**ORDER, "client_order_id": "a-4", "type": "limit"}),
    ("get_order", {**WHO, "client_order_id": "a-1", "symbol": "EUR/USD"}),
    ("get_order", {**WHO, "client_order_id": "a-9", "symbol": "EUR/USD"}),
    ("list_orders", {**WHO, "status": "open"}),
    ("cancel_order", {**WHO, "client_order_id": "a-2", "symbol": "EUR/USD", "order_id": "paper-2"}),
    ("cancel_order", {**WHO, "client_order_id": "a-9", "symbol": "EUR/USD"}),
    ("list_orders", {**WHO, "status": "all"}),
    ("get_positions", WHO),
    ("get_balances", WHO),
    ("get_quote", {**WHO, "symbol": "nothing"}),
]


async def outcome(venue: Venue, tool: str, arguments: dict[str, Any]) -> Any:
    try:
        return await venue.call(tool, arguments)
    except ExecError as error:
        return type(error), str(error)


def test_the_exchange_in_this_process_says_what_it_says_over_mcp() -> None:
    clock = FakeClock()

    async def over_mcp() -> list[Any]:
        async with open_servers([embedded()], Accounts(), clock, PaperSite(6.0)) as servers:
            server = servers.named("paper")
            async with asyncio.timeout(20):
                while not server.status.connected:
                    await asyncio.sleep(0.005)
            return [await outcome(server, *call) for call in CALLS]

    with open_exchange(FakeClock()) as exchange:
        venue = PaperVenue(exchange, clock)
        venue.connect()
        bridge = InlineBridge()
        here = [bridge.call(lambda call=call: outcome(venue, *call)) for call in CALLS]  # type: ignore[misc]
    for call, one, other in zip(CALLS, here, asyncio.run(over_mcp()), strict=True):
        assert one == other, call


def test_what_is_not_sent_is_never_done() -> None:
    with open_exchange(clock := FakeClock()) as exchange:
        venue, bridge = PaperVenue(exchange, clock), InlineBridge()
        with pytest.raises(ExecUnavailable, match="not connected yet"):
            bridge.call(lambda: venue.call("place_order", ORDER))
        venue.connect()
        given_up = Handover()
        assert given_up.abandon()
        with pytest.raises(ExecUnavailable, match="given up"):
            bridge.call(lambda: venue.call("place_order", ORDER, handover=given_up))
        assert exchange.list_orders("main", "desk", "all") == []
        taken = Handover()
        bridge.call(lambda: venue.call("place_order", ORDER, handover=taken))
        assert (taken.is_possibly_sent, taken.is_open) == (True, False)
        with pytest.raises(CapabilityUnavailable):
            bridge.call(lambda: venue.call("cancel_all", WHO))
        with pytest.raises(OrderNotFound):
            bridge.call(lambda: venue.call("get_order", {**WHO, "client_order_id": "no"}))
        with pytest.raises(ExecRejected):
            bridge.call(lambda: venue.call("get_quote", {"symbol": "nothing"}))


def test_it_tells_once_that_anything_has_happened_to_an_order() -> None:
    with open_exchange(clock := FakeClock()) as exchange:
        venue, bridge = PaperVenue(exchange, clock), InlineBridge()
        venue.connect()
        venue.has_news()
        assert not venue.has_news()
        bridge.call(lambda: venue.call("place_order", RESTING))
        assert [venue.has_news(), venue.has_news()] == [True, False]
        clock.advance(6)
        assert not venue.has_news()


def test_prices_taken_as_they_are_are_to_the_digit_those_that_are_written_out_and_read() -> None:
    clock, bridge = SimulatedClock(1_767_225_600.0), InlineBridge()
    with open_exchange(clock) as exchange:
        venue = PaperVenue(exchange, clock)
        venue.connect()
        servers = Servers({"paper": venue}, Accounts())
        fast, slow = PaperMarket(exchange, clock, servers, bridge), MarketData(servers, bridge)
        for beat in range(1, 60):
            clock.move_to(1_767_225_600.0 + beat * 37)
            for symbol in ("EUR/USD", "BTC/USD"):
                quote = fast.quote("main", symbol, beat)
                assert repr(quote) == repr(slow.quote("main", symbol, beat))
                assert fast.last_quote("main", symbol) == quote
                for timeframe, limit in (("1m", 20), ("5m", 1 + beat % 7), ("1h", 3)):
                    found = fast.candles("main", symbol, timeframe, limit, beat)
                    assert list(map(repr, found)) == list(
                        map(repr, slow.candles("main", symbol, timeframe, limit, beat))
                    )
        for market in (fast, slow):
            with pytest.raises(ExecRejected, match="unknown symbol"):
                market.quote("main", "nothing", 99)
            with pytest.raises(ExecRejected, match="unknown symbol"):
                market.candles("main", "nothing", "1m", 5, 99)
            with pytest.raises(ValueError, match="timeframe"):
                market.candles("main", "EUR/USD", "2m", 5, 99)
            with pytest.raises(ValueError, match="limit"):
                market.candles("main", "EUR/USD", "1m", 0, 99)


# The loop.


def completed(work: Callable[[], Awaitable[Any]]) -> Any:
    return InlineBridge().call(work)


def test_what_tasks_ask_of_a_loop_is_there() -> None:
    seen: list[str] = []
    turns = asyncio.Semaphore(1)

    async def one(name: str) -> str:
        async with turns:
            await asyncio.sleep(0)
            seen.append(name)
            return await asyncio.get_running_loop().run_in_executor(None, lambda: name + "!")

    async def all_of_them() -> list[Any]:
        told: Future[int] = Future()
        told.set_result(7)
        background = asyncio.get_running_loop().create_task(one("c"))
        found = await asyncio.gather(one("a"), one("b"))
        return [*found, await asyncio.wrap_future(told), await background]

    assert completed(all_of_them) == ["a!", "b!", 7, "c!"]
    assert sorted(seen) == ["a", "b", "c"]


def test_what_is_set_off_and_not_waited_for_has_ended_on_return() -> None:
    seen: list[str] = []

    async def later() -> None:
        await asyncio.sleep(0)
        seen.append("later")

    async def set_off() -> None:
        asyncio.get_running_loop().create_task(later())

    bridge = InlineBridge()
    assert bridge.start(set_off).done()
    assert seen == ["later"]


def test_what_runs_may_ask_for_more_from_within() -> None:
    bridge = InlineBridge()

    async def inner() -> int:
        await asyncio.sleep(0)
        return 3

    async def outer() -> int:
        job = asyncio.get_running_loop().run_in_executor(None, lambda: bridge.call(inner))
        return await job + sum(await asyncio.gather(inner(), inner()))

    async def beside() -> tuple[int, int]:
        return await asyncio.gather(outer(), outer())

    assert list(bridge.call(beside)) == [9, 9]


def test_a_wait_for_what_never_comes_is_an_error_and_no_hang() -> None:
    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing can be waited for"):
        completed(never)


def test_an_error_comes_where_the_result_is_asked_for_and_none_after_the_end() -> None:
    bridge = InlineBridge()

    async def fails() -> None:
        raise KeyError("x")

    failed = bridge.start(fails)
    assert isinstance(failed.exception(), KeyError)
    bridge.close()
    with pytest.raises(ExecUnavailable):
        bridge.start(fails)

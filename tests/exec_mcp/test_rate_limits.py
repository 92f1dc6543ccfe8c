"""Too many requests: how it is said, for how long it holds, and whom."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from reconciler.clock import Clock, FakeClock
from reconciler.errors import ExecError, ExecRejected, ExecUnavailable, ExecUnknown
from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.connection import Connection, Judge
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.refusals import RateLimits, asked_s, retry_after_s, says_too_often
from reconciler.exec_mcp.reply import Reply
from reconciler.exec_mcp.server import ExecServer
from reconciler.exec_mcp.venue import ServerStatus
from reconciler.orders.order import Outcome, Side
from tests.execution.standins import TOOLS, Desk, StandInGate, events


@pytest.mark.parametrize(
    "text",
    [
        "429 Too Many Requests",
        "HTTP 429",
        "the server answered HTTP 429",
        "status code: 429",
        'RateLimitExceeded: binance {"code":-1003}',
        "Too much request weight used; current limit is 6000 request weight per 1 MINUTE.",
        "Too many new orders; current limit is 50 orders per TEN_SECONDS.",
        "rate_limit_exceeded",
        "$.data.data[0].sCode is 50011",
        '{"code":-1015,"msg":"…"}',
        "Request was throttled. Expected available in 3 seconds.",
        "EAPI:Rate limit exceeded",
        "Requests too frequent: request frequency exceeded",
    ],
)
def test_it_is_said_in_many_words(text: str) -> None:
    assert says_too_often(text)


@pytest.mark.parametrize(
    "text",
    [
        "insufficient balance: need 429 USD",
        "need 50011 USD",
        "Too many open orders",
        "order 42900 not found",
        "Filter failure",
    ],
)
def test_what_does_not_say_it(text: str) -> None:
    assert not says_too_often(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Retry after 5 seconds", 5),
        ("retry-after: 30", 30),
        ("try again in 500 ms", 0.5),
        ("please wait 2 minutes", 120),
        ("429 Too Many Requests", None),
        ("slow down", None),
    ],
)
def test_words_may_say_how_long_to_wait(text: str, seconds: float | None) -> None:
    assert asked_s(text) == seconds


@pytest.mark.parametrize(
    ("header", "seconds"), [("60", 60), (" 0 ", 0), ("Tue, 14 Nov 2023 22:14:00 GMT", 40), ("soon", None), ("", None)]
)
def test_the_header_says_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_s(header, FakeClock().time()) == seconds


def test_without_a_word_on_it_a_second_doubling_to_sixty_as_long_as_it_is_said_again(clock: FakeClock) -> None:
    limits, pauses = RateLimits(clock), []
    for _ in range(9):
        limits.hit("main", "429", None)
        waited = 0
        while limits.told("main"):
            clock.advance(1)
            waited += 1
        pauses.append(waited)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    limits.passed("main")
    limits.hit("main", "429", None)
    clock.advance(1)
    assert limits.told("main") == ""


def test_what_is_asked_for_holds_up_to_an_hour_and_is_not_shortened(clock: FakeClock) -> None:
    limits = RateLimits(clock)
    limits.hit("main", "429", 90.0)
    limits.hit("main", "429", None)
    clock.advance(89)
    assert (
        limits.told("main")
        == "too many requests, says the other side: 429; the next may leave at 2023-11-14T22:14:50.000Z"
    )
    clock.advance(1)
    assert limits.told("main") == ""
    limits.hit("main", "429", 1e9)
    clock.advance(3_600)
    assert limits.told("main") == ""


class Scripted(Connection):
    """Leads to a server whose tools answer, or fail, as a test says."""

    def __init__(self, options: ServerOptions, clock: Clock, judge: Judge) -> None:
        super().__init__(options, clock, judge)
        self.status = ServerStatus("x", True, "", TOOLS, "")
        self.error: ExecError | None = None
        self.limited: str | None = None
        self.asked: list[str] = []

    async def ask(self, tool: str, arguments: Mapping[str, Any], timeout_s: float, handover: Handover) -> Reply:
        self.asked.append(tool)
        handover.limited = self.limited
        if self.error is not None:
            raise self.error
        return Reply(False, {"status": "open", "orders": [], "bid": "1", "ask": "2"}, "")


WHO = {"account_id": "main", "client_id": "a", "client_order_id": "x", "symbol": "BTC/USD"}


def scripted(clock: FakeClock) -> tuple[ExecServer, Scripted]:
    server = ExecServer(ServerOptions("x", "http"), clock, connect=Scripted)
    assert isinstance(server.connection, Scripted)
    return server, server.connection


def called(server: ExecServer, tool: str) -> str:
    """What became of a call: its error's kind, or nothing."""
    try:
        asyncio.run(server.call(tool, WHO))
    except ExecError as error:
        return type(error).__name__
    return ""


def test_a_429_holds_new_orders_of_that_account_and_no_other(clock: FakeClock) -> None:
    server, line = scripted(clock)
    told: list[tuple[str, str]] = []
    server.limits.on_hold = lambda account_id, why: told.append((account_id, why))
    line.error, line.limited = ExecUnknown("the server answered HTTP 429"), "60"
    for _ in range(3):
        assert called(server, "place_order") == "ExecUnknown"
    assert told == [("main", "the server answered HTTP 429")], "once"
    line.error = line.limited = None
    clock.advance(59)
    assert server.limits.told("main") != ""
    assert (server.limits.told("other"), server.limits.data_told()) == ("", "")
    assert called(server, "get_order") == called(server, "cancel_order") == called(server, "get_quote") == ""
    assert server.limits.told("main") != "", "that a look-up passes says nothing of orders"
    clock.advance(1)
    assert server.limits.told("main") == ""


def test_said_by_a_data_tool_it_holds_the_data_of_that_server(clock: FakeClock) -> None:
    server, line = scripted(clock)
    line.error = ExecRejected("429 Too Many Requests, retry after 7 seconds")
    assert called(server, "get_quote") == "ExecRejected"
    line.error = None
    line.asked.clear()
    assert [called(server, tool) for tool in ("get_quote", "get_candles", "get_balances")] == ["ExecUnavailable"] * 3
    assert called(server, "place_order") == called(server, "get_order") == ""
    assert line.asked == ["place_order", "get_order"]
    clock.advance(7)
    assert called(server, "get_quote") == ""


def test_the_gateway_holds_new_orders_and_lets_reductions_cancels_and_look_ups_pass(desk: Desk) -> None:
    desk.server.answers("place_order", {"status": "filled", "filled_quantity": "1", "average_price": "100", "fee": "0"})
    desk.buy(StandInGate())
    desk.server.answers("place_order", {"status": "open", "order_id": "x-2"})
    resting = desk.buy(StandInGate(), limit="90")
    desk.server.limits.hit("main", "HTTP 429", 60.0)
    held = [desk.buy(StandInGate()) for _ in range(3)]
    assert {order.client_order_id for order in held} == {held[0].client_order_id}, "counted on one row"
    assert held[0].reason.startswith(
        "RateLimited: too many requests, says the other side: HTTP 429; the next may leave"
    )
    assert desk.gateway.blocked("btc-grid-1", "main") == ("RateLimited", held[0].reason.removeprefix("RateLimited: "))
    assert desk.gateway.limited() == (frozenset({"main"}), frozenset())
    assert desk.buy(StandInGate(), side=Side.SELL).outcome is Outcome.ACCEPTED
    desk.server.answers("cancel_order", {"status": "cancelled", "filled_quantity": "0"})
    assert not desk.gateway.cancel(StandInGate(), resting.client_order_id).is_open
    desk.clock.advance(60)
    assert desk.gateway.blocked("btc-grid-1", "main") is None


def test_that_a_hold_began_is_an_event(desk: Desk) -> None:
    desk.server.limits.hit("main", "HTTP 429", 60.0)
    desk.server.limits.hit("", "HTTP 429", None)
    assert events(desk) == [
        ("RateLimited", "data of server paper is not asked for: HTTP 429"),
        ("RateLimited", "new orders of account main wait: HTTP 429"),
    ]
    (caveat,) = desk.gateway.caveats("btc-grid-1", "main")
    assert caveat.reason == "RateLimited"
    assert desk.gateway.limited() == (frozenset({"main"}), frozenset({"paper"}))


def test_who_is_held_back_by_a_server_that_is_gone(desk: Desk) -> None:
    with pytest.raises(ExecUnavailable):
        desk.servers.reaching("nobody")
    assert list(desk.gateway.caveats("a", "nobody")) == []

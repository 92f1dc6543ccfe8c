"""Servers in which one of our tools is several of theirs: chosen by type, confirmed, looked for in two places."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from reconciler.clock import SystemClock
from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.contract import formed
from reconciler.exec_mcp.fit import Fit, Offer, difference, fit, shape
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.reply import NotListed, OrderNotFound
from reconciler.exec_mcp.request import Unsayable
from reconciler.exec_mcp.server import ExecServer
from reconciler.exec_mcp.written import BadMapping, merged, read
from reconciler.orders.order import OrderState
from reconciler.paper.mcp_server import serve_mcp
from tests.exec_mcp.stubs.book import Book
from tests.exec_mcp.stubs.scattered import MAPPING, Scattered

WORDS = read(MAPPING)
NAMED = {"account_id": "main", "client_id": "desk", "client_order_id": "abc123", "symbol": "BTC/USD"}
MARKET = {**NAMED, "side": "buy", "type": "market", "quantity": "0.5"}
LIMIT = {**MARKET, "type": "limit", "limit_price": "99.5"}
CLOID = formed("abc123", "hex128")


def on(test: Callable[[ExecServer, Scattered], Awaitable[None]], **changed: Any) -> None:
    async def run() -> None:
        stub = Scattered(Book())
        words = read(merged(MAPPING, {"tools": changed}))
        async with serve_mcp(stub.server()) as url:
            server = ExecServer(ServerOptions("s", "http", url, words=words, accounts=("main",)), SystemClock())
            task = asyncio.create_task(server.run())
            async with asyncio.timeout(20):
                while not server.status.connected:
                    await asyncio.sleep(0.005)
                await test(server, stub)
            stub.book.release.set()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())


def test_it_fits_and_every_tool_that_may_be_called_is_relied_on() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        assert server.status.mismatches == ()
        assert {"place_order", "cancel_order", "get_order", "list_orders", "get_quote"} == set(server.status.tools)
        offers = {name: Offer({"properties": {}}) for name in server.status.offered}
        assert set(shape(WORDS, offers)) == set(server.status.offered)
        changed = {**offers, "confirm_order": Offer({"properties": {"token": {}}})}
        assert (
            difference(shape(WORDS, offers), shape(WORDS, changed))
            == "confirm_order has changed: argument token is new"
        )

    on(test)


def test_an_order_is_placed_by_the_tool_for_its_type_confirmed_and_found_wherever_it_is() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        placed = await server.call("place_order", LIMIT)
        assert answers.order(placed).state is OrderState.OPEN
        assert (placed["client_order_id"], placed["order_id"], placed["side"]) == ("abc123", "x-1", "buy")
        assert {key: stub.book.orders[CLOID][key] for key in ("coin", "size", "px")} == {
            "coin": "BTC/USD", "size": 0.5, "px": 99.5,
        }  # fmt: skip
        assert (await server.call("get_order", NAMED))["status"] == "open"
        assert stub.asked == ["resting"]
        listed = await server.call("list_orders", {**NAMED, "status": "open"})
        assert [order["client_order_id"] for order in listed["orders"]] == ["abc123"]
        assert (await server.call("list_orders", {**NAMED, "status": "open", "symbol": "ETH/USD"}))["orders"] == []
        await server.call("cancel_order", NAMED)
        assert (await server.call("get_order", NAMED))["status"] == "cancelled"

        other = {**MARKET, "client_order_id": "abc124"}
        assert (await server.call("place_order", other))["status"] == "filled"
        assert (await server.call("get_order", other))["client_order_id"] == "abc124"

    on(test)


def test_a_type_for_which_there_is_no_tool_is_refused_and_nothing_is_asked() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        with pytest.raises(Unsayable, match="the server has no tool for type 'stop', only for market, limit"):
            await server.call("place_order", {**MARKET, "type": "stop", "stop_price": "1"})
        assert stub.staged == {}

    on(test)


def test_an_order_is_not_there_only_where_every_place_says_so() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        with pytest.raises(OrderNotFound, match="past_orders lists no order abc123"):
            await server.call("get_order", NAMED)
        assert stub.asked == ["resting", "past"]
        stub.book.fault = "timeout"  # of the second place nobody knows: the first one's word is not enough
        with pytest.raises(ExecRejected, match="timed out") as caught:
            await server.call("get_order", NAMED)
        assert not isinstance(caught.value, OrderNotFound)

    on(test)


def test_lists_that_show_only_some_orders_prove_nothing_together() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        with pytest.raises(NotListed):
            await server.call("get_order", NAMED)

    places = [
        {key: value for key, value in one.items() if key != "lists_finished"} for one in MAPPING["tools"]["get_order"]
    ]
    on(test, get_order=places)


def test_the_confirming_call_is_the_order_and_its_loss_is_unknown() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        stub.book.fault = "hang"
        handover = Handover()
        with pytest.raises(ExecUnknown):
            await server.call("place_order", LIMIT, timeout_s=0.5, handover=handover)
        assert handover.is_possibly_sent
        assert (await server.call("get_order", NAMED))["status"] == "open"

    on(test)


def test_what_is_given_up_before_it_is_confirmed_is_never_confirmed() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        handover = Handover()
        stage = stub._stage

        def given_up(cloid: str, **order: Any) -> dict[str, Any]:
            assert handover.abandon()  # as a halt that came meanwhile has it
            return stage(cloid, **order)

        stub._stage = given_up  # type: ignore[method-assign]
        with pytest.raises(Exception, match="given up"):
            await server.call("place_order", LIMIT, handover=handover)
        assert (len(stub.staged), stub.book.orders) == (1, {})

    on(test)


@pytest.mark.parametrize("where", ["staging", "confirming"])
def test_a_refusal_of_either_call_is_one(where: str) -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        if where == "staging":
            stub.staging = "refuse"
        else:
            stub.book.fault = "refuse"
        with pytest.raises(ExecRejected, match="insufficient balance"):
            await server.call("place_order", LIMIT)

    on(test)


def test_who_asks_nothing_may_have_placed_the_order() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        stub.staging, handover = "no question", Handover()
        with pytest.raises(ExecUnknown, match=r"asked for no confirmation: there is nothing at \$\.ask\.id"):
            await server.call("place_order", LIMIT, handover=handover)
        assert handover.is_possibly_sent
        assert (await server.call("get_order", NAMED))["status"] == "open"

    on(test)


def test_a_quote_is_picked_out_of_all() -> None:
    async def test(server: ExecServer, stub: Scattered) -> None:
        assert (await server.call("get_quote", NAMED))["bid"] == 99
        with pytest.raises(ExecRejected, match=r"prices lists nothing of which \$\.coin is DOGE"):
            await server.call("get_quote", {**NAMED, "symbol": "DOGE"})
        with pytest.raises(answers.Unreadable, match=r"expected one item of which \$\.coin is X, was 2"):
            await server.call("get_quote", {**NAMED, "symbol": "X"})

    on(test)


def changed(**tools: Any) -> Mapping[str, Any]:
    return merged(MAPPING, {"tools": tools})


@pytest.mark.parametrize(
    ("tools", "where", "sentence"),
    [
        ({"cancel_order": {"by": "type", "limit": {"name": "x"}}}, ("cancel_order", "by"),
         "expected it under place_order alone"),
        ({"place_order": {"buy": {"name": "x"}}}, ("place_order", "buy"),
         "expected a value of type, one of market, limit, stop, stop_limit, was 'buy'"),
        ({"place_order": {"limit": {"by": "side"}}}, ("place_order", "limit", "by"),
         "expected no choice within a choice"),
        ({"get_quote": {"limit": {"name": "x"}}}, ("get_quote", "limit"),
         "expected by: type or by: side beside limit"),
        ({"cancel_order": {"confirm": {"name": "x"}}}, ("cancel_order", "confirm"),
         "expected it under place_order alone"),
        ({"cancel_order": {"pick": {"symbol": "$.s"}}}, ("cancel_order", "pick"),
         "expected items beside it: which list is it picked from?"),
        ({"cancel_order": {"items": "$.s"}}, ("cancel_order", "items"),
         "expected pick beside it: which of the items is meant?"),
        ({"get_quote": {"pick": {"symbo": "$.s"}}}, ("get_quote", "pick", "symbo"),
         "expected an argument of get_quote, one of account_id, client_id, symbol, was 'symbo'; did you mean "
         "'symbol'?"),
        ({"cancel_order": {"args": {"symbol": {"to": "s", "form": "uuid"}}}}, ("cancel_order", "args", "symbol"),
         "expected no form: only client_order_id has one"),
        ({"get_quote": [{"name": "a"}, {"name": "b"}]}, ("get_quote",),
         "expected one tool, was a list: only get_order is asked in several places"),
        ({"get_order": [{"name": "a"}, {"result": {"status": "x"}}]}, ("get_order", 1, "result", "status"),
         "expected a path from $, was 'x'"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told_with_its_place(
    tools: dict[str, Any], where: tuple[str | int, ...], sentence: str
) -> None:
    with pytest.raises(BadMapping) as caught:
        read(changed(**tools))
    assert ((("tools", *where), sentence)) in caught.value.faults


def test_what_is_wrong_with_what_holds_for_all_is_told_once_and_where_it_stands() -> None:
    with pytest.raises(BadMapping) as caught:
        read(changed(place_order={"args": {"quantiy": "q"}, "limit": {"args": {"sid": "s"}}}))
    assert [where for where, _ in caught.value.faults] == [
        ("tools", "place_order", "args", "quantiy"),
        ("tools", "place_order", "limit", "args", "sid"),
    ]


def fitting(**tools: Any) -> Fit:
    text, number = {"type": "string"}, {"type": "number"}
    order: dict[str, Any] = {
        "properties": {"cloid": text, "coin": text, "side": text, "size": number},
        "required": ["cloid", "coin"],
    }
    listed: dict[str, Any] = {
        "limit_order": {**order, "properties": {**order["properties"], "px": number}},
        "market_order": order,
        "confirm_order": {"properties": {"confirmation_id": text, "pin": text}, "required": ["confirmation_id"]},
        "withdraw": {"properties": {"cloid": text}},
        **{name: {"properties": {}} for name in ("resting_orders", "past_orders", "prices")},
    }
    gives = {"limit_order": {"properties": {"ask": text}}, "market_order": {"properties": {"result": text}}}
    return fit(read(changed(**tools)), listed, ("main",), gives)


def test_every_tool_that_may_be_called_is_held_against_the_list() -> None:
    assert fitting().why_not("place_order") == (
        "confirmation_id of confirm_order is read at $.ask.id, which is not in the outputSchema of limit_order"
    )
    confirm = {"name": "confirm_ordr", "args": {"confirmation_id": "$.ask"}}
    assert "no tool 'confirm_ordr', which is to confirm; did you mean 'confirm_order'?" in fitting(
        place_order={"confirm": confirm}
    ).why_not("place_order")
    said = fitting(place_order={"confirm": {"name": "confirm_order", "args": {"id": "$.ask"}}}).why_not("place_order")
    assert "confirm sends 'id', which is not in the inputSchema of confirm_order (it has confirmation_id, pin" in said
    assert "confirm_order requires 'confirmation_id', which confirm does not send" in said
    elsewhere = fitting(get_order=[MAPPING["tools"]["get_order"][0], {"name": "lost_orders", "items": "$"}])
    assert "the server has no tool 'lost_orders'" in elsewhere.why_not("get_order")
    other = fitting(place_order={"market": {"args": {"quantity": None}}})
    assert "quantity has nowhere to go, and every call has one" in other.why_not("place_order")

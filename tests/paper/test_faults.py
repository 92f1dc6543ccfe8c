"""Faults on demand: each does what it says to a call, and to what the call was for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp_types import CallToolResult

from reconciler.clock import FakeClock
from reconciler.paper.faults import Fault, FaultOnDemand, FaultRule, Faults
from reconciler.paper.mcp_server import serve_paper
from tests.paper.clients import BUY, WHO, PlainClient, connected, json_of, text_of

LOOK = {**WHO, "client_order_id": "o1"}


@asynccontextmanager
async def besieged(*rules: FaultRule, **options: Any) -> AsyncIterator[tuple[PlainClient, Faults, FakeClock]]:
    clock = FakeClock()
    faults = Faults(clock, rules)
    async with serve_paper(clock, faults=faults, **options) as url, connected(url) as client:
        yield client, faults, clock


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(bounded())


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    while not await is_so():
        await asyncio.sleep(0.002)


async def is_known(client: PlainClient) -> bool:
    return not (await client.result("get_order", **LOOK)).is_error


async def is_known_after(client: PlainClient, clock: FakeClock) -> bool:
    clock.advance(8)  # again and again: nobody knows when the server begins to wait
    return await is_known(client)


def test_an_error_is_an_error_and_nothing_was_done() -> None:
    async def test() -> None:
        async with besieged(FaultRule(Fault.ERROR, "place_order", times=1)) as (client, faults, _):
            answer = await client.result("place_order", **BUY)
            assert answer.is_error
            assert "nothing was done" in text_of(answer)
            assert not await is_known(client)
            assert faults.rules == ()
            assert (await client.call("place_order", **BUY))["status"] == "filled"

    run(test)


def test_a_dropped_answer_never_comes_though_the_order_is_in() -> None:
    async def test() -> None:
        async with besieged(FaultRule(Fault.DROP, "place_order")) as (client, _, _clock):
            placing = asyncio.create_task(client.result("place_order", **BUY))
            await until(lambda: is_known(client))
            assert not placing.done()
            placing.cancel()
            assert (await client.call("get_order", **LOOK))["status"] == "filled"

    run(test)


def test_a_slow_order_is_placed_even_where_the_client_has_given_up() -> None:
    async def test() -> None:
        async with besieged(FaultRule(Fault.SLOW, "place_order", seconds=8)) as (client, _, clock):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await client.result("place_order", **BUY)
            assert not await is_known(client)
            await until(lambda: is_known_after(client, clock))

    run(test)


def test_a_slow_call_that_is_waited_for_is_answered_in_the_end() -> None:
    async def test() -> None:
        async with besieged(FaultRule(Fault.SLOW, seconds=2, times=1)) as (client, faults, clock):
            asked = asyncio.create_task(client.call("get_quote", symbol="BTC/USD"))
            await until(lambda: _is(not faults.rules))
            assert not asked.done()
            while not asked.done():
                clock.advance(2)
                await asyncio.sleep(0.002)
            assert (await asked)["symbol"] == "BTC/USD"

    run(test)


async def _is(truth: bool) -> bool:
    return truth


def test_garbage_makes_no_sense_in_several_ways_and_the_order_is_in() -> None:
    async def test() -> None:
        async with besieged(FaultRule(Fault.GARBAGE)) as (client, faults, _):
            answers = [await client.result("place_order", **BUY) for _ in range(20)]
            assert not any(answer.is_error for answer in answers)
            assert len({text_of(answer) for answer in answers}) > 3
            assert not any(is_order(answer) for answer in answers)
            faults.clear()
            assert (await client.call("get_order", **LOOK))["status"] == "filled"

    run(test)


def is_order(answer: CallToolResult) -> bool:
    try:
        return {"order_id", "status", "filled_quantity"} <= set(answer.structured_content or json_of(answer))
    except ValueError:
        return False


def test_a_server_that_is_down_answers_nothing_until_it_is_up_again() -> None:
    async def test() -> None:
        clock = FakeClock()
        faults = Faults(clock)
        async with serve_paper(clock, faults=faults) as url, httpx.AsyncClient() as http:
            assert (await http.post(url, json={})).status_code != 503
            faults.add(FaultRule(Fault.DOWN, seconds=5, times=1))
            assert [(await http.post(url, json={})).status_code for _ in range(2)] == [503, 503]
            clock.advance(5)
            assert (await http.post(url, json={})).status_code != 503

    run(test)


def test_clients_set_faults_only_where_that_is_offered() -> None:
    async def test() -> None:
        async with besieged() as (client, _, _clock):
            assert not {"set_fault", "clear_faults"} & await client.tools()
        async with besieged(fault_tools=True) as (client, faults, _clock):
            answer = await client.call("set_fault", kind="error", tool="get_quote", times=5)
            assert answer["faults"] == [
                {"kind": "error", "tool": "get_quote", "probability": 1.0, "seconds": 1.0, "times": 5}
            ]
            assert (await client.result("get_quote", symbol="BTC/USD")).is_error
            assert (await client.call("place_order", **BUY))["status"] == "filled"
            wrong = await client.result("set_fault", kind="meteor")
            assert "kind: expected one of slow, drop, error, garbage, down, was 'meteor'" in text_of(wrong)
            assert (await client.call("clear_faults"))["faults"] == []
            assert faults.rules == ()

    run(test)


def test_a_server_stops_at_once_whatever_is_late_or_dropped(tmp_path: Path) -> None:
    async def test() -> None:
        journal = tmp_path / "paper.journal"
        async with besieged(FaultRule(Fault.SLOW, times=1), FaultRule(Fault.DROP), journal=journal) as (client, _, _c):
            late = [asyncio.create_task(client.result("place_order", **BUY)) for _ in range(2)]
            await until(lambda: _is(journal.stat().st_size > 0))
            for task in late:
                task.cancel()

    run(test)


async def strikes(seed: str, rule: FaultRule, calls: int = 200) -> list[bool]:
    faults = Faults(FakeClock(), [rule], seed)

    async def done() -> str:
        return "done"

    struck = []
    for _ in range(calls):
        try:
            await faults.around("get_quote", done, str)
            struck.append(False)
        except FaultOnDemand:
            struck.append(True)
    return struck


def test_which_calls_are_hit_follows_from_the_seed() -> None:
    rule = FaultRule(Fault.ERROR, probability=0.25)
    one = asyncio.run(strikes("a", rule))
    assert one == asyncio.run(strikes("a", rule))
    assert one != asyncio.run(strikes("b", rule))
    assert 25 < sum(one) < 75


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "kind: expected one of slow, drop, error, garbage, down, was None"),
        ({"kind": "slow", "second": 1}, "expected kind, probability, seconds, times, tool, was second"),
        ({"kind": "slow", "probability": "1.5"}, "probability: expected 0 to 1, was 1.5"),
        ({"kind": "slow", "probability": "nan"}, "probability: expected 0 to 1, was nan"),
        ({"kind": "slow", "seconds": -1}, "seconds: expected 0 to 3600, was -1"),
        ({"kind": "slow", "times": 0}, "times: expected at least 1, was 0"),
        (
            {"kind": "slow", "tool": "place_ordr"},
            "tool: expected a tool of the exchange, was 'place_ordr'; did you mean \"place_order\"?",
        ),
        ({"kind": "down", "tool": "get_quote"}, "tool: expected none, for the whole server is down, was 'get_quote'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(problem)}$"):
        FaultRule.read(values)


def test_a_rule_is_read_from_texts_as_from_numbers() -> None:
    texts = {"kind": "slow", "tool": "get_quote", "probability": "0.5", "seconds": "2", "times": "3"}
    assert FaultRule.read(texts) == FaultRule(Fault.SLOW, "get_quote", 0.5, 2, 3)

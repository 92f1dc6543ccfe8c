"""The paper exchange over real MCP."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from reconciler.clock import FakeClock
from reconciler.errors import ExecRejected, ExecUnknown
from reconciler.exec_mcp.options import ServerOptions
from reconciler.exec_mcp.servers import PaperSite, open_servers
from reconciler.paper.faults import Fault, FaultRule
from reconciler.paper.mcp_server import serve_paper
from reconciler.ports import CONTRACT_TOOLS
from reconciler.records.accounts import Accounts

WHO = {"account_id": "main", "client_id": "a"}


def test_every_tool_of_the_contract_answers_with_decimal_strings_and_times_in_utc() -> None:
    async def run() -> None:
        clock = FakeClock()
        async with open_servers([ServerOptions("paper", "paper")], Accounts(), clock, PaperSite(6.0)) as servers:
            server = servers.reaching("main")
            async with asyncio.timeout(10):
                while not server.status.connected:
                    await asyncio.sleep(0.005)
            assert set(server.status.tools) == set(CONTRACT_TOOLS)
            quote = await server.call("get_quote", {**WHO, "symbol": "EUR/USD"})
            assert quote == {
                "symbol": "EUR/USD",
                "bid": "1.16329",
                "ask": "1.16351",
                "last": "1.1634",
                "as_of": "2023-11-14T22:13:18.000Z",
            }
            order = {**WHO, "client_order_id": "o1", "symbol": "EUR/USD", "side": "buy"}
            placed = await server.call(
                "place_order", {**order, "type": "limit", "quantity": "10.0", "limit_price": "1"}
            )
            assert (await server.call("list_orders", {**WHO, "status": "open"}))["orders"] == [placed]
            assert (await server.call("get_order", {**WHO, "client_order_id": "o1"})) == placed
            assert placed == {
                "order_id": "paper-1", "client_order_id": "o1", "symbol": "EUR/USD", "side": "buy", "type": "limit",
                "quantity": "10", "limit_price": "1", "stop_price": None, "time_in_force": "gtc", "reduce_only": False,
                "status": "open", "reason": "", "filled_quantity": "0", "average_price": None, "fee": "0",
                "fee_currency": "USD", "fills": [],
                "created_at": "2023-11-14T22:13:20.000Z", "updated_at": "2023-11-14T22:13:20.000Z",
            }  # fmt: skip
            assert await server.call("cancel_all_after", {"account_id": "main", "seconds": 60}) == {
                "account_id": "main",
                "seconds": 60,
            }
            assert await server.call("cancel_all", {**WHO, "symbol": "BTC/USD"}) == {"cancelled": []}
            cancel = {**WHO, "client_order_id": "o1", "symbol": "EUR/USD"}
            assert (await server.call("cancel_order", cancel))["status"] == "cancelled"
            bought = await server.call(
                "place_order", {**order, "client_order_id": "o2", "type": "market", "quantity": "3"}
            )
            assert (bought["average_price"], bought["fee"]) == ("1.16351", "0.00349053")
            assert bought["fills"] == [
                {
                    "fill_id": "paper-2-1", "quantity": "3", "price": "1.16351", "fee": "0.00349053",
                    "fee_currency": "USD", "liquidity": "taker", "at": "2023-11-14T22:13:20.000Z",
                }
            ]  # fmt: skip
            closed = (await server.call("list_orders", {**WHO, "status": "closed"}))["orders"]
            assert [order["client_order_id"] for order in closed] == ["o1", "o2"]
            positions = await server.call("get_positions", WHO)
            assert positions == {"positions": [{"symbol": "EUR/USD", "quantity": "3", "average_price": "1.16351"}]}
            balances = {b["asset"]: b["total"] for b in (await server.call("get_balances", WHO))["balances"]}
            assert (balances["EUR"], balances["USD"]) == ("100003", "99996.50597947")
            candles = await server.call("get_candles", {**WHO, "symbol": "EUR/USD", "timeframe": "1m", "limit": 2})
            assert [c["opened_at"] for c in candles["candles"]] == [
                "2023-11-14T22:11:00.000Z",
                "2023-11-14T22:12:00.000Z",
            ]

            rules = await server.call("get_rules", {**WHO, "symbol": "EUR/USD"})
            assert rules == {
                "price_step": None, "quantity_step": None, "min_quantity": None, "min_notional": None,
                "contract_size": "1",
            }  # fmt: skip

    asyncio.run(run())


def test_orders_outlive_the_server_that_took_them(tmp_path: Path) -> None:
    async def session(tool: str, arguments: dict[str, str]) -> dict[str, object]:
        clock, paper = FakeClock(), [ServerOptions("paper", "paper")]
        async with open_servers(paper, Accounts(), clock, PaperSite(6.0, journals=tmp_path)) as servers:
            server = servers.reaching("main")
            async with asyncio.timeout(10):
                while not server.status.connected:
                    await asyncio.sleep(0.005)
            return await server.call(tool, {**WHO, "client_order_id": "o1", **arguments})

    asked = {"symbol": "BTC/USD", "side": "buy", "type": "market", "quantity": "0.5"}
    placed = asyncio.run(session("place_order", asked))
    assert asyncio.run(session("get_order", {})) == placed
    assert asyncio.run(session("place_order", asked)) == placed


@pytest.mark.parametrize(
    ("fault", "met", "is_placed"),
    [
        (FaultRule(Fault.ERROR, "place_order", times=1), ExecRejected, False),
        (FaultRule(Fault.DROP, "place_order", times=1), ExecUnknown, True),
    ],
)
def test_the_engine_s_own_client_meets_the_faults_of_the_settings(
    fault: FaultRule, met: type[Exception], is_placed: bool
) -> None:
    async def run() -> None:
        site = PaperSite(6.0, faults=(fault,))
        async with open_servers([ServerOptions("paper", "paper")], Accounts(), FakeClock(), site) as servers:
            server = servers.reaching("main")
            async with asyncio.timeout(10):
                while not server.status.connected:
                    await asyncio.sleep(0.005)
            order = {**WHO, "client_order_id": "o1", "symbol": "BTC/USD", "side": "buy", "type": "market"}
            with pytest.raises(met):
                await server.call("place_order", {**order, "quantity": "1"}, timeout_s=0.2)
            orders = (await server.call("list_orders", {**WHO, "status": "all"}))["orders"]
            assert bool(orders) is is_placed

    asyncio.run(run())


def test_serving_changes_neither_logging_nor_signals_and_frees_its_port() -> None:
    handlers, before = list(logging.getLogger().handlers), signal.getsignal(signal.SIGTERM)

    async def run() -> int:
        async with serve_paper(FakeClock()) as url:
            assert signal.getsignal(signal.SIGTERM) is before
            return urlsplit(url).port or 0

    port = asyncio.run(run())
    assert logging.getLogger().handlers == handlers
    with socket.socket() as free:
        free.bind(("127.0.0.1", port))


def test_a_page_elsewhere_cannot_reach_it_through_a_name_that_resolves_to_loopback() -> None:
    async def run() -> None:
        async with serve_paper(FakeClock()) as url, httpx.AsyncClient() as client:
            for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
                answer = await client.post(url, headers=headers, json={})
                assert answer.status_code in (403, 421)

    asyncio.run(run())


def test_a_port_that_is_taken_is_an_error_at_once() -> None:
    async def run() -> None:
        async with serve_paper(FakeClock()) as url:
            with pytest.raises(OSError, match="in use"):
                async with serve_paper(FakeClock(), port=urlsplit(url).port or 0):
                    raise AssertionError

    asyncio.run(run())


def test_the_documentation_s_example_of_a_fault_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "paper.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    written: dict[str, Callable[[], Coroutine[None, None, None]]] = {}
    exec(compile(example, "paper.md", "exec"), written)
    asyncio.run(written["trade"]())

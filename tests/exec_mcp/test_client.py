"""A server spoken to in the contract's words: what it can and cannot do, and what changes under a running engine."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolListChangedNotification

from reconciler.clock import SystemClock
from reconciler.errors import CapabilityUnavailable, ExecRejected, ExecUnavailable
from reconciler.exec_mcp.options import ServerOptions, ready
from reconciler.exec_mcp.server import ExecServer, Recollection, ToolMemory
from reconciler.exec_mcp.written import merged, read
from reconciler.paper.mcp_server import serve_mcp
from tests.exec_mcp.stubs.book import Book, quiet
from tests.exec_mcp.stubs.okx import OkxShaped

WORDS = read(merged(ready("okx"), {}))
ORDER = {
    "account_id": "main",
    "client_id": "desk",
    "client_order_id": "abc",
    "symbol": "BTC-USDT",
    "side": "buy",
    "type": "limit",
    "quantity": "1",
    "limit_price": "2",
}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def connected(url: str, memory: ToolMemory | None = None, **more: Any) -> AsyncIterator[ExecServer]:
    given = {"words": WORDS, "accounts": ("main",), "reconnect_min_s": 0.02, **more}
    server = ExecServer(ServerOptions("okx", "http", url=url, **given), SystemClock(), memory)
    task = asyncio.create_task(server.run())
    try:
        await until(lambda: server.status.connected)
        yield server
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def spot_place_order(instId: str, tdMode: str, side: str, ordType: str, sz: str, px: str, clOrdId: str) -> str:
    """Another spot_place_order than that of the stub: it has no tgtCcy, and asks for a price."""
    return "never called"


ALTERED = (
    "market_get_candles is gone; spot_place_order has changed: argument clOrdId is another, "
    "argument ordType is another, argument px is another, argument side is another, argument tdMode is another, "
    "argument tgtCcy is gone, the form of its answers is new"
)


def altered(book: Book) -> MCPServer[Any]:
    """The stub's server after somebody has been at it."""
    server = OkxShaped(book).server()
    server.remove_tool("spot_place_order")
    server.remove_tool("market_get_candles")
    server.add_tool(spot_place_order)
    return server


def test_a_tool_that_the_server_lacks_is_named_with_the_reason() -> None:
    async def run() -> None:
        server = quiet("small")
        server.add_tool(OkxShaped(Book()).market_get_ticker)
        async with serve_mcp(server) as url, connected(url) as exec_server:
            assert exec_server.status.tools == ("get_quote",)
            assert exec_server.status.offered == ("market_get_ticker",)
            with pytest.raises(CapabilityUnavailable, match="no tool 'spot_place_order'"):
                await exec_server.call("place_order", ORDER)
            with pytest.raises(CapabilityUnavailable, match="offers no 'get_positions': this strategy cannot use it"):
                await exec_server.call("get_positions", {})
            assert len(exec_server.status.to_json()["mismatches"]) == 7

    asyncio.run(run())


def test_a_server_that_returns_with_other_tools_places_nothing_until_somebody_has_looked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        book = Book()
        async with contextlib.AsyncExitStack() as first:
            url = await first.enter_async_context(serve_mcp(OkxShaped(book).server()))
            async with connected(url, probe_after_s=0.02) as server:
                server.on_change = lambda name, changed: told.append((name, changed))
                await server.call("place_order", ORDER)
                await first.aclose()
                await until(lambda: not server.status.connected)
                async with serve_mcp(altered(book), urlsplit(url).port or 0):
                    await until(lambda: server.status.connected)
                    assert server.status.changed == ALTERED
                    assert "place_order" not in server.status.tools
                    with pytest.raises(CapabilityUnavailable, match="nobody has looked: market_get_candles is gone"):
                        await server.call("place_order", ORDER)
                    assert (await server.call("get_order", ORDER))["status"] == "open"
                    await server.call("cancel_order", ORDER)  # what reduces risk still passes
                    server.accept()
                    assert server.status.changed == ""
                    assert server.status.missing["place_order"] == (
                        "const sends 'tgtCcy', which is not in the inputSchema of spot_place_order "
                        "(it has clOrdId, instId, ordType, px, side, sz, tdMode)"
                    )
                assert list(book.orders) == ["abc"]

    told: list[tuple[str, str]] = []
    asyncio.run(run())
    assert told == [("okx", ALTERED)]
    logged = [record for record in caplog.records if record.message == "exec-mcp tools changed: no order leaves"]
    assert len(logged) == 1


def test_tools_that_change_under_a_connection_that_lives_are_noticed_and_changing_back_is_no_excuse() -> None:
    async def run() -> None:
        stub = OkxShaped(Book())
        served = stub.server()
        async with serve_mcp(served) as url, connected(url, probe_after_s=0.01, look_every_s=0.01) as server:
            served.remove_tool("spot_get_order")
            await until(lambda: server.status.changed != "")
            assert server.status.changed == "spot_get_order is gone"
            assert {"place_order", "get_order"}.isdisjoint(server.status.tools)
            served.add_tool(stub.spot_get_order)
            await until(lambda: "get_order" in server.status.tools)
            assert "place_order" not in server.status.tools
            server.accept()
            assert {"place_order", "get_order"} <= set(server.status.tools)
            assert (await server.call("place_order", ORDER))["order_id"] == "x-1"

    asyncio.run(run())


def test_a_server_that_says_that_its_tools_changed_is_looked_at_at_once() -> None:
    async def run() -> None:
        served = OkxShaped(Book()).server()
        async with serve_mcp(served) as url, connected(url) as server:
            served.remove_tool("spot_get_order")
            await server.connection._note(ToolListChangedNotification())
            await until(lambda: server.status.changed == "spot_get_order is gone")

    asyncio.run(run())


def test_tools_that_the_mapping_does_not_use_may_change() -> None:
    async def run() -> None:
        async def weather() -> str:
            """It rains."""
            return "rain"

        served = OkxShaped(Book()).server()
        async with serve_mcp(served) as url, connected(url, probe_after_s=0.01, look_every_s=0.01) as server:
            served.add_tool(weather)
            await until(lambda: "weather" in server.status.offered)
            assert server.status.changed == ""

    asyncio.run(run())


def test_a_secret_that_cannot_be_read_keeps_one_server_from_connecting_and_is_told() -> None:
    def missing() -> str:
        raise ExecUnavailable("reconciler.yaml:6:32: {env: TOKEN}: was not set")

    async def run() -> None:
        options = ServerOptions("x", "http", url="http://127.0.0.1:1/mcp", headers={"Authorization": missing})
        server = ExecServer(options, SystemClock())
        task = asyncio.create_task(server.run())
        await until(lambda: "TOKEN" in server.status.last_error)
        assert not server.status.connected
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_no_more_than_a_few_questions_for_data_are_under_way_and_an_order_passes_them() -> None:
    class Slow(OkxShaped):
        under_way = most = 0

        async def market_get_ticker(self, instId: str) -> Any:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await self.book.release.wait()
            self.under_way -= 1
            return await super().market_get_ticker(instId)

    async def run() -> None:
        stub = Slow(Book())
        async with serve_mcp(stub.server()) as url, connected(url) as server:
            asked = {"account_id": "main", "client_id": "", "symbol": "BTC-USDT"}
            questions = [asyncio.create_task(server.call("get_quote", asked)) for _ in range(20)]
            await until(lambda: stub.under_way == 8)
            assert (await server.call("place_order", ORDER))["order_id"] == "x-1"
            stub.book.release.set()
            assert {quote["bid"] for quote in await asyncio.gather(*questions)} == {"99.5"}
            assert stub.most == 8

    asyncio.run(run())


def test_a_secret_that_a_server_says_back_is_in_no_refusal_and_in_no_reason() -> None:
    class Echo(OkxShaped):
        async def spot_get_order(self, instId: str, ordId: str | None = None, clOrdId: str | None = None) -> Any:
            return {"error": True, "code": "1", "message": "who is Bearer s3cr3t-of-ours, s3cr3t-of-ours?"}

        async def spot_cancel_order(self, instId: str, ordId: str | None = None, clOrdId: str | None = None) -> Any:
            return {"status": "rejected", "reason": "no s3cr3t-of-ours"}

    async def run() -> None:
        headers = {"Authorization": lambda: "Bearer s3cr3t-of-ours"}
        told = {"status": "$.status", "reason": "$.reason"}
        words = read(merged(ready("okx"), {"tools": {"cancel_order": {"result": told}}}))
        async with serve_mcp(Echo(Book()).server()) as url, connected(url, headers=headers, words=words) as server:
            with pytest.raises(ExecRejected, match=r"^who is •••, •••\?$"):
                await server.call("get_order", ORDER)
            assert (await server.call("cancel_order", ORDER))["reason"] == "no •••"

    asyncio.run(run())


def test_changed_tools_stop_orders_over_a_restart_until_somebody_has_looked() -> None:
    async def run() -> None:
        book, memory = Book(), Recollection()
        async with serve_mcp(OkxShaped(book).server()) as url, connected(url, memory) as server:
            assert (server.status.changed, "place_order" in server.status.tools) == ("", True)
        async with serve_mcp(altered(book)) as url:
            for _ in range(2):  # as often as it is restarted
                async with connected(url, memory) as server:
                    assert server.status.changed == ALTERED
                    assert "place_order" not in server.status.tools
        async with serve_mcp(OkxShaped(book).server()) as url:
            async with connected(url, memory) as server:  # what changed back was something else meanwhile
                assert server.status.changed == ALTERED
                server.accept()
                assert "place_order" in server.status.tools
            async with connected(url, memory) as server:
                assert (server.status.changed, "place_order" in server.status.tools) == ("", True)

    asyncio.run(run())


def test_another_mapping_is_somebodys_doing_and_begins_anew() -> None:
    async def run() -> None:
        memory = Recollection()
        async with serve_mcp(OkxShaped(Book()).server()) as url, connected(url, memory, mapping_id="one"):
            pass
        async with serve_mcp(altered(Book())) as url:
            async with connected(url, memory, mapping_id="one") as server:
                assert server.status.changed == ALTERED
            async with connected(url, memory, mapping_id="two") as server:
                assert server.status.changed == ""

    asyncio.run(run())


def test_what_a_tool_says_it_answers_is_looked_at_too() -> None:
    async def run() -> None:
        async def spot_get_order(instId: str, ordId: str | None = None, clOrdId: str | None = None) -> dict[str, str]:
            return {}

        served = OkxShaped(Book()).server()
        async with serve_mcp(served) as url, connected(url, probe_after_s=0.01, look_every_s=0.01) as server:
            served.remove_tool("spot_get_order")
            served.add_tool(spot_get_order)
            await until(lambda: server.status.changed != "")
            assert server.status.changed == "spot_get_order has changed: the form of its answers is new"

    asyncio.run(run())

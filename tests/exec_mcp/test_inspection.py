"""Looking at servers without an engine: every finding, and one order that is placed and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from reconciler.clock import SystemClock
from reconciler.exec_mcp.options import ServerOptions, ready
from reconciler.exec_mcp.server import Recollection
from reconciler.exec_mcp.servers import PaperSite, Servers, open_servers
from reconciler.exec_mcp.trial import Finding, Trial, inspect, rehearse
from reconciler.exec_mcp.written import merged, read
from reconciler.paper.mcp_server import serve_mcp
from reconciler.records.accounts import Accounts, DeclaredAccount, KnownTools
from tests.exec_mcp.stubs.book import Book, Fault, quiet
from tests.exec_mcp.stubs.okx import OkxShaped

WORDS = read(merged(ready("okx"), {}))
ACCOUNTS = Accounts(
    {"main": DeclaredAccount("main", "okx", True), "spare": DeclaredAccount("spare", "else", True)}, None
)
TRIAL = Trial("main", "check", "BTC-USDT", Decimal("0.001"), "abc")


@asynccontextmanager
async def opened(*options: ServerOptions) -> AsyncIterator[Servers]:
    async with open_servers(options, ACCOUNTS, SystemClock(), PaperSite(0.1)) as servers:
        yield servers


async def found(options: ServerOptions) -> Finding:
    async with opened(options) as servers:
        (finding,) = await inspect(servers, [options.name], ACCOUNTS, SystemClock())
    return finding


def test_a_server_that_fits_is_fine_and_no_gate_of_it_is_closed() -> None:
    async def run() -> None:
        async with serve_mcp(OkxShaped(Book()).server()) as url:
            finding = await found(ServerOptions("okx", "http", url, words=WORDS, accounts=("main",)))
        assert finding.is_fine
        assert (finding.closed, finding.mismatches, finding.error) == ({}, (), "")
        assert finding.to_json()["fine"] is True

    asyncio.run(run())


def test_of_a_server_that_tells_no_positions_it_is_said_that_lost_rows_cannot_be_seen() -> None:
    async def run() -> None:
        async with serve_mcp(OkxShaped(Book()).server()) as url:
            finding = await found(ServerOptions("okx", "http", url, words=WORDS, accounts=("main",)))
        why = "rows that its ledger lost cannot be seen, but for open orders: okx tells no positions"
        assert (finding.is_fine, finding.to_json()["unseen"]) == (True, {"main": f"{why} (it has no such tool)"})

    asyncio.run(run())


def test_a_server_that_cannot_be_reached_closes_the_gates_of_its_accounts() -> None:
    async def run() -> None:
        finding = await found(ServerOptions("okx", "http", "http://127.0.0.1:1/mcp", words=WORDS, accounts=("main",)))
        assert (finding.reachable, finding.is_fine, finding.tools) == (False, False, ())
        assert finding.error.startswith("ConnectError")
        assert finding.closed == {"main": finding.error}

    asyncio.run(run())


def test_servers_are_looked_at_together_and_one_that_fails_is_not_waited_for() -> None:
    class Deaf:
        """A server that takes connections, and says nothing."""

        def __init__(self) -> None:
            self.together = asyncio.Event()
            self.asked = 0

        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.asked += 1
            if self.asked == 3:
                self.together.set()
            await self.together.wait()
            writer.close()

    async def run() -> None:
        deaf = Deaf()
        async with await asyncio.start_server(deaf, "127.0.0.1", 0) as served:
            port = served.sockets[0].getsockname()[1]
            dead = ServerOptions("dead", "stdio", command=("/nowhere/program",), timeout_s=60)
            gone = ServerOptions("gone", "http", "http://127.0.0.1:1/mcp", timeout_s=60)
            slow = [ServerOptions(name, "http", f"http://127.0.0.1:{port}/mcp", timeout_s=60) for name in "abc"]
            async with opened(gone, dead, *slow) as servers, asyncio.timeout(15):
                found = await inspect(servers, ["gone", "dead", "a", "b", "c"], ACCOUNTS, SystemClock())
        assert [(one.server, one.reachable, bool(one.error)) for one in found] == [
            (name, False, True) for name in ("gone", "dead", "a", "b", "c")
        ]
        assert "not connected yet" not in {one.error for one in found}

    asyncio.run(run())


def test_tools_that_changed_since_somebody_looked_close_the_gate_as_an_engine_would() -> None:
    async def run() -> None:
        memory = Recollection({"okx": KnownTools("", {"spot_get_order": {}})})
        async with serve_mcp(OkxShaped(Book()).server()) as url:
            options = ServerOptions("okx", "http", url, words=WORDS, accounts=("main",))
            async with open_servers([options], ACCOUNTS, SystemClock(), PaperSite(0.1), memory=memory) as servers:
                (finding,) = await inspect(servers, ["okx"], ACCOUNTS, SystemClock())
        assert not finding.is_fine
        assert finding.closed["main"].startswith("place_order: its tools changed, and nobody has looked: ")
        assert "spot_get_order is new" in finding.changed

    asyncio.run(run())


def test_a_server_without_look_ups_closes_the_gates_and_says_why() -> None:
    async def run() -> None:
        server = quiet("small")
        server.add_tool(OkxShaped(Book()).spot_place_order)
        async with serve_mcp(server) as url:
            finding = await found(ServerOptions("okx", "http", url, words=WORDS, accounts=("main",)))
        assert not finding.is_fine
        assert finding.tools == ("place_order",)
        assert finding.closed == {
            "main": "get_order: the server has no tool 'spot_get_order'; where it has none, write get_order: null"
        }

    asyncio.run(run())


def test_an_order_is_placed_at_half_the_bid_looked_up_cancelled_and_looked_up_again() -> None:
    async def run() -> None:
        book = Book()
        async with (
            serve_mcp(OkxShaped(book).server()) as url,
            opened(ServerOptions("okx", "http", url, words=WORDS, accounts=("main",))) as servers,
        ):
            await inspect(servers, ["okx"], ACCOUNTS, SystemClock())
            steps = await rehearse(servers.named("okx"), TRIAL)
        assert [(step.what, step.outcome, step.ok) for step in steps] == [
            ("quote", "bid 99.5, ask 100.5", True),
            ("place abc: buy 0.001 BTC-USDT at 49.7", "open, 0 filled, the exchange's id is x-1", True),
            ("look it up", "open, 0 filled, the exchange's id is x-1", True),
            ("cancel it", "taken", True),
            ("look it up again", "cancelled, 0 filled, the exchange's id is x-1", True),
        ]
        assert (book.orders["abc"]["px"], book.orders["abc"]["cancelled"]) == ("49.7", True)

    asyncio.run(run())


def rehearsed(fault: Fault, trial: Trial, timeout_s: float = 5.0) -> tuple[list[tuple[str, bool]], Book]:
    async def run() -> list[tuple[str, bool]]:
        options = ServerOptions("okx", "http", words=WORDS, accounts=("main",), timeout_s=timeout_s)
        async with (
            serve_mcp(OkxShaped(book).server()) as url,
            opened(replace(options, url=url)) as servers,
        ):
            await inspect(servers, ["okx"], ACCOUNTS, SystemClock())
            steps = await rehearse(servers.named("okx"), trial)
            book.release.set()
        return [(step.what.partition(" ")[0], step.ok) for step in steps]

    book = Book(fault)
    return asyncio.run(run()), book


def test_an_order_that_was_refused_is_not_cancelled() -> None:
    steps, book = rehearsed("refuse", replace(TRIAL, price=Decimal("1")))
    assert steps == [("place", False)]
    assert book.orders == {}


def test_an_order_of_which_nothing_is_known_is_cancelled_all_the_same() -> None:
    steps, book = rehearsed("hang", replace(TRIAL, price=Decimal("1")), timeout_s=0.5)
    assert steps == [("place", False), ("look", True), ("cancel", True), ("look", True)]
    assert book.orders["abc"]["cancelled"]


@pytest.mark.parametrize(("bid", "at"), [(1, "0.5"), (99.5, "49.7"), (0.00000001, "0.000000005")])
def test_the_price_is_half_the_bid_and_never_nothing(bid: float, at: str) -> None:
    class Cheap(OkxShaped):
        async def market_get_ticker(self, instId: str) -> Any:
            ticker = {
                "bidPx": f"{bid:.8f}".rstrip("0").rstrip("."),
                "askPx": "100.5",
                "last": "100",
                "ts": "1767225600000",
            }
            return {"ok": True, "data": {"code": "0", "data": [ticker]}}

    async def run() -> None:
        book = Book()
        async with (
            serve_mcp(Cheap(book).server()) as url,
            opened(ServerOptions("okx", "http", url, words=WORDS, accounts=("main",))) as servers,
        ):
            await inspect(servers, ["okx"], ACCOUNTS, SystemClock())
            steps = await rehearse(servers.named("okx"), TRIAL)
        assert all(step.ok for step in steps)
        assert book.orders["abc"]["px"] == at

    asyncio.run(run())

"""Looking at servers without an engine: every finding, and one order that is placed and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from decimal import Decimal

from reconciler.clock import SystemClock
from reconciler.execution.inspection import Finding, inspect
from reconciler.execution.mapping.ready import ready
from reconciler.execution.mapping.words import merged, read
from reconciler.execution.options import ServerOptions
from reconciler.execution.paper.server import serve_mcp
from reconciler.execution.rehearsal import Trial, rehearse
from reconciler.execution.servers import PaperSite, Servers, open_servers
from reconciler.records.accounts import Account, Accounts
from tests.execution.stubs.book import Book, Fault, quiet
from tests.execution.stubs.okx import OkxShaped

WORDS = read(merged(ready("okx"), {}))
ACCOUNTS = Accounts({"main": Account("main", "okx", True), "spare": Account("spare", "else", True)}, None)
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


def test_a_server_that_cannot_be_reached_closes_the_gates_of_its_accounts() -> None:
    async def run() -> None:
        finding = await found(ServerOptions("okx", "http", "http://127.0.0.1:1/mcp", words=WORDS, accounts=("main",)))
        assert (finding.reachable, finding.is_fine, finding.tools) == (False, False, ())
        assert finding.error.startswith("ConnectError")
        assert finding.closed == {"main": finding.error}

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
            "main": "get_order: the server has no tool 'spot_get_order'; did you mean 'spot_place_order'?"
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

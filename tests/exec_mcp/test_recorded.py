"""Ready-made mappings on what published servers listed and answered, in front of a stand-in of their exchange's API.

Each recording is one run of the server: its tools, and every call with what came back. What we send must be what was
sent then, and what we hear must be right.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import Clock, FakeClock
from reconciler.errors import ExecError, ExecRejected, ExecUnknown
from reconciler.exec_mcp import answers
from reconciler.exec_mcp.bridge import Handover
from reconciler.exec_mcp.connection import Connection, Judge
from reconciler.exec_mcp.fit import Offer
from reconciler.exec_mcp.options import ServerOptions, names, ready
from reconciler.exec_mcp.reply import OrderNotFound, Reply
from reconciler.exec_mcp.server import ExecServer
from reconciler.exec_mcp.written import merged, read
from reconciler.orders.market import InstrumentRules
from reconciler.orders.order import OrderState

FOLDER = Path(__file__).parent / "recorded"
SYMBOLS = {"alpaca": "BTC/USD", "bybit": "BTCUSDT", "mcp-okx": "BTC-USDT", "okx": "BTC-USDT"}
WHO = {"account_id": "main", "client_id": "desk"}
AT_S = 1_800_000_000.0


class Recording(Connection):
    """It answers what the server answered, where it is asked what that was asked."""

    def __init__(self, options: ServerOptions, clock: Clock, judge: Judge) -> None:
        super().__init__(options, clock, judge)
        self.recording = json.loads((FOLDER / f"{options.name}.json").read_text(encoding="utf-8"))
        self.step = ""

    def connect(self) -> None:
        tools = self.recording["tools"].items()
        self.status = replace(self.status, connected=True)
        self.note(self._judge({name: Offer(tool["takes"], tool.get("gives")) for name, tool in tools}))

    async def ask(self, tool: str, arguments: Mapping[str, Any], timeout_s: float, handover: Handover) -> Reply:
        assert handover.claim()
        left = [one for one in self.recording["replies"] if one["step"] == self.step]
        self.recording["replies"].remove(left[0])
        assert (tool, dict(arguments)) == (left[0]["tool"], left[0]["arguments"])
        if "raised" in left[0]:
            raise ExecUnknown("no answer")
        return Reply(left[0]["failed"], left[0]["structured"], left[0]["text"])


class Replayed(ExecServer):
    """The recorded server."""

    def __init__(self, mapping: str) -> None:
        words = read(merged(ready(mapping), {}))
        options = ServerOptions(mapping, "stdio", words=words, accounts=("main",))
        super().__init__(options, FakeClock(AT_S), connect=Recording)
        assert isinstance(self.connection, Recording)
        self.line = self.connection
        self.line.connect()

    def hear(self, step: str, tool: str, id: str = "", **more: Any) -> dict[str, Any]:
        """What our `tool` answers at that step, of the order of that letter."""
        self.line.step = step
        symbol = {} if tool in ("list_orders", "get_balances") else {"symbol": SYMBOLS[self.name]}
        named = {"client_order_id": self.line.recording["ids"][id]} if id else {}
        return asyncio.run(self.call(tool, {**WHO, **symbol, **named, **more}))

    def place(self, step: str, id: str, **more: Any) -> dict[str, Any]:
        order = {"side": "buy", "type": "limit", "quantity": "0.01", "limit_price": "50000", **more}
        return self.hear(step, "place_order", id, **{key: value for key, value in order.items() if value})

    def state(self, step: str, id: str) -> answers.OrderReport:
        return answers.order(self.hear(step, "get_order", id))


RECORDED = sorted(path.stem for path in FOLDER.glob("*.json"))
recorded = pytest.mark.parametrize("mapping", RECORDED)


def test_every_recording_is_of_a_ready_made_mapping() -> None:
    assert set(RECORDED) <= set(names())


@recorded
def test_the_mapping_fits_what_the_server_lists(mapping: str) -> None:
    server = Replayed(mapping)
    assert server.status.mismatches == ()
    assert {"place_order", "cancel_order", "get_order", "list_orders", "get_balances"} <= set(server.status.tools)


@recorded
def test_an_order_is_placed_found_listed_and_cancelled(mapping: str) -> None:
    server = Replayed(mapping)
    with pytest.raises(OrderNotFound):
        server.hear("not there", "get_order", "a")
    assert answers.order(server.place("place", "a")).state is OrderState.OPEN
    assert server.state("look up", "a").state is OrderState.OPEN
    listed = server.hear("list", "list_orders", status="open")["orders"]
    assert server.line.recording["ids"]["a"] in [order["client_order_id"] for order in listed]
    server.hear("cancel", "cancel_order", "a")
    assert server.state("look up cancelled", "a").state is OrderState.CANCELLED
    with pytest.raises(ExecRejected):
        server.hear("cancel again", "cancel_order", "a")


@recorded
def test_a_fill_is_told(mapping: str) -> None:
    server = Replayed(mapping)
    server.place("fill", "e", limit_price="60001")
    report = server.state("look up filled", "e")
    assert (report.state, str(report.filled_quantity)) == (OrderState.FILLED, "0.01")


@pytest.mark.parametrize("mapping", ["mcp-okx", "okx"])
def test_the_fee_of_a_fill_is_told_in_the_currency_that_it_was_taken_in(mapping: str) -> None:
    server = Replayed(mapping)
    server.place("fill", "e", limit_price="60001")
    report = server.state("look up filled", "e")
    assert (str(report.fee), report.fee_currency) == ("0.0001", "BTC")  # which these servers tell as -0.0001
    (listed, *_) = server.hear("list", "list_orders", status="open")["orders"]
    assert (listed["fee"], listed["fee_currency"]) == ("0", "BTC")


@recorded
def test_a_refusal_is_one_with_the_exchanges_own_words(mapping: str) -> None:
    server = Replayed(mapping)
    with pytest.raises(ExecRejected, match=r"(?i)insufficient .*balance"):
        server.place("refuse", "b")
    with pytest.raises(OrderNotFound):
        server.hear("look up refused", "get_order", "b")


@recorded
@pytest.mark.parametrize(("step", "id", "again"), [("504", "c", "look up 504"), ("hang", "d", "look up hang")])
def test_what_was_placed_and_not_answered_is_unknown_and_found(mapping: str, step: str, id: str, again: str) -> None:
    server = Replayed(mapping)
    with pytest.raises(ExecUnknown):
        server.place(step, id)
    assert server.state(again, id).state is OrderState.OPEN


@recorded
def test_an_id_that_is_there_already_is_no_refusal(mapping: str) -> None:
    with pytest.raises(ExecUnknown, match="there is such an order already"):
        Replayed(mapping).place("duplicate", "a")


@recorded
def test_prices_and_balances_are_read(mapping: str) -> None:
    server = Replayed(mapping)
    quote = answers.quote(server.hear("quote", "get_quote"), SYMBOLS[mapping])
    assert (str(quote.bid), str(quote.ask)) == ("60000.1", "60000.2")
    assert answers.balances(server.hear("balances", "get_balances"))
    if "get_candles" in server.status.tools:
        assert answers.candles(server.hear("candles", "get_candles", timeframe="1m", limit=5))


def test_what_bybit_lets_through_is_read() -> None:
    assert answers.rules(Replayed("bybit").hear("rules", "get_rules")) == InstrumentRules(
        Decimal("0.1"), Decimal("0.000001"), Decimal("0.000011"), Decimal(5)
    )


def test_a_market_order_that_bybit_would_take_for_another_quantity_is_not_sent() -> None:
    with pytest.raises(ExecError, match="no word for type 'market', only for limit"):
        Replayed("bybit").place("market", "f", type="market", limit_price="")

"""The paper exchange's memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.execution.paper.account import PaperOrder
from reconciler.execution.paper.exchange import PaperExchange
from reconciler.execution.paper.feed import Prices
from reconciler.execution.paper.journal import Journal


def trade(journal: Journal, prices: Prices, clock: FakeClock) -> list[PaperOrder]:
    exchange = PaperExchange(prices, clock, record=journal.record)
    exchange.restore(journal.orders)
    exchange.place_order("main", "a", "o1", "BTC/USD", "buy", "market", "0.10")
    exchange.place_order("main", "a", "o2", "BTC/USD", "buy", "limit", "1", "96.50")
    exchange.place_order("other", "a", "o1", "BTC/USD", "buy", "limit", "1", "90", None, "day", False)
    clock.advance(600)
    return exchange.list_orders("main", "a", "all") + exchange.list_orders("other", "a", "all")


def test_orders_come_back_exactly_as_they_were(tmp_path: Path, prices: Prices, clock: FakeClock) -> None:
    journal = Journal(tmp_path / "paper.jsonl")
    orders = trade(journal, prices, clock)
    journal.close()
    again = Journal(tmp_path / "paper.jsonl")
    again.close()

    assert again.orders == orders
    assert len((tmp_path / "paper.jsonl").read_text().splitlines()) == 3  # four were written; one order changed


def test_a_line_torn_by_a_kill_is_left_out_and_what_follows_is_whole(
    tmp_path: Path, prices: Prices, clock: FakeClock
) -> None:
    path = tmp_path / "paper.jsonl"
    journal = Journal(path)
    orders = trade(journal, prices, clock)
    journal.close()
    with path.open("a") as file:
        file.write('{"order_id": "paper-9", "clie')
    again = Journal(path)
    again.record(orders[0])
    again.close()

    last = Journal(path)
    last.close()
    assert last.orders == orders


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    with pytest.raises(ValueError, match="Expecting value"):
        Journal(path)
    assert path.read_text() == "dear diary\n"

"""The paper exchange's memory: what a kill at any byte leaves of it, and what a failing disk does."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.clock import FakeClock
from reconciler.orders.market import Balance, Position
from reconciler.paper.account import PaperOptions
from reconciler.paper.csv_feed import CsvFeed
from reconciler.paper.exchange import PaperExchange
from reconciler.paper.feed import Prices
from reconciler.paper.mcp_server import Journal
from reconciler.paper.paper_order import MarketRules, Markets, OrderRefused, PaperOrder
from tests.drawing import drawn
from tests.paper.orders import get, held, limit, place

OPTIONS = PaperOptions(markets=Markets({"*": MarketRules(depth=Decimal(1))}))
State = tuple[list[PaperOrder], list[Balance], list[Position]]


def opened(journal: Journal, prices: Prices, clock: FakeClock) -> PaperExchange:
    exchange = PaperExchange(prices, clock, OPTIONS, journal.record)
    exchange.restore(journal.changes())
    return exchange


def state(exchange: PaperExchange) -> State:
    return exchange.list_orders("main", "a", "all"), exchange.get_balances("main"), exchange.get_positions("main")


def trade(exchange: PaperExchange, clock: FakeClock, after_each: Callable[[], None] = lambda: None) -> None:
    """Orders of every kind: filled at once, bit by bit, later, cancelled, expired, triggered."""
    steps: tuple[Callable[[], PaperOrder], ...] = (
        lambda: place(exchange, "o1", quantity="2.5"),
        lambda: limit(exchange, "96.50", "o2", quantity="0.7"),
        lambda: limit(exchange, "90", "o3", quantity="1", time_in_force="day"),
        lambda: limit(exchange, "100.03", "o4", quantity="4"),
        lambda: place(exchange, "o5", type="stop_limit", stop_price="101", limit_price="101.5", quantity="1"),
        lambda: place(exchange, "o6", side="sell", quantity="0.2", reduce_only=True),
        lambda: exchange.cancel_order("main", "a", "o3", "BTC/USD"),
    )
    for work in steps:
        work()
        after_each()
        clock.advance(20)
    clock.advance(600)
    exchange.get_balances("main")
    after_each()


def test_a_restart_finds_everything_as_it_was(tmp_path: Path, prices: Prices, clock: FakeClock) -> None:
    journal = Journal(tmp_path / "new" / "paper.journal")
    exchange = opened(journal, prices, clock)
    trade(exchange, clock)
    before = state(exchange)
    journal.close()
    again = Journal(tmp_path / "new" / "paper.journal")
    restarted = opened(again, prices, clock)

    assert state(restarted) == before
    assert {len(order.fills) for order in before[0]} >= {0, 1, 3}  # the test tests something
    assert place(restarted, "o9", quantity="0.1").order_id == "paper-7"
    again.close()
    assert stat.S_IMODE((tmp_path / "new" / "paper.journal").stat().st_mode) == 0o600


def test_a_kill_at_any_byte_leaves_all_that_was_answered_and_what_follows_is_whole(
    tmp_path: Path, prices: Prices
) -> None:
    clock, path = FakeClock(0), tmp_path / "paper.journal"
    journal = Journal(path)
    exchange = opened(journal, prices, clock)
    answered: dict[int, tuple[float, list[PaperOrder]]] = {}

    def remember() -> None:
        answered[path.stat().st_size] = clock.time(), exchange.list_orders("main", "a", "all")

    trade(exchange, clock, remember)
    journal.close()
    written = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(written) if byte == ord("\n")]
    cuts = {0, *(cut for end in ends for cut in (end - 200, end - 1, end, end + 1, end + 90))}
    for cut in sorted(cut for cut in cuts if 0 <= cut <= len(written)):
        path.write_bytes(written[:cut])
        time_s, known = answered.get(max((size for size in answered if size <= cut), default=0), (0.0, []))
        journal = Journal(path)
        restored = opened(journal, prices, FakeClock(time_s))
        assert [get(restored, order.ticket.client_order_id).created_at for order in known] == [
            order.created_at for order in known
        ]
        if cut in answered:
            assert restored.list_orders("main", "a", "all") == known
        place(restored, "new", quantity="0.01")
        kept = state(restored)
        journal.close()
        journal = Journal(path)
        assert state(opened(journal, prices, FakeClock(time_s))) == kept
        journal.close()


def test_a_step_that_a_kill_cut_in_two_is_finished_and_nothing_in_it_done_twice(tmp_path: Path, prices: Prices) -> None:
    clock, path = FakeClock(0), tmp_path / "paper.journal"
    journal = Journal(path)
    exchange = opened(journal, prices, clock)
    for number in range(4):
        limit(exchange, "95.2", f"o{number}", quantity="4")  # at 95 there are eleven, at 0.019 apart: ten of them
    before = path.stat().st_size
    clock.advance(120)
    whole = state(exchange)
    journal.close()
    written = path.read_bytes()
    assert [order.filled_quantity for order in whole[0]] == [4, 4, 2, 0]
    ends = [at + 1 for at, byte in enumerate(written) if byte == ord("\n") and at >= before]
    assert len(ends) == 3
    for cut in (before, *ends):
        path.write_bytes(written[:cut])
        journal = Journal(path)
        assert state(opened(journal, prices, clock)) == whole
        journal.close()
        assert path.read_bytes() == written


class FullDisk:
    """Writes half of what it is given, then fails, as often as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self._pwrite = os.pwrite
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def pwrite(self, file: int, data: bytes, offset: int) -> int:
        if not self.failures:
            return self._pwrite(file, data, offset)
        self.failures -= 1
        self._pwrite(file, data[: len(data) // 2], offset)
        raise OSError(28, "No space left on device")


def test_what_cannot_be_recorded_did_not_happen(
    tmp_path: Path, prices: Prices, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, path = FullDisk(monkeypatch), tmp_path / "paper.journal"
    journal = Journal(path)
    exchange = opened(journal, prices, clock)
    limit(exchange, "96", "o1", quantity="1")
    limit(exchange, "96", "o2", quantity="1")
    before = state(exchange)
    refused: tuple[Callable[[], PaperOrder], ...] = (
        lambda: place(exchange, "o3"),
        lambda: exchange.cancel_order("main", "a", "o1", "BTC/USD"),
    )
    for work in refused:
        disk.failures = 1
        with pytest.raises(OSError, match="No space left"):
            work()
        assert state(exchange) == before
    clock.advance(120)
    disk.failures = 2
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            exchange.get_balances("main")
    assert held(exchange)["BTC"][0] == 2  # both fill once there is room again
    place(exchange, "o3", quantity="0.1")
    after = state(exchange)
    journal.close()
    journal = Journal(path)
    assert state(opened(journal, prices, clock)) == after
    journal.close()


def test_a_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("dear diary\n")
    journal = Journal(path)
    with pytest.raises(ValueError, match=r"notes\.txt:1: expected an order of the paper exchange"):
        list(journal.changes())
    journal.close()
    assert path.read_text() == "dear diary\n"


def test_two_exchanges_never_share_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "paper.journal"
    journal = Journal(path)
    with pytest.raises(BlockingIOError, match=r"paper\.journal: another paper exchange uses it"):
        Journal(path)
    journal.close()
    Journal(path).close()


SYMBOLS = ("BTC/USD", "BTC/XAU", "XAU/USD", "XAU/BTC", "ETH/XAU")
"""Of which only USD is given to begin with."""


@pytest.mark.parametrize("shorts", [False, True])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=drawn(60))
@given(
    asked=st.lists(
        st.tuples(
            st.sampled_from(SYMBOLS),
            st.sampled_from(["buy", "sell"]),
            st.sampled_from(["market", "limit"]),
            st.sampled_from(["0.5", "2", "900", "50000", "-1"]),
        ),
        max_size=12,
    )
)
def test_money_follows_from_the_journal_and_a_refused_order_moves_none(
    tmp_path: Path, shorts: bool, asked: list[tuple[str, str, str, str]]
) -> None:
    lines = f"date,{','.join(SYMBOLS)}\n1,100,100,100,100,100\n2,101,101,101,101,101\n".splitlines()
    prices, clock, path = Prices([CsvFeed(lines, 60)], 60), FakeClock(0), tmp_path / "money.journal"
    path.unlink(missing_ok=True)
    options = PaperOptions(shorts=shorts)
    journal = Journal(path)
    exchange = PaperExchange(prices, clock, options, journal.record)
    for number, (symbol, side, kind, quantity) in enumerate(asked):
        order = {"symbol": symbol, "side": side, "type": kind, "quantity": quantity}
        before = state(exchange)
        try:
            place(exchange, f"o{number}", **order, **({"limit_price": "99"} if kind == "limit" else {}))
        except OrderRefused:
            assert state(exchange) == before
    journal.close()
    again = Journal(path)
    restarted = PaperExchange(prices, clock, options)
    restarted.restore(again.changes())
    assert state(restarted) == state(exchange)
    assert shorts or all(balance.total >= 0 for balance in exchange.get_balances("main"))
    again.close()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (b'"paper-2"', b'"foo-1"', "order_id: expected paper-1 or the like, was 'foo-1'"),
        (b'"paper-2"', b'"paper-' + b"9" * 5_000 + b'"', "order_id: expected paper-1 or the like"),
        (b'"quantity":"0.7"', b'"quantity":"NaN"', "expected a finite number, was 'NaN'"),
        (b'"quantity":"0.7"', b'"quantity":"-1"', "expected more than zero, was '-1'"),
        (b'"limit_price":"96.5"', b'"limit_price":"Infinity"', "expected a finite number, was 'Infinity'"),
        (b'"side":"buy"', b"\xff\xfe", "UnicodeDecodeError"),
    ],
)
def test_a_line_that_was_tampered_with_is_named_with_what_to_do(
    tmp_path: Path, prices: Prices, clock: FakeClock, before: bytes, after: bytes, told: str
) -> None:
    path = tmp_path / "paper.journal"
    journal = Journal(path)
    exchange = opened(journal, prices, clock)
    place(exchange, "o1", quantity="1")
    limit(exchange, "96.50", "o2", quantity="0.7")
    journal.close()
    first, second = path.read_bytes().splitlines(keepends=True)
    assert before in second
    path.write_bytes(first + second.replace(before, after))
    journal = Journal(path)
    with pytest.raises(ValueError, match=r"paper\.journal:2: expected an order of the paper exchange: ") as refused:
        opened(journal, prices, clock)
    journal.close()
    assert told in str(refused.value)
    assert str(refused.value).endswith("; name another file, or move this one away to begin anew")
    assert len(str(refused.value)) < 500

"""Whether a database is whole, and what is told of one that is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.errors import StoreError
from reconciler.orders.news import Correction
from reconciler.orders.order import Fill, Order, OrderNews, OrderState, Outcome, Side
from reconciler.records.mode import Mode
from reconciler.records.record import Row, RowChange
from reconciler.store import Store, examine, restore
from reconciler.store.books import end_shadow_books

MakeOrder = Callable[..., Order]
MakeRow = Callable[..., Row]


@pytest.fixture
def busy(store: Store, path: Path, clock: FakeClock, make_order: MakeOrder, make_row: MakeRow) -> Path:
    """A database in which most things have happened: fills told apart, fees in coins, corrections, shadow books."""
    store.desired.apply([RowChange(make_row("dca"), "created", ""), RowChange(make_row("grid"), "created", "")])
    ledger = store.ledger
    for number, side in enumerate((Side.BUY, Side.BUY, Side.SELL)):
        id = f"real{number}"
        ledger.append(make_order(id, side=side, quantity=Decimal(2), state=OrderState.OPEN))
        told = [Fill(id, "f1", Decimal("0.5"), Decimal(100), Decimal("0.001"), utc(clock.time()), fee_currency="BTC")]
        ledger.settle(id, OrderNews(filled_quantity=Decimal("0.5"), average_price=Decimal(100), fills=told))
        ledger.settle(id, OrderNews(state=OrderState.FILLED, filled_quantity=Decimal(2), average_price=Decimal(101)))
        if number == 1:
            ledger.correct({"dca": Correction(Decimal("3.5"), Decimal(100), "a fee", "uid 0")})
    for number in range(4):
        shadow = make_order(
            f"shadow{number}",
            mode=Mode.OBSERVE,
            outcome=Outcome.SHADOW,
            state=OrderState.FILLED,
            filled_quantity=Decimal(1),
        )
        ledger.append(shadow)
        if number == 1:
            store.desired.apply([RowChange(make_row("dca", generation=2), "changed", "")])
            store._writer.write(lambda db: end_shadow_books(db, ["dca"], utc(clock.time())))
            store.ledger.shadow_books_ended(["dca"])
    return path


def test_a_database_that_is_whole_is_told_to_be_with_an_engine_running_or_without(busy: Path, store: Store) -> None:
    assert examine(busy).faults == ()
    store.close()
    found = examine(busy)
    assert (found.orders, found.books, found.instances, found.faults) == (7, 3, 2, ())


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("DELETE FROM fills WHERE client_order_id = 'real2'", "order real2: 2 of it is filled, its fills make 0"),
        ("DELETE FROM fills WHERE id = 1", "order real0: 2 of it is filled, its fills make 1.5"),
        ("UPDATE fills SET quantity = '0.6' WHERE id = 1", "order real0: 2 of it is filled, its fills make 2.1"),
        ("UPDATE orders SET filled_quantity = '1' WHERE client_order_id = 'real1'", "order real1: 1 of it is filled"),
        ("UPDATE books SET quantity = '9' WHERE shadow = 0", "book of dca: it holds 9 BTC/USD, its fills make 1.499"),
        ("UPDATE books SET quantity = '9' WHERE ended_at IS NOT NULL", "shadow book of dca: it holds 9 BTC/USD"),
        ("DELETE FROM corrections", "book of dca: it holds 1.499 BTC/USD, its fills make 1.997"),
        ("DELETE FROM books WHERE shadow = 0", "book of dca: there is none, but fills of BTC/USD"),
        (
            "UPDATE instances SET generation = 7 WHERE id = 'dca'",
            "instance dca: its row is of generation 7, its",
        ),
        ("UPDATE instances SET \"values\" = '{}' WHERE id = 'grid'", "instance grid: its row is not what its history"),
        ("DELETE FROM generations WHERE instance_id = 'grid'", "instance grid: its history is empty"),
    ],
)
def test_what_is_not_as_it_must_be_is_named(busy: Path, store: Store, sql: str, fault: str) -> None:
    store.close()
    with closing(sqlite3.connect(busy)) as db, db:
        db.execute(sql)
    assert any(told.startswith(fault) for told in examine(busy).faults), examine(busy).faults


def test_a_damaged_file_is_not_whole(busy: Path, store: Store) -> None:
    store.close()
    data = bytearray(busy.read_bytes())
    data[6 * 4096 : 9 * 4096] = b"x" * (3 * 4096)
    busy.write_bytes(bytes(data))
    assert examine(busy).faults[0].startswith("the file: ")


def test_a_file_of_something_else_is_not_whole_and_one_that_is_not_there_cannot_be_looked_at(tmp_path: Path) -> None:
    diary = tmp_path / "diary.db"
    diary.write_text("dear diary, " * 100)
    assert examine(diary).faults == ("the file: file is not a database",)
    with pytest.raises(StoreError, match="no database there"):
        examine(tmp_path / "nowhere.db")


def test_an_empty_file_is_not_whole_and_no_older_version(tmp_path: Path, clock: FakeClock) -> None:
    emptied = tmp_path / "reconciler.db"
    emptied.touch()
    assert examine(emptied).faults == ("the file: it is empty, there is nothing of a ledger in it",)
    with pytest.raises(StoreError, match="it is empty, there is nothing of a ledger in it: take another copy"):
        restore(emptied, tmp_path / "here" / "reconciler.db", clock, 0, "")


def test_a_database_of_a_newer_version_cannot_be_looked_at(busy: Path, store: Store) -> None:
    store.close()
    with closing(sqlite3.connect(busy)) as db, db:
        db.execute("UPDATE _sqlite_migrations SET name = '9999_x' WHERE name LIKE '0009%'")
    with pytest.raises(StoreError, match="written by a newer version"):
        examine(busy)

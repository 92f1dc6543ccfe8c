"""The read side: pages, filters, and files that cannot be read."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.errors import Problem, StoreError
from reconciler.orders.order import Fill, Order, OrderNews, OrderState, Outcome, RejectedBy
from reconciler.records.mode import Mode
from reconciler.records.record import Attempt, Row, RowChange, without_instance
from reconciler.records.status import Sync
from reconciler.store import Reader, Store

MakeOrder = Callable[..., Order]
MakeRow = Callable[..., Row]


def test_an_order_has_the_keys_of_the_contract_then_its_judge_and_its_book(
    store: Store, reader: Reader, make_order: MakeOrder
) -> None:
    store.ledger.append(
        make_order("x", limit_price=Decimal("1E+3"), state=OrderState.OPEN, filled_quantity=Decimal("0.10"))
    )
    items, total = reader.orders()
    assert total == 1
    assert items == [
        {
            "instance_id": "dca",
            "client_order_id": "x",
            "outcome": "accepted",
            "state": "open",
            "side": "buy",
            "type": "market",
            "quantity": "1",
            "limit_price": "1000",
            "symbol": "BTC/USD",
            "account_id": "main",
            "client_id": "desk-a",
            "mode": "active",
            "generation": 3,
            "beat": 283_333_333,
            "revision": "e" * 40,
            "reason": "",
            "filled_quantity": "0.1",
            "average_price": None,
            "fee": None,
            "fee_currency": None,
            "exchange_order_id": None,
            "created_at": "2023-11-14T22:13:20.250000Z",
            "updated_at": "2023-11-14T22:13:20.250000Z",
            "rejected_by": None,
            "shadow": False,
            "repeats": 1,
            "stop_price": None,
            "time_in_force": "gtc",
            "reduce_only": False,
            "quote_bid": None,
            "quote_ask": None,
            "config_digest": "c0",
            "code_digest": "d0",
            "was_unknown": False,
            "money": None,
            "quote_at": None,
            "provenance": "strategy",
            "fills": items[0]["fills"],
        }
    ]
    assert [fill["quantity"] for fill in items[0]["fills"]] == ["0.1"]
    assert reader.order("x") == {**items[0], "change": None}
    assert reader.order("y") is None


def test_orders_are_filtered_and_paged_newest_first(store: Store, reader: Reader, make_order: MakeOrder) -> None:
    for number in range(5):
        store.ledger.append(make_order(f"a{number}", instance_id="a"))
    store.ledger.append(make_order("b1", outcome=Outcome.REJECTED, rejected_by=RejectedBy.GATEWAY, mode=Mode.OBSERVE))
    store.ledger.append(make_order("b2", state=OrderState.FILLED))

    def ids(**wanted: object) -> tuple[list[str], int]:
        items, total = reader.orders(**wanted)  # type: ignore[arg-type]
        return [item["client_order_id"] for item in items], total

    assert ids() == (["b2", "b1", "a4", "a3", "a2", "a1", "a0"], 7)
    assert ids(limit=2, offset=1) == (["b1", "a4"], 7)
    assert ids(instance_id="a", limit=2) == (["a4", "a3"], 5)
    assert ids(outcome="rejected") == (["b1"], 1)
    assert ids(state="filled") == (["b2"], 1)
    assert ids(shadow=True) == (["b1"], 1)
    assert ids(shadow=False, limit=2) == (["b2", "a4"], 6)
    assert ids(shadow=True, instance_id="a") == ([], 0)
    assert ids(instance_id="a", state="filled") == ([], 0)
    assert ids(limit=0) == ([], 7)
    assert ids(limit=-1, offset=-5) == ([], 7)
    assert ids(instance_id="' OR 1 --") == ([], 0)


def test_an_order_says_which_book_it_is_in_and_who_rejected_it(
    store: Store, reader: Reader, make_order: MakeOrder
) -> None:
    observed = {"mode": Mode.OBSERVE, "outcome": Outcome.REJECTED, "rejected_by": RejectedBy.GATEWAY}
    store.ledger.append(make_order("observed", **observed))
    store.ledger.append(make_order("kept", mode=Mode.OBSERVE, outcome=Outcome.SHADOW))
    store.ledger.append(make_order("real", outcome=Outcome.REJECTED, rejected_by=RejectedBy.EXCHANGE))
    items, _ = reader.orders()
    assert [(item["client_order_id"], item["shadow"], item["rejected_by"]) for item in items] == [
        ("real", False, "exchange"),
        ("kept", True, None),
        ("observed", True, "gateway"),
    ]


def test_orders_come_with_their_fills(store: Store, reader: Reader, make_order: MakeOrder) -> None:
    at = utc(1_700_000_060.5)
    for name in ("x", "y", "z"):
        store.ledger.append(make_order(name, state=OrderState.OPEN))
    for name, prices in (("x", (100, 101)), ("z", (99,))):
        told = [Fill(name, f"{name}{n}", Decimal("0.5"), Decimal(price), None, at) for n, price in enumerate(prices)]
        store.ledger.settle(name, OrderNews(filled_quantity=Decimal(len(told)) / 2, fills=told))
    orders = {item["client_order_id"]: item["fills"] for item in reader.orders()[0]}
    fill = {"quantity": "0.5", "fee": None, "fee_currency": None, "at": "2023-11-14T22:14:20.500000Z", "made_up": False}
    assert orders == {
        "x": [{"exchange_fill_id": "x0", "price": "100", **fill}, {"exchange_fill_id": "x1", "price": "101", **fill}],
        "y": [],
        "z": [{"exchange_fill_id": "z0", "price": "99", **fill}],
    }


def test_orders_are_filtered_by_time_and_by_what_may_still_happen(
    store: Store, reader: Reader, make_order: MakeOrder
) -> None:
    for hour in range(4):
        at = utc(1_700_000_000 + 3_600 * hour)
        state = OrderState.OPEN if hour % 2 else OrderState.FILLED
        store.ledger.append(make_order(f"h{hour}", created_at=at, updated_at=at, state=state))

    def ids(**wanted: object) -> list[str]:
        items, total = reader.orders(**wanted)  # type: ignore[arg-type]
        assert total == len(items)
        return [item["client_order_id"] for item in items]

    second = utc(1_700_000_000 + 7_200)
    assert ids(since=second) == ["h3", "h2"]
    assert ids(until=second) == ["h1", "h0"]
    assert ids(since=second, until=second) == []
    assert ids(since=utc(1_700_000_001), until=second, is_open=True) == ["h1"]
    assert ids(is_open=True) == ["h3", "h1"]
    assert ids(is_open=False, shadow=False, state="filled") == ["h2", "h0"]


def test_what_an_instance_holds_is_read_from_its_open_books(
    store: Store, reader: Reader, make_order: MakeOrder
) -> None:
    filled = {"state": OrderState.FILLED, "filled_quantity": Decimal(1), "average_price": Decimal(100)}
    store.ledger.append(make_order("x", state=OrderState.OPEN))
    store.ledger.settle("x", OrderNews(**filled))  # type: ignore[arg-type]
    (real,) = reader.holdings("dca", shadow=False)
    assert (real.symbol, real.quantity, real.average_price) == ("BTC/USD", Decimal(1), Decimal(100))
    assert reader.holdings("dca", shadow=True) == reader.holdings("other", shadow=False) == []


def test_a_generation_is_found_as_it_was_last_changed(store: Store, reader: Reader, make_row: MakeRow) -> None:
    for summary in ("first", "again"):
        store.desired.apply([RowChange(make_row("a"), "changed", summary)])
    found = reader.generation("a", 1)
    assert found is not None
    assert (found["summary"], found["committed"], found["values"]["id"]) == ("again", False, "a")
    assert reader.generation("a", 2) is reader.generation("b", 1) is None


def test_ids_are_those_of_all_that_there_ever_was(store: Store, reader: Reader, make_row: MakeRow) -> None:
    gone = make_row("gone", removed_at="2026-02-01T00:00:00.000Z")
    store.desired.apply([RowChange(gone, "removed", ""), RowChange(make_row("a"), "created", "")])
    assert reader.ids() == ["a", "gone"]


def test_an_export_keeps_no_transaction_open_and_ends_where_it_began(
    store: Store, reader: Reader, make_order: MakeOrder
) -> None:
    for number in range(3):
        store.ledger.append(make_order(f"o{number}"))
    exported = reader.exported("orders")
    first = next(exported)
    store.ledger.append(make_order("later"))
    assert [first["client_order_id"], *(item["client_order_id"] for item in exported)] == ["o0", "o1", "o2"]
    assert len(list(reader.exported("orders"))) == 4


def test_events_are_filtered_by_instance_and_type(store: Store, reader: Reader) -> None:
    store.events.record("a", "Normal", "Loaded", "")
    store.events.record("a", "Warning", "HookFailed", "")
    store.events.record("b", "Warning", "HookFailed", "")
    store.flush()
    assert [event["id"] for event in reader.events(instance_id="a")[0]] == [2, 1]
    assert [event["id"] for event in reader.events(type="Warning")[0]] == [3, 2]
    assert reader.events(instance_id="a", type="Warning")[1] == 1
    assert reader.events(limit=1, offset=1)[0][0]["id"] == 2


def test_rows_attempts_halts_and_beat_are_what_the_engine_wrote(
    store: Store, reader: Reader, make_row: MakeRow
) -> None:
    assert (reader.rows(), reader.row("a"), reader.attempts(), reader.halts()) == ({}, None, {}, [])
    assert reader.last_beat() is None
    tombstone = make_row("gone", removed_at="2026-02-01T00:00:00.000Z")
    store.desired.apply([RowChange(make_row("a"), "created", ""), RowChange(tombstone, "removed", "")])
    store.beats.fired(7, 0.5)
    assert reader.rows() == {"a": make_row("a"), "gone": tombstone}
    assert reader.row("gone") == tombstone
    assert reader.last_beat() == (7, 0.5)


def test_files_without_an_instance_are_those_that_no_live_row_came_from(
    store: Store, reader: Reader, make_row: MakeRow
) -> None:
    def attempt(name: str, *, is_well: bool = False) -> Attempt:
        path = f"instances/{name}.yaml"
        problems = () if is_well else (Problem(path, 1, 2, "config", "no"),)
        return Attempt(path, None, "f", None, Sync.SYNCED if is_well else Sync.INVALID, "", problems, "")

    live = make_row("live", path="instances/live.yaml")
    gone = make_row("gone", path="instances/gone.yaml", removed_at="2026-02-01T00:00:00.000Z")
    attempts = [attempt("live"), attempt("new"), attempt("gone"), attempt("coming", is_well=True)]
    store.desired.apply([RowChange(live, "created", ""), RowChange(gone, "removed", "")], attempts)
    found = reader.without_instance()
    assert [one.path for one in found] == ["instances/gone.yaml", "instances/new.yaml"]
    assert tuple(found) == without_instance(reader.rows().values(), reader.attempts().values())
    assert [one.stem for one in found] == ["gone", "new"]


@pytest.mark.parametrize("sql", ["DELETE FROM orders", "UPDATE meta SET epoch = 99", "DROP TABLE events"])
def test_a_reader_cannot_write(store: Store, reader: Reader, sql: str) -> None:
    with pytest.raises(StoreError, match="readonly database"), reader._reads.snapshot() as db:
        db.execute(sql)


def test_a_reader_cannot_even_where_it_lifts_its_own_ban(store: Store, reader: Reader) -> None:
    with reader._reads.snapshot() as db:
        db.execute("PRAGMA query_only = OFF")
        with pytest.raises(sqlite3.OperationalError, match="readonly database"):
            db.execute("DELETE FROM orders")


def test_a_reader_works_without_an_engine(path: Path, clock: FakeClock, make_order: MakeOrder) -> None:
    with Store.open(path, clock) as store:
        store.ledger.append(make_order("x"))
    reader = Reader.open(path)
    assert reader.orders()[1] == 1
    with Store.open(path, clock) as store:
        store.ledger.append(make_order("y"))
        assert reader.orders()[1] == 2
    assert reader.orders()[1] == 2
    reader.close()
    with pytest.raises(StoreError, match="was closed"):
        reader.orders()


def test_many_threads_read_while_one_writes(store: Store, reader: Reader, make_order: MakeOrder) -> None:
    totals: list[list[int]] = []

    def look() -> None:
        seen = []
        for _ in range(20):
            items, total = reader.orders(limit=1000)
            assert len(items) == total, "a page and its total are of one moment"
            seen.append(total)
        totals.append(seen)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(40):
        store.ledger.append(make_order(str(number)))
    for thread in threads:
        thread.join(30)
    assert len(totals) == 4
    assert all(seen == sorted(seen) for seen in totals)


def test_a_database_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no database there: start the engine once, it makes one"):
        Reader.open(tmp_path / "reconciler.db")
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reconciler.db"
    path.write_bytes(b"dear diary, " * 100)
    with pytest.raises(StoreError, match=r"reconciler\.db: file is not a database"):
        Reader.open(path)


def test_an_empty_file_was_made_by_no_engine(tmp_path: Path) -> None:
    (tmp_path / "reconciler.db").touch()
    with pytest.raises(StoreError, match="start the engine once, it brings it up to date"):
        Reader.open(tmp_path / "reconciler.db")


def test_a_database_of_a_newer_version_is_refused(path: Path, store: Store) -> None:
    hand = sqlite3.connect(path)
    hand.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('strategy-reconciler', '0099', '')"
    )
    hand.commit()
    hand.close()
    with pytest.raises(StoreError, match="written by a newer version, whose 0099"):
        Reader.open(path)


def test_a_path_with_odd_characters_is_just_a_path(tmp_path: Path, clock: FakeClock) -> None:
    path = tmp_path / "a b?c#d%20e" / "reconciler.db"
    with Store.open(path, clock) as store:
        store.beats.fired(1, 6.0)
        reader = Reader.open(path)
        assert reader.last_beat() == (1, 6.0)
        reader.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM orders WHERE is_open AND instance_id = '' AND shadow = 0 ORDER BY id",
        "SELECT * FROM orders WHERE instance_id = '' AND shadow = 0 ORDER BY id DESC LIMIT 9",
        "SELECT * FROM orders WHERE is_open AND outcome = 'accepted' ORDER BY id",
        "SELECT * FROM orders WHERE instance_id = '' ORDER BY id DESC LIMIT 9",
        "SELECT * FROM orders WHERE outcome = '' ORDER BY id DESC LIMIT 9",
        "SELECT * FROM orders WHERE state = '' ORDER BY id DESC LIMIT 9",
        "SELECT * FROM orders WHERE shadow = 0 ORDER BY id DESC LIMIT 9",
        "SELECT * FROM orders WHERE instance_id = '' AND shadow = 1 AND id > 7 ORDER BY id DESC LIMIT 9",
        "SELECT * FROM books WHERE instance_id = '' AND symbol = '' AND shadow = 0 AND ended_at IS NULL",
        "SELECT max(last_order) FROM books WHERE instance_id = '' AND shadow = 1",
        "SELECT * FROM generations WHERE instance_id = '' ORDER BY id DESC LIMIT 9",
        "SELECT * FROM events WHERE instance_id = '' ORDER BY last_at DESC, id DESC LIMIT 9",
        "SELECT * FROM events ORDER BY last_at DESC, id DESC LIMIT 9",
    ],
)
def test_what_is_asked_often_is_answered_from_an_index(reader: Reader, sql: str) -> None:
    steps = [row["detail"] for row in reader._reads.query(f"EXPLAIN QUERY PLAN {sql}")]
    assert len(steps) == 1, "no sorting"
    assert "USING" in steps[0]
    assert "INDEX" in steps[0]

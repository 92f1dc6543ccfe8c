"""Copies: made while an engine runs, put back while none does, with everything halted."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.errors import StoreError, StoreLocked
from reconciler.orders.order import Order, OrderState
from reconciler.records.record import Row, RowChange
from reconciler.store import Restored, Store, back_up, examine, restore

MakeOrder = Callable[..., Order]
MakeRow = Callable[..., Row]


def traded(store: Store, make_order: MakeOrder, id: str, state: OrderState = OrderState.FILLED) -> None:
    filled = Decimal(1) if state is OrderState.FILLED else Decimal(0)
    store.ledger.append(make_order(id, state=state, filled_quantity=filled))


@pytest.fixture
def copy(store: Store, path: Path, tmp_path: Path, make_order: MakeOrder, make_row: MakeRow) -> Path:
    """A copy of the store as it ran, which has traded on since."""
    store.desired.apply([RowChange(make_row("dca"), "created", "")])
    traded(store, make_order, "a" * 18)
    traded(store, make_order, "b" * 18, OrderState.OPEN)
    target = tmp_path / "copy.db"
    assert back_up(path, target) == target.stat().st_size
    traded(store, make_order, "c" * 18)
    return target


def put_back(copy: Path, path: Path, clock: FakeClock, reason: str = "") -> Restored:
    return restore(copy, path, clock, 1000, reason)


def test_a_copy_of_a_running_engines_database_is_one_whole_file_for_its_owner_only(copy: Path) -> None:
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [file.name for file in copy.parent.glob("*copy*")] == ["copy.db"]
    found = examine(copy)
    assert (found.orders, found.instances, found.faults) == (2, 1, ())
    assert [file.name for file in copy.parent.glob("*copy*")] == ["copy.db"], "looking at it leaves nothing beside it"


def test_no_copy_is_written_over(copy: Path, path: Path) -> None:
    before = copy.read_bytes()
    for target in (copy, path):
        with pytest.raises(StoreError, match="is there already: name a new file"):
            back_up(path, target)
    assert copy.read_bytes() == before


@pytest.mark.parametrize(
    ("target", "why"), [("nowhere/copy.db", "cannot be written to: No such file"), ("/proc/x.db", "cannot be written")]
)
def test_a_place_that_takes_no_copy_is_named(store: Store, path: Path, tmp_path: Path, target: str, why: str) -> None:
    with pytest.raises(StoreError, match=why):
        back_up(path, tmp_path / target)


def test_where_no_database_is_nothing_is_copied(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"reconciler\.db: no database there"):
        back_up(tmp_path / "reconciler.db", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def damaged(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[5000:9000] = bytes(4000)
    file.write_bytes(bytes(data))


def test_what_is_damaged_is_neither_copied_nor_put_back(
    copy: Path, path: Path, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    store.close()
    damaged(copy)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"copy\.db: .*: (take another copy|restore a backup)"):
        put_back(copy, path, clock)
    assert path.read_bytes() == before
    damaged(path)
    with pytest.raises(StoreError, match=r"reconciler\.db: "):
        back_up(path, tmp_path / "another.db")
    assert not (tmp_path / "another.db").exists()
    assert not list(path.parent.glob("restoring-*"))


def test_while_an_engine_runs_nothing_is_put_back(copy: Path, path: Path, store: Store, clock: FakeClock) -> None:
    with pytest.raises(StoreLocked):
        put_back(copy, path, clock)
    store.flush()
    assert store.ledger.get("c" * 18) is not None


def test_what_is_put_back_is_halted_and_told_what_to_compare_with(
    copy: Path, path: Path, store: Store, clock: FakeClock
) -> None:
    store.close()
    done = put_back(copy, path, clock, "the disk failed")
    (account,) = done.accounts
    assert (account.account_id, account.held, account.open) == ("main", {"BTC/USD": Decimal(1)}, ("b" * 18,))
    assert (done.notes, done.written_at) == ((), utc(clock.time()))
    with Store.open(path, clock) as again:
        assert again.ledger.get("c" * 18) is None
        (halt,) = again.halts.active()
        why = "restored from copy.db: the disk failed: compare with the exchanges, then unhalt"
        assert (halt.scope, halt.full, halt.reason, halt.by) == ("all", False, why, "uid 1000")
        assert again.tell_opened(path) == []
        done_by = again.ledger._reads.query("SELECT uid, reason FROM operations WHERE action = 'restore'")
        assert done_by == [{"uid": 1000, "reason": "the disk failed"}]


def test_orders_from_then_on_are_told_from_those_that_the_copy_does_not_know(
    copy: Path, path: Path, store: Store, clock: FakeClock
) -> None:
    before = store.ledger.tags
    store.close()
    put_back(copy, path, clock)
    with Store.open(path, clock) as again:
        assert again.ledger.tags[:-1] == before
        assert again.ledger.tags[-1] not in before


def test_what_was_here_is_kept_and_can_be_put_back_in_turn(
    copy: Path, path: Path, store: Store, clock: FakeClock
) -> None:
    store.close()
    aside = put_back(copy, path, clock).aside
    assert aside is not None
    put_back(aside, path, clock)
    with Store.open(path, clock) as again:
        assert again.ledger.get("c" * 18) is not None


def test_halts_that_were_in_force_here_stay_in_force(copy: Path, path: Path, store: Store, clock: FakeClock) -> None:
    store.halts.add("account", "main", True, "margin call", "uid 7")
    store.close()
    put_back(copy, path, clock)
    with Store.open(path, clock) as again:
        kept = [(halt.scope, halt.id, halt.full, halt.reason) for halt in again.halts.active()]
        assert kept[0] == ("account", "main", True, "margin call")


def test_a_database_here_that_cannot_be_read_is_no_obstacle(
    copy: Path, path: Path, store: Store, clock: FakeClock
) -> None:
    store.close()
    path.write_bytes(b"dear diary, " * 100)
    done = put_back(copy, path, clock)
    assert "whether halts were in force here cannot be read" in done.notes[0]
    Store.open(path, clock).close()


def test_a_folder_that_was_copied_with_its_log_is_put_back_with_what_the_log_says(
    copy: Path, path: Path, store: Store, clock: FakeClock, tmp_path: Path
) -> None:
    """As an engine leaves it that was killed."""
    for end in ("", "-wal"):
        shutil.copyfile(f"{path}{end}", tmp_path / f"left.db{end}")
    store.close()
    os.unlink(path)
    put_back(tmp_path / "left.db", path, clock)
    with Store.open(path, clock) as again:
        assert again.ledger.get("c" * 18) is not None


@pytest.mark.parametrize("made", ["a diary", "another program's"])
def test_what_is_no_copy_of_ours_is_refused(
    store: Store, path: Path, clock: FakeClock, tmp_path: Path, made: str
) -> None:
    store.close()
    strange = tmp_path / "strange.db"
    if made == "a diary":
        strange.write_text("dear diary")
    else:
        with closing(sqlite3.connect(strange)) as db:
            db.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match=r"strange\.db: (file is not a database|expected an engine's database)"):
        put_back(strange, path, clock)
    with pytest.raises(StoreError, match=r"no such file"):
        put_back(tmp_path / "nowhere.db", path, clock)
    Store.open(path, clock).close()

"""What scopes must know across restarts, marks by hand, and labels that were left with something open."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.errors import StoreError
from reconciler.orders.news import Correction
from reconciler.records.accounts import ScopeMemory
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row, RowChange
from reconciler.store.store import Store

WHOLE = ScopeMemory(Decimal("12.5"), Decimal(-3), {"a": Decimal("0.1")}, "2026-01-01T00:00:00.000Z", date(2026, 1, 2))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reconciler.db"


def put(store: Store, labels: Mapping[str, str], generation: int = 1) -> None:
    values = {"id": "a", "labels": dict(labels)}
    record = InstanceRecord("a", Identity("grid", "main", "desk", "BTC/USD"), Mode.OBSERVE, {}, {}, values=values)
    record = InstanceRecord(**{**{name: getattr(record, name) for name in record.__slots__}, "labels": labels})
    row = Row(record, "instances/a.yaml", generation, "v", "c", "f", "code", "r", True, "2026-01-01T00:00:00.000Z")
    store.desired.apply([RowChange(row, "changed", "labels")])


def hold(store: Store, quantity: str) -> None:
    store.ledger.correct({"a": Correction(Decimal(quantity), Decimal(100), "as told", "uid 1")})


def test_what_a_scope_must_know_is_there_after_a_restart(path: Path) -> None:
    with Store.open(path, FakeClock()) as store:
        store.scopes.keep("account main", "real", ScopeMemory())
        store.scopes.keep("account main", "real", WHOLE)
        store.scopes.keep("all", "paper", ScopeMemory())
    with Store.open(path, FakeClock()) as store:
        assert store.scopes.memories() == {("account main", "real"): WHOLE, ("all", "paper"): ScopeMemory()}
        assert store.scopes.lift("account main")
        assert not store.scopes.lift("account other")
        lifted = store.scopes.memories()["account main", "real"]
        assert (lifted.high, lifted.fallen_at, lifted.bases) == (None, "", WHOLE.bases)


def test_the_last_mark_counts_and_all_stand_in_the_history(path: Path) -> None:
    with Store.open(path, FakeClock()) as store:
        put(store, {})
        store.scopes.mark("a", Decimal("80"), "delisted", "uid 1")
        store.scopes.mark("a", Decimal("0.50"), "liquidator's offer", "uid 1")
        assert store.scopes.marks() == {"a": Decimal("0.5")}
        with pytest.raises(StoreError, match="no such instance"):
            store.scopes.mark("b", Decimal(1), "r", "uid 1")
        found = store.ledger._reads.query("SELECT summary FROM generations WHERE kind = 'corrected' ORDER BY id")
        assert [one["summary"] for one in found] == [
            "marked at 80: delisted (uid 1)",
            "marked at 0.5: liquidator's offer (uid 1)",
        ]


def test_labels_that_are_left_while_something_is_held_are_kept(path: Path) -> None:
    with Store.open(path, FakeClock()) as store:
        put(store, {"team": "x", "desk": "one"})
        put(store, {"team": "y", "desk": "one"})
        assert store.scopes.kept_labels() == {}
        hold(store, "2")
        put(store, {"team": "z", "desk": "one"})
        put(store, {"desk": "one"})
        assert store.scopes.kept_labels() == {"a": (("team", "y"), ("team", "z"))}
        put(store, {"desk": "one", "team": "y"})
        assert store.scopes.kept_labels() == {"a": (("team", "z"),)}
    with Store.open(path, FakeClock()) as store:
        assert store.scopes.kept_labels() == {"a": (("team", "z"),)}
        store.scopes.forget_labels("a")
        store.flush()
        assert store.scopes.kept_labels() == {}


def test_who_follows_the_ledger_hears_of_every_commit(path: Path) -> None:
    heard: list[tuple[str, Decimal]] = []

    class Listener:
        def changed(self, *_: object) -> None: ...
        def corrected(self, instance_id: str, holding: object) -> None:
            heard.append((instance_id, holding.quantity))  # type: ignore[attr-defined]

        def shadow_books_ended(self, *_: object) -> None: ...

    with Store.open(path, FakeClock()) as store:
        store.ledger.listener = Listener()
        put(store, {})
        hold(store, "2")
    assert heard == [("a", Decimal(2))]

"""A real database on disk for every test, and makers of the values that go into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from reconciler.clock import FakeClock, utc
from reconciler.orders.order import Order, OrderRequest, OrderType, Outcome, Provenance, Side
from reconciler.records.mode import Mode
from reconciler.records.record import Identity, InstanceRecord, Row
from reconciler.store import Reader, Store
from reconciler.store.database import open_writable
from reconciler.store.writer import GroupWriter

START_S = 1_700_000_000.25


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START_S)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".reconciler" / "reconciler.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(path, clock, busy_timeout_s=0.05) as opened:
        yield opened


@pytest.fixture
def reader(path: Path, store: Store) -> Iterator[Reader]:
    opened = Reader.open(path)
    yield opened
    opened.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[GroupWriter]:
    path = tmp_path / "reconciler.db"
    db = open_writable(path, busy_timeout_s=0.05)
    made = GroupWriter(db, path)
    yield made
    made.close()
    db.close()


@pytest.fixture
def make_order() -> Callable[..., Order]:
    """An accepted market order of `dca` for 1 BTC/USD, not filled; keyword arguments replace any field by name."""

    def make(client_order_id: str, **fields: Any) -> Order:
        provenance = Provenance(
            instance_id="dca",
            account_id="main",
            client_id="desk-a",
            symbol="BTC/USD",
            mode=Mode.ACTIVE,
            generation=3,
            config_digest="c0",
            code_digest="d0",
            revision="e" * 40,
            beat=283_333_333,
        )
        request = OrderRequest(side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(1))
        origin = {name: fields.pop(name) for name in ("instance_id", "symbol", "mode", "generation") if name in fields}
        asked = ("side", "type", "quantity", "limit_price", "time_in_force", "reduce_only")
        wanted = {name: fields.pop(name) for name in asked if name in fields}
        order = Order(
            client_order_id=client_order_id,
            provenance=replace(provenance, **origin),
            request=replace(request, **wanted),
            outcome=Outcome.ACCEPTED,
            created_at=utc(START_S),
            updated_at=utc(START_S),
        )
        return replace(order, **fields)

    return make


@pytest.fixture
def make_row() -> Callable[..., Row]:
    """A row of generation 1 with a small config; keyword arguments replace fields of the row."""

    def make(instance_id: str, **fields: Any) -> Row:
        record = InstanceRecord(
            id=instance_id,
            identity=Identity("grid", "main", "desk-a", "BTC/USD"),
            mode=Mode.OBSERVE,
            config={"levels": 5},
            effective_config={"levels": 5, "spread": "0.12"},
            values={"id": instance_id, "config": {"levels": 5}},
        )
        row = Row(
            record=record,
            path=f"instances/{instance_id}.yaml",
            generation=1,
            values_digest="v1",
            config_digest="c1",
            file_digest="f1",
            code_digest="d1",
            revision=None,
            committed=False,
            applied_at="2026-01-31T12:00:00.000Z",
        )
        return replace(row, **fields)

    return make

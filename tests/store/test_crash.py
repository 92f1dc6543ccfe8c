"""kill -9 in the middle of writing: what was told as committed is there, and nothing is there by half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.clock import FakeClock
from reconciler.store import Reader, Store

ENGINE = """
import sys, threading
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

from reconciler.clock import SystemClock, utc
from reconciler.records.mode import Mode
from reconciler.orders.order import Order, OrderRequest, OrderState, OrderType, Outcome, Provenance, Side
from reconciler.records.record import Identity, InstanceRecord, Row, RowChange
from reconciler.store import Store

clock = SystemClock()
store = Store.open(Path(sys.argv[1]), clock)
say = threading.Lock()


def told(line):
    with say:
        print(line, flush=True)


def rows(generation):
    for number in range(200):
        record = InstanceRecord(f"i{number}", Identity("grid", "main", "desk", "X"), Mode.OFF, {}, {})
        yield Row(record, "p", generation, "", "", "", "", None, False, "")


def place(name):
    for number in range(1_000_000):
        origin = Provenance("a", "main", "desk", "X", Mode.ACTIVE, 1, "", "", None, number)
        request = OrderRequest(Side.BUY, OrderType.MARKET, Decimal(1))
        now = utc(clock.time())
        store.ledger.append(Order(f"{name}-{number}", origin, request, Outcome.PENDING, now, now))
        told(f"order {name}-{number}")


def fill():
    for number in range(1_000_000):
        mode, outcome = ((Mode.ACTIVE, Outcome.ACCEPTED), (Mode.OBSERVE, Outcome.SHADOW))[number % 2]
        origin = Provenance("filling", "main", "desk", "X", mode, 1, "", "", None, number)
        request = OrderRequest(Side.BUY, OrderType.LIMIT, Decimal(2), Decimal(9))
        now = utc(clock.time())
        store.ledger.append(Order(f"f-{number}", origin, request, outcome, now, now, OrderState.OPEN))
        for filled in (1, 2):
            store.ledger.settle(f"f-{number}", filled_quantity=Decimal(filled), average_price=Decimal(9))


threading.Thread(target=fill, daemon=True).start()
for name in "abc":
    threading.Thread(target=place, args=[name], daemon=True).start()
for generation in range(1, 1_000_000):
    store.desired.apply([RowChange(row, "changed", "") for row in rows(generation)])
    told(f"rows {generation}")
"""


@pytest.mark.parametrize("lines", [1, 25, 150])
def test_what_was_told_is_kept_and_nothing_is_kept_by_half(path: Path, clock: FakeClock, lines: int) -> None:
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(path)], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    told = [engine.stdout.readline().split() for _ in range(lines)]
    os.kill(engine.pid, signal.SIGKILL)
    told += [line.split() for line in engine.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    engine.wait()
    engine.stdout.close()

    reader = Reader.open(path)
    generations = {row.generation for row in reader.rows().values()}
    reader.close()
    assert len(generations) <= 1, "all rows of one apply, or none"

    with Store.open(path, clock) as store:
        assert store.epoch == 2
        known = {order.client_order_id for order in store.ledger.unresolved()}
        assert {name for kind, name in told if kind == "order"} <= known
        assert max((int(name) for kind, name in told if kind == "rows"), default=0) <= max(generations, default=0)
        marked = {order.client_order_id for order in store.ledger.mark_unknown_on_startup()}
        assert marked == known
        assert_that_books_hold_what_was_filled(store)


def assert_that_books_hold_what_was_filled(store: Store) -> None:
    """The first order is real and fills 2; the second is a shadow, whose book begins with what the first left."""
    for shadow in (False, True):
        orders = store.ledger.recent("filling", 1_000_000, shadow)
        fills = [fill for order in orders for fill in store.ledger.fills(order.client_order_id)]
        filled = sum(fill.quantity for fill in fills)
        held = store.ledger.holding("filling", "X", shadow)
        assert filled == sum(order.filled_quantity for order in orders)
        if orders:
            assert held.quantity == filled + (2 if shadow else 0)
        assert held.cost == held.quantity * 9

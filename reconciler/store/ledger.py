"""The ledger of orders and fills: written before anything is sent, never forgotten. Blocks; raises StoreError."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlite_utils import Database

from reconciler.clock import Clock, utc
from reconciler.errors import StoreError
from reconciler.records.market import Position
from reconciler.records.order import Order, OrderState, Outcome, RejectedBy, Side, decimal_text
from reconciler.records.position import position_of
from reconciler.records.text import storable
from reconciler.store.connection import ReadPool
from reconciler.store.exposure import Exposure
from reconciler.store.orders import order_columns, order_from, settled_columns
from reconciler.store.settlement import settled_order
from reconciler.store.text import decimal_or_none, decimal_text_or_none, time_text
from reconciler.store.writer import Writer

FOUND_PENDING = "the engine stopped before its answer came: it may have been sent"


@dataclass(frozen=True, slots=True)
class Fill:
    """One execution of an order, as the exchange reports it."""

    client_order_id: str
    exchange_fill_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal | None
    at: datetime


class Ledger:
    """Orders by client_order_id. An order's book is the shadow book where it was not, and could not be, sent."""

    def __init__(self, writer: Writer, reads: ReadPool, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock
        self._exposure = Exposure(reads)
        self._versions: dict[str, object] = {}
        self._positions: dict[tuple[str, str, bool], tuple[object, Position]] = {}

    def append(self, order: Order) -> None:
        """Write an order down for the first time; it is on the disk on return.

        Raises StoreError also where its client_order_id was used before.
        """
        columns = order_columns(order)

        def job(db: Database) -> None:
            if _found(db, order.client_order_id) is not None:
                raise StoreError(f"orders: expected a new client_order_id, was used before: {order.client_order_id!r}")
            db.table("orders").insert(columns)

        self._writer.write(job)
        self._changed(None, order)

    def settle(
        self,
        client_order_id: str,
        *,
        outcome: Outcome | None = None,
        state: OrderState | None = None,
        filled_quantity: Decimal | None = None,
        average_price: Decimal | None = None,
        fee: Decimal | None = None,
        exchange_order_id: str | None = None,
        reason: str | None = None,
        rejected_by: RejectedBy | None = None,
    ) -> Order:
        """Write down what became known of an order; None leaves a value as it is. Returns the order as it is now.

        Telling again what is known writes nothing. A filled quantity below what is known is an older
        answer: it is ignored, with its price and fee. Raises StoreError for an unknown id, an outcome that
        cannot follow, a state after a final one, and a state or fill of an order that was not accepted.
        """
        told = {
            "outcome": outcome,
            "state": state,
            "filled_quantity": filled_quantity,
            "average_price": average_price,
            "fee": fee,
            "exchange_order_id": None if exchange_order_id is None else storable(exchange_order_id),
            "reason": None if reason is None else storable(reason),
            "rejected_by": rejected_by,
        }
        news = {name: value for name, value in told.items() if value is not None}
        known, settled = self._writer.write(lambda db: self._settle(db, client_order_id, news))
        if settled is not known:
            self._changed(known, settled)
        return settled

    def mark_unknown_on_startup(self) -> list[Order]:
        """Make every pending order unknown: nobody waits for its answer any more. Returns them, oldest first."""

        def job(db: Database) -> list[Order]:
            found = db.query("SELECT client_order_id FROM orders WHERE is_open AND outcome = 'pending' ORDER BY id")
            news = {"outcome": Outcome.UNKNOWN, "reason": FOUND_PENDING}
            return [self._settle(db, columns["client_order_id"], news)[1] for columns in list(found)]

        return self._writer.write(job)

    def add_fill(
        self,
        client_order_id: str,
        quantity: Decimal,
        price: Decimal,
        fee: Decimal | None,
        at: datetime,
        exchange_fill_id: str,
    ) -> None:
        """Write down one execution of an order; told again by the same exchange_fill_id, it changes nothing."""
        columns = [
            client_order_id,
            exchange_fill_id,
            decimal_text(quantity),
            decimal_text(price),
            decimal_text_or_none(fee),
            time_text(at),
        ]

        def job(db: Database) -> None:
            if _found(db, client_order_id) is None:
                raise _unknown(client_order_id)
            db.execute(
                "INSERT INTO fills (client_order_id, exchange_fill_id, quantity, price, fee, at)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (client_order_id, exchange_fill_id) DO NOTHING",
                columns,
            )

        self._writer.write(job)

    def get(self, client_order_id: str) -> Order | None:
        """The order of that id, None where the ledger knows none."""
        found = self._orders("client_order_id = ?", [client_order_id])
        return found[0] if found else None

    def open_orders(self, instance_id: str, shadow: bool) -> list[Order]:
        """The instance's orders to which something may still happen, oldest first."""
        return self._orders("is_open AND instance_id = ? AND shadow = ? ORDER BY id", [instance_id, int(shadow)])

    def recent(self, instance_id: str, limit: int, shadow: bool) -> list[Order]:
        """The instance's last `limit` orders, whatever became of them, newest first."""
        return self._orders(
            "instance_id = ? AND shadow = ? ORDER BY id DESC LIMIT ?", [instance_id, int(shadow), max(0, limit)]
        )

    def unresolved(self) -> list[Order]:
        """Everyone's orders of which nobody knows whether they were sent: pending or unknown. Oldest first."""
        return self._orders("is_open AND outcome IN ('pending', 'unknown') ORDER BY id")

    def open_accepted(self) -> list[Order]:
        """Everyone's orders that the exchange took and has not finished with, oldest first."""
        return self._orders("is_open AND outcome = 'accepted' ORDER BY id")

    def fills(self, client_order_id: str) -> list[Fill]:
        """The executions of an order, in the order they were told."""
        found = self._reads.query("SELECT * FROM fills WHERE client_order_id = ? ORDER BY id", [client_order_id])
        return [
            Fill(
                client_order_id=columns["client_order_id"],
                exchange_fill_id=columns["exchange_fill_id"],
                quantity=Decimal(columns["quantity"]),
                price=Decimal(columns["price"]),
                fee=decimal_or_none(columns["fee"]),
                at=datetime.fromisoformat(columns["at"]),
            )
            for columns in found
        ]

    def position(self, instance_id: str, symbol: str, shadow: bool) -> Position:
        """What the instance's own orders of `symbol` have filled, taken in the order in which they last changed.

        Strategies ask at every tick, so it is added up only after one of the instance's orders filled.
        """
        key, version = (instance_id, symbol, shadow), self._versions.get(instance_id)
        known = self._positions.get(key)
        if known is None or known[0] is not version:
            known = self._positions[key] = (version, self._added_up(instance_id, symbol, shadow))
        return known[1]

    def exposed(self) -> frozenset[str]:
        """The instances with a real order that may still fill, or a real position. Costs nothing."""
        return self._exposure.ids

    def _added_up(self, instance_id: str, symbol: str, shadow: bool) -> Position:
        found = self._reads.query(
            "SELECT side, filled_quantity, average_price FROM orders"
            " WHERE filled_quantity <> '0' AND instance_id = ? AND symbol = ? AND shadow = ?"
            " ORDER BY updated_at, id",
            [instance_id, symbol, int(shadow)],
        )
        return position_of(
            symbol,
            (
                (Side(columns["side"]), Decimal(columns["filled_quantity"]), decimal_or_none(columns["average_price"]))
                for columns in found
            ),
        )

    def _changed(self, before: Order | None, after: Order) -> None:
        """Follow what was committed. Positions added up before it are outdated where it is part of one.

        A new object is unlike any version before.
        """
        self._exposure.changed(before, after)
        if after.filled_quantity:
            self._versions[after.instance_id] = object()

    def _orders(self, where: str, parameters: Sequence[Any] = ()) -> list[Order]:
        return [order_from(columns) for columns in self._reads.query(f"SELECT * FROM orders WHERE {where}", parameters)]

    def _settle(self, db: Database, client_order_id: str, news: Mapping[str, Any]) -> tuple[Order, Order]:
        """The order as it was known, and with `news`: the same object where nothing was new."""
        known = _found(db, client_order_id)
        if known is None:
            raise _unknown(client_order_id)
        told = settled_order(known, news)
        if told == known:
            return known, known
        now = max(utc(self._clock.time()), known.updated_at)
        settled = replace(told, updated_at=now)
        columns = settled_columns(settled)
        assignments = ", ".join(f"{name} = :{name}" for name in columns)
        db.execute(
            f"UPDATE orders SET {assignments} WHERE client_order_id = :client_order_id",
            {**columns, "client_order_id": client_order_id},
        )
        return known, settled


def _found(db: Database, client_order_id: str) -> Order | None:
    found = list(db.query("SELECT * FROM orders WHERE client_order_id = ?", [client_order_id]))
    return order_from(found[0]) if found else None


def _unknown(client_order_id: str) -> StoreError:
    return StoreError(f"orders: no order of client_order_id {client_order_id!r}: it was never written down")

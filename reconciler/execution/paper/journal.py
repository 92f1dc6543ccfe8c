"""The paper exchange's memory: a file with one line of JSON for every order that is new or changed.

Orders are all there is to remember; money and positions follow from their fills. A line is handed to the
operating system before the order is answered, so killing the process loses nothing.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from reconciler.execution.paper.account import PaperFill, PaperOrder
from reconciler.records.order import OrderState, OrderType, Side, TimeInForce, decimal_text


class Journal:
    """The file at `path`, made where it is missing. Raises OSError; ValueError where it is not a journal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.orders = self._read()
        """Every order as it was last recorded, oldest first."""
        self._compact()
        self._file = path.open("a", encoding="utf-8")  # as it was put in place: nobody else may read it

    def record(self, order: PaperOrder) -> None:
        """Remember `order` as it is now."""
        self._file.write(_line(order))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _read(self) -> list[PaperOrder]:
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        orders: dict[tuple[str, str], PaperOrder] = {}
        for number, line in enumerate(lines, 1):
            if not line.endswith("\n"):
                break  # the process was killed in the middle of it: that order was never answered
            try:
                order = _order(json.loads(line))
            except (ValueError, LookupError, TypeError, ArithmeticError) as error:
                raise ValueError(f"{self._path}:{number}: expected an order of the paper exchange: {error}") from error
            orders[order.account_id, order.client_order_id] = order
        return list(orders.values())

    def _compact(self) -> None:
        """One line for each order, and no torn one: written beside, then put in place."""
        draft = self._path.with_name(self._path.name + ".new")
        draft.unlink(missing_ok=True)
        with open(draft, "w", encoding="utf-8", opener=_private) as file:
            file.writelines(map(_line, self.orders))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _line(order: PaperOrder) -> str:
    limit = order.limit_price
    values = {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "account_id": order.account_id,
        "client_id": order.client_id,
        "symbol": order.symbol,
        "side": order.side,
        "type": order.type,
        "quantity": decimal_text(order.quantity),
        "limit_price": None if limit is None else decimal_text(limit),
        "time_in_force": order.time_in_force,
        "reduce_only": order.reduce_only,
        "state": order.state,
        "created_at": order.created_at.isoformat(),
        "updated_at": order.updated_at.isoformat(),
        "fills": [
            {
                "fill_id": fill.fill_id,
                "quantity": decimal_text(fill.quantity),
                "price": decimal_text(fill.price),
                "fee": decimal_text(fill.fee),
                "at": fill.at.isoformat(),
            }
            for fill in order.fills
        ],
    }
    return json.dumps(values, separators=(",", ":")) + "\n"


def _order(values: dict[str, Any]) -> PaperOrder:
    limit = values["limit_price"]
    return PaperOrder(
        order_id=values["order_id"],
        client_order_id=values["client_order_id"],
        account_id=values["account_id"],
        client_id=values["client_id"],
        symbol=values["symbol"],
        side=Side(values["side"]),
        type=OrderType(values["type"]),
        quantity=Decimal(values["quantity"]),
        limit_price=None if limit is None else Decimal(limit),
        time_in_force=TimeInForce(values["time_in_force"]),
        reduce_only=values["reduce_only"],
        state=OrderState(values["state"]),
        created_at=datetime.fromisoformat(values["created_at"]),
        updated_at=datetime.fromisoformat(values["updated_at"]),
        fills=tuple(
            PaperFill(
                fill_id=fill["fill_id"],
                quantity=Decimal(fill["quantity"]),
                price=Decimal(fill["price"]),
                fee=Decimal(fill["fee"]),
                at=datetime.fromisoformat(fill["at"]),
            )
            for fill in values["fills"]
        ),
    )

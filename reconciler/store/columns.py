"""Values as columns of the database, and back: JSON, decimals, times, orders and their fills. Exact both ways.

Orders become the items that lists show, too. And the tags, of which a ledger's ids carry one.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from sqlite_utils import Database

from reconciler.orders.order import (
    Fill,
    Order,
    OrderRequest,
    OrderState,
    OrderType,
    Outcome,
    Provenance,
    RejectedBy,
    Side,
    TimeInForce,
    decimal_text,
)
from reconciler.records.mode import Mode
from reconciler.visible import storable


def _plain(value: object) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"expected plain values, was {type(value).__name__}")


json_text = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=_plain
).encode
"""JSON of plain values; NaN and infinities are a ValueError. Keys keep their order: it is how they were written."""


def time_text(moment: datetime) -> str:
    """ISO 8601, UTC, microseconds, `Z`: exact, and sorts as text. Raises ValueError where it has no time zone."""
    if moment.tzinfo is UTC:  # as all that the engine makes itself
        return moment.isoformat(timespec="microseconds")[:-6] + "Z"
    if moment.tzinfo is None:
        raise ValueError(f"expected a time with its zone, was {moment.isoformat()}")
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def decimal_text_or_none(value: Decimal | None) -> str | None:
    """`decimal_text`, None staying None."""
    return None if value is None else decimal_text(value)


def decimal_or_none(text: str | None) -> Decimal | None:
    """The decimal that was written, None staying None."""
    return None if text is None else Decimal(text)


def rows(db: Database, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[dict[str, Any]]:
    """All rows that `sql`, which only reads, selects, by column name: asked at every order.

    Not by `Database.query`: that has a savepoint around each, for what may write.
    """
    cursor = db.execute(sql, parameters)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()]


def insert(db: Database, table: str, columns: Mapping[str, Any]) -> int:
    """A new row; its rowid. Raises sqlite3.Error. Inside the caller's transaction."""
    number = db.conn.execute(_insert(table, tuple(columns)), columns).lastrowid
    assert number is not None
    return number


def update(db: Database, table: str, columns: Mapping[str, Any], key: str) -> None:
    """Change `columns` of the row that has their `key`. Raises sqlite3.Error. Inside the caller's transaction."""
    db.conn.execute(_update(table, tuple(columns), key), columns)


@lru_cache
def _insert(table: str, names: tuple[str, ...]) -> str:
    return f'INSERT INTO "{table}" ({_listed(names)}) VALUES ({", ".join(f":{name}" for name in names)})'


@lru_cache
def _update(table: str, names: tuple[str, ...], key: str) -> str:
    changed = ", ".join(f'"{name}" = :{name}' for name in names if name != key)
    return f'UPDATE "{table}" SET {changed} WHERE "{key}" = :{key}'


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


ITEM = (
    "instance_id, client_order_id, outcome, state, side, type, quantity, limit_price, symbol, account_id, client_id, "
    "mode, generation, beat, revision, reason, filled_quantity, average_price, fee, fee_currency, exchange_order_id, "
    "created_at, updated_at, rejected_by, shadow, repeats, stop_price, time_in_force, reduce_only, quote_bid, "
    "quote_ask, config_digest, code_digest, was_unknown, money, quote_at, provenance"
)
"""The columns that lists of orders show, as SQL: the contract's, in its order and spelling, then who rejected it,
whether it is in the shadow book, how often it was refused in a row, and the rest of what was asked for and by whom."""


def order_columns(order: Order) -> dict[str, Any]:
    origin, request = order.provenance, order.request
    return {
        "client_order_id": order.client_order_id,
        "instance_id": origin.instance_id,
        "account_id": origin.account_id,
        "client_id": origin.client_id,
        "symbol": origin.symbol,
        "mode": origin.mode.value,
        "generation": origin.generation,
        "config_digest": origin.config_digest,
        "code_digest": origin.code_digest,
        "revision": origin.revision,
        "beat": origin.beat,
        "provenance": "operator" if origin.is_by_operator else "strategy",
        "side": request.side.value,
        "type": request.type.value,
        "quantity": decimal_text(request.quantity),
        "limit_price": decimal_text_or_none(request.limit_price),
        "stop_price": decimal_text_or_none(request.stop_price),
        "time_in_force": request.time_in_force.value,
        "reduce_only": int(request.reduce_only),
        "created_at": time_text(order.created_at),
        "quote_bid": decimal_text_or_none(order.quote_bid),
        "quote_ask": decimal_text_or_none(order.quote_ask),
        "money": order.money,
        "quote_at": None if order.quote_at is None else time_text(order.quote_at),
        **settled_columns(order),
    }


def settled_columns(order: Order) -> dict[str, Any]:
    """Those columns that change as the order's fate becomes known."""
    return {
        "outcome": order.outcome.value,
        "state": None if order.state is None else order.state.value,
        "filled_quantity": decimal_text(order.filled_quantity),
        "average_price": decimal_text_or_none(order.average_price),
        "fee": decimal_text_or_none(order.fee),
        "fee_currency": order.fee_currency,
        "exchange_order_id": None if order.exchange_order_id is None else storable(order.exchange_order_id),
        "reason": storable(order.reason),
        "rejected_by": None if order.rejected_by is None else order.rejected_by.value,
        "triggered": int(order.is_triggered),
        "updated_at": time_text(order.updated_at),
    }


def order_from(columns: Mapping[str, Any]) -> Order:
    return Order(
        client_order_id=columns["client_order_id"],
        provenance=Provenance(
            instance_id=columns["instance_id"],
            account_id=columns["account_id"],
            client_id=columns["client_id"],
            symbol=columns["symbol"],
            mode=Mode(columns["mode"]),
            generation=columns["generation"],
            config_digest=columns["config_digest"],
            code_digest=columns["code_digest"],
            revision=columns["revision"],
            beat=columns["beat"],
            is_by_operator=columns["provenance"] == "operator",
        ),
        request=OrderRequest(
            side=Side(columns["side"]),
            type=OrderType(columns["type"]),
            quantity=Decimal(columns["quantity"]),
            limit_price=decimal_or_none(columns["limit_price"]),
            stop_price=decimal_or_none(columns["stop_price"]),
            time_in_force=TimeInForce(columns["time_in_force"]),
            reduce_only=bool(columns["reduce_only"]),
        ),
        outcome=Outcome(columns["outcome"]),
        created_at=datetime.fromisoformat(columns["created_at"]),
        updated_at=datetime.fromisoformat(columns["updated_at"]),
        state=None if columns["state"] is None else OrderState(columns["state"]),
        filled_quantity=Decimal(columns["filled_quantity"]),
        average_price=decimal_or_none(columns["average_price"]),
        fee=decimal_or_none(columns["fee"]),
        fee_currency=columns["fee_currency"],
        exchange_order_id=columns["exchange_order_id"],
        reason=columns["reason"],
        rejected_by=None if columns["rejected_by"] is None else RejectedBy(columns["rejected_by"]),
        quote_bid=decimal_or_none(columns["quote_bid"]),
        quote_ask=decimal_or_none(columns["quote_ask"]),
        is_triggered=bool(columns["triggered"]),
        money=columns["money"],
        quote_at=None if columns["quote_at"] is None else datetime.fromisoformat(columns["quote_at"]),
    )


def fill_columns(fill: Fill) -> dict[str, Any]:
    return {
        "client_order_id": fill.client_order_id,
        "exchange_fill_id": storable(fill.exchange_fill_id),
        "quantity": decimal_text(fill.quantity),
        "price": decimal_text_or_none(fill.price),
        "fee": decimal_text_or_none(fill.fee),
        "at": time_text(fill.at),
        "made_up": int(fill.is_made_up),
        "fee_currency": fill.fee_currency,
    }


def fill_from(columns: Mapping[str, Any]) -> Fill:
    return Fill(
        client_order_id=columns["client_order_id"],
        exchange_fill_id=columns["exchange_fill_id"],
        quantity=Decimal(columns["quantity"]),
        price=decimal_or_none(columns["price"]),
        fee=decimal_or_none(columns["fee"]),
        at=datetime.fromisoformat(columns["at"]),
        is_made_up=bool(columns["made_up"]),
        fee_currency=columns["fee_currency"],
    )


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def make_tag() -> str:
    """A new one. With a digit in front, where ids of before there were tags have a letter, of their time."""
    return secrets.choice(_DIGITS[:10]) + "".join(secrets.choice(_DIGITS) for _ in range(3))


def seeded_tag(seed: str) -> str:
    """The same for the same seed, for a database that ends with its run: its orders are called the same again."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    letters = [_DIGITS[number // 36**place % 36] for place in range(3)]
    return _DIGITS[number % 10] + "".join(letters)


def add_tag(db: Database) -> str:
    """Give the database one more, within the caller's transaction: from now on its orders are others than before."""
    tag = make_tag()
    db.execute("INSERT INTO tags (tag) VALUES (?)", [tag])
    return tag

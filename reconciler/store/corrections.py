"""Corrections: what a person says that an instance holds, as rows of their own beside its fills, never changed.

Every function here works inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlite_utils import Database

from reconciler.errors import StoreError
from reconciler.records import exact
from reconciler.records.correction import Correction
from reconciler.records.holding import Holding
from reconciler.records.order import Side, decimal_text
from reconciler.records.text import storable
from reconciler.store.books import Book, Owner, keep, open_book
from reconciler.store.statements import insert
from reconciler.store.text import decimal_text_or_none, time_text

_IN_HISTORY = (
    "INSERT INTO generations (instance_id, generation, kind, summary, at, revision, committed, mode, code_digest,"
    ' "values") SELECT id, generation, \'corrected\', ?, ?, NULL, 0, mode, code_digest, "values"'
    " FROM instances WHERE id = ?"
)


def correct(db: Database, instance_id: str, correction: Correction, now: datetime) -> tuple[Holding, Holding]:
    """Put the instance's real book of its market right, and write down that it was. What it held, and holds now.

    From then on it is added up from what the correction says: no price that is told later of a fill before it changes
    it. Raises StoreError where there is no such instance, or the correction makes no sense.
    """
    owner = _owner(db, instance_id)
    if fault := correction.fault():
        raise StoreError(f"{instance_id}: {fault}")
    book = open_book(db, owner, False, now)
    before = book.holding
    after = before.set_right(correction, now.date())
    keep(db, Book(book.id, after), now)
    row = {
        "instance_id": instance_id,
        "account_id": owner.account_id,
        "client_id": owner.client_id,
        "symbol": owner.symbol,
        "quantity_before": decimal_text(before.quantity),
        "cost_before": decimal_text_or_none(before.cost),
        "quantity": decimal_text(correction.quantity),
        "price": decimal_text(correction.price),
        "fee": decimal_text_or_none(correction.fee),
        "fee_currency": correction.fee_currency,
        "reason": storable(correction.reason),
        "corrected_by": storable(correction.by),
        "at": time_text(now),
        "after_fill": db.execute("SELECT coalesce(max(id), 0) FROM fills").fetchone()[0],
    }
    insert(db, "corrections", row)
    told = f"holds {decimal_text(before.quantity)} {owner.symbol} → {correction}: {correction.reason} ({correction.by})"
    note(db, instance_id, told, now)
    return before, after


def note(db: Database, instance_id: str, told: str, now: datetime) -> None:
    """Put a line of what a person said of its book into the instance's history."""
    db.execute(_IN_HISTORY, [storable(told), time_text(now), instance_id])


def _owner(db: Database, instance_id: str) -> Owner:
    found = list(db.query("SELECT account_id, client_id, market FROM instances WHERE id = ?", [instance_id]))
    if not found:
        raise StoreError(
            f"{instance_id}: expected an instance, there is and was none of that id; see: reconciler status"
        )
    return Owner(instance_id, found[0]["account_id"], found[0]["client_id"], found[0]["market"])


def exported(db: Database, instance_id: str, since: str, until: str) -> list[dict[str, Any]]:
    """Those of that time, as items beside fills: what each added or took away, and its `after_fill`.

    An empty text asks for all.
    """
    found = db.query(
        "SELECT * FROM corrections WHERE (?1 = '' OR instance_id = ?1) AND at >= ?2 AND (?3 = '' OR at < ?3)"
        " ORDER BY id",
        [instance_id, since, until],
    )
    return [_item(columns) for columns in found]


def _item(columns: Mapping[str, Any]) -> dict[str, Any]:
    change = exact.subtract(Decimal(columns["quantity"]), Decimal(columns["quantity_before"]))
    return {
        **{name: columns[name] for name in ("instance_id", "symbol", "account_id", "client_id", "price", "at")},
        **{name: columns[name] for name in ("fee", "fee_currency", "after_fill")},
        "client_order_id": None,
        "side": str(Side.SELL if change < 0 else Side.BUY),
        "shadow": False,
        "exchange_fill_id": f"correction-{columns['id']}",
        "quantity": decimal_text(exact.size(change)),
        "made_up": True,
        "correction": f"{columns['reason']} ({columns['corrected_by']})",
    }

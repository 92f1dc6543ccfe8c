"""Books: what an instance's fills of a symbol add up to, written in the same transaction as the fills themselves.

An instance has one real book of its market, for ever. While it observes it has a shadow book beside it, which begins
with its first shadow order from what the real book holds at that moment, and ends when the instance is made active or
removed; the next shadow order begins another. Every function here works inside the caller's transaction.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlite_utils import Database

from reconciler import exact
from reconciler.errors import StoreError
from reconciler.orders.holding import Corrected, Holding
from reconciler.orders.news import Correction, late_prices, new_fills
from reconciler.orders.order import Fill, Order, Side, decimal_text
from reconciler.store.columns import (
    decimal_or_none,
    decimal_text_or_none,
    fill_columns,
    fill_from,
    insert,
    order_from,
    rows,
    time_text,
    update,
)
from reconciler.visible import storable

BOOK = "instance_id = ? AND symbol = ? AND shadow = ? AND ended_at IS NULL"
"""The open book of an instance, a symbol and a kind, as SQL."""
_PRICED = (
    "UPDATE fills SET price = :price WHERE client_order_id = :client_order_id AND exchange_fill_id = :exchange_fill_id"
)
_SINCE = (
    "SELECT f.*, o.side FROM fills f JOIN orders o ON o.client_order_id = f.client_order_id"
    " WHERE f.id >= ? AND o.instance_id = ? AND o.symbol = ? AND o.shadow = 0 ORDER BY f.id"
)
_ANEW = 10_000
"""A price that comes after so many fills, everyone's counted, changes no book any more: adding up takes time."""
ENDED = "the instance was made active or removed: its shadow book ended"


def enter(
    db: Database,
    order: Order,
    known: Sequence[Fill],
    told: Sequence[Fill],
    average: Decimal | None,
    now: datetime,
    by_hand: bool = False,
) -> Holding | None:
    """Write down the fills that bring the ledger up to what `order` says is filled, and add them to its book.

    Returns what the book holds now, None where nothing was new. `known` are the order's fills so far, `told` the
    executions as the exchange tells them apart, known ones among them; `average` is the order's average price where
    it was told with them: a fill whose price was not told at the time has it from now on, and its book is what it
    would have been. A shadow order begins a book where there is none. `by_hand` where a person says so: that lowers no
    loss of the day.
    """
    news = new_fills(order, known, told, average, now)
    late = late_prices(order, (*known, *news), average)
    shadow = order.is_shadow
    if not news and not late and not shadow:
        return None
    numbers = [insert(db, "fills", fill_columns(fill)) for fill in news]
    for fill in late:
        db.conn.execute(_PRICED, fill_columns(fill))
    before = book = open_book(db, Owner.of(order), shadow, now)
    if late and book.unpriced_from is not None:
        book = _added_up_anew(db, order, book, now.date())
    else:
        for number, fill in zip(numbers, news, strict=True):
            book = book.filled(order.side, number, fill, now.date())
    if by_hand and book.holding != before.holding:
        book = replace(book, holding=book.holding.by_hand(before.holding, order.average_price or average, now.date()))
    if book != before:
        keep(db, book, now)
    return book.holding


def keep(db: Database, book: Book, now: datetime) -> None:
    """Write down what an open book is now."""
    update(db, "books", {**book.columns(), "updated_at": time_text(now)}, "id")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose book of what it is."""

    instance_id: str
    account_id: str
    client_id: str
    symbol: str

    @classmethod
    def of(cls, order: Order) -> Owner:
        origin = order.provenance
        return cls(origin.instance_id, origin.account_id, origin.client_id, origin.symbol)


@dataclass(frozen=True, slots=True)
class Book:
    """An open book, by its row's id. `unpriced_from` is its first fill of unknown price, `held_before` what was held
    before that one: from there it is added up anew once the price is told.
    """

    id: int
    holding: Holding
    unpriced_from: int | None = None
    held_before: Holding | None = None

    def filled(self, side: Side, number: int, fill: Fill, on: date) -> Book:
        """With one more fill, the one of that id."""
        holding = self.holding.filled(side, fill, on)
        if self.unpriced_from is not None and number - self.unpriced_from <= _ANEW:
            return replace(self, holding=holding)
        if fill.price is None and fill.quantity:
            return Book(self.id, holding, number, self.holding)
        return Book(self.id, holding)

    def columns(self) -> dict[str, Any]:
        before = None if self.held_before is None else json.dumps(holding_columns(self.held_before))
        marks = {"unpriced_from": self.unpriced_from, "held_before": before}
        return {"id": self.id, **holding_columns(self.holding), **marks}


def _added_up_anew(db: Database, order: Order, book: Book, today: date) -> Book:
    """The order's book as its fills have it now, from the first on whose price was not known."""
    assert book.held_before is not None
    anew = Book(book.id, book.held_before)
    for columns in db.query(_SINCE, [book.unpriced_from, order.instance_id, order.provenance.symbol]):
        fill = fill_from(columns)
        anew = anew.filled(Side(columns["side"]), columns["id"], fill, min(fill.at.date(), today))
    corrected = book.holding.corrected if book.holding.is_of(today) else ()
    return replace(anew, holding=replace(anew.holding, corrected=corrected))


def end_shadow_books(db: Database, instance_ids: Iterable[str], now: datetime) -> list[str]:
    """End the shadow books of these instances, cancelling what is open in them. Returns whose there were."""
    ended = []
    for instance_id in instance_ids:
        moment = {"instance_id": instance_id, "now": time_text(now), "reason": ENDED}
        db.execute(
            "UPDATE orders SET state = 'cancelled', reason = :reason, updated_at = :now"
            " WHERE is_open AND instance_id = :instance_id AND shadow = 1",
            moment,
        )
        books = db.execute(
            "UPDATE books SET ended_at = :now, last_order = (SELECT coalesce(max(id), 0) FROM orders)"
            " WHERE instance_id = :instance_id AND shadow = 1 AND ended_at IS NULL",
            moment,
        )
        if books.rowcount:
            ended.append(instance_id)
    return ended


def with_open_shadow_book(db: Database, instance_ids: Sequence[str]) -> set[str]:
    """Which of these instances have one."""
    found = db.query(
        "SELECT instance_id FROM books WHERE shadow = 1 AND ended_at IS NULL"
        " AND instance_id IN (SELECT value FROM json_each(?))",
        [json.dumps(instance_ids)],
    )
    return {columns["instance_id"] for columns in found}


def holding_columns(holding: Holding) -> dict[str, Any]:
    """Those columns of a book that fills change."""
    return {
        "quantity": decimal_text(holding.quantity),
        "cost": decimal_text_or_none(holding.cost),
        "realised": decimal_text(holding.realised),
        "fees": decimal_text(holding.fees),
        "day": None if holding.day is None else holding.day.isoformat(),
        "realised_before": decimal_text(holding.realised_before),
        "unmeasured_on": None if holding.unmeasured_on is None else holding.unmeasured_on.isoformat(),
        "other_fees": json.dumps({currency: decimal_text(fee) for currency, fee in holding.other_fees}),
        "corrected": json.dumps([_corrected_columns(corrected) for corrected in holding.corrected]),
    }


def _corrected_columns(corrected: Corrected) -> dict[str, Any]:
    before, after = holding_columns(corrected.before), holding_columns(corrected.after)
    return {"before": before, "after": after, "price": decimal_text(corrected.price)}


def holding_from(columns: Mapping[str, Any]) -> Holding:
    return Holding(
        symbol=columns["symbol"],
        quantity=Decimal(columns["quantity"]),
        cost=decimal_or_none(columns["cost"]),
        realised=Decimal(columns["realised"]),
        fees=Decimal(columns["fees"]),
        day=_date_or_none(columns["day"]),
        realised_before=Decimal(columns["realised_before"]),
        unmeasured_on=_date_or_none(columns["unmeasured_on"]),
        # What was held before the first unpriced fill may have been kept by a version that knew neither.
        other_fees=tuple((name, Decimal(fee)) for name, fee in json.loads(columns.get("other_fees", "{}")).items()),
        corrected=tuple(_corrected_from(one, columns["symbol"]) for one in json.loads(columns.get("corrected", "[]"))),
    )


def _corrected_from(columns: Mapping[str, Any], symbol: str) -> Corrected:
    before, after = (holding_from({**columns[name], "symbol": symbol}) for name in ("before", "after"))
    return Corrected(before, after, Decimal(columns["price"]))


def begun_from(real: Holding | None, symbol: str) -> Holding:
    """What a shadow book begins with: the real position and its cost, no profit yet."""
    return Holding(symbol) if real is None else Holding(symbol, real.quantity, real.cost)


def add_up_all(db: Database) -> None:
    """Make the books of a ledger that was written before there were any.

    Orders count in the order in which they last changed; fills that it lacks are made of what is missing.
    """
    found = list(db.query("SELECT * FROM orders WHERE filled_quantity <> '0' ORDER BY updated_at, id"))
    for order in map(order_from, found):
        known = fills_of(db, order.client_order_id)
        news = new_fills(order, known, (), order.average_price, order.updated_at)
        db.table("fills").insert_all([fill_columns(fill) for fill in news])
        book = open_book(db, Owner.of(order), order.is_shadow, order.updated_at)
        holding = book.holding
        for fill in (*known, *news):
            holding = holding.filled(order.side, fill, order.updated_at.date())
        db.table("books").update(book.id, {**holding_columns(holding), "updated_at": time_text(order.updated_at)})


def open_book(db: Database, owner: Owner, shadow: bool, now: datetime) -> Book:
    """The owner's open book; begun where there is none."""
    instance_id, symbol = owner.instance_id, owner.symbol
    columns = _book(db, instance_id, symbol, shadow)
    if columns is not None:
        before = columns["held_before"]
        held_before = None if before is None else holding_from({**json.loads(before), "symbol": symbol})
        return Book(columns["id"], holding_from(columns), columns["unpriced_from"], held_before)
    real = _book(db, instance_id, symbol, shadow=False) if shadow else None
    holding = begun_from(None if real is None else holding_from(real), symbol)
    begun = {
        "instance_id": instance_id,
        "account_id": owner.account_id,
        "client_id": owner.client_id,
        "symbol": symbol,
        "shadow": int(shadow),
        **holding_columns(holding),
        "start_quantity": decimal_text(holding.quantity),
        "start_cost": decimal_text_or_none(holding.cost),
        "started_at": time_text(now),
        "updated_at": time_text(now),
    }
    return Book(insert(db, "books", begun), holding)


def _book(db: Database, instance_id: str, symbol: str, shadow: bool) -> dict[str, Any] | None:
    return next(iter(rows(db, f"SELECT * FROM books WHERE {BOOK}", [instance_id, symbol, int(shadow)])), None)


def fills_of(db: Database, client_order_id: str) -> list[Fill]:
    """The executions of an order, in the order they were told."""
    found = db.query("SELECT * FROM fills WHERE client_order_id = ? ORDER BY id", [client_order_id])
    return [fill_from(columns) for columns in found]


def _date_or_none(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


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
    owner = owner_of(db, instance_id)
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


def require_held(db: Database, held: Mapping[str, Decimal], now: datetime) -> None:
    """Raises StoreError unless these instances' books still hold so much: a fill booked meanwhile would be lost."""
    for id, quantity in held.items():
        if open_book(db, owner_of(db, id), False, now).holding.quantity != quantity:
            raise StoreError(f"{id} holds something else by now than {decimal_text(quantity)}")


def note(db: Database, instance_id: str, told: str, now: datetime) -> None:
    """Put a line of what a person said of its book into the instance's history."""
    db.execute(_IN_HISTORY, [storable(told), time_text(now), instance_id])


def owner_of(db: Database, instance_id: str) -> Owner:
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

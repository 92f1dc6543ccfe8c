"""The ledger of orders and fills: written before anything is sent, never forgotten. Blocks; raises StoreError."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from weakref import WeakValueDictionary

from sqlite_utils import Database

from reconciler.clock import Clock, utc
from reconciler.errors import StoreError
from reconciler.orders.holding import Holding
from reconciler.orders.market import Position
from reconciler.orders.news import Correction, resolved_order, settled_order
from reconciler.orders.order import Fill, Order, OrderChanges, OrderNews, OrderRequest, Outcome, RejectedBy
from reconciler.store.books import correct, enter, fills_of, holding_from, note, owner_of, require_held
from reconciler.store.columns import (
    insert,
    order_columns,
    order_from,
    rows,
    settled_columns,
    time_text,
    update,
)
from reconciler.store.database import Reads
from reconciler.store.memory import Exposure, Holdings, OpenOrders, Passed, Recent
from reconciler.store.order_search import OrderSearch
from reconciler.store.scope_book import Differences
from reconciler.store.writer import Writer
from reconciler.visible import storable


def refuse(db: Database, order: Order) -> Order:
    """Write `order` down, or count it on the instance's last one where it is that over again. Returns the one there."""
    found = rows(db, "SELECT * FROM orders WHERE instance_id = ? ORDER BY id DESC LIMIT 1", [order.instance_id])
    last = order_from(found[0]) if found else None
    if last is None or not is_repeated(last, order):
        insert(db, "orders", order_columns(order))
        return order
    repeated = replace(last, updated_at=max(order.updated_at, last.updated_at))
    db.execute(
        "UPDATE orders SET repeats = repeats + 1, updated_at = ? WHERE client_order_id = ?",
        [time_text(repeated.updated_at), last.client_order_id],
    )
    return repeated


def is_repeated(last: Order, refused: Order) -> bool:
    """True where `refused` is `last` over again: asked for by the same record, and refused for the same reason.

    Whatever the quantity and the prices: what a strategy asks for follows the market, and so would its refusals.
    """
    return (
        last.outcome is refused.outcome is Outcome.REJECTED
        and last.rejected_by is refused.rejected_by is RejectedBy.GATEWAY
        and last.reason == refused.reason
        and _kind(last.request) == _kind(refused.request)
        and replace(last.provenance, beat=refused.provenance.beat) == refused.provenance
    )


def _kind(request: OrderRequest) -> tuple[object, ...]:
    return request.side, request.type, request.time_in_force, request.reduce_only


class LedgerListener(Protocol):
    """Who hears of every commit to the ledger, in their order, on the writer's thread. It must not wait."""

    def changed(self, before: Order | None, after: Order, holding: Holding | None) -> None: ...
    def corrected(self, instance_id: str, holding: Holding) -> None: ...
    def shadow_books_ended(self, instance_ids: Collection[str]) -> None: ...


FOUND_PENDING = "the engine stopped before its answer came: it may have been sent"


class Ledger(OrderSearch):
    """Orders by client_order_id. An order's book is the shadow book where it was not, and could not be, sent.

    The fills of an order always add up to its filled quantity, and an instance's position to its fills, less their fees
    in what it holds, and what a person corrected: what is told of an order is written in one transaction with the fills
    that it means and the book that they change.
    """

    def __init__(self, writer: Writer, reads: Reads, clock: Clock) -> None:
        super().__init__(reads)
        self._writer = writer
        self._clock = clock
        self._exposure = Exposure(reads)
        self._holdings = Holdings(reads)
        self._open = OpenOrders(reads)
        self._passed = Passed(reads, utc(clock.time()))
        self._recent = Recent(self._recent_orders)
        self._ahead: set[str] = set()
        """The orders that were written to since memory followed; on the writer's thread. What is undone stays here."""
        self._news: WeakValueDictionary[str, OrderChanges] = WeakValueDictionary()
        self.listener: LedgerListener | None = None
        self.differences = Differences(writer, reads, clock)
        self.tags = tuple(columns["tag"] for columns in reads.query("SELECT tag FROM tags ORDER BY id"))
        """What the ids of this ledger's orders carry, the last being that of new ones."""

    def append(self, order: Order) -> None:
        """Write an order down for the first time; it is on the disk on return. Raises StoreError as `appending`."""
        self.appending(order).result()

    def appending(self, order: Order) -> Future[Holding | None]:
        """As `append`, but waits for nothing: it is on the disk once the future is done, with all that was to be
        written beside it.

        Its error is StoreError also where the client_order_id was used before.
        """
        columns = order_columns(order)

        def job(db: Database) -> Holding | None:
            try:
                insert(db, "orders", columns)
            except sqlite3.IntegrityError:
                if _found(db, order.client_order_id) is None:
                    raise
                raise StoreError(
                    f"orders: expected a new client_order_id, was used before: {order.client_order_id!r}"
                ) from None
            if order.filled_quantity or order.outcome is Outcome.SHADOW:
                return enter(db, order, (), (), order.average_price, order.updated_at)
            return None

        return self._writer.submit(job, lambda holding: self._changed(Settled(None, order, holding)))

    def refuse(self, order: Order) -> Order:
        """Write down an order that the gateway refused before it meant to send it; on the disk on return.

        Where the instance's last order was the same, refused for the same reason, it is counted there, and that one
        is returned: a strategy that asks again at every tick piles nothing up.
        """

        def committed(refused: Order) -> None:
            self._recent.put(refused)
            self._tell(refused)

        return self._writer.write(lambda db: refuse(db, order), committed)

    def listen(self, instance_id: str) -> OrderChanges:
        """What is committed of the instance's orders from now on, for as long as the caller keeps it.

        One at a time: a second ends the first. That an order is about to be sent is no news of it yet.
        """
        news = self._news[instance_id] = OrderChanges()
        return news

    def settle(self, client_order_id: str, news: OrderNews) -> Order:
        """Write down what became known of an order. Returns the order as it is now.

        Where its executions are not told apart, what is newly filled is one fill, made of the difference. Telling
        again what is known writes nothing. A filled quantity below what is known is an older answer: it is ignored,
        with its price and fee.

        Raises StoreError for an unknown id, an outcome that cannot follow, a state after a final one, and a state or
        fill of an order that was not accepted.
        """
        return self.settling(client_order_id, lambda _: news).result().after

    def settling(
        self,
        client_order_id: str,
        decide: Callable[[Order], OrderNews | None],
        committed: Callable[[Settled], object] = lambda _: None,
    ) -> Future[Settled]:
        """As `settle`, but waits for nothing, and what there is to write down is decided when it is written.

        `decide` is given the order as it is then, within the transaction: whoever else settled it, it is known. None
        leaves it as it is. `committed` is called on the writer's thread once that is on the disk, before anybody else
        learns of it. Neither may wait.
        """

        def job(db: Database) -> Settled:
            known = self._known(client_order_id) or _found(db, client_order_id)
            if known is None:
                raise _unknown(client_order_id)
            news = decide(known)
            return Settled(known, known) if news is None else self._settle(db, known, _storable(news), news.fills)

        def follow(change: Settled) -> None:
            self._changed(change)
            committed(change)

        return self._writer.submit(job, follow)

    def resolve(self, client_order_id: str, said: str, decide: Callable[[Order], OrderNews | None]) -> Settled:
        """Write down what a person says became of an order, decided as `settling` does. Committed on return.

        Both ways: less may be filled than is known, and what is over may have ended otherwise. What that takes back is
        a fill of a negative quantity, and `said` stands in the instance's history. It lowers no loss of the day.
        Raises StoreError as `settle` does.
        """

        def job(db: Database) -> Settled:
            known = _found(db, client_order_id)
            if known is None:
                raise _unknown(client_order_id)
            news = decide(known)
            return Settled(known, known) if news is None else self._settle(db, known, _storable(news), said=said)

        return self._writer.write(job, self._changed)

    def correct(self, corrections: Mapping[str, Correction]) -> dict[str, tuple[Holding, Holding]]:
        """Put the books of these instances right, each in its own market, all in one commit; on the disk on return.

        By instance_id, what each one held before and holds now. A correction says all that is held afterwards, not a
        difference; a row of its own is kept of it, beside the fills, and one in the instance's history. It lowers no
        loss of the day. Works for whoever there is or was a row of, loaded or not, removed ones too.

        Raises StoreError, and changes nothing, where one of them is no instance, or one correction makes no sense.
        """
        now = utc(self._clock.time())

        def job(db: Database) -> dict[str, tuple[str, Holding, Holding]]:
            done = {id: correct(db, id, correction, now) for id, correction in corrections.items()}
            return {id: (owner_of(db, id).account_id, *holdings) for id, holdings in done.items()}

        def committed(done: Mapping[str, tuple[str, Holding, Holding]]) -> None:
            for instance_id, (account_id, _, holding) in done.items():
                self._exposure.held(instance_id, account_id, holding)
                self._holdings.changed(instance_id, False, holding)
                if self.listener is not None:
                    self.listener.corrected(instance_id, holding)

        return {id: (before, after) for id, (_, before, after) in self._writer.write(job, committed).items()}

    def move(self, held: Mapping[str, Decimal], moves: Sequence[tuple[str, Correction]]) -> None:
        """As `correct`, one after the other in one commit: what is closed in one book may be opened in it again.

        StoreError, and nothing is changed, where they hold something else by now than `held`, by instance_id.
        """
        now = utc(self._clock.time())

        def job(db: Database) -> list[tuple[str, str, Holding]]:
            require_held(db, held, now)
            return [(id, owner_of(db, id).account_id, correct(db, id, said, now)[1]) for id, said in moves]

        def committed(done: Sequence[tuple[str, str, Holding]]) -> None:
            for instance_id, account_id, holding in done:
                self._exposure.held(instance_id, account_id, holding)
                self._holdings.changed(instance_id, False, holding)
                if self.listener is not None:
                    self.listener.corrected(instance_id, holding)

        self._writer.write(job, committed)

    def mark_unknown_on_startup(self) -> list[Order]:
        """Make every pending order unknown: nobody waits for its answer any more. Returns them, oldest first."""

        def job(db: Database) -> list[Settled]:
            found = list(db.query("SELECT * FROM orders WHERE is_open AND outcome = 'pending' ORDER BY id"))
            news = {"outcome": Outcome.UNKNOWN, "reason": FOUND_PENDING}
            return [self._settle(db, order_from(columns), news) for columns in found]

        def committed(changes: list[Settled]) -> None:
            for change in changes:
                self._changed(change)

        return [change.after for change in self._writer.write(job, committed)]

    def get(self, client_order_id: str) -> Order | None:
        """The order of that id, None where the ledger knows none."""
        if (order := self._open.get(client_order_id)) is not None:
            return order
        found = self._orders("client_order_id = ?", [client_order_id])
        return found[0] if found else None

    def open_orders(self, instance_id: str, shadow: bool) -> list[Order]:
        """The instance's orders to which something may still happen, oldest first. From memory."""
        return self._open.of(instance_id, shadow)

    def has_open(self, *, shadow: bool | None = None) -> bool:
        """True where something may still happen to any order, of that book or of whatever book. From memory."""
        return self._open.is_any(shadow)

    def recent(self, instance_id: str, limit: int, shadow: bool) -> list[Order]:
        """The instance's last `limit` orders, newest first, whatever became of them; shadow ones of its open book.

        A few are kept in memory: strategies ask at every tick.
        """
        return self._recent.of(instance_id, shadow, max(0, limit))

    def passed(self, instance_id: str, shadow: bool, since: datetime, but: str) -> int:
        """How many of the instance's orders got past the gateway, from `since` on, the one of the id `but` left out.

        From memory, which goes back for two minutes.
        """
        return self._passed.count(instance_id, shadow, since, but)

    def open_on(self, account_id: str, symbol: str) -> list[Order]:
        """Everyone's real open orders of that symbol on that account, those in doubt too. From memory."""
        return self._open.on(account_id, symbol)

    def open_real(self) -> list[Order]:
        """Everyone's real open orders, oldest first, those in doubt too. From memory."""
        return self._open.real()

    def held_on(self, account_id: str, symbol: str) -> Decimal:
        """What all instances on that account hold of it by their own fills, together. From memory."""
        return self._exposure.held_on(account_id, symbol)

    def unresolved(self) -> list[Order]:
        """Everyone's orders in doubt: pending or unknown, so nobody knows whether they were sent. From memory."""
        return [order for order in self._open.real() if order.outcome in (Outcome.PENDING, Outcome.UNKNOWN)]

    def open_accepted(self) -> list[Order]:
        """Everyone's orders that the exchange took and has not finished with, oldest first. From memory."""
        return [order for order in self._open.real() if order.outcome is Outcome.ACCEPTED]

    def holding(self, instance_id: str, symbol: str, shadow: bool) -> Holding:
        """What the instance's own fills of `symbol` add up to, in the order they were told; from memory as a rule.

        The shadow one begins with what the real one held when its first order was placed.
        """
        return self._holdings.get(instance_id, symbol, shadow)

    def holdings(self, instance_id: str, shadow: bool) -> list[Holding]:
        """Those of every symbol that it ever filled; of the real book, or of the shadow book that is open."""
        return self._holdings.all(instance_id, shadow)

    def position(self, instance_id: str, symbol: str, shadow: bool) -> Position:
        """What the instance holds of `symbol`, and what it cost on average."""
        return self.holding(instance_id, symbol, shadow).position

    def resting(self) -> list[Order]:
        """Everyone's open shadow orders, but of those whose record says that they do not observe."""
        return self._open.observed()

    def shadow_books_ended(self, instance_ids: Collection[str]) -> None:
        """Their shadow books were ended, with all that was open in them; that is committed."""
        self._open.shadow_books_ended(instance_ids)
        self._holdings.shadow_books_ended(instance_ids)
        self._recent.shadow_books_ended(instance_ids)
        if self.listener is not None:
            self.listener.shadow_books_ended(instance_ids)

    def standing(self) -> list[tuple[str, str, bool, Holding]]:
        """What every open book holds: instance_id, account_id, whether it is a shadow book, and the holding."""
        found = self._reads.query("SELECT * FROM books WHERE ended_at IS NULL ORDER BY id")
        return [
            (columns["instance_id"], columns["account_id"], bool(columns["shadow"]), holding_from(columns))
            for columns in found
        ]

    def open_everywhere(self) -> list[Order]:
        """Everyone's open orders, shadow orders too, oldest first."""
        return self._orders("is_open ORDER BY id")

    def exposed(self) -> frozenset[str]:
        """The instances with a real order that may still fill, or a real position. Costs nothing."""
        return self._exposure.ids

    def _changed(self, change: Settled) -> None:
        """Follow what was committed. On the writer's thread."""
        if change.after is change.before:
            return
        self._exposure.changed(change.before, change.after, change.holding)
        # The fill before the order's end: who looks in between counts it twice, never not at all.
        if change.holding is not None:
            self._holdings.changed(change.after.instance_id, change.after.is_shadow, change.holding)
        self._open.changed(change.after)
        self._ahead.discard(change.after.client_order_id)
        self._passed.changed(change.before, change.after)
        self._recent.put(change.after, is_new=change.before is None)
        self._tell(change.after)
        if self.listener is not None:
            self.listener.changed(*change)

    def _known(self, client_order_id: str) -> Order | None:
        """An open real order as the last commit left it, for a job: from memory, which follows each commit before the
        next job begins. None where it is no such order, or a job of this very commit wrote to it."""
        order = None if client_order_id in self._ahead else self._open.get(client_order_id)
        return None if order is None or order.is_shadow else order  # shadow orders also end with their books

    def _tell(self, order: Order) -> None:
        news = self._news.get(order.instance_id)
        if news is not None and order.outcome is not Outcome.PENDING:
            news.add(order)

    def _settle(
        self, db: Database, known: Order, news: Mapping[str, Any], fills: Sequence[Fill] = (), said: str = ""
    ) -> Settled:
        """What `news` make of the order: the same object where nothing was new. `said` where a person says so."""
        client_order_id, now = known.client_order_id, max(utc(self._clock.time()), known.updated_at)
        if said:
            settled = replace(resolved_order(known, news), updated_at=now)
        else:
            settled = settled_order(known, {**news, "updated_at": now})
        if all(getattr(settled, name) == getattr(known, name) for name in _SETTLED):
            return Settled(known, known)
        columns = settled_columns(settled)
        if settled.outcome is Outcome.UNKNOWN:
            columns["was_unknown"] = 1
        self._ahead.add(client_order_id)
        update(db, "orders", {"client_order_id": client_order_id, **columns}, "client_order_id")
        holding = None
        if _traded(settled) != _traded(known):
            has_fills = known.filled_quantity or known.fee is not None
            before = fills_of(db, client_order_id) if has_fills else ()
            average = news.get("average_price", known.average_price if said else None)
            holding = enter(db, settled, before, fills, average, now, by_hand=bool(said))
            if said:
                note(db, known.instance_id, said, now)
        return Settled(known, settled, holding)


class Settled(NamedTuple):
    """An order before and after something became known of it, and what its book holds then, where that changed."""

    before: Order | None
    after: Order
    holding: Holding | None = None


def _storable(news: OrderNews) -> dict[str, Any]:
    """What is told, foreign words made fit for the database; enumerations are no words."""
    return {name: storable(value) if type(value) is str else value for name, value in news.told().items()}


def _found(db: Database, client_order_id: str) -> Order | None:
    found = rows(db, "SELECT * FROM orders WHERE client_order_id = ?", [client_order_id])
    return order_from(found[0]) if found else None


_SETTLED = (
    "outcome", "state", "filled_quantity", "average_price", "fee", "fee_currency", "exchange_order_id", "reason",
    "rejected_by", "is_triggered",
)  # fmt: skip
"""What becomes known of an order."""


def _traded(order: Order) -> tuple[Decimal | str | None, ...]:
    """What its fills follow from."""
    return order.filled_quantity, order.average_price, order.fee, order.fee_currency


def _unknown(client_order_id: str) -> StoreError:
    return StoreError(f"orders: no order of client_order_id {client_order_id!r}: it was never written down")

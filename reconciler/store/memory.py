"""What the ledger keeps in memory: exposure, what instances hold, open and recent orders. Told in the order of commits.

Kept up with every write to the ledger instead of added up anew.
"""

from __future__ import annotations

import json
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from operator import attrgetter

from reconciler import exact
from reconciler.orders.holding import Holding
from reconciler.orders.order import Order, RejectedBy
from reconciler.store.books import BOOK, begun_from, holding_from
from reconciler.store.columns import order_from, time_text
from reconciler.store.database import Reads

_OPEN = "SELECT instance_id, count(*) AS number FROM orders WHERE is_open AND NOT shadow GROUP BY instance_id"
_HELD = "SELECT instance_id, account_id, symbol, quantity FROM books WHERE shadow = 0 AND quantity <> '0'"


class Exposure:
    """Read from the ledger once. Thread-safe."""

    def __init__(self, reads: Reads) -> None:
        self._lock = threading.Lock()
        self._open: Counter[str] = Counter()
        self._held: dict[str, dict[str, Decimal]] = {}
        self._accounts: dict[str, str] = {}
        """Of those that hold something."""
        with reads.snapshot() as db:
            for row in db.query(_OPEN):
                self._open[row["instance_id"]] = row["number"]
            for row in db.query(_HELD):
                self._hold(row["instance_id"], row["account_id"], row["symbol"], Decimal(row["quantity"]))
        self.ids = frozenset(self._open) | frozenset(self._held)
        """The instances with a real order that may still fill, or a real position."""

    def changed(self, before: Order | None, after: Order, holding: Holding | None) -> None:
        """An order was written down (`before` is None), or something became known of it; that is committed.

        `holding` is what its book holds now, None where it did not change. In the order of the commits.
        """
        with self._lock:
            self._open[after.instance_id] += _is_open(after) - _is_open(before)
            if not self._open[after.instance_id]:
                del self._open[after.instance_id]
            if holding is not None and not after.is_shadow:
                account_id = after.provenance.account_id
                self._hold(after.instance_id, account_id, holding.symbol, holding.quantity)
            self._follow(after.instance_id)

    def held(self, instance_id: str, account_id: str, holding: Holding) -> None:
        """A real book was put right; that is committed."""
        with self._lock:
            self._hold(instance_id, account_id, holding.symbol, holding.quantity)
            self._follow(instance_id)

    def held_on(self, account_id: str, symbol: str) -> Decimal:
        """What all instances on that account hold of it, together. Looks at each one that holds anything."""
        with self._lock:
            own = [held for instance_id, held in self._held.items() if self._accounts[instance_id] == account_id]
            return exact.total(held[symbol] for held in own if symbol in held)

    def _follow(self, instance_id: str) -> None:
        is_exposed = instance_id in self._open or instance_id in self._held
        if is_exposed != (instance_id in self.ids):
            self.ids = self.ids ^ {instance_id}

    def _hold(self, instance_id: str, account_id: str, symbol: str, quantity: Decimal) -> None:
        held = self._held.setdefault(instance_id, {})
        self._accounts[instance_id] = account_id
        held[symbol] = quantity
        if not quantity:
            del held[symbol]
        if not held:
            del self._held[instance_id], self._accounts[instance_id]


def _is_open(order: Order | None) -> bool:
    return order is not None and order.is_open and not order.is_shadow


_Own = dict[tuple[str, bool], Holding | None]
"""By symbol and kind of book (True is the shadow book); None where there is no open one."""


class Holdings:
    """Thread-safe. Strategies ask at every tick, the gate twice for every order."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._lock = threading.Lock()
        self._of: dict[str, _Own] = {}

    def get(self, instance_id: str, symbol: str, shadow: bool) -> Holding:
        """What the instance's open book holds. A shadow book that has no order yet holds what the real one does.

        Read from the ledger the first time it is asked for.
        """
        key = (symbol, shadow)
        # What is read here is put down before the writer can tell of a later commit: nothing newer is overwritten.
        with self._lock:
            own = self._of.setdefault(instance_id, {})
            if key not in own:
                own[key] = self._read(instance_id, symbol, shadow)
            found = own[key]
        if found is not None:
            return found
        return begun_from(self.get(instance_id, symbol, shadow=False), symbol) if shadow else Holding(symbol)

    def all(self, instance_id: str, shadow: bool) -> list[Holding]:
        """What all open books of the instance hold, of every symbol that it ever filled."""
        found = self._reads.query(
            "SELECT * FROM books WHERE instance_id = ? AND shadow = ? AND ended_at IS NULL ORDER BY symbol",
            [instance_id, int(shadow)],
        )
        return [holding_from(columns) for columns in found]

    def everybody(self, shadow: bool) -> list[tuple[str, Holding]]:
        """What all open books hold, each with its instance's id; by id, then symbol."""
        found = self._reads.query(
            "SELECT * FROM books WHERE shadow = ? AND ended_at IS NULL ORDER BY instance_id, symbol", [int(shadow)]
        )
        return [(columns["instance_id"], holding_from(columns)) for columns in found]

    def changed(self, instance_id: str, shadow: bool, holding: Holding) -> None:
        """What the instance's open book holds now; that is committed."""
        with self._lock:
            self._of.setdefault(instance_id, {})[holding.symbol, shadow] = holding

    def shadow_books_ended(self, instance_ids: Iterable[str]) -> None:
        """They hold what the real ones do from now on; that is committed."""
        with self._lock:
            for instance_id in instance_ids:
                own = self._of.get(instance_id, {})
                own.update({key: None for key in own if key[1]})

    def _read(self, instance_id: str, symbol: str, shadow: bool) -> Holding | None:
        found = self._reads.query(f"SELECT * FROM books WHERE {BOOK}", [instance_id, symbol, int(shadow)])
        return holding_from(found[0]) if found else None


_OPEN_ORDERS_OPEN = "SELECT * FROM orders WHERE is_open ORDER BY id"
_NOT_OBSERVING = (
    "SELECT id FROM instances WHERE id IN (SELECT value FROM json_each(?))"
    " AND (coalesce(mode_override, mode) <> 'observe' OR removed_at IS NOT NULL)"
)


class OpenOrders:
    """Read from the ledger once; told of each change in the order of the commits, by the writer's thread.

    Thread-safe: the gate asks twice for every order, strategies at every tick.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._lock = threading.Lock()
        self._orders: dict[str, Order] = {}
        self._of: dict[tuple[str, bool], dict[str, Order]] = {}
        """By instance and book (True is the shadow book), then by client_order_id."""
        for columns in reads.query(_OPEN_ORDERS_OPEN):
            self.changed(order_from(columns))

    def changed(self, order: Order) -> None:
        """An order was written down, or something became known of it; that is committed."""
        id, book = order.client_order_id, (order.instance_id, order.is_shadow)
        with self._lock:
            if order.is_open:
                self._orders[id] = order
                self._of.setdefault(book, {})[id] = order
            elif self._orders.pop(id, None) is not None:
                own = self._of[book]
                del own[id]
                if not own:
                    del self._of[book]

    def shadow_books_ended(self, instance_ids: Iterable[str]) -> None:
        """All that was open in them ended with them; that is committed."""
        with self._lock:
            for instance_id in instance_ids:
                for id in self._of.pop((instance_id, True), ()):
                    del self._orders[id]

    def get(self, client_order_id: str) -> Order | None:
        """The order of that id, None where it is not open."""
        return self._orders.get(client_order_id)

    def is_any(self, shadow: bool | None) -> bool:
        """True where there is one, in that book or in whatever book."""
        if shadow is None or not self._orders:
            return bool(self._orders)
        with self._lock:
            return any(book[1] is shadow for book in self._of)

    def of(self, instance_id: str, shadow: bool) -> list[Order]:
        """The instance's, oldest first."""
        with self._lock:
            own = list(self._of.get((instance_id, shadow), {}).values())
        return sorted(own, key=attrgetter("created_at"))

    def on(self, account_id: str, symbol: str) -> list[Order]:
        """Everyone's real ones of that symbol on that account, those in doubt too. Looks at each that is open."""
        with self._lock:
            found = list(self._orders.values())
        market = (account_id, symbol)
        return [o for o in found if not o.is_shadow and (o.provenance.account_id, o.provenance.symbol) == market]

    def real(self) -> list[Order]:
        """Everyone's real ones, oldest first, those in doubt too."""
        with self._lock:
            found = [order for order in self._orders.values() if not order.is_shadow]
        return sorted(found, key=attrgetter("created_at"))

    def observed(self) -> list[Order]:
        """Shadow orders, but those of instances whose record says that they do not observe. Blocks; one small query."""
        with self._lock:
            ids = [instance_id for instance_id, shadow in self._of if shadow]
        if not ids:
            return []
        others = {columns["id"] for columns in self._reads.query(_NOT_OBSERVING, [json.dumps(ids)])}
        return [order for id in ids if id not in others for order in self.of(id, shadow=True)]


_RECENT = 50
_BOOKS = 1_000
"""So many orders of each book, and so many books, are kept: some tens of megabytes at most."""


class Recent:
    """The last orders of those books that somebody asks for. Thread-safe: strategies ask at every tick.

    `read` reads from the ledger: instance_id, whether it is the shadow book, how many.
    """

    def __init__(self, read: Callable[[str, bool, int], list[Order]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._of: dict[tuple[str, bool], dict[str, Order]] = {}
        """By client_order_id, oldest first; of each book the last `_RECENT`, or all there are."""

    def of(self, instance_id: str, shadow: bool, limit: int) -> list[Order]:
        """The last `limit`, newest first."""
        if limit > _RECENT:
            return self._read(instance_id, shadow, limit)
        book = (instance_id, shadow)
        # What is read here is put down before the writer can tell of a later commit: nothing newer is overwritten.
        with self._lock:
            own = self._of.get(book)
            if own is None:
                found = self._read(instance_id, shadow, _RECENT)
                if len(self._of) >= _BOOKS:
                    return found[:limit]
                own = self._of[book] = {order.client_order_id: order for order in reversed(found)}
            return list(islice(reversed(own.values()), limit))

    def put(self, order: Order, *, is_new: bool = True) -> None:
        """An order was written down, or something became known of it; that is committed."""
        with self._lock:
            own = self._of.get((order.instance_id, order.is_shadow))
            if own is None or not (is_new or order.client_order_id in own):
                return  # what is older than those that are kept is read when it is asked for
            own[order.client_order_id] = order
            if len(own) > _RECENT:
                del own[next(iter(own))]

    def shadow_books_ended(self, instance_ids: Iterable[str]) -> None:
        """They begin anew; that is committed."""
        with self._lock:
            for instance_id in instance_ids:
                self._of.pop((instance_id, True), None)


_PASSED = "SELECT * FROM orders WHERE created_at >= ? AND rejected_by IS NOT 'gateway' ORDER BY created_at"
_KEPT = timedelta(minutes=2)
"""Longer than anybody counts: a clock that is set back a little makes nothing be forgotten that still counts."""


class Passed:
    """The orders that got past the gateway lately. Read from the ledger once; thread-safe.

    The gate counts them at the last look, which must not wait for the disk.
    """

    def __init__(self, reads: Reads, now: datetime) -> None:
        self._lock = threading.Lock()
        self._of: dict[tuple[str, bool], deque[tuple[datetime, str]]] = {}
        """When those of an instance and a book were placed, and their client_order_ids."""
        for columns in reads.query(_PASSED, [time_text(now - _KEPT)]):
            self.changed(None, order_from(columns))

    def changed(self, before: Order | None, after: Order) -> None:
        """An order was written down, or something became known of it; that is committed."""
        book, placed = (after.instance_id, after.is_shadow), (after.created_at, after.client_order_id)
        is_stopped = after.rejected_by is RejectedBy.GATEWAY
        if (before is not None) and not is_stopped:
            return
        with self._lock:
            own = self._of.setdefault(book, deque())
            if not is_stopped:
                own.append(placed)
            elif placed in own:
                own.remove(placed)
            while own and own[0][0] < after.created_at - _KEPT:
                own.popleft()
            if not own:
                del self._of[book]

    def count(self, instance_id: str, shadow: bool, since: datetime, but: str) -> int:
        """How many there were from `since` on, the one of the id `but` left out."""
        with self._lock:
            return sum(at >= since and id_ != but for at, id_ in self._of.get((instance_id, shadow), ()))

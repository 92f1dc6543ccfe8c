"""The read side: what the page and the command line see, with or without a running engine. Cannot write.

And the export of all that the ledger and the history hold, in columns whose names stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal

from sqlite_utils import Database

from reconciler.errors import StoreError
from reconciler.orders.holding import Holding
from reconciler.records.accounts import KnownTools
from reconciler.records.record import Attempt, Row
from reconciler.store import books as corrections
from reconciler.store import desired, halts
from reconciler.store import store as beats
from reconciler.store import store as tools
from reconciler.store import tables as schema
from reconciler.store.columns import ITEM, time_text
from reconciler.store.database import ReadPool, Reads
from reconciler.store.desired import row_from
from reconciler.store.following import read_commits, read_followed
from reconciler.store.memory import Exposure, Holdings

Export = Literal["orders", "fills", "history"]

Item = dict[str, Any]
"""One row, ready for JSON: money as decimal strings, times ISO 8601, None where nothing is known."""

_PIECE: Final = 1_000
Filter = str | bool | None


def plain_order(item: Item) -> None:
    """What SQLite keeps as 0 and 1 becomes false and true."""
    for name in ("shadow", "reduce_only", "was_unknown"):
        item[name] = bool(item[name])


def plain_fill(item: Item) -> None:
    for name in ("shadow", "made_up"):
        if name in item:
            item[name] = bool(item[name])


def plain_generation(item: Item) -> None:
    item["committed"] = bool(item["committed"])
    item["values"] = json.loads(item["values"])


@dataclass(frozen=True, slots=True)
class _Source:
    """Where an export comes from: `columns` of `tables`, numbered by `number`, each of the time `at`."""

    columns: str
    tables: str
    number: str
    at: str
    plain: Callable[[Item], None]


_SOURCES: Final[dict[Export, _Source]] = {
    "orders": _Source(ITEM, "orders", "id", "created_at", plain_order),
    "fills": _Source(
        "o.instance_id, f.client_order_id, o.symbol, o.account_id, o.client_id, o.side, o.shadow, "
        "f.exchange_fill_id, f.quantity, f.price, f.fee, f.at, f.made_up, f.fee_currency, NULL AS correction",
        "fills f JOIN orders o USING (client_order_id)",
        "f.id",
        "f.at",
        plain_fill,
    ),
    "history": _Source(
        'instance_id, generation, kind, summary, at, revision, committed, mode, code_digest, "values"',
        "generations",
        "id",
        "at",
        plain_generation,
    ),
}


def columns(what: Export) -> list[str]:
    """The names of what each item of an export holds, in their order. They are a contract: none is ever renamed."""
    return [name.rpartition(".")[2].rpartition(" ")[2].strip('"') for name in _SOURCES[what].columns.split(", ")]


def exported(
    reads: Reads, what: Export, instance_id: str, since: datetime | None, until: datetime | None
) -> Iterator[Item]:
    """Everything of `what`, oldest first, up to what was written last when this began; piece by piece.

    Among the fills are the corrections of books, where they were made, so that they add up to what is held.
    """
    source = _SOURCES[what]
    wanted = {
        "instance_id = ?": instance_id,
        f"{source.at} >= ?": "" if since is None else time_text(since),
        f"{source.at} < ?": "" if until is None else time_text(until),
    }
    conditions = [f"{source.number} > ?", f"{source.number} <= ?", *(name for name, value in wanted.items() if value)]
    values = [value for value in wanted.values() if value]
    select = (
        f"SELECT {source.number} AS number, {source.columns} FROM {source.tables}"
        f" WHERE {' AND '.join(conditions)} ORDER BY {source.number} LIMIT {_PIECE}"
    )
    last = reads.query(f"SELECT coalesce(max({source.number}), 0) AS number FROM {source.tables}")[0]["number"]
    after = 0
    added = _corrections(reads, instance_id, since, until) if what == "fills" else []
    while piece := reads.query(select, [after, last, *values]):
        after = piece[-1]["number"]
        for item in piece:
            number = item.pop("number")
            while added and added[0]["after_fill"] < number:
                yield _shown(added.pop(0))
            source.plain(item)
            yield item
    yield from map(_shown, added)


def _corrections(reads: Reads, instance_id: str, since: datetime | None, until: datetime | None) -> list[Item]:
    bounds = ["" if moment is None else time_text(moment) for moment in (since, until)]
    with reads.snapshot() as db:
        return corrections.exported(db, instance_id, *bounds)


def _shown(correction: Item) -> Item:
    return {name: correction[name] for name in columns("fills")}


def add_fills(db: Database, orders: Sequence[Item]) -> None:
    """Give each of these orders its `fills`, in the order they were told."""
    by_id: dict[str, list[Item]] = {}
    for order in orders:
        by_id[order["client_order_id"]] = order["fills"] = []
    found = db.query(
        "SELECT client_order_id, exchange_fill_id, quantity, price, fee, at, made_up, fee_currency FROM fills"
        f" WHERE client_order_id IN ({', '.join('?' * len(by_id))}) ORDER BY id",
        list(by_id),
    )
    for fill in found:
        plain_fill(fill)
        by_id[fill.pop("client_order_id")].append(fill)


class Reader:
    """Read-only, thread-safe; every call sees the last commit. Every call may raise StoreError.

    Lists come one page at a time, newest first, with how many match in all; empty filters match everything.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    @classmethod
    def open(cls, path: Path) -> Reader:
        """Raises StoreError where there is no database, or none that this version can read."""
        if not path.exists():
            raise StoreError(f"{path}: no database there: start the engine once, it makes one")
        reads = ReadPool(path)
        try:
            with reads.snapshot() as db:
                schema.require_current(db, path)
        except BaseException:
            reads.close()
            raise
        return cls(reads)

    def close(self) -> None:
        self._reads.close()

    def orders(
        self,
        instance_id: str = "",
        outcome: str = "",
        state: str = "",
        shadow: bool | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        is_open: bool | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Item], int]:
        """Orders, in the order they were placed, each with its `fills`.

        `shadow` chooses a book: True the simulated one, None both. Those placed at `since` count, those at `until` do
        not. `is_open` True leaves those to which something may still happen.
        """
        filters = {
            "instance_id": instance_id,
            "outcome": outcome,
            "state": state,
            "shadow": shadow,
            "is_open": is_open,
            "since": "" if since is None else time_text(since),
            "until": "" if until is None else time_text(until),
        }
        with self._reads.snapshot() as db:
            items, total = _page(db, f"SELECT {ITEM} FROM orders", "orders", filters, "id DESC", limit, offset)
            add_fills(db, items)
        for item in items:
            plain_order(item)
        return items, total

    def order(self, client_order_id: str) -> Item | None:
        """One order with its `fills`, None where the ledger knows none of that id."""
        with self._reads.snapshot() as db:
            items = list(db.query(f"SELECT {ITEM} FROM orders WHERE client_order_id = ?", [client_order_id]))
            add_fills(db, items)
        for item in items:
            plain_order(item)
        return self._with_changes(items)[0] if items else None

    def events(
        self, instance_id: str = "", type: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[list[Item], int]:
        """Events, in the order they last happened: `id instance_id type reason message count first_at last_at`."""
        filters = {"instance_id": instance_id, "type": type}
        return self._page("events", filters, "last_at DESC, id DESC", limit, offset)

    def history(self, instance_id: str, limit: int = 100, offset: int = 0) -> tuple[list[Item], int]:
        """Every change of a row: `generation kind summary at revision committed mode code_digest values change`.

        Kind `corrected` is one of its book, by a person.
        """
        items, total = self._page("generations", {"instance_id": instance_id}, "id DESC", limit, offset)
        for item in items:
            plain_generation(item)
        return self._with_changes(items), total

    def changes(self, revisions: Iterable[str | None]) -> dict[str, Item]:
        """What is known of each commit: `commit author author_email committer committed_at subject merge_commit
        pull_request signed_by claimed_approvals`."""
        found = read_commits(self._reads, tuple({one for one in revisions if one}))
        return {revision: change.to_json() for revision, change in found.items()}

    def source(self) -> Item | None:
        """What is followed and how far, as `/api/v1/source` has it; None where nothing was followed yet."""
        followed = read_followed(self._reads)
        if followed is None:
            return None
        return followed.to_json(self.changes((followed.applied, followed.seen, followed.held)))

    def _with_changes(self, items: list[Item]) -> list[Item]:
        changes = self.changes(item["revision"] for item in items)
        for item in items:
            item["change"] = changes.get(item["revision"])
        return items

    def generation(self, instance_id: str, generation: int) -> Item | None:
        """The last change by which the row came to be of that generation, None where nothing is known of it."""
        found = self._reads.query(
            "SELECT * FROM generations WHERE instance_id = ? AND generation = ? AND kind <> 'corrected'"
            " ORDER BY id DESC LIMIT 1",
            [instance_id, generation],
        )
        for item in found:
            plain_generation(item)
        return self._with_changes(found)[0] if found else None

    def operations(self, limit: int = 100, offset: int = 0) -> tuple[list[Item], int]:
        """What operators did: `id at uid action scope reason`."""
        return self._page("operations", {}, "id DESC", limit, offset)

    def exported(
        self, what: Export, instance_id: str = "", since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Item]:
        """All of `what` there is, oldest first, up to what was written last when this began.

        Read piece by piece: no transaction stays open while whoever takes them is slow.
        """
        return exported(self._reads, what, instance_id, since, until)

    def holdings(self, instance_id: str, shadow: bool) -> list[Holding]:
        """What the instance's own fills add up to, by symbol; of its shadow book, while there is one."""
        return Holdings(self._reads).all(instance_id, shadow)

    def books(self, shadow: bool) -> list[tuple[str, Holding]]:
        """What the open books of all instances hold, removed ones too: by instance and symbol."""
        return Holdings(self._reads).everybody(shadow)

    def last_price(self, account_id: str, symbol: str) -> tuple[Decimal, str] | None:
        """The last price that an order on that account was judged or filled by, shadow orders too, and when."""
        found = self._reads.query(
            "SELECT quote_bid, quote_ask, average_price, updated_at FROM orders WHERE account_id = ? AND symbol = ?"
            " AND (quote_bid IS NOT NULL OR average_price IS NOT NULL) ORDER BY id DESC LIMIT 1",
            [account_id, symbol],
        )
        for one in found:
            bid, ask = one["quote_bid"] or one["average_price"], one["quote_ask"] or one["average_price"]
            if bid is not None and ask is not None:
                return (Decimal(bid) + Decimal(ask)) / 2, one["updated_at"]
        return None

    def row(self, instance_id: str) -> Row | None:
        """The applied row of that id, a tombstone too; None where there never was one."""
        found = self._reads.query("SELECT * FROM instances WHERE id = ?", [instance_id])
        return row_from(found[0]) if found else None

    def ids(self) -> list[str]:
        """The id of every row, tombstones included."""
        return [columns["id"] for columns in self._reads.query("SELECT id FROM instances ORDER BY id")]

    def rows(self) -> dict[str, Row]:
        """Every row by id, tombstones included."""
        return desired.read_rows(self._reads)

    def attempts(self) -> dict[str, Attempt]:
        """What was last attempted with each file, by path."""
        return desired.read_attempts(self._reads)

    def without_instance(self) -> list[Attempt]:
        """What was attempted with files that have a problem and stand for no instance, by path."""
        found = self._reads.query(
            "SELECT * FROM attempts WHERE problems <> '[]'"
            " AND path NOT IN (SELECT path FROM instances WHERE removed_at IS NULL) ORDER BY path"
        )
        return list(map(desired.attempt_from, found))

    def attempts_of(self, instance_id: str) -> list[Attempt]:
        """What was last attempted with each file that claims this id."""
        return [one for one in self.attempts().values() if one.id == instance_id]

    def exposed(self) -> frozenset[str]:
        """Ids of instances with an open real order or a real position."""
        return Exposure(self._reads).ids

    def in_doubt(self) -> dict[str, list[str]]:
        """The client_order_ids, by instance, of orders of which nobody knows whether they were placed."""
        found = self._reads.query(
            "SELECT instance_id, client_order_id FROM orders"
            " WHERE is_open AND outcome IN ('pending', 'unknown') ORDER BY id"
        )
        doubts: dict[str, list[str]] = {}
        for columns in found:
            doubts.setdefault(columns["instance_id"], []).append(columns["client_order_id"])
        return doubts

    def halts(self) -> list[Item]:
        """Every halt in force, oldest first: `scope id full reason by at`."""
        return [halt.to_json() for halt in halts.read_active(self._reads)]

    def tools(self) -> dict[str, KnownTools]:
        """The tools of each exec-mcp server, as somebody last stood by them."""
        return tools.read_known(self._reads)

    def last_beat(self) -> tuple[int, float] | None:
        """The last beat fired and the heartbeat in seconds it was counted with."""
        return beats.read_last(self._reads)

    def _page(
        self, table: str, filters: Mapping[str, Filter], order: str, limit: int, offset: int
    ) -> tuple[list[Item], int]:
        with self._reads.snapshot() as db:
            return _page(db, f"SELECT * FROM {table}", table, filters, order, limit, offset)


_CONDITIONS = {"since": "created_at >= :since", "until": "created_at < :until"}
"""What a filter asks for, where it is not that a column of its name has its value."""


def _page(
    db: Database, select: str, table: str, filters: Mapping[str, Filter], order: str, limit: int, offset: int
) -> tuple[list[Item], int]:
    wanted = {name: value for name, value in filters.items() if value not in ("", None)}
    where = " AND ".join(_CONDITIONS.get(name, f"{name} = :{name}") for name in wanted) or "TRUE"
    page = f"{select} WHERE {where} ORDER BY {order} LIMIT :limit OFFSET :offset"
    items = list(db.query(page, {**wanted, "limit": max(0, limit), "offset": max(0, offset)}))
    return items, db.table(table).count_where(where, wanted)

"""Exports: all that the ledger and the history hold, in columns whose names stay. Reads only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlite_utils import Database

from reconciler.store import books as corrections
from reconciler.store.columns import ITEM, time_text
from reconciler.store.database import Reads

Export = Literal["orders", "fills", "history"]

Item = dict[str, Any]
"""One row, ready for JSON: money as decimal strings, times ISO 8601, None where nothing is known."""

_PIECE: Final = 1_000


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

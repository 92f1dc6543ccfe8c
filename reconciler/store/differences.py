"""What accounts hold beside what the ledger booked, as two looks agreed on it last. Blocks; raises StoreError.

A ledger that lost rows is told by it: after a start, the difference is another than the one that was kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlite_utils import Database

from reconciler import exact
from reconciler.clock import Clock, utc
from reconciler.orders.order import decimal_text
from reconciler.store.columns import time_text
from reconciler.store.database import Reads
from reconciler.store.writer import Writer
from reconciler.visible import storable

_FILLED = (
    "SELECT f.quantity, f.fee, f.fee_currency FROM fills f JOIN orders o ON o.client_order_id = f.client_order_id"
    " WHERE f.id > ? AND o.account_id = ? AND o.symbol = ? AND o.shadow = 0"
)


_FILLED_ON = (
    "SELECT o.symbol, f.fee, f.fee_currency FROM fills f JOIN orders o ON o.client_order_id = f.client_order_id"
    " WHERE f.id > ? AND o.account_id = ? AND o.shadow = 0"
)
_CORRECTED = "SELECT quantity, quantity_before FROM corrections WHERE id > ? AND account_id = ? AND symbol = ?"
_MARKS = "coalesce((SELECT max(id) FROM fills), 0), coalesce((SELECT max(id) FROM corrections), 0)"


@dataclass(frozen=True, slots=True)
class Kept:
    """The difference of one symbol: what the exchange held less what the ledger booked.

    With all fills up to `last_fill`, and all corrections of people up to `last_correction`.
    """

    quantity: Decimal
    last_fill: int
    last_correction: int


class KeptDifferences(Mapping[str, Kept]):
    """By symbol; what was never different is zero since the account was first compared, and is not counted."""

    def __init__(self, first: Kept, differences: Mapping[str, Kept]) -> None:
        self._first = first
        self._differences = differences

    def __getitem__(self, symbol: str) -> Kept:
        return self._differences.get(symbol, self._first)

    def __iter__(self) -> Iterator[str]:
        return iter(self._differences)

    def __len__(self) -> int:
        return len(self._differences)


class Differences:
    """By account and symbol."""

    def __init__(self, writer: Writer, reads: Reads, clock: Clock) -> None:
        self._writer = writer
        self._reads = reads
        self._clock = clock

    def kept(self, account_id: str) -> KeptDifferences | None:
        """Those of the account; None where it was never compared."""
        with self._reads.snapshot() as db:
            compared = list(db.query("SELECT * FROM compared WHERE account_id = ?", [account_id]))
            found = list(db.query("SELECT * FROM differences WHERE account_id = ?", [account_id]))
        if not compared:
            return None
        return KeptDifferences(_kept(compared[0]), {one["symbol"]: _kept(one) for one in found})

    def keep(self, account_id: str, agreed: Mapping[str, Decimal]) -> None:
        """Two looks agreed on these, after all that is booked by now; committed on return."""
        now = time_text(utc(self._clock.time()))

        def job(db: Database) -> None:
            db.execute(f"INSERT OR IGNORE INTO compared SELECT ?, {_MARKS}, ?", [account_id, now])
            for symbol, quantity in agreed.items():
                told = [account_id, storable(symbol), decimal_text(quantity), now]
                db.execute(f"INSERT OR REPLACE INTO differences SELECT ?, ?, ?, {_MARKS}, ?", told)

        self._writer.write(job)

    def filled_since(self, account_id: str, symbol: str, last_fill: int) -> tuple[Decimal, bool]:
        """How much was filled there after that fill, both sides together; and whether all its fees are known.

        A fee whose currency is not told may be one in coins.
        """
        found = self._reads.query(_FILLED, [last_fill, account_id, symbol])
        return exact.total(Decimal(one["quantity"]) for one in found), all(map(_is_fee_known, found))

    def untold_since(self, account_id: str, last_fill: int) -> tuple[frozenset[str], int]:
        """The symbols of which something was filled there after that fill whose fee is not known; and the last fill."""
        with self._reads.snapshot() as db:
            found = list(db.query(_FILLED_ON, [last_fill, account_id]))
            (newest,) = db.execute("SELECT coalesce(max(id), 0) FROM fills").fetchone()
        return frozenset(one["symbol"] for one in found if not _is_fee_known(one)), newest

    def corrected_since(self, account_id: str, symbol: str, last_correction: int) -> Decimal:
        """What people added to the books there after that correction; less than zero where they took away."""
        found = self._reads.query(_CORRECTED, [last_correction, account_id, symbol])
        changes = (exact.subtract(Decimal(one["quantity"]), Decimal(one["quantity_before"])) for one in found)
        return exact.total(changes)

    def strays(self, account_id: str) -> frozenset[str]:
        """Orders of ours that the ledger does not know, and that somebody has settled."""
        found = self._reads.query("SELECT client_order_id FROM strays WHERE account_id = ?", [account_id])
        return frozenset(one["client_order_id"] for one in found)

    def settle_strays(self, account_id: str, client_order_ids: Collection[str]) -> None:
        """Somebody has seen that these orders are there; committed on return."""
        now = time_text(utc(self._clock.time()))
        rows = [[account_id, storable(id), now] for id in client_order_ids]

        def job(db: Database) -> None:
            db.conn.executemany("INSERT OR IGNORE INTO strays (account_id, client_order_id, at) VALUES (?, ?, ?)", rows)

        self._writer.write(job)


def _kept(columns: Mapping[str, Any]) -> Kept:
    return Kept(Decimal(columns.get("quantity", 0)), columns["last_fill"], columns["last_correction"])


def _is_fee_known(fill: Mapping[str, Any]) -> bool:
    return fill["fee"] is not None and (fill["fee_currency"] is not None or not Decimal(fill["fee"]))

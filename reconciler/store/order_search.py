"""Finding orders in the ledger by what following them up asks for. Reads only; blocks; raises StoreError."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from reconciler import exact
from reconciler.orders.order import Fill, Order, Trade
from reconciler.store.columns import fill_from, order_from, time_text
from reconciler.store.database import Reads

_ENDED = (
    "SELECT * FROM orders INDEXED BY orders_ended WHERE outcome = 'accepted' AND NOT is_open"
    " AND (filled_quantity <> quantity OR average_price IS NULL OR fee IS NULL) AND updated_at >= ?"
)
"""In the words of the index that bounds it; SQLite would take one that does not."""
_REFUSED = (
    "SELECT * FROM orders INDEXED BY orders_refused WHERE outcome = 'rejected' AND rejected_by = 'exchange'"
    " AND updated_at >= ? ORDER BY updated_at DESC LIMIT ?"
)
_FILLS = (
    "SELECT f.* FROM orders o JOIN fills f ON f.client_order_id = o.client_order_id"
    " WHERE o.instance_id = ? AND o.shadow = 0 ORDER BY f.id"
)
_LATEST = 50
_NEWEST = 1_000
"""More than are on their way into the ledger at any time: they need not get there in the order they were made in."""
_LEFT_ACTIVE = "(i.removed_at IS NOT NULL OR coalesce(i.mode_override, i.mode) <> 'active')"


class OrderSearch:
    """Everyone's orders, real ones only. What the writer has committed is found."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def unwanted(self) -> list[Order]:
        """The open orders that their records want cancelled, for they left active. Oldest first.

        Level-triggered: the row says so, whenever and however it came to, and for as long as it does.
        """
        found = self._reads.query(
            "SELECT o.* FROM orders o JOIN instances i ON i.id = o.instance_id"
            f" WHERE o.is_open AND o.outcome = 'accepted' AND i.open_orders = 'cancel' AND {_LEFT_ACTIVE} ORDER BY o.id"
        )
        return [order_from(columns) for columns in found]

    def fills(self, client_order_id: str) -> list[Fill]:
        """The executions of an order, in the order they were told."""
        found = self._reads.query("SELECT * FROM fills WHERE client_order_id = ? ORDER BY id", [client_order_id])
        return [fill_from(columns) for columns in found]

    def all_fills(self, instance_id: str) -> dict[str, list[Fill]]:
        """The executions of all its real orders, by client_order_id, each in the order they were told."""
        found: dict[str, list[Fill]] = {}
        for columns in self._reads.query(_FILLS, [instance_id]):
            found.setdefault(columns["client_order_id"], []).append(fill_from(columns))
        return found

    def traded(self, since: datetime) -> list[Trade]:
        """Everything that was filled from then on, of open shadow books too, oldest first."""
        found = self._reads.query(
            "SELECT f.*, o.instance_id, o.account_id, o.symbol, o.shadow FROM fills f"
            " JOIN orders o ON o.client_order_id = f.client_order_id WHERE f.at >= ? ORDER BY f.id",
            [time_text(since)],
        )
        return [
            Trade(columns["instance_id"], columns["account_id"], columns["symbol"], bool(columns["shadow"]), fill)
            for columns in found
            if (fill := fill_from(columns)).quantity > 0
        ]

    def closed_by_operator(self, account_id: str, symbol: str, since: str) -> list[Order]:
        """The orders that closed something there for an operator, placed from then on (ISO 8601), oldest first."""
        return self._orders(
            "account_id = ? AND symbol = ? AND provenance = 'operator' AND created_at >= ? ORDER BY id",
            [account_id, symbol, since],
        )

    def written_off(self, since: datetime) -> list[Order]:
        """The orders that were in doubt and were, not before `since`, taken for never placed. Oldest first."""
        found = self._reads.query(
            "SELECT * FROM orders WHERE was_unknown AND outcome = 'rejected' AND updated_at >= ? ORDER BY id",
            [time_text(since)],
        )
        return [order_from(columns) for columns in found]

    def ended(self, since: datetime) -> list[Order]:
        """The orders that ended, not before `since`, and of which a fill, a price or a fee may not be known yet."""
        return [order_from(columns) for columns in self._reads.query(_ENDED, [time_text(since)])]

    def ended_on(self, account_id: str, since: datetime, limit: int) -> list[Order]:
        """Of what `ended` gives, the last ones of that account."""
        found = self._reads.query(
            f"{_ENDED} AND account_id = ? ORDER BY updated_at DESC LIMIT ?", [time_text(since), account_id, limit]
        )
        return [order_from(columns) for columns in found]

    def earliest(self) -> datetime | None:
        """When the first order was placed, None where none ever was."""
        (found,) = self._reads.query("SELECT min(created_at) AS at FROM orders")
        return None if found["at"] is None else datetime.fromisoformat(found["at"])

    def instance_ids(self) -> list[str]:
        """The id of every record that there ever was."""
        return [columns["id"] for columns in self._reads.query("SELECT id FROM instances")]

    def refused(self, since: datetime) -> list[Order]:
        """The newest orders that their exchanges refused, not before `since`: those of an engine's last seconds."""
        found = self._reads.query(_REFUSED, [time_text(since), _LATEST])
        return [order_from(columns) for columns in found]

    def lived_at(self) -> float | None:
        """When the last beat fired, in Unix seconds, None where none ever did."""
        (meta,) = self._reads.query("SELECT beat, heartbeat_s FROM meta")
        return None if meta["beat"] is None else meta["beat"] * meta["heartbeat_s"]

    def newest_ids(self) -> list[str]:
        """The client_order_ids that were written down last."""
        found = self._reads.query("SELECT client_order_id FROM orders ORDER BY id DESC LIMIT ?", [_NEWEST])
        return [columns["client_order_id"] for columns in found]

    def latest(self) -> datetime | None:
        """When the last order was placed, None where none ever was."""
        (found,) = self._reads.query("SELECT max(created_at) AS at FROM orders")
        return None if found["at"] is None else datetime.fromisoformat(found["at"])

    def was_unknown(self, client_order_id: str) -> bool:
        """True where nobody knew, at some time, whether that order was placed: now, or until it was found out."""
        return bool(
            self._reads.query("SELECT 1 FROM orders WHERE client_order_id = ? AND was_unknown", [client_order_id])
        )

    def of_exchange_id(self, account_id: str, exchange_order_id: str) -> Order | None:
        """The order that the exchange of this account calls so, None where the ledger knows none."""
        found = self._reads.query(
            "SELECT * FROM orders WHERE exchange_order_id = ? AND account_id = ? ORDER BY id DESC LIMIT 1",
            [exchange_order_id, account_id],
        )
        return order_from(found[0]) if found else None

    def clients(self) -> list[tuple[str, str]]:
        """Every (account_id, client_id) that a record names or named, or that an open or lost order was sent with."""
        found = self._reads.query(
            "SELECT account_id, client_id FROM instances"
            " UNION SELECT account_id, client_id FROM orders WHERE is_open AND outcome <> 'shadow'"
            " UNION SELECT account_id, client_id FROM orders WHERE was_unknown AND outcome = 'rejected'"
            " ORDER BY account_id, client_id"
        )
        return [(columns["account_id"], columns["client_id"]) for columns in found]

    def held(self, account_id: str) -> dict[str, Decimal]:
        """What the instances on that account hold by their own fills, by symbol; signed, nothing that is zero."""
        held: dict[str, Decimal] = {}
        found = self._reads.query(
            "SELECT symbol, quantity FROM books WHERE account_id = ? AND shadow = 0 AND ended_at IS NULL", [account_id]
        )
        for columns in found:
            symbol = columns["symbol"]
            held[symbol] = exact.add(held.get(symbol, Decimal(0)), Decimal(columns["quantity"]))
        return {symbol: quantity for symbol, quantity in held.items() if quantity}

    def holds_real_money(self, account_id: str) -> bool:
        """True where an instance on that account holds what it last traded for real money, whatever is said now."""
        found = self._reads.query(
            "SELECT (SELECT o.money FROM orders o WHERE o.instance_id = i.id AND o.shadow = 0"
            " AND o.filled_quantity != '0' ORDER BY o.id DESC LIMIT 1) AS money FROM instances i JOIN books b"
            " ON b.instance_id = i.id AND b.symbol = i.market AND b.shadow = 0 AND b.ended_at IS NULL"
            " WHERE i.account_id = ? AND b.quantity != '0'",
            [account_id],
        )
        return any(columns["money"] == "real" for columns in found)

    def books_on(self, account_id: str) -> dict[str, tuple[str, Decimal]]:
        """The market of every instance that is or was on that account, and what its own fills make there."""
        found = self._reads.query(
            "SELECT i.id, i.market, coalesce(b.quantity, '0') AS quantity FROM instances i LEFT JOIN books b"
            " ON b.instance_id = i.id AND b.symbol = i.market AND b.shadow = 0 AND b.ended_at IS NULL"
            " WHERE i.account_id = ?",
            [account_id],
        )
        return {columns["id"]: (columns["market"], Decimal(columns["quantity"])) for columns in found}

    def markets(self, account_id: str) -> frozenset[str]:
        """The markets that any instance on that account has, or ever held something of."""
        found = self._reads.query(
            "SELECT market AS symbol FROM instances WHERE account_id = ?1"
            " UNION SELECT symbol FROM books WHERE account_id = ?1 AND shadow = 0",
            [account_id],
        )
        return frozenset(columns["symbol"] for columns in found)

    def left(self, since: datetime) -> list[Order]:
        """Every order that was, or may have been, sent since then, but for those that only reduce. Oldest first."""
        found = self._reads.query(
            "SELECT * FROM orders WHERE created_at >= ? AND NOT shadow AND NOT reduce_only"
            " AND (was_unknown OR rejected_by IS NULL OR rejected_by <> 'gateway') ORDER BY created_at, id",
            [time_text(since)],
        )
        return [order_from(columns) for columns in found]

    def sent(self, since: datetime) -> list[tuple[str, datetime]]:
        """The account and time of every order that was, or may have been, sent since then. Oldest first."""
        found = self._reads.query(
            "SELECT account_id, created_at FROM orders WHERE created_at >= ? AND NOT shadow"
            " AND (was_unknown OR rejected_by IS NULL OR rejected_by <> 'gateway') ORDER BY created_at",
            [time_text(since)],
        )
        return [(columns["account_id"], datetime.fromisoformat(columns["created_at"])) for columns in found]

    def _recent_orders(self, instance_id: str, shadow: bool, limit: int) -> list[Order]:
        return self._orders(
            "instance_id = ?1 AND shadow = ?2 AND id >"
            " (SELECT coalesce(max(last_order), 0) FROM books WHERE instance_id = ?1 AND shadow = ?2)"
            " ORDER BY id DESC LIMIT ?3",
            [instance_id, int(shadow), limit],
        )

    def _orders(self, where: str, parameters: Sequence[Any] = ()) -> list[Order]:
        return [order_from(columns) for columns in self._reads.query(f"SELECT * FROM orders WHERE {where}", parameters)]

"""What the dashboard reads from the database, as a protocol; `store` provides it. Called on worker threads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, get_args

from reconciler.orders.holding import Holding
from reconciler.records.event import EventType
from reconciler.records.record import Attempt, Row

Item = Mapping[str, Any]
"""One row, keys as the contract names them, values ready for JSON: money as decimal strings, times ISO 8601."""

EVENT_TYPES: tuple[str, ...] = get_args(EventType)


class OrdersReader(Protocol):
    """Pages of rows, newest first, each with how many match in all. Empty filters match everything."""

    def row(self, instance_id: str) -> Row | None:
        """The applied row of that id, a tombstone too."""
        ...

    def attempts_of(self, instance_id: str) -> Sequence[Attempt]:
        """What was last attempted with each file that claims this id."""
        ...

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
    ) -> tuple[Sequence[Item], int]:
        """`shadow` chooses a book: True the simulated one, None both. Those placed at `until` do not count."""
        ...

    def order(self, client_order_id: str) -> Item | None:
        """One order, with its `fills`."""
        ...

    def holdings(self, instance_id: str, shadow: bool) -> Sequence[Holding]:
        """What the instance's own fills add up to, by symbol."""
        ...

    def events(
        self, instance_id: str = "", type: str = "", limit: int = 100, offset: int = 0
    ) -> tuple[Sequence[Item], int]:
        """Items with `id instance_id type reason message count first_at last_at`."""
        ...

    def history(self, instance_id: str, limit: int = 100, offset: int = 0) -> tuple[Sequence[Item], int]:
        """Items with `generation kind summary at revision committed mode code_digest values`."""
        ...

    def generation(self, instance_id: str, generation: int) -> Item | None:
        """One of them, as it was last changed."""
        ...
